//! Exact ranges of the accumulators of a convolution.
//!
//! A window at the border sees fewer taps, and padding contributes zero. Along each axis the taps
//! that a window sees are an interval, and few intervals occur; the range of a channel is the
//! hull over their combinations. No combination is taken to dominate: where zero lies outside
//! the input ranges, or where no window fits inside, the border decides.

use ndarray::{ArrayView1, ArrayViewD};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use crate::code::{BLOCK, Code};
use crate::inputs::{InputRanges, Prepared};
use crate::linear::{row_range, sums_fit};
use crate::ranges::Wide;
use crate::{Error, Ranges, Result, threads};

/// Fewer products than this are not worth waking a thread for.
const PARALLEL_FROM: usize = 1 << 19;

/// A spatial axis, padding included, is no longer than this.
const MOST_PADDED: usize = 1 << 31;

/// Where the windows of a convolution lie; one entry per spatial axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// `[in, *spatial]`.
    pub input: Vec<usize>,
    /// Steps between windows.
    pub stride: Vec<usize>,
    /// Zeros before and after.
    pub padding: Vec<(usize, usize)>,
    /// Steps between taps.
    pub dilation: Vec<usize>,
    /// Channels are connected within such groups only.
    pub groups: usize,
}

/// A convolution: what [`conv`] and [`conv_positions`] take.
#[derive(Clone, Debug)]
pub struct Conv<'a, T> {
    /// `[out, in / groups, *kernel]`.
    pub weight: ArrayViewD<'a, T>,
    /// Where its windows lie.
    pub geometry: &'a Geometry,
    /// One range, one per input channel, or one per input element in row-major order.
    pub inputs: &'a InputRanges,
    /// `[out]`.
    pub bias: Option<ArrayView1<'a, i64>>,
    /// Of the weight's shape; zero where a weight is gone.
    pub mask: Option<ArrayViewD<'a, u8>>,
}

/// Hull of the ranges at all positions, per output channel.
pub fn conv<T: Code>(conv: &Conv<'_, T>) -> Result<Ranges> {
    let plan = Plan::new(conv)?;
    let mut ranges = Ranges::zeros(plan.outputs);
    if plan.per_element {
        let all = plan.elementwise()?;
        for channel in 0..plan.outputs {
            let values = all.iter().skip(channel).step_by(plan.outputs);
            let hull = values.fold((i64::MAX, i64::MIN), |(low, high), &(l, h)| {
                (low.min(l), high.max(h))
            });
            (ranges.low[channel], ranges.high[channel]) = hull;
        }
        return Ok(ranges);
    }
    let patterns = plan.by_pattern()?;
    for (channel, values) in patterns.chunks(plan.patterns.len().max(1)).enumerate() {
        let hull = values
            .iter()
            .fold((i64::MAX, i64::MIN), |(low, high), &(l, h)| {
                (low.min(l), high.max(h))
            });
        (ranges.low[channel], ranges.high[channel]) = hull;
    }
    Ok(ranges)
}

/// Ranges at every position, `[out, *spatial_out]` in row-major order, and `spatial_out`.
pub fn conv_positions<T: Code>(conv: &Conv<'_, T>) -> Result<(Ranges, Vec<usize>)> {
    let plan = Plan::new(conv)?;
    let shape: Vec<usize> = plan.axes.iter().map(|axis| axis.pattern_of.len()).collect();
    let positions = plan.positions;
    let mut ranges = Ranges::zeros(plan.outputs * positions);
    if plan.per_element {
        let all = plan.elementwise()?;
        for position in 0..positions {
            for channel in 0..plan.outputs {
                let at = channel * positions + position;
                (ranges.low[at], ranges.high[at]) = all[position * plan.outputs + channel];
            }
        }
        return Ok((ranges, shape));
    }
    let patterns = plan.by_pattern()?;
    let of_position: Vec<usize> = (0..positions).map(|at| plan.pattern_at(at)).collect();
    for channel in 0..plan.outputs {
        let values = &patterns[channel * plan.patterns.len()..][..plan.patterns.len()];
        for (position, &pattern) in of_position.iter().enumerate() {
            let at = channel * positions + position;
            (ranges.low[at], ranges.high[at]) = values[pattern];
        }
    }
    Ok((ranges, shape))
}

