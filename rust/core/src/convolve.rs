//! The accumulators of a convolution for a batch of inputs: what running a network spends most of
//! its time on.
//!
//! Inputs that span at most 7 bits are moved to start at 0 and multiplied as bytes, several
//! positions at a time against the codes of several channels. Pairs of products are summed in 16
//! bits for as many taps as cannot overflow, then in 32. Where each output reads one channel
//! only, there is nothing to share between channels: those go tap by tap along the rows.

use std::sync::OnceLock;

use ndarray::{Array1, ArrayD};

use crate::conv::{Conv, Geometry, Plan, WindowAxis};
use crate::inputs::InputRanges;
use crate::machine::{Kernel, Machine};
use crate::ranges::filled;
use crate::vectors::{Vectors, WIDEST};
use crate::{Result, threads};

/// Positions that are multiplied at a time: their sums and two vectors of codes fill the registers.
const TOGETHER: usize = 6;

/// Fewer positions than this do not make up for fetching the codes; they are collected over samples.
const LEAST_POSITIONS: usize = 64;

/// Bytes of windows that are laid out at a time: about what the second cache holds.
const LAID_OUT: usize = 1 << 18;

/// Spans of inputs up to this are multiplied as bytes.
const MOST_SPAN: i128 = 127;

/// A convolution whose values are asked for again and again: its codes are put in order once.
#[derive(Debug)]
pub struct Convolution {
    machine: Machine,
    /// `[out, in / groups, *kernel]`.
    codes: ArrayD<i8>,
    bias: Option<Array1<i64>>,
    /// But for the input, which a call brings.
    geometry: Geometry,
    packed: OnceLock<Packed>,
}

/// `[batch, out, *spatial_out]` in row-major order, and `spatial_out`.
pub type Values = (Vec<i64>, Vec<usize>);

impl Convolution {
    /// The convolution with these codes, `[out, in / groups, *kernel]`, and bias, `[out]`; the
    /// input of `geometry` does not matter.
    pub fn new(codes: ArrayD<i8>, bias: Option<Array1<i64>>, geometry: Geometry) -> Self {
        Self::by(Machine::best(), codes, bias, geometry)
    }

    /// The same by the instructions of one machine.
    #[doc(hidden)]
    pub fn by(
        machine: Machine,
        codes: ArrayD<i8>,
        bias: Option<Array1<i64>>,
        geometry: Geometry,
    ) -> Self {
        Self {
            machine,
            codes: codes.as_standard_layout().into_owned(),
            bias,
            geometry,
            packed: OnceLock::new(),
        }
    }

    /// How many output channels there are.
    pub fn outputs(&self) -> usize {
        self.codes.shape().first().copied().unwrap_or(0)
    }

    /// `bias + Σ codes · x` at every position for `x` of `[batch, *input]` in row-major order,
    /// `input` being `[in, *spatial]`; nothing where bytes or 32 bits do not hold what comes on
    /// the way.
    pub fn values(&self, input: Vec<usize>, x: &[i64]) -> Result<Option<Values>> {
        let geometry = &Geometry {
            input,
            ..self.geometry.clone()
        };
        let (low, high) = self.machine.run(Ends(x));
        let inputs = InputRanges::one(low, high)?;
        let conv = Conv {
            weight: self.codes.view(),
            geometry,
            inputs: &inputs,
            bias: self.bias.as_ref().map(|bias| bias.view()),
            mask: None,
        };
        let plan = Plan::new(&conv)?;
        let elements: usize = geometry.input.iter().product();
        let taps = plan.channels * plan.taps;
        let (Some(weight), 1..) = (plan.weight.as_slice(), elements * taps * plan.outputs) else {
            return Ok(None);
        };
        let apart = plan.channels == 1;
        let most = match apart {
            true => i128::from(high).max(-i128::from(low)),
            false => i128::from(high) - i128::from(low),
        };
        if !apart && most > MOST_SPAN {
            return Ok(None);
        }
        let layer = Layer {
            weight,
            outputs: plan.outputs,
            channels: plan.channels,
            groups: geometry.groups,
            taps: plan.taps,
            positions: plan.positions,
            axes: three(&plan.axes),
            low,
        };
        let packed = self.packed(&layer)?;
        if i128::from(packed.reach) * most > i128::from(i32::MAX) {
            return Ok(None);
        }
        let moved = if apart { 0 } else { i128::from(low) };
        let mut starts = filled(0_i64, plan.outputs)?;
        for (channel, start) in starts.iter_mut().enumerate() {
            let bias = self.bias.as_ref().map_or(0, |bias| bias[channel]);
            let sum = i128::from(packed.sums[channel]) * moved + i128::from(bias);
            match i64::try_from(sum) {
                // What 32 bits hold is added to it.
                Ok(sum) if sum.unsigned_abs() < 1 << 62 => *start = sum,
                _ => return Ok(None),
            }
        }
        let batch = x.len() / elements;
        let size = plan.outputs * plan.positions;
        let mut values = filled(0_i64, batch.saturating_mul(size))?;
        let samples = match apart {
            true => 1,
            false => LEAST_POSITIONS.div_ceil(plan.positions.max(1)),
        };
        // A pair of products lies within 2 · 127 · 128 < 2¹⁵, so there is one at least.
        let pairs = (32_767 / (2 * i128::from(packed.largest) * most).max(1)) as usize;
        let units = batch.div_ceil(samples);
        let cost = values.len().saturating_mul(taps) / 16;
        let parts = values.chunks_mut((samples * size).max(1));
        let parts = parts.zip(x.chunks(samples * elements));
        threads::share(threads::step(units, cost) < units, parts, |(values, x)| {
            if apart {
                return self.machine.run(Apart {
                    layer: &layer,
                    starts: &starts,
                    x,
                    values,
                });
            }
            self.machine.run(Together {
                layer: &layer,
                packed,
                pairs,
                starts: &starts,
                x,
                values,
            })
        })?;
        let windows = plan.axes.iter().map(|axis| axis.windows);
        Ok(Some((values, windows.collect())))
    }

