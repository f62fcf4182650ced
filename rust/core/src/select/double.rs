//! The knapsack with two budgets: signed ranges of inputs that can be negative.
//!
//! A kept weight moves the upper end up and the lower end down, and each end has its own room.
//! Prices on both ends (Lagrange multipliers) turn an item's profit into a gain, positive for
//! those worth their price. Keeping just these gives an upper bound; every departure from it
//! costs its gain or loss, so only items whose gain is within the gap can differ in a better
//! solution. Over these, cheapest departure first, runs a dynamic program whose states are
//! pruned by the bound, by what can still be reached, and by dominance.

use super::core::MOST_STATES;

/// What keeping a weight adds to the upper end, takes from the lower end, and is worth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub up: i128,
    pub down: i128,
    pub profit: i64,
    pub input: u32,
}

/// Two budgets and what competes for them; the empty selection fits both.
pub(super) struct Double {
    pub items: Vec<Item>,
    pub room_up: i128,
    pub room_down: i128,
}

/// Relative widening of bounds that are sums of so many rounded terms.
fn slack(terms: usize) -> f64 {
    (terms as f64 + 16.0) * f64::EPSILON
}

/// Prices, and the bound that they give.
#[derive(Clone, Copy, Debug)]
struct Prices {
    up: f64,
    down: f64,
    bound: f64,
}

#[derive(Clone, Copy, Debug)]
struct State {
    up: i128,
    down: i128,
    profit: i64,
    /// Gains and losses forgone so far.
    departed: f64,
    node: u32,
}

#[derive(Clone, Copy)]
struct Node {
    parent: u32,
    item: u32,
}

impl Double {
    fn gain(item: &Item, prices: &Prices) -> f64 {
        item.profit as f64 - prices.up * item.up as f64 - prices.down * item.down as f64
    }

    /// Prices whose bound is about the least; the bound is convex in each and in both.
    fn prices(&self) -> Prices {
        let table: Vec<[f64; 3]> = self
            .items
            .iter()
            .map(|item| [item.profit as f64, item.up as f64, item.down as f64])
            .collect();
        let rooms = (self.room_up as f64, self.room_down as f64);
        let value = |up: f64, down: f64| up * rooms.0 + down * rooms.1 + gains(&table, up, down);
        // No price above the best profit per unit of cost ever pays.
        let top = table.iter().map(|item| item[0]).fold(0.0, f64::max);
        let inner = |up: f64| least(top, |down| value(up, down));
        let (up, _) = least(top, |up| inner(up).1);
        let (down, bound) = inner(up);
        Prices { up, down, bound }
    }

    /// Upper bound of the profit of any selection.
    pub fn fractional_bound(&self) -> f64 {
        self.prices().bound
    }

    fn fits(&self, up: i128, down: i128) -> bool {
        up <= self.room_up && down <= self.room_down
    }

    /// By falling gain per priced cost, whatever still fits.
    pub fn greedy(&self, keep: &mut [bool]) {
        self.greedy_at(&self.prices(), keep);
    }

    fn greedy_at(&self, prices: &Prices, keep: &mut [bool]) {
        let worth = |item: &Item| {
            let price = prices.up * item.up as f64 + prices.down * item.down as f64;
            // What costs nothing at these prices comes first, the most profitable foremost.
            let ratio = item.profit as f64 / price.max(f64::MIN_POSITIVE);
            (ratio.min(f64::MAX), item.profit)
        };
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        order.sort_by(|&a, &b| {
            let (a, b) = (worth(&self.items[a]), worth(&self.items[b]));
            b.0.total_cmp(&a.0).then(b.1.cmp(&a.1))
        });
        keep.fill(false);
        self.fill(order.into_iter(), keep);
    }

    /// Keeps, in that order, what still fits beside what is kept already.
    pub fn fill(&self, order: impl Iterator<Item = usize>, keep: &mut [bool]) {
        let (mut up, mut down) = (0, 0);
        for (item, _) in self.items.iter().zip(&*keep).filter(|(_, kept)| **kept) {
            up += item.up;
            down += item.down;
        }
        for index in order {
            let item = &self.items[index];
            if !keep[index] && self.fits(up + item.up, down + item.down) {
                up += item.up;
                down += item.down;
                keep[index] = true;
            }
        }
    }

