//! The 0/1 knapsack, solved exactly by dynamic programming over an expanding core.
//!
//! Pisinger, "A minimal algorithm for the 0-1 knapsack problem", Operations Research 45 (1997).
//! The items are ordered by saliency per cost; those before the break item are taken, those after
//! are left. The optimum differs from that only near the break, so the table starts with this one
//! solution and takes in items outward from the break, keeping the undominated partial solutions
//! whose fractional bound beats the best solution so far. It ends when none is left.
//!
//! Profits are whole numbers below 2⁵³, so sums of them are exact in integers and in floating
//! point alike; only the bounds round, and `SLACK` widens them so that none cuts off an optimum.

use std::cmp::Reverse;

use super::Item;

/// Relative widening of floating-point bounds. Each comes from at most seven roundings of 2⁻⁵³,
/// those of the efficiency that it is ordered by included.
const SLACK: f64 = 1.0 / (1_u64 << 49) as f64;

/// More partial solutions than this at a time are refused. Undominated ones differ in cost and
/// none costs more than twice the budget, so narrow budgets stay below it.
pub(super) const MOST_STATES: usize = 1 << 20;

/// A partial solution: the break solution with some core items toggled.
#[derive(Clone, Copy, Debug)]
struct State {
    cost: u64,
    profit: i64,
    node: u32,
}

/// A toggled item and the node of those toggled before; node 0 is the break solution.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    item: u32,
}

/// Marks in `keep` (by position in `items`) a subset whose cost is within `budget` and whose
/// profit no other exceeds by `unit` or more. Returns false, with nothing meaningful in `keep`,
/// where `MOST_STATES` is exceeded.
///
/// Every cost lies in `1..=budget`, `budget` is below 2⁶³, the profits add up to less than 2⁵³,
/// and `unit` is positive.
pub(super) fn solve(items: &[Item], budget: u64, unit: i64, keep: &mut Vec<bool>) -> bool {
    keep.clear();
    keep.resize(items.len(), false);
    let Some(split) = Break::find(items, budget) else {
        keep.fill(true);
        return true;
    };
    for &index in &split.taken {
        keep[index as usize] = true;
    }
    let mut search = Search::new(items, budget, unit, split);
    if !search.run() {
        return false;
    }
    search.best_toggles(|index| keep[index] = !keep[index]);
    true
}

/// The items around the break.
pub(super) struct Break {
    /// Positions of the items that fit in order of efficiency.
    pub taken: Vec<u32>,
    /// Positions of the others, the break item among them.
    pub left: Vec<u32>,
    /// Efficiency of the break item.
    pub efficiency: f64,
    /// Cost of `taken`.
    pub cost: u64,
    /// Profit of `taken`.
    pub profit: i64,
}

impl Break {
    /// Splits the items at the break; nothing where all of them fit.
    ///
    /// Balas & Zemel, "An algorithm for large zero-one knapsack problems", Operations Research 28
    /// (1980): halves of the undecided interval are summed, not sorted.
    pub fn find(items: &[Item], budget: u64) -> Option<Self> {
        let mut order: Vec<(f64, u32)> = items
            .iter()
            .enumerate()
            .map(|(index, item)| (item.efficiency(), index as u32))
            .collect();
        let (mut start, mut end) = (0, order.len());
        let (mut cost, mut profit) = (0_u64, 0_i64);
        // Items before `start` are taken; those from `end` on are not.
        while start < end {
            let middle = (start + end) / 2;
            let (before, _, _) = order[start..end]
                .select_nth_unstable_by(middle - start, |a, b| {
                    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
                });
            let pivot = before.len() + start;
            // Each cost is at most the budget, so this passes the budget long before it wraps.
            let (mut c, mut p, mut at) = (cost, profit, start);
            while at <= pivot {
                let item = &items[order[at].1 as usize];
                if c + item.cost > budget {
                    break;
                }
                c += item.cost;
                p += item.profit;
                at += 1;
            }
            if at > pivot {
                (start, cost, profit) = (pivot + 1, c, p);
            } else {
                // The break lies at or before the pivot.
                end = pivot;
                if start == end {
                    break;
                }
            }
        }
        if start == order.len() {
            return None;
        }
        let (efficiency, _) = order[start];
        Some(Self {
            taken: order[..start].iter().map(|&(_, index)| index).collect(),
            left: order[start..].iter().map(|&(_, index)| index).collect(),
            efficiency,
            cost,
            profit,
        })
    }
}

