//! The knapsack of one budget: most saliency within it, to the optimum or greedily.

use super::core::{self, Break};
use super::scale::Scale;
use super::{Item, Method, surplus};

/// Weights whose costs have to fit a budget together; each does by itself.
pub(super) struct Knapsack {
    pub budget: u64,
    /// By rising input.
    pub weights: Vec<Weight>,
}

/// A weight that costs something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weight {
    pub cost: u64,
    pub saliency: f64,
    pub input: u32,
}

impl Knapsack {
    fn items(&self) -> (Vec<Item>, Scale) {
        let scale = Scale::of(self.weights.iter().map(|weight| weight.saliency));
        let item = |weight: &Weight| Item {
            cost: weight.cost,
            profit: scale.profit(weight.saliency),
            input: weight.input,
        };
        (self.weights.iter().map(item).collect(), scale)
    }

    /// Sets `keep` for the weights to keep; nothing where `MOST_STATES` is exceeded.
    pub fn choose(mut self, method: Method, keep: &mut [bool]) -> Option<()> {
        surplus::discard(&mut self.weights, self.budget);
        let costs = self.weights.iter().map(|weight| u128::from(weight.cost));
        if costs.sum::<u128>() <= u128::from(self.budget) {
            for weight in &self.weights {
                keep[weight.input as usize] = true;
            }
            return Some(());
        }
        let (items, _) = self.items();
        let (mut worthless, mut worthy): (Vec<Item>, Vec<Item>) =
            items.into_iter().partition(|item| item.profit == 0);
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

    /// Saliency that no mask can exceed.
    pub fn fractional_bound(&self) -> f64 {
        let (items, scale) = self.items();
        scale.saliency(match Break::find(&items, self.budget) {
            None => items.iter().map(|item| item.profit as f64).sum(),
            Some(split) => {
                split.profit as f64 + (self.budget - split.cost) as f64 * split.efficiency
            }
        })
    }
}

/// The greatest common divisor of `values`; 0 where there are none but zeros.
pub(super) fn common_divisor(values: impl Iterator<Item = u64>) -> u64 {
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
