//! Ranges after the first k removals of a given order, for every k asked, in one pass.

use ndarray::{ArrayView1, ArrayView2, Axis, Slice};

use crate::code::Code;
use crate::forms::sums_fit;
use crate::inputs::{Ends, InputRanges};
use crate::linear::linear;
use crate::ranges::{Wide, filled};
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
    let order = read_counts(order, counts, weight.len())?;
    check(weight.dim(), inputs, bias)?;
    pass(weight, order, inputs, bias, counts)
}

fn check(
    (outputs, width): (usize, usize),
    inputs: &InputRanges,
    bias: Option<ArrayView1<'_, i64>>,
) -> Result<()> {
    inputs.check_len(width)?;
    match bias {
        Some(bias) if bias.len() != outputs => Err(Error::Shape {
            argument: "bias",
            shape: vec![bias.len()],
            expected: format!("the weight has {outputs} output channels"),
        }),
        _ => Ok(()),
    }
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
    let (outputs, width) = weight.dim();
    check((outputs, width), inputs, bias)?;
    let rows = block_rows(width);
    let block = |index: usize, share: &Share| {
        let (start, end) = (index * rows, ((index + 1) * rows).min(outputs));
        let rows = Slice::from(start..end);
        let bias = bias.map(|bias| bias.slice_axis_move(Axis(0), rows));
        let part = weight.slice_axis(Axis(0), rows);
        pass(part, &share.order, inputs, bias, &share.counts)
            .map_err(|error| error.after_channels(start))
    };
    let mut blocks = vec![Ranges::zeros(0)?; shares.len()];
    let places = shares.iter().zip(&mut blocks).enumerate();
    threads::share(shares.len() > 1, places, |(index, (share, place))| {
        *place = block(index, share)?;
        Ok(())
    })?;
    let counts = shares.first().map_or(0, |share| share.counts.len());
    let mut result = Ranges::with_room(counts.saturating_mul(outputs))?;
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

/// One pass over an order, in 64 bits where these are proved to do.
fn pass<T: Code, P: Position>(
    weight: ArrayView2<'_, T>,
    order: &[P],
    inputs: &InputRanges,
    bias: Option<ArrayView1<'_, i64>>,
    counts: &[i64],
) -> Result<Ranges> {
    let terms = weight.ncols().saturating_add(1);
    let input = inputs.largest().max(1);
    let biases = bias.iter().flatten();
    // The bias counts as one more term: a weight no larger than any, at an input of one.
    let narrow = biases.clone().all(|b| b.unsigned_abs() <= T::LARGEST);
    if narrow && sums_fit(terms, T::LARGEST, input) {
        let full = linear(weight, inputs, bias, None)?;
        let ends = full.low.into_iter().zip(full.high).collect();
        return run::<T, P, (i64, i64)>(weight, order, inputs, ends, counts);
    }
    let rows = weight.outer_iter().enumerate().map(|(channel, row)| {
        let start = bias.map_or(0, |bias| bias[channel]);
        let mut range = Wide::new(start.into(), start.into());
        for (input, w) in row.iter().enumerate() {
            range.add_product(w.value(), inputs.at(input));
        }
        range
    });
    run::<T, P, Wide>(weight, order, inputs, rows.collect(), counts)
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

/// The range of a channel while its weights are removed one by one.
trait Left: Copy {
    /// Takes away the term of a weight whose input lies in `range`.
    fn take(&mut self, w: i64, range: (i64, i64));

    fn narrow(self, channel: usize) -> Result<(i64, i64)>;
}

impl Left for (i64, i64) {
    #[inline(always)]
    fn take(&mut self, w: i64, (l, h): (i64, i64)) {
        // Without a branch: one that waits for a weight from memory makes the next ones wait.
        let (p, n) = (w.max(0), w.min(0));
        self.0 -= p * l + n * h;
        self.1 -= p * h + n * l;
    }

    #[inline(always)]
    fn narrow(self, _channel: usize) -> Result<(i64, i64)> {
        Ok(self)
    }
}

impl Left for Wide {
    #[inline(always)]
    fn take(&mut self, w: i64, range: (i64, i64)) {
        self.take_product(w, range);
    }

    fn narrow(self, channel: usize) -> Result<(i64, i64)> {
        self.narrow(0, 0, channel)
    }
}

/// The pass itself. `E` holds the range of any subset of the terms: 64 bits by the caller's proof.
fn run<T: Code, P: Position, E: Left>(
    weight: ArrayView2<'_, T>,
    order: &[P],
    inputs: &InputRanges,
    mut ends: Vec<E>,
    counts: &[i64],
) -> Result<Ranges> {
    let (outputs, width) = weight.dim();
    let size = weight.len();
    let mut result = Ranges::with_room(counts.len().saturating_mul(outputs))?;
    let mut seen = filled(0_u64, size.div_ceil(64))?;
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
            let range = match &inputs.0 {
                Ends::One { low, high } => (*low, *high),
                Ends::Each { low, high } => (low[column], high[column]),
            };
            ends[row].take(w.value(), range);
        }
        done = count as usize;
        for (channel, ends) in ends.iter().enumerate() {
            let (low, high) = ends.narrow(channel)?;
            result.low.push(low);
            result.high.push(high);
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