struct Search<'a> {
    items: &'a [Item],
    budget: u64,
    /// What a better solution must gain at least.
    unit: i64,
    /// Taken items that may be given up, the least efficient at the end.
    inner: Vec<(f64, u32)>,
    /// Left items that may be taken, the most efficient at the end.
    outer: Vec<(f64, u32)>,
    /// Cost of the items still in `inner`.
    removable: u64,
    states: Vec<State>,
    spare: Vec<State>,
    nodes: Vec<Node>,
    compact_at: usize,
    best: State,
    origin: State,
    efficiency: f64,
}

impl<'a> Search<'a> {
    fn new(items: &'a [Item], budget: u64, unit: i64, split: Break) -> Self {
        let origin = State {
            cost: split.cost,
            profit: split.profit,
            node: 0,
        };
        let mut search = Self {
            items,
            budget,
            unit,
            inner: Vec::new(),
            outer: Vec::new(),
            removable: 0,
            states: vec![origin],
            spare: Vec::new(),
            nodes: vec![Node { parent: 0, item: 0 }],
            compact_at: 1 << 20,
            best: origin,
            origin,
            efficiency: split.efficiency,
        };
        search.first_guess(&split);
        let worth = |&(_, index): &(f64, u32)| !search.hopeless(&items[index as usize]);
        let ranked = |positions: &[u32]| {
            let mut ranked: Vec<(f64, u32)> = positions
                .iter()
                .map(|&index| (items[index as usize].efficiency(), index))
                .filter(worth)
                .collect();
            ranked.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
            ranked
        };
        let (mut inner, outer) = (ranked(&split.taken), ranked(&split.left));
        inner.reverse();
        search.removable = inner
            .iter()
            .map(|&(_, index)| items[index as usize].cost)
            .sum();
        (search.inner, search.outer) = (inner, outer);
        search
    }

    /// Improves on the break solution by one item more, or one exchanged for the break item; of
    /// equals the first comes in, the last goes.
    fn first_guess(&mut self, split: &Break) {
        let items = self.items;
        let item = |index: &u32| &items[*index as usize];
        let room = self.budget - split.cost;
        let entering = split.left.iter().filter(|&index| item(index).cost <= room);
        if let Some(index) = entering.max_by_key(|&index| (item(index).profit, Reverse(index))) {
            let cost = split.cost + item(index).cost;
            self.guess(cost, split.profit + item(index).profit, &[*index]);
        }
        // `left` starts with the break item, which does not fit.
        if let Some(next) = split.left.first() {
            let missing = item(next).cost - room;
            let leaving = split
                .taken
                .iter()
                .filter(|&index| item(index).cost >= missing);
            if let Some(index) = leaving.min_by_key(|&index| (item(index).profit, Reverse(index))) {
                let cost = split.cost - item(index).cost + item(next).cost;
                let profit = split.profit - item(index).profit + item(next).profit;
                self.guess(cost, profit, &[*index, *next]);
            }
        }
    }

    /// Notes the break solution with these items toggled, where it is better.
    fn guess(&mut self, cost: u64, profit: i64, toggled: &[u32]) {
        if profit > self.best.profit {
            let mut node = 0;
            for &item in toggled {
                self.nodes.push(Node { parent: node, item });
                node = (self.nodes.len() - 1) as u32;
            }
            self.best = State { cost, profit, node };
        }
    }

    /// Whether no solution with this item toggled can beat the best: its loss against the break
    /// efficiency is more than what the fractional bound leaves to win (Dembo & Hammer 1980).
    fn hopeless(&self, item: &Item) -> bool {
        let room = (self.budget - self.origin.cost) as f64 * self.efficiency;
        let needed = (self.best.profit - self.origin.profit + self.unit) as f64;
        let (price, profit) = (item.cost as f64 * self.efficiency, item.profit as f64);
        (price - profit).abs() > room - needed + SLACK * (price + profit + room)
    }