/// The windows along one spatial axis.
struct WindowAxis {
    /// Taps of the kernel.
    taps: usize,
    /// Size of the input.
    size: usize,
    stride: usize,
    before: usize,
    dilation: usize,
    /// The intervals of taps that occur, each `start..end`.
    patterns: Vec<(usize, usize)>,
    /// For each window, which of them it sees.
    pattern_of: Vec<u32>,
}

impl WindowAxis {
    fn new(taps: usize, geometry: &Geometry, axis: usize) -> Result<Self> {
        let size = geometry.input[axis + 1];
        let (stride, dilation) = (geometry.stride[axis], geometry.dilation[axis]);
        let (before, after) = geometry.padding[axis];
        for (argument, value) in [("stride", stride), ("dilation", dilation)] {
            if value == 0 {
                return Err(Error::Argument {
                    argument,
                    value: 0,
                    expected: "it must be at least 1".into(),
                });
            }
        }
        let extent = taps
            .checked_sub(1)
            .and_then(|gaps| gaps.checked_mul(dilation)?.checked_add(1));
        let padded = size.saturating_add(before).saturating_add(after);
        if padded > MOST_PADDED {
            return Err(Error::Shape {
                argument: "input_shape",
                shape: geometry.input.clone(),
                expected: format!("spatial axis {axis} must stay below {MOST_PADDED} when padded"),
            });
        }
        let windows = match extent {
            Some(extent) if extent <= padded => (padded - extent) / stride + 1,
            _ => {
                return Err(Error::Shape {
                    argument: "input_shape",
                    shape: geometry.input.clone(),
                    expected: format!(
                        "a kernel of {taps} taps with dilation {dilation} must fit its spatial \
                         axis {axis} with padding {before} and {after}"
                    ),
                });
            }
        };
        let mut patterns: Vec<(usize, usize)> = Vec::new();
        let mut pattern_of = Vec::with_capacity(windows);
        for window in 0..windows {
            // Tap t reads element window · stride + t · dilation - before.
            let origin = window * stride;
            let start = before.saturating_sub(origin).div_ceil(dilation).min(taps);
            let end = (size + before)
                .saturating_sub(origin)
                .div_ceil(dilation)
                .clamp(start, taps);
            let pattern = if start == end { (0, 0) } else { (start, end) };
            // Neighbours mostly see the same taps.
            let index = match patterns.iter().rposition(|&seen| seen == pattern) {
                Some(index) => index,
                None => {
                    patterns.push(pattern);
                    patterns.len() - 1
                }
            };
            pattern_of.push(index as u32);
        }
        Ok(Self {
            taps,
            size,
            stride,
            before,
            dilation,
            patterns,
            pattern_of,
        })
    }
}

struct Plan<'p, 'a, T> {
    conv: &'p Conv<'a, T>,
    /// `[out, in / groups · taps]`, in row-major order.
    weight: Flat<'p, T>,
    mask: Option<Flat<'p, u8>>,
    outputs: usize,
    /// Input channels of a group.
    channels: usize,
    /// Taps of the whole kernel.
    taps: usize,
    axes: Vec<WindowAxis>,
    /// For each combination of the axes' patterns, the taps that it sees.
    patterns: Vec<Vec<u32>>,
    per_element: bool,
    /// Windows of all axes together.
    positions: usize,
}

/// Elements in row-major order, copied only where they are not stored so.
enum Flat<'a, A> {
    Viewed(&'a [A]),
    Copied(Vec<A>),
}

impl<'a, A: Copy> Flat<'a, A> {
    fn of(view: &'a ArrayViewD<'_, A>) -> Self {
        match view.as_slice() {
            Some(all) => Self::Viewed(all),
            None => Self::Copied(view.iter().copied().collect()),
        }
    }

    /// The `index`-th stretch of `width` elements, which must exist.
    #[inline(always)]
    fn stretch(&self, index: usize, width: usize) -> &[A] {
        let all = match self {
            Self::Viewed(all) => all,
            Self::Copied(all) => all.as_slice(),
        };
        &all[index * width..][..width]
    }
}