    /// Marks in `keep`, by position, a selection whose profit no other exceeds by `unit` or
    /// more; nothing where `MOST_STATES` is exceeded.
    pub fn solve(&self, unit: i64, keep: &mut [bool]) -> Option<()> {
        let prices = self.prices();
        self.greedy_at(&prices, keep);
        let mut best: i64 = self
            .items
            .iter()
            .zip(&*keep)
            .map(|(item, &kept)| if kept { item.profit } else { 0 })
            .sum();
        let bound = prices.bound + prices.bound.abs() * slack(self.items.len());
        let target = |best: i64| (best + unit) as f64;

        let gains: Vec<f64> = self
            .items
            .iter()
            .map(|item| Self::gain(item, &prices))
            .collect();
        let start: Vec<bool> = gains.iter().map(|&gain| gain > 0.0).collect();
        // An item's own gain is rounded too, by no more than its terms allow.
        let departure = |index: usize| {
            let item = &self.items[index];
            let terms = item.profit as f64
                + prices.up * item.up.unsigned_abs() as f64
                + prices.down * item.down.unsigned_abs() as f64;
            (gains[index].abs() - terms * slack(4)).max(0.0)
        };
        let mut order: Vec<(f64, usize)> = (0..self.items.len())
            .map(|index| (departure(index), index))
            .filter(|(departure, _)| bound - departure >= target(best))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));

        // The most by which the departures from a place on can lower either end.
        let mut relief = vec![(0_i128, 0_i128); order.len() + 1];
        for (at, &(_, index)) in order.iter().enumerate().rev() {
            let item = &self.items[index];
            let sign = if start[index] { 1 } else { -1 };
            let (up, down) = relief[at + 1];
            relief[at] = (
                up + (sign * item.up).max(0),
                down + (sign * item.down).max(0),
            );
        }

        let mut origin = State {
            up: 0,
            down: 0,
            profit: 0,
            departed: 0.0,
            node: 0,
        };
        for (item, _) in self.items.iter().zip(&start).filter(|(_, kept)| **kept) {
            origin.up += item.up;
            origin.down += item.down;
            origin.profit += item.profit;
        }
        let mut nodes = vec![Node { parent: 0, item: 0 }];
        let mut winner = None;
        let note = |state: &State, best: &mut i64, winner: &mut Option<u32>| {
            if state.profit > *best && self.fits(state.up, state.down) {
                *best = state.profit;
                *winner = Some(state.node);
            }
        };
        note(&origin, &mut best, &mut winner);
        let mut states = vec![origin];
        for (at, &(departure, index)) in order.iter().enumerate() {
            let item = &self.items[index];
            let sign: i64 = if start[index] { -1 } else { 1 };
            for place in 0..states.len() {
                let state = states[place];
                let departed = state.departed + departure;
                if bound - departed < target(best) {
                    continue;
                }
                nodes.push(Node {
                    parent: state.node,
                    item: index as u32,
                });
                let child = State {
                    up: state.up + i128::from(sign) * item.up,
                    down: state.down + i128::from(sign) * item.down,
                    profit: state.profit + sign * item.profit,
                    departed,
                    node: u32::try_from(nodes.len() - 1).ok()?,
                };
                note(&child, &mut best, &mut winner);
                states.push(child);
            }
            let (up, down) = relief[at + 1];
            let next = order.get(at + 1).map_or(f64::INFINITY, |next| next.0);
            // A state that no further departure can improve has been noted already.
            states.retain(|state| {
                bound - state.departed - next >= target(best)
                    && state.up - up <= self.room_up
                    && state.down - down <= self.room_down
            });
            undominated(&mut states);
            if states.len() > MOST_STATES || nodes.len() > 16 * MOST_STATES {
                return None;
            }
        }
        if let Some(mut node) = winner {
            keep.copy_from_slice(&start);
            while node != 0 {
                let Node { parent, item } = nodes[node as usize];
                keep[item as usize] = !keep[item as usize];
                node = parent;
            }
        }
        Some(())
    }
}

/// The gains of all items that have one, summed in lanes so that the loop need not wait.
fn gains(table: &[[f64; 3]], up: f64, down: f64) -> f64 {
    let mut lanes = [0.0; 8];
    for items in table.chunks(8) {
        for (lane, [profit, u, d]) in lanes.iter_mut().zip(items) {
            *lane += (profit - up * u - down * d).max(0.0);
        }
    }
    lanes.iter().sum()
}

/// Drops the states that another one equals or betters in both ends and in profit.
fn undominated(states: &mut Vec<State>) {
    states.sort_by(|a, b| {
        b.profit
            .cmp(&a.profit)
            .then(a.up.cmp(&b.up))
            .then(a.down.cmp(&b.down))
    });
    // Of the more profitable: upper ends rising, lower ends falling.
    let mut stairs = std::collections::BTreeMap::<i128, i128>::new();
    states.retain(|state| {
        if let Some((_, &down)) = stairs.range(..=state.up).next_back()
            && down <= state.down
        {
            return false;
        }
        while let Some((&up, _)) = stairs
            .range(state.up..)
            .next()
            .filter(|(_, down)| **down >= state.down)
        {
            stairs.remove(&up);
        }
        stairs.insert(state.up, state.down);
        true
    });
}

/// Where on `[0, top]` a convex function is about least, and its value there.
fn least(top: f64, value: impl Fn(f64) -> f64) -> (f64, f64) {
    // Prices spread over many orders of magnitude, so the search runs on their square roots.
    let (mut low, mut high) = (0.0, top.sqrt());
    for _ in 0..40 {
        let (a, b) = (low + 0.382 * (high - low), low + 0.618 * (high - low));
        if value(a * a) <= value(b * b) {
            high = b;
        } else {
            low = a;
        }
    }
    let middle = 0.5 * (low + high);
    [low, middle, high]
        .map(|root| (root * root, value(root * root)))
        .into_iter()
        .fold(
            (0.0, value(0.0)),
            |least, at| if at.1 < least.1 { at } else { least },
        )
}