    fn packed(&self, layer: &Layer<'_>) -> Result<&Packed> {
        if let Some(packed) = self.packed.get() {
            return Ok(packed);
        }
        let packed = self.machine.run(Pack(layer))?;
        Ok(self.packed.get_or_init(|| packed))
    }
}

/// The least and the greatest value, zero, which padding is, among them.
struct Ends<'a>(&'a [i64]);

impl Kernel for Ends<'_> {
    type Output = (i64, i64);

    #[inline(always)]
    fn run<V: Vectors>(self, _: V) -> Self::Output {
        let (mut low, mut high) = (0, 0);
        for &value in self.0 {
            low = low.min(value);
            high = high.max(value);
        }
        (low, high)
    }
}

/// One spatial axis.
#[derive(Clone, Copy)]
struct Along {
    taps: usize,
    size: usize,
    stride: usize,
    before: usize,
    dilation: usize,
    windows: usize,
    /// How far the windows reach, from the first padding on.
    padded: usize,
}

/// The axes with such of one element in front, so that there are three.
fn three(axes: &[WindowAxis]) -> [Along; 3] {
    let mut all = [Along {
        taps: 1,
        size: 1,
        stride: 1,
        before: 0,
        dilation: 1,
        windows: 1,
        padded: 1,
    }; 3];
    let first = all.len() - axes.len();
    for (place, axis) in all[first..].iter_mut().zip(axes) {
        *place = Along {
            taps: axis.taps,
            size: axis.size,
            stride: axis.stride,
            before: axis.before,
            dilation: axis.dilation,
            windows: axis.windows,
            padded: (axis.windows - 1) * axis.stride + (axis.taps - 1) * axis.dilation + 1,
        };
    }
    all
}

impl Along {
    /// How many elements the windows reach: those beyond nobody reads.
    #[inline(always)]
    fn seen(&self) -> usize {
        self.size.min(self.padded.saturating_sub(self.before))
    }
}

struct Layer<'a> {
    /// `[out, in / groups · taps]`.
    weight: &'a [i8],
    outputs: usize,
    /// Input channels of a group.
    channels: usize,
    groups: usize,
    taps: usize,
    positions: usize,
    axes: [Along; 3],
    /// What is taken off the inputs to make bytes of them.
    low: i64,
}

impl Layer<'_> {
    /// Where a position's window starts: along each axis, padding included.
    #[inline(always)]
    fn corner(&self, position: usize) -> [usize; 3] {
        let [z, y, x] = &self.axes;
        let (rest, column) = (position / x.windows, position % x.windows);
        [
            rest / y.windows * z.stride,
            rest % y.windows * y.stride,
            column * x.stride,
        ]
    }
}

/// What is known of the codes, and the codes in the order in which they are multiplied: of each
/// group, for as many channels as a vector has lanes, four taps of each channel at a time.
#[derive(Debug)]
struct Packed {
    codes: Vec<i8>,
    /// Vectors of channels in a group.
    vectors: usize,
    /// Fours of taps.
    fours: usize,
    /// Of each channel.
    sums: Vec<i64>,
    /// The greatest sum of a channel's magnitudes.
    reach: i64,
    /// The greatest magnitude.
    largest: i64,
}