impl<'p, 'a, T: Code> Plan<'p, 'a, T> {
    fn new(conv: &'p Conv<'a, T>) -> Result<Self> {
        let (weight, geometry) = (&conv.weight, conv.geometry);
        let shape = weight.shape();
        let dimensions = shape.len().saturating_sub(2);
        let refuse = |argument, shape: &[usize], expected: String| {
            Err(Error::Shape {
                argument,
                shape: shape.to_vec(),
                expected,
            })
        };
        if !(1..=3).contains(&dimensions) {
            let expected = "it must be [out, in / groups, *kernel] with 1 to 3 spatial axes";
            return refuse("weight", shape, expected.into());
        }
        let input = &geometry.input;
        if input.len() != dimensions + 1 {
            let expected = format!("it must be [in, *spatial], as the weight has shape {shape:?}");
            return refuse("input_shape", input, expected);
        }
        let per_axis = [
            ("stride", geometry.stride.len()),
            ("padding", geometry.padding.len()),
            ("dilation", geometry.dilation.len()),
        ];
        for (argument, len) in per_axis {
            if len != dimensions {
                let expected = format!("the kernel has {dimensions} spatial axes");
                return refuse(argument, &[len], expected);
            }
        }
        let groups = geometry.groups;
        let (outputs, channels) = (shape[0], shape[1]);
        if groups == 0 || outputs % groups != 0 {
            return Err(Error::Argument {
                argument: "groups",
                value: i64::try_from(groups).unwrap_or(i64::MAX),
                expected: format!("it must divide the {outputs} output channels"),
            });
        }
        if channels.checked_mul(groups) != Some(input[0]) {
            let expected = format!(
                "the weight with shape {shape:?} takes {channels} input channels \
                 in each of {groups} groups"
            );
            return refuse("input_shape", input, expected);
        }
        if let Some(bias) = &conv.bias
            && bias.len() != outputs
        {
            let expected = format!("the weight has {outputs} output channels");
            return refuse("bias", &[bias.len()], expected);
        }
        if let Some(mask) = &conv.mask
            && mask.shape() != shape
        {
            return refuse(
                "mask",
                mask.shape(),
                format!("the weight has shape {shape:?}"),
            );
        }
        let axes: Vec<WindowAxis> = (0..dimensions)
            .map(|axis| WindowAxis::new(shape[axis + 2], geometry, axis))
            .collect::<Result<_>>()?;
        let taps = shape[2..].iter().product();
        let elements = input
            .iter()
            .try_fold(1_usize, |all, &size| all.checked_mul(size))
            .ok_or_else(|| Error::Shape {
                argument: "input_shape",
                shape: input.clone(),
                expected: "its elements must be countable".into(),
            })?;
        let per_element = match conv.inputs.len() {
            None => false,
            Some(len) if len == input[0] => false,
            Some(len) if len == elements => true,
            Some(len) => {
                let expected = format!("it must be one integer or have shape [in] or {input:?}");
                return refuse("low and high", &[len], expected);
            }
        };
        let positions = axes
            .iter()
            .try_fold(outputs.max(1), |all, axis| {
                all.checked_mul(axis.pattern_of.len())
            })
            .ok_or_else(|| Error::Shape {
                argument: "input_shape",
                shape: input.clone(),
                expected: "its windows must be countable".into(),
            })?;
        Ok(Self {
            positions: positions / outputs.max(1),
            conv,
            weight: Flat::of(weight),
            mask: conv.mask.as_ref().map(Flat::of),
            outputs,
            channels,
            taps,
            patterns: patterns(&axes),
            axes,
            per_element,
        })
    }

    /// Which combination of patterns the window at `position` sees.
    fn pattern_at(&self, position: usize) -> usize {
        let (mut rest, mut pattern, mut factor) = (position, 0, 1);
        for axis in self.axes.iter().rev() {
            pattern += factor * axis.pattern_of[rest % axis.pattern_of.len()] as usize;
            rest /= axis.pattern_of.len();
            factor *= axis.patterns.len();
        }
        pattern
    }

    fn bias(&self, channel: usize) -> i64 {
        self.conv.bias.map_or(0, |bias| bias[channel])
    }

