//! One channel: what its weights cost, which knapsacks that makes, and the mask they give.

use super::core::{self, Break};
use super::double::{self, Double};
use super::{Budget, Item, Method, Problem};
use crate::{Code, Error, Result};

/// Knapsacks whose items are disjoint; what is in none of them costs nothing.
pub(super) struct Channel {
    channel: usize,
    /// What costs nothing and was not gone already.
    free: Vec<u32>,
    knapsacks: Vec<Knapsack>,
    double: Option<Double>,
    /// A saliency times two to this power is its profit.
    shift: i32,
    /// Saliency of `free`.
    free_saliency: f64,
}

struct Knapsack {
    budget: u64,
    items: Vec<Item>,
}

/// What keeping a weight adds to the accumulator's upper end and takes from its lower end.
#[derive(Clone, Copy)]
struct Share {
    up: i128,
    down: i128,
    input: u32,
}

impl Channel {
    pub fn read<T: Code>(problem: &Problem<'_, T>, channel: usize) -> Result<Self> {
        let pick = |len: usize| if len == 1 { 0 } else { channel };
        let bits = problem.bits[pick(problem.bits.len())] as u32;
        let inputs = &problem.inputs[pick(problem.inputs.len())];
        let saliency = problem.saliency.row(channel);
        let mut free = Vec::new();
        let mut shares = Vec::new();
        for (input, w) in problem.codes.row(channel).iter().enumerate() {
            if problem.mask.is_some_and(|mask| mask[[channel, input]] == 0) {
                continue;
            }
            let (low, high) = inputs.at(input);
            let w = i128::from(w.value());
            let (a, b) = (w * i128::from(low), w * i128::from(high));
            let (up, down) = (a.max(b), -a.min(b));
            let input = input as u32;
            match problem.budget {
                Budget::Span if up + down == 0 => free.push(input),
                Budget::Signed if up == 0 && down == 0 => free.push(input),
                _ => shares.push(Share { up, down, input }),
            }
        }
        // Powers of two scale without rounding; the profits add up to less than 2⁵².
        let worth = |share: &Share| saliency[share.input as usize];
        let top = exponent(shares.iter().map(worth).fold(0.0, f64::max));
        let unit = Power::of_two(-top);
        let total: f64 = shares.iter().map(|share| unit.times(worth(share))).sum();
        let shift = 51 - exponent(total) - top;
        let unit = Power::of_two(shift);
        let profit = |share: &Share| match worth(share) {
            0.0 => 0,
            worth => (unit.times(worth).round() as i64).max(1),
        };
        let knapsack = |budget: i128, shares: &[Share], cost: &dyn Fn(&Share) -> i128| Knapsack {
            budget: u64::try_from(budget).unwrap_or(0),
            items: shares
                .iter()
                .filter(|share| cost(share) <= budget)
                .map(|share| Item {
                    cost: cost(share) as u64,
                    profit: profit(share),
                    input: share.input,
                })
                .collect(),
        };
        let mut double = None;
        let knapsacks = match problem.budget {
            Budget::Span => vec![knapsack((1 << bits) - 1, &shares, &|s| s.up + s.down)],
            Budget::Signed => {
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
                if shares.iter().all(|share| share.up == share.down) {
                    // Ranges that are symmetric about zero: one budget binds for both.
                    vec![knapsack(room_up.min(room_down), &shares, &|s| s.up)]
                } else if shares.iter().all(|s| s.up.min(s.down) == 0) {
                    // Inputs of one sign: each weight moves one end only.
                    let (ups, downs): (Vec<Share>, Vec<Share>) =
                        shares.iter().partition(|share| share.down == 0);
                    vec![
                        knapsack(room_up, &ups, &|s| s.up),
                        knapsack(room_down, &downs, &|s| s.down),
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
                        let (low, high) = (-far, far);
                        return Err(Error::Overflow { channel, low, high });
                    }
                    double = Some(Double {
                        items: shares
                            .iter()
                            .map(|share| double::Item {
                                up: share.up,
                                down: share.down,
                                profit: profit(share),
                                input: share.input,
                            })
                            .collect(),
                        room_up,
                        room_down,
                    });
                    Vec::new()
                }
            }
        };
        let free_saliency = free.iter().map(|&input| saliency[input as usize]).sum();
        Ok(Self {
            channel,
            free,
            knapsacks,
            double,
            shift,
            free_saliency,
        })
    }

