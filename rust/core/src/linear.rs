//! Exact ranges of the accumulators of a linear layer.
//!
//! `high = b + Σ max(wᵢlᵢ, wᵢhᵢ)` and `low = b + Σ min(wᵢlᵢ, wᵢhᵢ)`; both are attained.

use ndarray::{ArrayView1, ArrayView2, ArrayView3, Axis};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use crate::code::{BLOCK, Code};
use crate::inputs::{InputRanges, Prepared};
use crate::ranges::Wide;
use crate::rows::{Rows, masked};
use crate::{Error, Ranges, Result, threads};

/// Fewer weights than this are not worth waking a thread for (measured: it takes about as long as
/// reading a megabyte, several times that on a busy machine).
const PARALLEL_FROM: usize = 1 << 22;

/// How many times a plain weight one costs that fits no narrow kernel.
const COST_OF_ANY: usize = 8;

/// Exact range of every output channel.
///
/// `weight` is `[out, in]`, `bias` `[out]`. Each mask of `masks`, `[masks, out, in]`, keeps the
/// weights where it is not zero (one byte a weight, as NumPy stores booleans); the result holds
/// `out` ranges for each mask in turn, and `out` ranges where there are no masks.
pub fn linear<T: Code>(
    weight: ArrayView2<'_, T>,
    inputs: &InputRanges,
    bias: Option<ArrayView1<'_, i64>>,
    masks: Option<ArrayView3<'_, u8>>,
) -> Result<Ranges> {
    let bias = bias.map(|bias| (bias, bias));
    affine(weight, inputs, bias, masks)
}

/// Ranges that hold every partial sum, in whatever order bias and products are added.
///
/// Every term may be absent, so each is widened to take in zero: for the products that is the
/// same as widening the input ranges, since `max(0, wl, wh)` is `w·max(h, 0)` for positive and
/// `w·min(l, 0)` for negative weights. Arguments and result are those of [`linear`].
pub fn partial_sums<T: Code>(
    weight: ArrayView2<'_, T>,
    inputs: &InputRanges,
    bias: Option<ArrayView1<'_, i64>>,
    masks: Option<ArrayView3<'_, u8>>,
) -> Result<Ranges> {
    let ends = bias.map(|bias| (bias.mapv(|b| b.min(0)), bias.mapv(|b| b.max(0))));
    let ends = ends.as_ref().map(|(low, high)| (low.view(), high.view()));
    affine(weight, &inputs.with_zero(), ends, masks)
}

/// [`linear`] with a bias that is itself a range.
fn affine<T: Code>(
    weight: ArrayView2<'_, T>,
    inputs: &InputRanges,
    bias: Option<(ArrayView1<'_, i64>, ArrayView1<'_, i64>)>,
    masks: Option<ArrayView3<'_, u8>>,
) -> Result<Ranges> {
    let (outputs, width) = weight.dim();
    inputs.check_len(width)?;
    if let Some((bias, _)) = bias
        && bias.len() != outputs
    {
        return Err(Error::Shape {
            argument: "bias",
            shape: vec![bias.len()],
            expected: format!("the weight has {outputs} output channels"),
        });
    }
    if let Some(masks) = &masks
        && masks.shape()[1..] != [outputs, width]
    {
        return Err(Error::Shape {
            argument: "mask",
            shape: masks.shape().to_vec(),
            expected: format!("the weight has shape [{outputs}, {width}]"),
        });
    }
    let prepared = Prepared::new::<T>(inputs);
    let layers = masks.as_ref().map_or(1, |masks| masks.len_of(Axis(0)));
    let rows = layers * outputs;
    let mut ranges = Ranges::zeros(rows);
    if rows == 0 {
        return Ok(ranges);
    }
    let job = Job {
        weight,
        prepared: &prepared,
        bias,
        masks,
    };
    let cost = match prepared {
        Prepared::Any { .. } => COST_OF_ANY,
        _ => 1,
    };
    let cost = rows.saturating_mul(width).saturating_mul(cost);
    let pool = if cost < PARALLEL_FROM || rows == 1 {
        None
    } else {
        threads::pool()
    };
    match pool {
        None => job.run(0, &mut ranges.low, &mut ranges.high)?,
        Some(pool) => {
            let step = rows.div_ceil(4 * pool.current_num_threads());
            let done: Vec<Result<()>> = pool.install(|| {
                ranges
                    .low
                    .par_chunks_mut(step)
                    .zip(ranges.high.par_chunks_mut(step))
                    .enumerate()
                    .map(|(index, (low, high))| job.run(index * step, low, high))
                    .collect()
            });
            // The first channel that fails is named, whichever thread met it.
            done.into_iter().collect::<Result<()>>()?;
        }
    }
    Ok(ranges)
}