    /// Ranges of every channel under every combination of patterns, `[out, patterns]`.
    fn by_pattern(&self) -> Result<Vec<(i64, i64)>> {
        let width = self.channels * self.taps;
        let count = self.patterns.len();
        let mut values = vec![(0, 0); self.outputs * count];
        let work = |(channel, values): (usize, &mut [(i64, i64)])| -> Result<()> {
            let taps = Arch::new().dispatch(TapSums {
                plan: self,
                channel,
            });
            for (value, pattern) in values.iter_mut().zip(&self.patterns) {
                let mut range = Wide::default();
                for &tap in pattern {
                    range += taps[tap as usize];
                }
                let bias = self.bias(channel);
                *value = range.narrow(bias, bias, channel)?;
            }
            Ok(())
        };
        let pool = if self.outputs * width < PARALLEL_FROM {
            None
        } else {
            threads::pool()
        };
        match pool {
            None => values
                .chunks_mut(count.max(1))
                .enumerate()
                .try_for_each(work)?,
            Some(pool) => {
                let done: Vec<Result<()>> = pool.install(|| {
                    values
                        .par_chunks_mut(count.max(1))
                        .enumerate()
                        .map(work)
                        .collect()
                });
                done.into_iter().collect::<Result<()>>()?;
            }
        }
        Ok(values)
    }

    /// Range of what each tap contributes to `channel`, summed over the input channels.
    #[inline(always)]
    fn tap_sums(&self, channel: usize) -> Vec<Wide> {
        let (channels, taps) = (self.channels, self.taps);
        let width = channels * taps;
        let row = self.weight.stretch(channel, width);
        let mask = self.mask.as_ref().map(|mask| mask.stretch(channel, width));
        let first = channel / (self.outputs / self.conv.geometry.groups) * channels;
        let largest = (0..channels).fold(0, |largest: u64, c| {
            let (low, high) = self.conv.inputs.at(first + c);
            largest.max(low.unsigned_abs()).max(high.unsigned_abs())
        });
        let fits = sums_fit(channels, T::LARGEST, largest.max(1))
            || sums_fit(channels, T::largest(row), largest.max(1));
        if !fits {
            return self.wide_tap_sums(row, mask, first);
        }
        let (mut low, mut high) = (vec![0_i64; taps], vec![0_i64; taps]);
        for c in 0..channels {
            let (l, h) = self.conv.inputs.at(first + c);
            let row = &row[c * taps..][..taps];
            let mask = mask.map(|mask| &mask[c * taps..][..taps]);
            for (tap, ((low, high), w)) in low.iter_mut().zip(&mut high).zip(row).enumerate() {
                let kept = mask.is_none_or(|mask| mask[tap] != 0);
                let w = if kept { w.value() } else { 0 };
                // Every partial sum fits 64 bits: `fits`.
                let (for_low, for_high) = if w < 0 { (h, l) } else { (l, h) };
                *low = low.wrapping_add(w.wrapping_mul(for_low));
                *high = high.wrapping_add(w.wrapping_mul(for_high));
            }
        }
        let wide = |(low, high): (i64, i64)| Wide::new(low.into(), high.into());
        low.into_iter().zip(high).map(wide).collect()
    }

    #[inline(never)]
    fn wide_tap_sums(&self, row: &[T], mask: Option<&[u8]>, first: usize) -> Vec<Wide> {
        (0..self.taps)
            .map(|tap| {
                let mut range = Wide::default();
                for c in 0..self.channels {
                    let at = c * self.taps + tap;
                    if mask.is_none_or(|mask| mask[at] != 0) {
                        range.add_product(row[at].value(), self.conv.inputs.at(first + c));
                    }
                }
                range
            })
            .collect()
    }

    /// Ranges at every position where each element has its own, `[positions, out]`.
    fn elementwise(&self) -> Result<Vec<(i64, i64)>> {
        let mut values = vec![(0, 0); self.positions * self.outputs];
        let work = |(position, values): (usize, &mut [(i64, i64)])| self.window(position, values);
        let cost = values.len().saturating_mul(self.channels * self.taps);
        let pool = if cost < PARALLEL_FROM {
            None
        } else {
            threads::pool()
        };
        let step = self.outputs.max(1);
        match pool {
            None => values.chunks_mut(step).enumerate().try_for_each(work)?,
            Some(pool) => {
                let done: Vec<Result<()>> =
                    pool.install(|| values.par_chunks_mut(step).enumerate().map(work).collect());
                done.into_iter().collect::<Result<()>>()?;
            }
        }
        Ok(values)
    }