    /// Sets `keep` for the weights to keep; it comes in all false.
    pub fn choose(mut self, method: Method, keep: &mut [bool]) -> Result<()> {
        for &input in &self.free {
            keep[input as usize] = true;
        }
        let limit = Error::SelectionLimit {
            channel: self.channel,
            limit: core::MOST_STATES,
        };
        for knapsack in &mut self.knapsacks {
            knapsack.choose(method, keep).ok_or_else(|| limit.clone())?;
        }
        match &self.double {
            Some(double) => choose_double(double, method, keep).ok_or(limit),
            None => Ok(()),
        }
    }

    /// Saliency that no mask can exceed.
    pub fn fractional_bound(&self) -> f64 {
        let bound = self
            .knapsacks
            .iter()
            .map(Knapsack::fractional_bound)
            .chain(self.double.iter().map(Double::fractional_bound))
            .sum();
        self.free_saliency + Power::of_two(-self.shift).times(bound)
    }
}

fn choose_double(double: &Double, method: Method, keep: &mut [bool]) -> Option<()> {
    let mut chosen = vec![false; double.items.len()];
    match method {
        Method::Greedy => double.greedy(&mut chosen),
        Method::Exact => {
            let unit = common_divisor(double.items.iter().map(|item| item.profit as u64));
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

impl Knapsack {
    fn choose(&mut self, method: Method, keep: &mut [bool]) -> Option<()> {
        let total: u128 = self.items.iter().map(|item| u128::from(item.cost)).sum();
        if total <= u128::from(self.budget) {
            for item in &self.items {
                keep[item.input as usize] = true;
            }
            return Some(());
        }
        let (worthless, mut worthy): (Vec<Item>, Vec<Item>) =
            self.items.iter().partition(|item| item.profit == 0);
        let mut room = self.budget;
        match method {
            Method::Exact => {
                let divisor = common_divisor(worthy.iter().map(|item| item.cost)).max(1);
                let unit = common_divisor(worthy.iter().map(|item| item.profit as u64));
                for item in &mut worthy {
                    item.cost /= divisor;
                }
                let mut chosen = Vec::new();
                let unit = (unit as i64).max(worthy.len() as i64).max(1);
                if !core::solve(&worthy, self.budget / divisor, unit, &mut chosen) {
                    return None;
                }
                for (item, chosen) in worthy.iter_mut().zip(chosen) {
                    item.cost *= divisor;
                    if chosen {
                        room -= item.cost;
                        keep[item.input as usize] = true;
                    }
                }
                // What costs more than the room that is left need not be sorted to be refused.
                worthy.retain(|item| item.cost <= room && !keep[item.input as usize]);
                worthy.sort_by_key(|item| (-item.profit, item.cost));
            }
            Method::Greedy => worthy.sort_by(|a, b| b.efficiency().total_cmp(&a.efficiency())),
        }
        let mut worthless = worthless;
        worthless.retain(|item| item.cost <= room);
        worthless.sort_by_key(|item| item.cost);
        for item in worthy.iter().chain(&worthless) {
            if item.cost <= room {
                room -= item.cost;
                keep[item.input as usize] = true;
            }
        }
        Some(())
    }

    fn fractional_bound(&self) -> f64 {
        match Break::find(&self.items, self.budget) {
            None => self.items.iter().map(|item| item.profit as f64).sum(),
            Some(split) => {
                split.profit as f64 + (self.budget - split.cost) as f64 * split.efficiency
            }
        }
    }
}

/// `e` with `2ᵉ⁻¹ <= x < 2ᵉ` for positive normal `x`; -1022 for smaller ones.
fn exponent(x: f64) -> i32 {
    ((x.to_bits() >> 52) & 0x7ff) as i32 - 1022
}

/// A power of two in three factors: its exponent reaches beyond those that a float has.
#[derive(Clone, Copy)]
struct Power {
    twice: f64,
    once: f64,
}

impl Power {
    fn of_two(exponent: i32) -> Self {
        let third = exponent / 3;
        Self {
            twice: 2_f64.powi(third),
            once: 2_f64.powi(exponent - 2 * third),
        }
    }

    fn times(self, x: f64) -> f64 {
        x * self.twice * self.twice * self.once
    }
}

/// The greatest common divisor of `values`; 0 where there are none but zeros.
fn common_divisor(values: impl Iterator<Item = u64>) -> u64 {
    let mut divisor = 0;
    for value in values {
        if divisor == 1 {
            break;
        }
        divisor = gcd(value, divisor);
    }
    divisor
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
