//! Weights that need not be looked at, since enough others cost the same and matter as much.

use super::knapsack::Weight;

/// Costs are looked up in a table of at most so many times the weights.
const SPARSEST: u64 = 4;

/// Of every cost leaves no more weights than fit the budget by themselves: the most salient, of
/// equals the first. The order stays.
///
/// No optimum needs another one, no greedy choice comes to it, and none fits beside the rest:
/// where all that are left of its cost are kept, less room than that cost is.
pub(super) fn discard(weights: &mut Vec<Weight>, budget: u64) {
    // No cost exceeds the bits of all of them.
    let reach = weights.iter().fold(0, |reach, weight| reach | weight.cost);
    if reach > SPARSEST * weights.len() as u64 {
        return;
    }
    let mut counts = vec![0_usize; reach as usize + 1];
    for weight in &*weights {
        counts[weight.cost as usize] += 1;
    }
    let too_many = |(cost, &count): (usize, &usize)| (cost * count) as u64 > budget;
    if !counts.iter().enumerate().any(too_many) {
        return;
    }
    // Where the next weight of each cost goes; in the end, where those of that cost end.
    let mut ends = counts.clone();
    let mut start = 0;
    for end in &mut ends {
        (*end, start) = (start, start + *end);
    }
    let mut ranked = vec![(0.0, 0_u32); weights.len()];
    for (position, weight) in weights.iter().enumerate() {
        let end = &mut ends[weight.cost as usize];
        ranked[*end] = (weight.saliency, position as u32);
        *end += 1;
    }
    for (cost, (&count, &end)) in counts.iter().zip(&ends).enumerate() {
        if too_many((cost, &count)) {
            let class = &mut ranked[end - count..end];
            let most = (budget / cost as u64) as usize;
            class.select_nth_unstable_by(most, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            for &(_, position) in &class[most..] {
                weights[position as usize].cost = 0;
            }
        }
    }
    weights.retain(|weight| weight.cost > 0);
}