struct Pack<'a>(&'a Layer<'a>);

impl Kernel for Pack<'_> {
    type Output = Result<Packed>;

    #[inline(always)]
    fn run<V: Vectors>(self, _: V) -> Self::Output {
        let Self(layer) = self;
        let lanes = V::BYTES / 4;
        let width = layer.channels * layer.taps;
        let outputs = layer.outputs / layer.groups;
        let (vectors, fours) = (outputs.div_ceil(lanes), width.div_ceil(4));
        let mut packed = Packed {
            codes: Vec::new(),
            vectors,
            fours,
            sums: filled(0, layer.outputs)?,
            reach: 0,
            largest: 0,
        };
        for (row, sum) in layer.weight.chunks(width).zip(&mut packed.sums) {
            let mut magnitudes = 0;
            for code in row.iter().copied().map(i64::from) {
                *sum += code;
                magnitudes += code.abs();
                packed.largest = packed.largest.max(code.abs());
            }
            packed.reach = packed.reach.max(magnitudes);
        }
        if layer.channels == 1 {
            return Ok(packed);
        }
        packed.codes = filled(0_i8, layer.groups * vectors * fours * V::BYTES)?;
        for (output, row) in layer.weight.chunks(width).enumerate() {
            let (group, within) = (output / outputs, output % outputs);
            let vector = group * vectors + within / lanes;
            let first = vector * fours * V::BYTES + within % lanes * 4;
            for (channel, taps) in row.chunks(layer.taps).enumerate() {
                for (tap, &code) in taps.iter().enumerate() {
                    // Channels lie next to each other, as in the windows.
                    let at = tap * layer.channels + channel;
                    packed.codes[first + at / 4 * V::BYTES + at % 4] = code;
                }
            }
        }
        Ok(packed)
    }
}

/// Some samples, all positions against all codes of a group.
struct Together<'a> {
    layer: &'a Layer<'a>,
    packed: &'a Packed,
    /// How many fours of taps may be summed in 16 bits.
    pairs: usize,
    /// What each output's sum starts at.
    starts: &'a [i64],
    x: &'a [i64],
    values: &'a mut [i64],
}

impl Kernel for Together<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<V: Vectors>(mut self, v: V) -> Self::Output {
        let (layer, packed) = (self.layer, self.packed);
        let [az, ay, ax] = &layer.axes;
        let samples = self.values.len() / (layer.outputs * layer.positions).max(1);
        let row = ax.padded * layer.channels;
        let area = az.padded * ay.padded * row;
        // Zero, which padding is, as a byte.
        let zero = 0_i64.wrapping_sub(layer.low) as u8;
        let mut bytes = filled(zero, samples * area)?;
        let all = samples * layer.positions;
        let width = 4 * packed.fours;
        let rows = (LAID_OUT / width).clamp(TOGETHER, all.max(TOGETHER));
        let rows = rows.next_multiple_of(TOGETHER);
        let mut windows = filled([0_u8; 4], rows * packed.fours)?;
        let outputs = layer.outputs / layer.groups;
        for group in 0..layer.groups {
            self.narrow(group, area, row, &mut bytes);
            let stretch = packed.vectors * packed.fours * V::BYTES;
            let codes = &packed.codes[group * stretch..][..stretch];
            let first = group * outputs;
            let mut places = [0_usize; TOGETHER];
            let mut from = 0;
            while from < all {
                let count = rows.min(all - from);
                for at in 0..count {
                    let (sample, position) =
                        ((from + at) / layer.positions, (from + at) % layer.positions);
                    let into = &mut windows[at * packed.fours..][..packed.fours];
                    let of = &bytes[sample * area..][..area];
                    layer.lay_out(position, row, of, into.as_flattened_mut());
                }
                let mut vector = 0;
                while vector < packed.vectors {
                    let step = if vector + 1 < packed.vectors { 2 } else { 1 };
                    let codes = &codes[vector * packed.fours * V::BYTES..];
                    let channels = first + vector * V::BYTES / 4..first + outputs;
                    for at in (0..count).step_by(TOGETHER) {
                        for (n, place) in places.iter_mut().enumerate() {
                            let index = from + at + n;
                            *place = index / layer.positions * layer.outputs * layer.positions
                                + index % layer.positions;
                        }
                        let places = &places[..TOGETHER.min(count - at)];
                        let windows = &windows[at * packed.fours..][..TOGETHER * packed.fours];
                        let part = Part {
                            fours: packed.fours,
                            pairs: self.pairs,
                            codes,
                            windows,
                        };
                        match step {
                            2 => {
                                let sums = part.multiply::<V, 2>(v);
                                self.store::<V, 2>(&sums, channels.clone(), places);
                            }
                            _ => {
                                let sums = part.multiply::<V, 1>(v);
                                self.store::<V, 1>(&sums, channels.clone(), places);
                            }
                        }
                    }
                    vector += step;
                }
                from += count;
            }
        }
        Ok(())
    }
}