    fn run(&mut self) -> bool {
        self.prune();
        while !self.states.is_empty() {
            let (outer, inner) = (self.outer.pop(), self.inner.pop());
            if outer.is_none() && inner.is_none() {
                break;
            }
            if let Some((_, index)) = outer
                && !self.hopeless(&self.items[index as usize])
            {
                self.toggle(index, true);
            }
            if let Some((_, index)) = inner {
                self.removable -= self.items[index as usize].cost;
                if !self.hopeless(&self.items[index as usize]) {
                    self.toggle(index, false);
                }
            }
            self.prune();
            // So few nodes also keep their numbers within 32 bits.
            if self.states.len() > MOST_STATES || self.nodes.len() > 64 * MOST_STATES {
                return false;
            }
        }
        true
    }

    /// Takes an item into the core: every state with and without it, by rising cost, and of
    /// those only the ones that beat all cheaper ones.
    fn toggle(&mut self, index: u32, enters: bool) {
        let item = &self.items[index as usize];
        let changed = |state: &State| {
            let (cost, profit) = if enters {
                // Beyond 64 bits it could never come back within the budget (see `prune`).
                (
                    state.cost.saturating_add(item.cost),
                    state.profit + item.profit,
                )
            } else {
                (state.cost - item.cost, state.profit - item.profit)
            };
            (cost, profit, state.node)
        };
        self.spare.clear();
        let (mut same, mut other) = (0, 0);
        let mut top = i64::MIN;
        while same < self.states.len() || other < self.states.len() {
            let with = self.states.get(other).map(changed);
            let without = self.states.get(same);
            let untouched = match (&without, &with) {
                (Some(a), Some((cost, profit, _))) => {
                    a.cost < *cost || (a.cost == *cost && a.profit >= *profit)
                }
                (Some(_), None) => true,
                (None, _) => false,
            };
            if let (true, Some(&state)) = (untouched, without) {
                same += 1;
                if state.profit > top {
                    top = state.profit;
                    self.spare.push(state);
                }
            } else if let Some((cost, profit, parent)) = with {
                other += 1;
                if profit > top {
                    top = profit;
                    self.nodes.push(Node {
                        parent,
                        item: index,
                    });
                    let node = (self.nodes.len() - 1) as u32;
                    self.spare.push(State { cost, profit, node });
                }
            }
        }
        std::mem::swap(&mut self.states, &mut self.spare);
    }

    /// Notes the best solution and drops the states that cannot lead to a better one.
    fn prune(&mut self) {
        let budget = self.budget;
        // Profit rises with cost, so the dearest state within the budget is the best.
        let within = self.states.partition_point(|state| state.cost <= budget);
        if let Some(state) = self.states[..within].last()
            && state.profit > self.best.profit
        {
            self.best = *state;
        }
        let target = self.best.profit + self.unit;
        let next_outer = self.outer.last().map_or(0.0, |next| next.0) * (1.0 + SLACK);
        let next_inner = self.inner.last().map_or(0.0, |next| next.0) * (1.0 - SLACK);
        // At most twice the budget: a state above can never come back.
        let reachable = budget.saturating_add(self.removable);
        self.states.retain(|state| {
            let missing = (target - state.profit) as f64;
            if state.cost <= budget {
                (budget - state.cost) as f64 * next_outer >= missing
            } else {
                state.cost <= reachable && (state.cost - budget) as f64 * next_inner <= -missing
            }
        });
        if self.nodes.len() > self.compact_at {
            self.compact();
        }
    }

    /// Forgets the nodes that no living state leads back to.
    fn compact(&mut self) {
        let mut alive = vec![false; self.nodes.len()];
        alive[0] = true;
        let roots = self.states.iter().map(|state| state.node);
        for root in roots.chain([self.best.node]) {
            let mut node = root as usize;
            while !alive[node] {
                alive[node] = true;
                node = self.nodes[node].parent as usize;
            }
        }
        // Parents stand before their children, so one pass finds every new place.
        let mut place = vec![0_u32; self.nodes.len()];
        let mut kept: Vec<Node> = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if alive[index] {
                place[index] = kept.len() as u32;
                kept.push(Node {
                    parent: place[node.parent as usize],
                    item: node.item,
                });
            }
        }
        self.nodes = kept;
        for state in &mut self.states {
            state.node = place[state.node as usize];
        }
        self.best.node = place[self.best.node as usize];
        self.compact_at = (1 << 20).max(2 * self.nodes.len());
    }

    fn best_toggles(&self, mut toggle: impl FnMut(usize)) {
        let mut node = self.best.node;
        while node != 0 {
            let Node { parent, item } = self.nodes[node as usize];
            toggle(item as usize);
            node = parent;
        }
    }
}