struct Job<'a, T> {
    weight: ArrayView2<'a, T>,
    prepared: &'a Prepared,
    bias: Option<(ArrayView1<'a, i64>, ArrayView1<'a, i64>)>,
    masks: Option<ArrayView3<'a, u8>>,
}

impl<T: Code> Job<'_, T> {
    /// Fills the ranges of the rows that start at `first`, with the best instructions there are.
    fn run(&self, first: usize, low: &mut [i64], high: &mut [i64]) -> Result<()> {
        let job = self;
        Arch::new().dispatch(Fill {
            job,
            first,
            low,
            high,
        })
    }

    #[inline(always)]
    fn fill(&self, first: usize, low: &mut [i64], high: &mut [i64]) -> Result<()> {
        let outputs = self.weight.nrows();
        if let (Prepared::Narrow { middle, width, run }, None, Some(flat)) =
            (self.prepared, &self.masks, self.weight.as_slice())
            && middle.len() > WIDE_ROW
        {
            return self.fill_wide(flat, (middle, width, *run), first, low, high);
        }
        let mut scratch = [T::default(); BLOCK];
        let mut rows = Rows::new(self.weight);
        let mut masks = None;
        let (mut layer, mut channel) = (first / outputs, first % outputs);
        for (low, high) in low.iter_mut().zip(high) {
            if let (Some(all), None) = (&self.masks, &masks) {
                masks = Some(Rows::new(all.index_axis_move(Axis(0), layer)));
            }
            let mask = masks.as_mut().map(|masks| masks.row(channel));
            let wide = row_range(self.prepared, rows.row(channel), mask, &mut scratch);
            let (bias_low, bias_high) = match &self.bias {
                Some((low, high)) => (low[channel], high[channel]),
                None => (0, 0),
            };
            (*low, *high) = wide.narrow(bias_low, bias_high, channel)?;
            channel += 1;
            if channel == outputs {
                (layer, channel, masks) = (layer + 1, 0, None);
            }
        }
        Ok(())
    }
}

/// Rows longer than this are taken in strips, several at a time: middles and widths of a whole
/// row would not stay in the nearest cache, and fetching them again holds up the weights.
const WIDE_ROW: usize = 6144;
const STRIP: usize = 512;
const STRIP_ROWS: usize = 8;

impl<T: Code> Job<'_, T> {
    /// The ranges of unmasked rows too wide for the nearest cache; there is a row per channel.
    #[inline(always)]
    fn fill_wide(
        &self,
        flat: &[T],
        (middle, width, run): (&[i16], &[i16], usize),
        first: usize,
        low: &mut [i64],
        high: &mut [i64],
    ) -> Result<()> {
        let columns = middle.len();
        let groups = low.chunks_mut(STRIP_ROWS).zip(high.chunks_mut(STRIP_ROWS));
        for (group, (low, high)) in groups.enumerate() {
            let start = first + group * STRIP_ROWS;
            let mut sums = [(0_i64, 0_i64); STRIP_ROWS];
            // A strip is no longer than a run, so its sums fit 32 bits.
            let step = STRIP.min(run);
            for at in (0..columns).step_by(step) {
                let end = (at + step).min(columns);
                for (row, sum) in sums.iter_mut().enumerate().take(low.len()) {
                    let strip = &flat[(start + row) * columns..][at..end];
                    let (c, s) = T::narrow_run(strip, &middle[at..end], &width[at..end]);
                    sum.0 += c;
                    sum.1 += s;
                }
            }
            for (row, (low, high)) in low.iter_mut().zip(high).enumerate() {
                let (centre, spread) = sums[row];
                let (bias_low, bias_high) = match &self.bias {
                    Some((low, high)) => (low[start + row], high[start + row]),
                    None => (0, 0),
                };
                let wide = from_dots(centre, spread);
                (*low, *high) = wide.narrow(bias_low, bias_high, start + row)?;
            }
        }
        Ok(())
    }
}

/// The range whose doubled middle and width are given. Both have the parity of
/// `Σ w(high - low)`, so the halves are whole.
#[inline(always)]
fn from_dots(centre: i64, spread: i64) -> Wide {
    let (centre, spread) = (i128::from(centre), i128::from(spread));
    Wide::new((centre - spread) / 2, (centre + spread) / 2)
}

