//! One channel: what its weights cost, which knapsacks that makes, and the mask they give.

use super::core;
use super::double::{self, Double};
use super::knapsack::{self, Knapsack, Weight};
use super::scale::Scale;
use super::{Budget, Checked, Method};
use crate::{Code, Error, Integer, Result};

/// Knapsacks whose weights are disjoint; what is in none of them costs nothing or never fits.
pub(super) struct Channel {
    channel: usize,
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
    /// Sets `keep` for what costs nothing and was not gone already; it comes in all false.
    pub fn read<T: Code>(
        problem: &Checked<'_, '_, T>,
        channel: usize,
        keep: &mut [bool],
    ) -> Result<Self> {
        match problem.budget {
            Budget::Span => Ok(Self::span(problem, channel, keep)),
            Budget::Signed => Self::signed(problem, channel, keep),
        }
    }

    fn span<T: Code>(problem: &Checked<'_, '_, T>, channel: usize, keep: &mut [bool]) -> Self {
        let budget = (1 << problem.bits_of(channel)) - 1;
        let own;
        let widths = match &problem.widths {
            Some(shared) => shared,
            None => {
                own = problem.widths_of(channel);
                &own
            }
        };
        let mut weights = vec![Weight::default(); widths.len()];
        let mut count = 0;
        problem.visit(channel, |input, w, saliency| {
            let cost = w.unsigned_abs().checked_mul(widths[input]);
            // What does not fit 64 bits exceeds the budget.
            let cost = cost.unwrap_or(u64::MAX);
            keep[input] = cost == 0;
            // Without a branch: which codes are zero cannot be foretold.
            weights[count] = Weight {
                cost,
                saliency,
                input: input as u32,
            };
            count += usize::from(cost > 0 && cost <= budget);
        });
        weights.truncate(count);
        Self {
            channel,
            knapsacks: vec![Knapsack { budget, weights }],
            double: None,
        }
    }

    fn signed<T: Code>(
        problem: &Checked<'_, '_, T>,
        channel: usize,
        keep: &mut [bool],
    ) -> Result<Self> {
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
        let mut shares = Vec::with_capacity(problem.codes.ncols());
        problem.visit(channel, |input, w, saliency| {
            let (low, high) = problem.inputs_of(channel).at(input);
            let w = i128::from(w);
            let (a, b) = (w * i128::from(low), w * i128::from(high));
            let (up, down) = (a.max(b), -a.min(b));
            if up == 0 && down == 0 {
                keep[input] = true;
            } else {
                shares.push(Share {
                    up,
                    down,
                    saliency,
                    input: input as u32,
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
            knapsacks,
            double,
        })
    }

    /// Sets `keep` for the weights to keep of those that cost something.
    pub fn choose(self, method: Method, keep: &mut [bool]) -> Result<()> {
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

    /// Saliency of what costs something that no mask can exceed.
    pub fn fractional_bound(&self) -> f64 {
        let single = self.knapsacks.iter().map(Knapsack::fractional_bound);
        let double = self.double.iter();
        let double = double.map(|(double, scale)| scale.saliency(double.fractional_bound()));
        single.chain(double).sum()
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
