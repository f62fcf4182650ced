//! Ranges after the first k removals of a given order, for every k asked, in one pass.

use std::ops::{Add, Mul, SubAssign};

use ndarray::{ArrayView1, ArrayView2, Axis, Slice};
use rayon::prelude::*;

use crate::code::Code;
use crate::inputs::{Form, InputRanges};
use crate::linear::{linear, sums_fit};
use crate::{Error, Ranges, Result, threads};

/// A position in an order of removal.
pub trait Position: Copy {
    /// The flat index, or nothing where it is negative.
    fn index(self) -> Option<usize>;

    /// The number itself, for messages.
    fn shown(self) -> i64;
}

impl Position for i64 {
    #[inline(always)]
    fn index(self) -> Option<usize> {
        usize::try_from(self).ok()
    }

    fn shown(self) -> i64 {
        self
    }
}

impl Position for u32 {
    #[inline(always)]
    fn index(self) -> Option<usize> {
        Some(self as usize)
    }

    fn shown(self) -> i64 {
        i64::from(self)
    }
}

/// Ranges of every channel after the first `counts[k]` removals, `[counts, out]`.
///
/// `order` holds flat row-major indices into `weight`, none twice; what follows the last count is
/// not read. `counts` must not fall.
pub fn profile<T: Code>(
    weight: ArrayView2<'_, T>,
    order: &[i64],
    inputs: &InputRanges,
    bias: Option<ArrayView1<'_, i64>>,
    counts: &[i64],
) -> Result<Ranges> {
    let (outputs, width) = weight.dim();
    if weight.len() > BLOCK_WEIGHTS && order.len() > BLOCK_WEIGHTS {
        let sizes = block_sizes(outputs, width);
        let split = split_order(&sizes, order, counts);
        match split.and_then(|shares| profile_shares(weight, &shares, inputs, bias)) {
            // The plain pass below names the place in the caller's own order.
            Err(Error::Order { .. }) => {}
            other => return other,
        }
    }
    let full = linear(weight, inputs, bias, None)?;
    let order = read_counts(order, counts, weight.len())?;
    pass(weight, order, inputs, &full, counts, largest(bias))
}

/// A block of rows this large, with what belongs to it, stays in the caches near the processor.
const BLOCK_WEIGHTS: usize = 1 << 18;

fn block_rows(width: usize) -> usize {
    (BLOCK_WEIGHTS / width.max(1)).max(1)
}

/// How many weights each block of rows has that [`profile_shares`] wants a share for.
pub fn block_sizes(outputs: usize, width: usize) -> Vec<usize> {
    let rows = block_rows(width);
    let starts = (0..outputs).step_by(rows);
    starts
        .map(|start| rows.min(outputs - start) * width)
        .collect()
}

/// [`profile`] of a layer whose order has been split into that of its blocks of rows.
///
/// A random order over a large layer waits for memory at every step. Splitting it first costs a
/// pass, but each share then works within a cache, and all of them at the same time.
pub fn profile_shares<T: Code>(
    weight: ArrayView2<'_, T>,
    shares: &[Share],
    inputs: &InputRanges,
    bias: Option<ArrayView1<'_, i64>>,
) -> Result<Ranges> {
    let full = linear(weight, inputs, bias, None)?;
    let (outputs, width) = weight.dim();
    let rows = block_rows(width);
    let largest_bias = largest(bias);
    let block = |(index, share): (usize, &Share)| {
        let (start, end) = (index * rows, ((index + 1) * rows).min(outputs));
        let full = Ranges {
            low: full.low[start..end].to_vec(),
            high: full.high[start..end].to_vec(),
        };
        let part = weight.slice_axis(Axis(0), Slice::from(start..end));
        pass(
            part,
            &share.order,
            inputs,
            &full,
            &share.counts,
            largest_bias,
        )
        .map_err(|error| match error {
            Error::Overflow { channel, low, high } => Error::Overflow {
                channel: channel + start,
                low,
                high,
            },
            error => error,
        })
    };
    let pool = if shares.len() > 1 {
        threads::pool()
    } else {
        None
    };
    let blocks: Vec<Result<Ranges>> = match pool {
        None => shares.iter().enumerate().map(block).collect(),
        Some(pool) => pool.install(|| shares.par_iter().enumerate().map(block).collect()),
    };
    let blocks: Vec<Ranges> = blocks.into_iter().collect::<Result<_>>()?;
    let counts = shares.first().map_or(0, |share| share.counts.len());
    let mut result = Ranges {
        low: Vec::with_capacity(counts * outputs),
        high: Vec::with_capacity(counts * outputs),
    };
    for count in 0..counts {
        for block in &blocks {
            let width = block.low.len() / counts;
            let part = count * width..(count + 1) * width;
            result.low.extend_from_slice(&block.low[part.clone()]);
            result.high.extend_from_slice(&block.high[part]);
        }
    }
    Ok(result)
}