/// A call that must be inlined to be compiled for the instruction set at hand; closures are not.
struct Fill<'a, 'j, T> {
    job: &'a Job<'j, T>,
    first: usize,
    low: &'a mut [i64],
    high: &'a mut [i64],
}

impl<T: Code> NullaryFnOnce for Fill<'_, '_, T> {
    type Output = Result<()>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        self.job.fill(self.first, self.low, self.high)
    }
}

/// The range of one row without its bias.
#[inline(always)]
pub(crate) fn row_range<T: Code>(
    prepared: &Prepared,
    row: &[T],
    mask: Option<&[u8]>,
    scratch: &mut [T; BLOCK],
) -> Wide {
    match prepared {
        Prepared::One { low, high } => {
            let (mut positive, mut negative) = (0, 0);
            for at in (0..row.len()).step_by(BLOCK) {
                let (p, n) = T::signed_sums(block(row, mask, at, scratch));
                positive += p;
                negative += n;
            }
            let small = i128::from(i64::MIN)..=i128::from(i64::MAX);
            if small.contains(&positive) && small.contains(&negative) {
                // Products below 2¹²⁶, their sums below 2¹²⁷.
                let (l, h) = (i128::from(*low), i128::from(*high));
                return Wide::new(l * positive + h * negative, h * positive + l * negative);
            }
            let (low, high) = (std::iter::repeat(low), std::iter::repeat(high));
            wide_range(row, mask, low.zip(high))
        }
        Prepared::Narrow { middle, width, run } => {
            let (mut centre, mut spread) = (0_i64, 0_i64);
            for at in (0..row.len()).step_by(BLOCK) {
                let block = block(row, mask, at, scratch);
                let (m, w) = (&middle[at..][..block.len()], &width[at..][..block.len()]);
                let (c, s) = T::narrow_dots(block, m, w, *run);
                centre += c;
                spread += s;
            }
            from_dots(centre, spread)
        }
        Prepared::Bytes { low, width } => {
            let (mut centre, mut spread) = (0_i64, 0_i64);
            for at in (0..row.len()).step_by(BLOCK) {
                let block = block(row, mask, at, scratch);
                let (l, w) = (&low[at..][..block.len()], &width[at..][..block.len()]);
                let (c, s) = T::byte_dots(block, l, w);
                centre += c;
                spread += s;
            }
            from_dots(centre, spread)
        }
        Prepared::Any { low, high, largest } => {
            if !sums_fit(row.len(), T::LARGEST, *largest)
                && !sums_fit(row.len(), T::largest(row), *largest)
            {
                return wide_range(row, mask, low.iter().zip(high));
            }
            let mut sums = (0_i64, 0_i64);
            for at in (0..row.len()).step_by(BLOCK) {
                let block = block(row, mask, at, scratch);
                let (l, h) = (&low[at..][..block.len()], &high[at..][..block.len()]);
                let (lowest, highest) = T::dots(block, l, h);
                sums.0 += lowest;
                sums.1 += highest;
            }
            Wide::new(sums.0.into(), sums.1.into())
        }
    }
}

/// At most `BLOCK` masked weights from `at` on.
#[inline(always)]
fn block<'a, T: Code>(
    row: &'a [T],
    mask: Option<&[u8]>,
    at: usize,
    scratch: &'a mut [T; BLOCK],
) -> &'a [T] {
    let end = (at + BLOCK).min(row.len());
    masked(&row[at..end], mask.map(|mask| &mask[at..end]), scratch)
}

/// Whether sums of `terms` products of such magnitudes fit 64 bits.
#[inline(always)]
pub(crate) fn sums_fit(terms: usize, weight: u64, input: u64) -> bool {
    let product = u128::from(weight) * u128::from(input);
    product
        .checked_mul(terms as u128)
        .is_some_and(|sum| sum <= i64::MAX as u128)
}

/// The range of one row where nothing is known about magnitudes.
#[inline(never)]
fn wide_range<'a, T: Code>(
    row: &[T],
    mask: Option<&[u8]>,
    inputs: impl Iterator<Item = (&'a i64, &'a i64)>,
) -> Wide {
    let mut range = Wide::default();
    for (at, (w, (&l, &h))) in row.iter().zip(inputs).enumerate() {
        if mask.is_none_or(|mask| mask[at] != 0) {
            range.add_product(w.value(), (l, h));
        }
    }
    range
}
