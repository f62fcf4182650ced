//! Exact ranges of the accumulators of a convolution.
//!
//! A window at the border sees fewer taps, and padding contributes zero. Along each axis the taps
//! that a window sees are an interval, and few intervals occur; the range of a channel is the
//! hull over their combinations. Each is a linear layer whose other taps see zero. One that sees
//! less than another is left out only where zero lies in all input ranges: elsewhere, or where no
//! window fits inside, the border may decide.

use ndarray::{ArrayView1, ArrayViewD, Axis, CowArray, Ix2, Slice};

use crate::code::Code;
use crate::inputs::InputRanges;
use crate::linear::{Choice, affine};
use crate::ranges::{filled, reserve};
use crate::{Error, Ranges, Result, threads};

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
    let mut ranges = Ranges::zeros(plan.outputs)?;
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
    let patterns = patterns(&plan.axes, conv.inputs.hold_zero());
    let values = plan.by_pattern(&patterns)?;
    for (channel, values) in values.chunks(patterns.len().max(1)).enumerate() {
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
    let shape: Vec<usize> = plan.axes.iter().map(|axis| axis.windows).collect();
    let positions = plan.positions;
    let mut ranges = Ranges::zeros(plan.outputs * positions)?;
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
    let patterns = patterns(&plan.axes, false);
    let all = plan.by_pattern(&patterns)?;
    let mut of_position = Vec::new();
    reserve(&mut of_position, positions)?;
    of_position.extend((0..positions).map(|at| plan.pattern_at(at)));
    for channel in 0..plan.outputs {
        let values = &all[channel * patterns.len()..][..patterns.len()];
        for (position, &pattern) in of_position.iter().enumerate() {
            let at = channel * positions + position;
            (ranges.low[at], ranges.high[at]) = values[pattern];
        }
    }
    Ok((ranges, shape))
}

/// The windows along one spatial axis.
pub(crate) struct WindowAxis {
    /// Taps of the kernel.
    pub taps: usize,
    /// Size of the input.
    pub size: usize,
    pub stride: usize,
    pub before: usize,
    pub dilation: usize,
    /// The intervals of taps that occur, each `start..end`.
    patterns: Vec<(usize, usize)>,
    /// How many windows there are.
    pub windows: usize,
    /// Neighbours that see the same: the first window of each run, and which pattern it sees.
    runs: Vec<(usize, usize)>,
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
        let mut runs = Vec::new();
        let mut window = 0;
        while window < windows {
            // Tap t reads element window · stride + t · dilation - before.
            let origin = window * stride;
            let start = before.saturating_sub(origin).div_ceil(dilation).min(taps);
            let end = (size + before)
                .saturating_sub(origin)
                .div_ceil(dilation)
                .clamp(start, taps);
            let pattern = if start == end { (0, 0) } else { (start, end) };
            let index = match patterns.iter().rposition(|&seen| seen == pattern) {
                Some(index) => index,
                None => {
                    patterns.push(pattern);
                    patterns.len() - 1
                }
            };
            runs.push((window, index));
            // The origin from which on a window sees one more tap, or one less.
            let from = |edge: usize, tap: usize| {
                tap.checked_sub(1)
                    .map(|tap| edge.saturating_sub(tap.saturating_mul(dilation)))
                    .filter(|next| *next > origin)
            };
            let next = [from(before, start), from(size + before, end)];
            window = match next.into_iter().flatten().min() {
                Some(next) => next.div_ceil(stride),
                None => windows,
            };
        }
        Ok(Self {
            taps,
            size,
            stride,
            before,
            dilation,
            patterns,
            windows,
            runs,
        })
    }

    /// Which pattern a window sees.
    fn pattern_of(&self, window: usize) -> usize {
        let run = self.runs.partition_point(|&(first, _)| first <= window);
        self.runs[run - 1].1
    }
}

pub(crate) struct Plan<'p, 'a, T> {
    conv: &'p Conv<'a, T>,
    /// `[out, in / groups · taps]`, in row-major order.
    pub weight: CowArray<'p, T, Ix2>,
    mask: Option<CowArray<'p, u8, Ix2>>,
    pub outputs: usize,
    /// Input channels of a group.
    pub channels: usize,
    /// Taps of the whole kernel.
    pub taps: usize,
    pub axes: Vec<WindowAxis>,
    per_element: bool,
    /// Windows of all axes together.
    pub positions: usize,
}

impl<'p, 'a, T: Code> Plan<'p, 'a, T> {
    pub fn new(conv: &'p Conv<'a, T>) -> Result<Self> {
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
        let width = channels * taps;
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
            .try_fold(outputs.max(1), |all, axis| all.checked_mul(axis.windows))
            .ok_or_else(|| Error::Shape {
                argument: "input_shape",
                shape: input.clone(),
                expected: "its windows must be countable".into(),
            })?;
        Ok(Self {
            positions: positions / outputs.max(1),
            conv,
            weight: flat(weight, "weight", width)?,
            mask: match &conv.mask {
                Some(mask) => Some(flat(mask, "mask", width)?),
                None => None,
            },
            outputs,
            channels,
            taps,
            axes,
            per_element,
        })
    }

    /// Which combination of patterns the window at `position` sees.
    fn pattern_at(&self, position: usize) -> usize {
        let (mut rest, mut pattern, mut factor) = (position, 0, 1);
        for axis in self.axes.iter().rev() {
            pattern += factor * axis.pattern_of(rest % axis.windows);
            rest /= axis.windows;
            factor *= axis.patterns.len();
        }
        pattern
    }