fn largest(bias: Option<ArrayView1<'_, i64>>) -> u64 {
    bias.map_or(0, |bias| {
        bias.iter().fold(0, |m, b| b.unsigned_abs().max(m))
    })
}

/// One pass over an order, in the narrowest integers that are proved to do.
fn pass<T: Code, P: Position>(
    weight: ArrayView2<'_, T>,
    order: &[P],
    inputs: &InputRanges,
    full: &Ranges,
    counts: &[i64],
    largest_bias: u64,
) -> Result<Ranges> {
    let terms = weight.ncols().saturating_add(1);
    let input = inputs.largest().max(1);
    if largest_bias <= T::LARGEST && sums_fit(terms, T::LARGEST, input) {
        run::<T, P, i64>(weight, order, inputs, full, counts)
    } else {
        run::<T, P, i128>(weight, order, inputs, full, counts)
    }
}

/// The part of the order that the counts ask for, once those are found in order.
fn read_counts<'a, P>(order: &'a [P], counts: &[i64], weights: usize) -> Result<&'a [P]> {
    let mut before = 0;
    for (index, &count) in counts.iter().enumerate() {
        let refuse = |expected: String| {
            Err(Error::Order {
                argument: "counts",
                index,
                value: count,
                expected,
            })
        };
        if count < before {
            return refuse(format!("counts must rise from 0; before it came {before}"));
        }
        if count as u64 > order.len() as u64 {
            return refuse(format!(
                "the order names {} of {weights} weights",
                order.len()
            ));
        }
        before = count;
    }
    Ok(&order[..before as usize])
}

trait Number: Copy + From<i64> + Add<Output = Self> + Mul<Output = Self> + SubAssign {
    fn narrow(self) -> Option<i64>;
    fn wide(self) -> i128;
}

impl Number for i64 {
    #[inline(always)]
    fn narrow(self) -> Option<i64> {
        Some(self)
    }

    fn wide(self) -> i128 {
        i128::from(self)
    }
}

impl Number for i128 {
    fn narrow(self) -> Option<i64> {
        self.try_into().ok()
    }

    fn wide(self) -> i128 {
        self
    }
}