impl Together<'_> {
    /// Writes the inputs of a group as bytes, its channels next to each other.
    #[inline(always)]
    fn narrow(&self, group: usize, area: usize, row: usize, bytes: &mut [u8]) {
        let layer = self.layer;
        let [az, ay, ax] = &layer.axes;
        let plane = az.size * ay.size * ax.size;
        let channels = layer.channels;
        let of_sample = channels * layer.groups * plane;
        if ax.seen() == 0 {
            // All windows lie in the padding.
            return;
        }
        for (x, bytes) in self.x.chunks(of_sample).zip(bytes.chunks_mut(area)) {
            for channel in 0..channels {
                let x = &x[(group * channels + channel) * plane..][..plane];
                for z in 0..az.seen() {
                    for y in 0..ay.seen() {
                        let from = &x[(z * ay.size + y) * ax.size..][..ax.seen()];
                        let to = (z + az.before) * ay.padded + y + ay.before;
                        let to = &mut bytes[to * row + ax.before * channels + channel..];
                        for (place, value) in to.iter_mut().step_by(channels).zip(from) {
                            // In 0 to 127.
                            *place = value.wrapping_sub(layer.low) as u8;
                        }
                    }
                }
            }
        }
    }

    /// Writes the sums of `channels` at `places`.
    #[inline(always)]
    fn store<V: Vectors, const M: usize>(
        &mut self,
        sums: &[[[i32; WIDEST / 4]; M]; TOGETHER],
        channels: std::ops::Range<usize>,
        places: &[usize],
    ) {
        let lanes = V::BYTES / 4;
        let first = places[0];
        let whole = places.len() == TOGETHER && places[TOGETHER - 1] - first == TOGETHER - 1;
        for (at, channel) in channels.take(M * lanes).enumerate() {
            let (m, lane) = (at / lanes, at % lanes);
            let start = self.starts[channel];
            let values = &mut self.values[channel * self.layer.positions..];
            // |start| < 2⁶².
            let value = |n: usize| start.wrapping_add(i64::from(sums[n][m][lane]));
            if whole && let Some(values) = values[first..].first_chunk_mut::<TOGETHER>() {
                for (n, place) in values.iter_mut().enumerate() {
                    *place = value(n);
                }
                continue;
            }
            for (n, &place) in places.iter().enumerate() {
                values[place] = value(n);
            }
        }
    }
}

impl Layer<'_> {
    /// Copies what the window at `position` sees; what is beyond its end meets codes of zero.
    #[inline(always)]
    fn lay_out(&self, position: usize, row: usize, bytes: &[u8], into: &mut [u8]) {
        let [az, ay, ax] = &self.axes;
        let [z, y, x] = self.corner(position);
        let (step, length) = match ax.dilation {
            1 => (1, ax.taps * self.channels),
            _ => (ax.taps, self.channels),
        };
        let mut to = 0;
        for tap_z in 0..az.taps {
            for tap_y in 0..ay.taps {
                let line = (z + tap_z * az.dilation) * ay.padded + y + tap_y * ay.dilation;
                for tap_x in 0..step {
                    let from = line * row + (x + tap_x * ax.dilation) * self.channels;
                    into[to..to + length].copy_from_slice(&bytes[from..from + length]);
                    to += length;
                }
            }
        }
    }
}

/// Some positions against some vectors of channels.
struct Part<'a> {
    fours: usize,
    pairs: usize,
    codes: &'a [i8],
    windows: &'a [[u8; 4]],
}