    /// Ranges of every channel under every pattern, `[out, patterns]`.
    fn by_pattern(&self, patterns: &[Vec<u32>]) -> Result<Vec<(i64, i64)>> {
        let mut values = filled((0, 0), self.outputs.saturating_mul(patterns.len()))?;
        for group in 0..self.conv.geometry.groups {
            let mut failed: Option<Error> = None;
            for (at, pattern) in patterns.iter().enumerate() {
                let mut seen = vec![false; self.taps];
                for &tap in pattern {
                    seen[tap as usize] = true;
                }
                let first = group * self.channels;
                let range = |c: usize, tap: usize| match seen[tap] {
                    true => self.conv.inputs.at(first + c),
                    false => (0, 0),
                };
                match self.group_ranges(group, range) {
                    Ok((channel, ranges)) => {
                        let rows = values[channel * patterns.len()..].iter_mut().skip(at);
                        let ends = ranges.low.into_iter().zip(ranges.high);
                        for (place, ends) in rows.step_by(patterns.len()).zip(ends) {
                            *place = ends;
                        }
                    }
                    // The first channel that fails is named, whatever the pattern.
                    Err(error)
                        if failed
                            .as_ref()
                            .is_none_or(|e| e.channel() > error.channel()) =>
                    {
                        failed = Some(error);
                    }
                    Err(_) => {}
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(values)
    }

    /// Ranges at every position where each element has its own, `[positions, out]`.
    fn elementwise(&self) -> Result<Vec<(i64, i64)>> {
        let mut values = filled((0, 0), self.positions * self.outputs)?;
        let area: usize = self.conv.geometry.input[1..].iter().product();
        let cost = values.len().saturating_mul(self.channels * self.taps);
        let step = threads::step(self.positions, cost);
        let chunks = values.chunks_mut((step * self.outputs).max(1)).enumerate();
        threads::share(step < self.positions, chunks, |(index, values)| {
            for (at, values) in values.chunks_mut(self.outputs.max(1)).enumerate() {
                let places = self.places(index * step + at);
                for group in 0..self.conv.geometry.groups {
                    let first = group * self.channels;
                    let range = |c: usize, tap: usize| match places[tap] {
                        Some(place) => self.conv.inputs.at((first + c) * area + place),
                        None => (0, 0),
                    };
                    let (channel, ranges) = self.group_ranges(group, range)?;
                    let ends = ranges.low.into_iter().zip(ranges.high);
                    for (place, ends) in values[channel..].iter_mut().zip(ends) {
                        *place = ends;
                    }
                }
            }
            Ok(())
        })?;
        Ok(values)
    }

    /// The first channel of a group, and the ranges of all of its channels where tap `t` of
    /// input channel `c` sees `range(c, t)`.
    fn group_ranges(
        &self,
        group: usize,
        range: impl Fn(usize, usize) -> (i64, i64),
    ) -> Result<(usize, Ranges)> {
        let count = self.outputs / self.conv.geometry.groups;
        let first = group * count;
        let ends = (0..self.channels).flat_map(|c| (0..self.taps).map(move |tap| (c, tap)));
        let (low, high) = ends.map(|(c, tap)| range(c, tap)).unzip();
        let rows = Slice::from(first..first + count);
        let bias = self
            .conv
            .bias
            .map(|bias| bias.slice_axis_move(Axis(0), rows));
        let mask = self
            .mask
            .as_ref()
            .map(|mask| mask.slice_axis(Axis(0), rows));
        let ranges = affine(
            self.weight.slice_axis(Axis(0), rows),
            &InputRanges::each(low, high)?,
            bias.map(|bias| (bias, bias)),
            mask.map(|mask| mask.insert_axis(Axis(0))),
            Choice::default(),
        );
        match ranges {
            Ok(ranges) => Ok((first, ranges)),
            Err(error) => Err(error.after_channels(first)),
        }
    }

    /// Where within a channel each tap of the window at `position` reads; nothing for padding.
    fn places(&self, position: usize) -> Vec<Option<usize>> {
        let mut places = vec![Some(0_usize)];
        let mut rest = position;
        let mut windows = Vec::new();
        for axis in self.axes.iter().rev() {
            windows.push(rest % axis.windows);
            rest /= axis.windows;
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

/// Elements in row-major order, `[out, width]`; copied only where they are not stored so.
fn flat<'a, A: Clone>(
    view: &'a ArrayViewD<'_, A>,
    argument: &'static str,
    width: usize,
) -> Result<CowArray<'a, A, Ix2>> {
    let rows = view.shape()[0];
    if !view.is_standard_layout() {
        // The copy ends the process where there is no memory for it.
        reserve(&mut Vec::<A>::new(), view.len())?;
    }
    view.to_shape((rows, width)).map_err(|_| Error::Shape {
        argument,
        shape: view.shape().to_vec(),
        expected: format!("it must have {rows} rows of {width}"),
    })
}

/// The taps of every combination of the axes' patterns, the last axis fastest; only of those that
/// no other one holds where the `widest` are wanted.
fn patterns(axes: &[WindowAxis], widest: bool) -> Vec<Vec<u32>> {
    let mut all: Vec<Vec<u32>> = vec![vec![0]];
    for axis in axes {
        let mut next = Vec::with_capacity(all.len() * axis.patterns.len());
        for outer in &all {
            for &(start, end) in &axis.patterns {
                let within = |&(s, e): &(usize, usize)| {
                    (s, e) != (start, end) && (start == end || s <= start && end <= e)
                };
                if widest && axis.patterns.iter().any(within) {
                    continue;
                }
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