/// The pass itself. `N` holds the range of any subset of the terms: by proof for `i64`; for
/// `i128` since the full range fits 64 bits, and what is left of it in terms of at most 2¹²⁶ is
/// checked by the additions of this build.
fn run<T: Code, P: Position, N: Number>(
    weight: ArrayView2<'_, T>,
    order: &[P],
    inputs: &InputRanges,
    full: &Ranges,
    counts: &[i64],
) -> Result<Ranges> {
    let (outputs, width) = weight.dim();
    let size = weight.len();
    let mut ends: Vec<(N, N)> = full
        .low
        .iter()
        .zip(&full.high)
        .map(|(&low, &high)| (N::from(low), N::from(high)))
        .collect();
    let mut result = Ranges {
        low: Vec::with_capacity(counts.len() * outputs),
        high: Vec::with_capacity(counts.len() * outputs),
    };
    let mut seen = vec![0_u64; size.div_ceil(64)];
    let flat = weight.as_slice();
    let mut done = 0;
    for &count in counts {
        for (at, &position) in order.iter().enumerate().take(count as usize).skip(done) {
            let refuse = |expected: String| {
                Err(Error::Order {
                    argument: "order",
                    index: at,
                    value: position.shown(),
                    expected,
                })
            };
            let index = match position.index() {
                Some(index) if index < size => index,
                _ => return refuse(format!("the weight has {size} elements")),
            };
            let (word, bit) = (index / 64, 1 << (index % 64));
            if seen[word] & bit != 0 {
                return refuse("that weight has been removed before".into());
            }
            seen[word] |= bit;
            // 32-bit division is several times cheaper than 64-bit.
            let (row, column) = match (u32::try_from(index), u32::try_from(width)) {
                (Ok(index), Ok(width)) => ((index / width) as usize, (index % width) as usize),
                _ => (index / width, index % width),
            };
            let w = match flat {
                Some(flat) => flat[index],
                None => weight[[row, column]],
            };
            let (l, h) = match &inputs.0 {
                Form::One { low, high } => (*low, *high),
                Form::Each { low, high } => (low[column], high[column]),
            };
            // Without a branch: one that waits for a weight from memory makes the next ones wait.
            let (p, n) = (N::from(w.value().max(0)), N::from(w.value().min(0)));
            let (l, h) = (N::from(l), N::from(h));
            let (low, high) = &mut ends[row];
            *low -= p * l + n * h;
            *high -= p * h + n * l;
        }
        done = count as usize;
        for (channel, &(low, high)) in ends.iter().enumerate() {
            match (low.narrow(), high.narrow()) {
                (Some(low), Some(high)) => {
                    result.low.push(low);
                    result.high.push(high);
                }
                _ => {
                    return Err(Error::Overflow {
                        channel,
                        low: low.wide(),
                        high: high.wide(),
                    });
                }
            }
        }
    }
    Ok(result)
}

/// One block's share of an order over many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Flat indices into this block's weights, in the common order.
    pub order: Vec<u32>,
    /// How many of them lie among the first removals of each count.
    pub counts: Vec<i64>,
}

/// Splits an order over the weights of many blocks, one after the other, into the blocks' own.
///
/// `sizes` holds the number of weights of each block: those of [`block_sizes`], layer by layer.
pub fn split_order(sizes: &[usize], order: &[i64], counts: &[i64]) -> Result<Vec<Share>> {
    let total = sizes
        .iter()
        .fold(0_usize, |total, &size| total.saturating_add(size));
    if let Some(&size) = sizes.iter().find(|&&size| u32::try_from(size).is_err()) {
        return Err(Error::Shape {
            argument: "weights",
            shape: vec![size],
            expected: "a channel of a profile must have fewer than 2**32 weights".into(),
        });
    }
    let order = read_counts(order, counts, total)?;
    let mut ends = Vec::with_capacity(sizes.len());
    let mut end = 0;
    for size in sizes {
        end += size;
        ends.push(end);
    }
    // The layer in which each block of indices starts, few enough to stay in the nearest cache.
    let shift = usize::BITS.saturating_sub((total >> 12).leading_zeros());
    let first: Vec<u32> = (0..=(total >> shift))
        .map(|block| ends.partition_point(|&end| end <= block << shift) as u32)
        .collect();
    let mut shares: Vec<Share> = sizes
        .iter()
        .map(|&size| Share {
            order: Vec::with_capacity((order.len() as f64 * size as f64 / total as f64) as usize),
            counts: Vec::with_capacity(counts.len()),
        })
        .collect();
    let mut done = 0;
    for &count in counts {
        for (at, &position) in order.iter().enumerate().take(count as usize).skip(done) {
            let index = match usize::try_from(position) {
                Ok(index) if index < total => index,
                _ => {
                    return Err(Error::Order {
                        argument: "order",
                        index: at,
                        value: position,
                        expected: format!("the layers have {total} weights"),
                    });
                }
            };
            let mut layer = first[index >> shift] as usize;
            while index >= ends[layer] {
                layer += 1;
            }
            // Below the layer's size, which fits 32 bits.
            shares[layer]
                .order
                .push((index - (ends[layer] - sizes[layer])) as u32);
        }
        done = count as usize;
        for share in &mut shares {
            share.counts.push(share.order.len() as i64);
        }
    }
    Ok(shares)
}