    /// Ranges of all channels in one window: a linear layer on the elements that it sees.
    fn window(&self, position: usize, values: &mut [(i64, i64)]) -> Result<()> {
        let groups = self.conv.geometry.groups;
        let width = self.channels * self.taps;
        let per_group = self.outputs / groups;
        let places = self.places(position);
        let area: usize = self.conv.geometry.input[1..].iter().product();
        for group in 0..groups {
            let (mut low, mut high) = (Vec::with_capacity(width), Vec::with_capacity(width));
            for c in 0..self.channels {
                let base = (group * self.channels + c) * area;
                for place in &places {
                    let (l, h) = place.map_or((0, 0), |place| self.conv.inputs.at(base + place));
                    low.push(l);
                    high.push(h);
                }
            }
            let inputs = InputRanges::each(low, high)?;
            let prepared = Prepared::new::<T>(&inputs);
            let first = group * per_group;
            Arch::new().dispatch(Window {
                plan: self,
                prepared: &prepared,
                first,
                values: &mut values[first..first + per_group],
            })?;
        }
        Ok(())
    }

    /// Where within a channel each tap of the window at `position` reads; nothing for padding.
    fn places(&self, position: usize) -> Vec<Option<usize>> {
        let mut places = vec![Some(0_usize)];
        let mut rest = position;
        let mut windows = Vec::new();
        for axis in self.axes.iter().rev() {
            windows.push(rest % axis.pattern_of.len());
            rest /= axis.pattern_of.len();
        }
        for (axis, window) in self.axes.iter().zip(windows.into_iter().rev()) {
            let along: Vec<Option<usize>> = (0..axis.taps)
                .map(|tap| {
                    let at =
                        (window * axis.stride + tap * axis.dilation).checked_sub(axis.before)?;
                    (at < axis.size).then_some(at)
                })
                .collect();
            places = places
                .iter()
                .flat_map(|outer| {
                    along
                        .iter()
                        .map(move |inner| Some((*outer)? * axis.size + (*inner)?))
                })
                .collect();
        }
        places
    }
}

/// The taps of every combination of the axes' patterns, the last axis fastest.
fn patterns(axes: &[WindowAxis]) -> Vec<Vec<u32>> {
    let mut all: Vec<Vec<u32>> = vec![vec![0]];
    for axis in axes {
        let mut next = Vec::with_capacity(all.len() * axis.patterns.len());
        for outer in &all {
            for &(start, end) in &axis.patterns {
                let taps = outer.iter().flat_map(|&tap| {
                    let base = tap as usize * axis.taps;
                    (start..end).map(move |inner| (base + inner) as u32)
                });
                next.push(taps.collect());
            }
        }
        all = next;
    }
    all
}

struct TapSums<'s, 'p, 'a, T> {
    plan: &'s Plan<'p, 'a, T>,
    channel: usize,
}

impl<T: Code> NullaryFnOnce for TapSums<'_, '_, '_, T> {
    type Output = Vec<Wide>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        self.plan.tap_sums(self.channel)
    }
}

struct Window<'s, 'p, 'a, T> {
    plan: &'s Plan<'p, 'a, T>,
    prepared: &'s Prepared,
    first: usize,
    values: &'s mut [(i64, i64)],
}

impl<T: Code> NullaryFnOnce for Window<'_, '_, '_, T> {
    type Output = Result<()>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let plan = self.plan;
        let width = plan.channels * plan.taps;
        let mut scratch = [T::default(); BLOCK];
        for (at, value) in self.values.iter_mut().enumerate() {
            let channel = self.first + at;
            let row = plan.weight.stretch(channel, width);
            let mask = plan.mask.as_ref().map(|mask| mask.stretch(channel, width));
            let wide = row_range(self.prepared, row, mask, &mut scratch);
            let bias = plan.bias(channel);
            *value = wide.narrow(bias, bias, channel)?;
        }
        Ok(())
    }
}
