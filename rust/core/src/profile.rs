//! Ranges after the first k removals of a given order, for every k asked, in one pass.

use std::ops::{AddAssign, Mul, SubAssign};

use ndarray::{ArrayView1, ArrayView2};

use crate::code::Code;
use crate::inputs::{Form, InputRanges};
use crate::linear::{linear, sums_fit};
use crate::{Error, Ranges, Result};

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
pub fn profile<T: Code, P: Position>(
    weight: ArrayView2<'_, T>,
    order: &[P],
    inputs: &InputRanges,
    bias: Option<ArrayView1<'_, i64>>,
    counts: &[i64],
) -> Result<Ranges> {
    let full = linear(weight, inputs, bias, None)?;
    let order = read_counts(order, counts, weight.len())?;
    let largest_bias = bias.map_or(0, |bias| {
        bias.iter().fold(0, |m, b| b.unsigned_abs().max(m))
    });
    let terms = weight.ncols().saturating_add(1);
    let input = inputs.largest().max(1);
    if largest_bias <= T::LARGEST && sums_fit(terms, T::LARGEST, input) {
        run::<T, P, i64>(weight, order, inputs, &full, counts)
    } else {
        run::<T, P, i128>(weight, order, inputs, &full, counts)
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

trait Number: Copy + From<i64> + AddAssign + SubAssign + Mul<Output = Self> + PartialOrd {
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
            let w = w.value();
            let (for_low, for_high) = if w < 0 { (h, l) } else { (l, h) };
            let (low, high) = &mut ends[row];
            *low -= N::from(w) * N::from(for_low);
            *high -= N::from(w) * N::from(for_high);
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

/// One layer's share of an order over many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Flat indices into this layer's weights, in the common order.
    pub order: Vec<u32>,
    /// How many of them lie among the first removals of each count.
    pub counts: Vec<i64>,
}

/// Splits an order over the weights of many layers, one after the other, into the layers' own.
///
/// `sizes` holds the number of weights of each layer. Splitting first makes every later access
/// near its neighbours, which is worth more than the pass that it costs.
pub fn split_order(sizes: &[usize], order: &[i64], counts: &[i64]) -> Result<Vec<Share>> {
    let total = sizes
        .iter()
        .fold(0_usize, |total, &size| total.saturating_add(size));
    if let Some(&size) = sizes.iter().find(|&&size| u32::try_from(size).is_err()) {
        return Err(Error::Shape {
            argument: "weights",
            shape: vec![size],
            expected: "a layer of a profile must have fewer than 2**32 weights".into(),
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