impl Part<'_> {
    #[inline(always)]
    fn multiply<V: Vectors, const M: usize>(&self, v: V) -> [[[i32; WIDEST / 4]; M]; TOGETHER] {
        let fours = self.fours;
        let mut codes = [self.codes; M];
        for (m, codes) in codes.iter_mut().enumerate() {
            *codes = &self.codes[m * fours * V::BYTES..][..fours * V::BYTES];
        }
        let mut windows = [self.windows; TOGETHER];
        for (n, window) in windows.iter_mut().enumerate() {
            *window = &self.windows[n * fours..][..fours];
        }
        let mut products = [[v.no_products(); M]; TOGETHER];
        let mut from = 0;
        while from < fours {
            let to = fours.min(from.saturating_add(self.pairs));
            let mut pairs = [[v.no_shorts(); M]; TOGETHER];
            // One index for codes and windows alike.
            #[allow(clippy::needless_range_loop)]
            for at in from..to {
                let mut vectors = [v.bytes(codes[0], at); M];
                for m in 1..M {
                    vectors[m] = v.bytes(codes[m], at);
                }
                for n in 0..TOGETHER {
                    let inputs = v.fours(windows[n][at]);
                    for m in 0..M {
                        pairs[n][m] = v.add_byte_pairs(pairs[n][m], inputs, vectors[m]);
                    }
                }
            }
            for n in 0..TOGETHER {
                for m in 0..M {
                    products[n][m] = v.add_shorts(products[n][m], pairs[n][m]);
                }
            }
            from = to;
        }
        let mut sums = [[[0; WIDEST / 4]; M]; TOGETHER];
        for n in 0..TOGETHER {
            for m in 0..M {
                v.store(products[n][m], &mut sums[n][m]);
            }
        }
        sums
    }
}

/// Some samples where each output reads one channel.
struct Apart<'a> {
    layer: &'a Layer<'a>,
    /// What each output's sum starts at.
    starts: &'a [i64],
    x: &'a [i64],
    values: &'a mut [i64],
}

/// The length of a plane's sums is a multiple of this, so that no loop has a remainder.
const LANES: usize = 16;

impl Kernel for Apart<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<V: Vectors>(self, _: V) -> Self::Output {
        let layer = self.layer;
        let [az, ay, ax] = &layer.axes;
        let plane = az.size * ay.size * ax.size;
        // Elements a stride apart lie next to each other: one tap of all windows of a plane is
        // read in order, whatever the stride, with what lies between the rows.
        let (rows, row) = (ay.padded.div_ceil(ay.stride), ax.padded.div_ceil(ax.stride));
        let area = ax.stride * ay.stride * rows * row;
        let index = |z: usize, y: usize, x: usize| {
            let phase = x % ax.stride * ay.stride + y % ay.stride;
            z * area + (phase * rows + y / ay.stride) * row + x / ax.stride
        };
        let mut padded = filled(0_i32, az.padded * area + LANES)?;
        let length = ((ay.windows - 1) * row + ax.windows).next_multiple_of(LANES);
        let mut sums = filled(0_i32, length)?;
        let mut offsets = Vec::new();
        for tap in 0..layer.taps {
            let (rest, x) = (tap / ax.taps, tap % ax.taps * ax.dilation);
            let (z, y) = (rest / ay.taps * az.dilation, rest % ay.taps * ay.dilation);
            offsets.push(index(z, y, x));
        }
        let outputs = layer.outputs / layer.groups;
        let values = self.values.chunks_mut(outputs * layer.positions);
        for (channel, (x, values)) in self.x.chunks(plane).zip(values).enumerate() {
            for z in 0..az.seen() {
                for y in 0..ay.seen() {
                    let from = &x[(z * ay.size + y) * ax.size..][..ax.seen()];
                    for first in 0..ax.stride.min(from.len()) {
                        let to = index(z + az.before, y + ay.before, first + ax.before);
                        let from = from[first..].iter().step_by(ax.stride);
                        for (place, &value) in padded[to..].iter_mut().zip(from) {
                            // At most the reach, which 32 bits hold; where all codes are zero it
                            // may be cut, and adds nothing.
                            *place = value as i32;
                        }
                    }
                }
            }
            for (output, values) in values.chunks_mut(layer.positions).enumerate() {
                let output = channel % layer.groups * outputs + output;
                let codes = &layer.weight[output * layer.taps..][..layer.taps];
                let start = self.starts[output];
                for (z, values) in values.chunks_mut(ay.windows * ax.windows).enumerate() {
                    sums.fill(0);
                    for (&code, offset) in codes.iter().zip(&offsets) {
                        let code = i32::from(code);
                        let seen = &padded[z * az.stride * area + offset..][..length];
                        for (sum, value) in sums.iter_mut().zip(seen) {
                            // Every partial sum of a window lies within the reach.
                            *sum = sum.wrapping_add(code.wrapping_mul(*value));
                        }
                    }
                    for (values, sums) in values.chunks_mut(ax.windows).zip(sums.chunks(row)) {
                        for (place, &sum) in values.iter_mut().zip(sums) {
                            // |start| < 2⁶².
                            *place = start.wrapping_add(i64::from(sum));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
