//! One channel: what its weights cost, which knapsacks that makes, and the mask they give.

use super::core;
use super::double::{self, Double};
use super::knapsack::{self, Knapsack, Weight};
use super::scale::Scale;
use super::{Budget, Method, Problem};
use crate::{Code, Error, Integer, Result};

/// Knapsacks whose weights are disjoint; what is in none of them costs nothing or never fits.
pub(super) struct Channel {
    channel: usize,
    /// What costs nothing and was not gone already.
    free: Vec<u32>,
    /// Saliency of `free`.
    free_saliency: f64,
    knapsacks: Vec<Knapsack>,
    double: Option<(Double, Scale)>,
}

/// What keeping a weight adds to the accumulator's upper end and takes from its lower end.
#[derive(Clone, Copy)]
struct Share {
    up: i128,
    down: i128,
    saliency: f64,
    input: u32,
}

impl Channel {
    pub fn read<T: Code>(problem: &Problem<'_, T>, channel: usize) -> Result<Self> {
        match problem.budget {
            Budget::Span => Ok(Self::span(problem, channel)),
            Budget::Signed => Self::signed(problem, channel),
        }
    }

    fn span<T: Code>(problem: &Problem<'_, T>, channel: usize) -> Self {
        let budget = (1 << problem.bits_of(channel)) - 1;
        let (mut free, mut free_saliency) = (Vec::new(), 0.0);
        let mut weights = Vec::with_capacity(problem.codes.ncols());
        problem.visit(channel, |input, w, (low, high), saliency| {
            let cost = u128::from(w.unsigned_abs()) * u128::from(high.abs_diff(low));
            if cost == 0 {
                free.push(input);
                free_saliency += saliency;
            } else if cost <= u128::from(budget) {
                weights.push(Weight {
                    cost: cost as u64,
                    saliency,
                    input,
                });
            }
        });
        Self {
            channel,
            free,
            free_saliency,
            knapsacks: vec![Knapsack { budget, weights }],
            double: None,
        }
    }

    fn signed<T: Code>(problem: &Problem<'_, T>, channel: usize) -> Result<Self> {
        let bits = problem.bits_of(channel);
        let bias = problem.bias.map_or(0, |bias| i128::from(bias[channel]));
        let room_up = (1 << (bits - 1)) - 1 - bias;
        let room_down = (1 << (bits - 1)) + bias;
        if room_up < 0 || room_down < 0 {
            let magnitude = if bias < 0 { !bias } else { bias };
            return Err(Error::Infeasible {
                channel,
                bits,
                needed_bits: 1 + i128::BITS - magnitude.leading_zeros(),
            });
        }
        let (mut free, mut free_saliency) = (Vec::new(), 0.0);
        let mut shares = Vec::with_capacity(problem.codes.ncols());
        problem.visit(channel, |input, w, (low, high), saliency| {
            let w = i128::from(w);
            let (a, b) = (w * i128::from(low), w * i128::from(high));
            let (up, down) = (a.max(b), -a.min(b));
            if up == 0 && down == 0 {
                free.push(input);
                free_saliency += saliency;
            } else {
                shares.push(Share {
                    up,
                    down,
                    saliency,
                    input,
                });
            }
        });
        let mut double = None;
        let knapsacks = if shares.iter().all(|share| share.up == share.down) {
            // Ranges that are symmetric about zero: one budget binds for both.
            vec![knapsack(room_up.min(room_down), &shares, |s| s.up)]
        } else if shares.iter().all(|s| s.up.min(s.down) == 0) {
            // Inputs of one sign: each weight moves one end only.
            let (ups, downs): (Vec<Share>, Vec<Share>) =
                shares.iter().partition(|share| share.down == 0);
            vec![
                knapsack(room_up, &ups, |s| s.up),
                knapsack(room_down, &downs, |s| s.down),
            ]
        } else {
            // Where nothing gives room back, what exceeds a room alone is out.
            let gives = shares.iter().any(|share| share.up.min(share.down) < 0);
            shares.retain(|s| gives || s.up <= room_up && s.down <= room_down);
            let reach = shares.iter().fold(0_u128, |reach, share| {
                let ends = share.up.unsigned_abs() + share.down.unsigned_abs();
                reach.saturating_add(ends)
            });
            // Sums of any of them stay within 128 bits, or the channel is refused.
            if reach > 1 << 125 {
                let far = i128::try_from(reach).unwrap_or(i128::MAX);
                let (low, high) = (Integer::from(-far), Integer::from(far));
                return Err(Error::Overflow { channel, low, high });
            }
            let scale = Scale::of(shares.iter().map(|share| share.saliency));
            let items = shares.iter().map(|share| double::Item {
                up: share.up,
                down: share.down,
                profit: scale.profit(share.saliency),
                input: share.input,
            });
            let items = items.collect();
            double = Some((
                Double {
                    items,
                    room_up,
                    room_down,
                },
                scale,
            ));
            Vec::new()
        };
        Ok(Self {
            channel,
            free,
            free_saliency,
            knapsacks,
            double,
        })
    }

    /// Sets `keep` for the weights to keep; it comes in all false.
    pub fn choose(self, method: Method, keep: &mut [bool]) -> Result<()> {
        for input in self.free {
            keep[input as usize] = true;
        }
        let limit = Error::SelectionLimit {
            channel: self.channel,
            limit: core::MOST_STATES,
        };
        for knapsack in self.knapsacks {
            knapsack.choose(method, keep).ok_or_else(|| limit.clone())?;
        }
        match &self.double {
            Some((double, _)) => choose_double(double, method, keep).ok_or(limit),
            None => Ok(()),
        }
    }

    /// Saliency that no mask can exceed.
    pub fn fractional_bound(&self) -> f64 {
        let single = self.knapsacks.iter().map(Knapsack::fractional_bound);
        let double = self.double.iter();
        let double = double.map(|(double, scale)| scale.saliency(double.fractional_bound()));
        self.free_saliency + single.chain(double).sum::<f64>()
    }
}

fn knapsack(budget: i128, shares: &[Share], cost: impl Fn(&Share) -> i128) -> Knapsack {
    let weights = shares.iter().filter(|share| cost(share) <= budget);
    let weights = weights.map(|share| Weight {
        cost: cost(share) as u64,
        saliency: share.saliency,
        input: share.input,
    });
    Knapsack {
        budget: u64::try_from(budget).unwrap_or(0),
        weights: weights.collect(),
    }
}

fn choose_double(double: &Double, method: Method, keep: &mut [bool]) -> Option<()> {
    let mut chosen = vec![false; double.items.len()];
    match method {
        Method::Greedy => double.greedy(&mut chosen),
        Method::Exact => {
            let unit = knapsack::common_divisor(double.items.iter().map(|item| item.profit as u64));
            double.solve((unit as i64).max(double.items.len() as i64), &mut chosen)?;
        }
    }
    let mut order: Vec<usize> = (0..chosen.len()).collect();
    order.sort_by_key(|&index| {
        let item = &double.items[index];
        (-item.profit, item.up + item.down)
    });
    double.fill(order.into_iter(), &mut chosen);
    for (item, chosen) in double.items.iter().zip(chosen) {
        keep[item.input as usize] |= chosen;
    }
    Some(())
}
