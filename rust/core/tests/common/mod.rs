//! Every function of the engine against the slow, obvious definition, on layers read from bytes.
//!
//! The property tests and the fuzz target both drive [`check`].

use ndarray::{Array1, Array2, Array3, ArrayD, Axis, IxDyn};
use secateur_core::rounding::{Rounding, fit_scales};
use secateur_core::select::{Budget, Method, Problem, fractional_bounds, select};
use secateur_core::{
    Choice, Code, Conv, Convolution, Error, Geometry, InputRanges, Integer, Kind, Machine,
    RangeTracker, Ranges, Result, conv, conv_positions, linear, linear_by, partial_sums,
    prefix_sums, profile, table_ranges,
};

/// Numbers out of bytes; zeros when they run out.
struct Bytes<'a> {
    data: &'a [u8],
    /// Whether most numbers lie at the edges of a type.
    wild: bool,
}

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        match self.data.split_first() {
            Some((&first, rest)) => {
                self.data = rest;
                first
            }
            None => 0,
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    /// Mostly small, sometimes near the limits of a type.
    fn number(&mut self) -> i64 {
        let edges = [
            i64::MIN,
            i64::MIN + 1,
            i64::MAX,
            i64::from(i32::MIN),
            i64::from(i32::MAX),
            -16_384,
            16_383,
            32_768,
        ];
        let edge = if self.wild { 200 } else { 8 };
        match self.byte() {
            kind if kind < edge => edges[self.below(8)],
            ..32 | 200..232 => i64::from(self.byte() as i8) << self.below(56),
            _ => i64::from(self.byte() as i8),
        }
    }
}

/// A weight type made of any integer, so that every one gets its share of extremes.
trait Made: Code {
    fn made(number: i64) -> Self;
    fn number(self) -> i64;
}

macro_rules! made {
    ($($code:ty),*) => {$(
        impl Made for $code {
            fn made(number: i64) -> Self {
                number as $code
            }

            fn number(self) -> i64 {
                i64::from(self)
            }
        }
    )*};
}

made!(i8, u8, i16, i32, i64);

/// An integer of any size: `upper · 2³² + lower`, for sums of a few 128-bit terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Big {
    upper: i128,
    lower: i128,
}

impl Big {
    fn plus(self, term: i128) -> Self {
        let lower = self.lower + (term & 0xffff_ffff);
        Self {
            upper: self.upper + (term >> 32) + (lower >> 32),
            lower: lower & 0xffff_ffff,
        }
    }

    fn minus(self, other: Self) -> Self {
        let lower = self.lower - other.lower;
        Self {
            upper: self.upper - other.upper + (lower >> 32),
            lower: lower & 0xffff_ffff,
        }
    }

    fn wide(self) -> Option<i128> {
        self.upper.checked_mul(1 << 32)?.checked_add(self.lower)
    }

    fn narrow(self) -> Option<i64> {
        i64::try_from(self.wide()?).ok()
    }
}

impl From<Integer> for Big {
    fn from(value: Integer) -> Self {
        let (upper, lower) = value.parts();
        Self {
            upper: (upper << 32) + i128::from(lower >> 32),
            lower: i128::from(lower & 0xffff_ffff),
        }
    }
}

/// Both ends of an accumulator.
type Ends = (Big, Big);

fn fits((low, high): &Ends) -> bool {
    low.narrow().is_some() && high.narrow().is_some()
}

struct Layer<T> {
    weight: Array2<T>,
    low: Vec<i64>,
    high: Vec<i64>,
    inputs: InputRanges,
    bias: Option<Vec<i64>>,
    masks: Array3<u8>,
}

impl<T: Made> Layer<T> {
    fn read(bytes: &mut Bytes<'_>) -> Self {
        let wide = bytes.byte() < 16;
        let (outputs, width) = (bytes.below(7), bytes.below(if wide { 256 } else { 9 }));
        // Few numbers fill a wide row: they repeat.
        let pool: Vec<i64> = (0..1 + bytes.below(24)).map(|_| bytes.number()).collect();
        let mut at = 0;
        let weight = Array2::from_shape_fn((outputs, width), |_| {
            at += 1;
            T::made(pool[at * 7 % pool.len()])
        });
        let one = bytes.byte() < 80;
        let from_zero = bytes.byte() < 80;
        let ends: Vec<(i64, i64)> = (0..if one { 1 } else { 1 + bytes.below(9) })
            .map(|_| {
                let (a, b) = (bytes.number(), bytes.number());
                if from_zero {
                    return (0, a.max(b).max(0));
                }
                (a.min(b), a.max(b))
            })
            .collect();
        let low: Vec<i64> = (0..width).map(|i| ends[i % ends.len()].0).collect();
        let high: Vec<i64> = (0..width).map(|i| ends[i % ends.len()].1).collect();
        let inputs = if one {
            InputRanges::one(ends[0].0, ends[0].1)
        } else {
            InputRanges::each(low.clone(), high.clone())
        };
        let bias = (bytes.byte() < 128).then(|| (0..outputs).map(|_| bytes.number()).collect());
        let masks = Array3::from_shape_fn((2, outputs, width), |_| bytes.byte() & 2);
        Self {
            weight,
            low,
            high,
            inputs: inputs.expect("low is not above high"),
            bias,
            masks,
        }
    }

    fn bias(&self) -> Option<ndarray::ArrayView1<'_, i64>> {
        self.bias.as_deref().map(Into::into)
    }

    fn start(&self, channel: usize) -> i128 {
        self.bias
            .as_ref()
            .map_or(0, |bias| i128::from(bias[channel]))
    }

    /// What each weight of a channel adds to either end, under a mask.
    fn terms(&self, channel: usize, mask: Option<usize>) -> Vec<(i128, i128)> {
        (0..self.weight.ncols())
            .map(|i| {
                if mask.is_some_and(|mask| self.masks[[mask, channel, i]] == 0) {
                    return (0, 0);
                }
                let w = i128::from(self.weight[[channel, i]].number());
                let (a, b) = (w * i128::from(self.low[i]), w * i128::from(self.high[i]));
                (a.min(b), a.max(b))
            })
            .collect()
    }

    fn range(&self, channel: usize, mask: Option<usize>) -> Ends {
        let start = Big::default().plus(self.start(channel));
        let terms = self.terms(channel, mask).into_iter();
        terms.fold((start, start), |(low, high), (l, h)| {
            (low.plus(l), high.plus(h))
        })
    }
}

/// The result is the expected ranges, or an overflow of the first that 64 bits do not hold.
fn same(result: Result<Ranges>, expected: &[Ends], channels: usize) {
    match expected.iter().position(|ends| !fits(ends)) {
        Some(first) => match result {
            Err(Error::Overflow { channel, low, high }) => {
                assert_eq!(channel, first % channels);
                assert_eq!((low.into(), high.into()), expected[first]);
            }
            other => panic!("expected an overflow, got {other:?}"),
        },
        None => {
            let ranges = result.expect("every range fits 64 bits");
            let ends = |end: i64| Big::default().plus(end.into());
            let pairs = ranges.low.into_iter().zip(ranges.high);
            let pairs: Vec<Ends> = pairs.map(|(l, h)| (ends(l), ends(h))).collect();
            assert_eq!(pairs, expected);
        }
    }
}

fn check_linear<T: Made>(layer: &Layer<T>) {
    let outputs = layer.weight.nrows();
    let expected: Vec<_> = (0..outputs)
        .map(|channel| layer.range(channel, None))
        .collect();
    let masked: Vec<_> = (0..2)
        .flat_map(|mask| (0..outputs).map(move |channel| (mask, channel)))
        .map(|(mask, channel)| layer.range(channel, Some(mask)))
        .collect();
    same(
        linear(layer.weight.view(), &layer.inputs, layer.bias(), None),
        &expected,
        outputs,
    );
    // By every kernel, with the ranges one by one even where one serves all.
    let each = InputRanges::each(layer.low.clone(), layer.high.clone());
    let each = each.expect("low is not above high");
    for machine in Machine::all() {
        for least in [Kind::One, Kind::Bytes, Kind::Shorts, Kind::Any] {
            let choice = Choice { machine, least };
            let start = layer.bias();
            let by = |masks| linear_by(choice, layer.weight.view(), &each, start, masks);
            same(by(None), &expected, outputs);
            same(by(Some(layer.masks.view())), &masked, outputs);
        }
    }
    // The same weights column by column.
    let turned = layer.weight.t().as_standard_layout().into_owned();
    same(
        linear(turned.t(), &layer.inputs, layer.bias(), None),
        &expected,
        outputs,
    );
    let masks = Some(layer.masks.view());
    same(
        linear(layer.weight.view(), &layer.inputs, layer.bias(), masks),
        &masked,
        outputs,
    );
}

fn check_sums<T: Made>(layer: &Layer<T>) {
    let outputs = layer.weight.nrows();
    let any_order: Vec<_> = (0..outputs)
        .map(|channel| {
            let mut terms = layer.terms(channel, None);
            terms.push((layer.start(channel), layer.start(channel)));
            let zero = (Big::default(), Big::default());
            terms.into_iter().fold(zero, |(low, high), (l, h)| {
                (low.plus(l.min(0)), high.plus(h.max(0)))
            })
        })
        .collect();
    same(
        partial_sums(layer.weight.view(), &layer.inputs, layer.bias(), None),
        &any_order,
        outputs,
    );
    let in_order: Vec<_> = (0..outputs)
        .map(|channel| {
            let start = Big::default().plus(layer.start(channel));
            let (mut low, mut high) = (start, start);
            let mut hull = (start, start);
            for (l, h) in layer.terms(channel, Some(0)) {
                (low, high) = (low.plus(l), high.plus(h));
                hull = (hull.0.min(low), hull.1.max(high));
            }
            hull
        })
        .collect();
    let mask = layer.masks.index_axis(Axis(0), 0);
    same(
        prefix_sums(layer.weight.view(), &layer.inputs, layer.bias(), Some(mask)),
        &in_order,
        outputs,
    );
}

fn check_removals<T: Made>(layer: &mut Layer<T>, bytes: &mut Bytes<'_>) {
    let (outputs, width) = layer.weight.dim();
    if outputs * width == 0 {
        return;
    }
    let mut order: Vec<i64> = (0..(outputs * width) as i64).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, bytes.below(at + 1));
    }
    let first = bytes.below(order.len() + 1);
    let counts = [first, first.midpoint(order.len()), order.len()].map(|count| count as i64);
    let all = profile(
        layer.weight.view(),
        &order,
        &layer.inputs,
        layer.bias(),
        &counts,
    );
    let mut expected = Vec::new();
    for count in counts {
        layer.masks.fill(1);
        for &index in &order[..count as usize] {
            let index = index as usize;
            layer.masks[[0, index / width, index % width]] = 0;
        }
        expected.extend((0..outputs).map(|channel| layer.range(channel, Some(0))));
    }
    same(all, &expected, outputs);

    layer.masks.fill(1);
    let mut tracker = RangeTracker::new(
        layer.weight.view(),
        layer.inputs.clone(),
        layer.bias(),
        None,
    )
    .expect("shapes that go together");
    let before = tracker.ranges();
    for _ in 0..bytes.below(12) {
        let (channel, input) = (bytes.below(outputs), bytes.below(width));
        let (c, i) = (channel as i64, input as i64);
        let kept = bytes.byte() & 1 == 0;
        let done = if kept {
            tracker.restore(c, i)
        } else {
            tracker.remove(c, i)
        };
        done.expect("places that the layer has");
        layer.masks[[0, channel, input]] = u8::from(kept);
        let range = tracker.range(c).map(|(low, high)| Ranges {
            low: vec![low],
            high: vec![high],
        });
        let expected = layer.range(channel, Some(0));
        match range {
            Err(Error::Overflow {
                channel: named,
                low,
                high,
            }) => {
                assert_eq!(named, channel);
                assert_eq!((low.into(), high.into()), expected);
                assert!(!fits(&expected));
            }
            range => same(range, &[expected], 1),
        }
    }
    tracker.undo(usize::MAX);
    assert_eq!(tracker.ranges(), before);
}

fn check_selection<T: Made>(layer: &Layer<T>, bytes: &mut Bytes<'_>) {
    let (outputs, width) = layer.weight.dim();
    if width > 9 {
        return;
    }
    let saliency = Array2::from_shape_fn((outputs, width), |_| f64::from(bytes.byte() % 16));
    let budget = if bytes.byte() & 1 == 0 {
        Budget::Span
    } else {
        Budget::Signed
    };
    let bits = 1 + bytes.below(63) as i64;
    let problem = Problem {
        codes: layer.weight.view(),
        saliency: saliency.view(),
        inputs: std::slice::from_ref(&layer.inputs),
        bits: &[bits],
        budget,
        bias: layer.bias(),
        mask: Some(layer.masks.index_axis(Axis(0), 1)),
    };
    let exact = match select(&problem, Method::Exact) {
        Err(Error::Infeasible { channel, .. }) => {
            let bias = layer.start(channel);
            assert!(bias < -(1 << (bits - 1)) || bias >= 1 << (bits - 1));
            return;
        }
        // Terms that reach beyond 128 bits are refused where each end has a budget of its own.
        Err(Error::Overflow { .. }) => {
            assert_eq!(budget, Budget::Signed);
            return;
        }
        other => other.expect("a small problem is solved"),
    };
    let greedy = select(&problem, Method::Greedy).expect("as the exact one");
    let bound = fractional_bounds(&problem).expect("as the exact one");
    for channel in 0..outputs {
        let terms = layer.terms(channel, None);
        let fits = |keep: &dyn Fn(usize) -> bool| {
            let (mut low, mut high) = (Big::default(), Big::default());
            for (i, &(l, h)) in terms.iter().enumerate() {
                if keep(i) {
                    (low, high) = (low.plus(l), high.plus(h));
                }
            }
            let span = high.minus(low);
            let (low, high) = match (budget, low.wide(), high.wide(), span.wide()) {
                (Budget::Span, _, _, Some(span)) => return span < 1 << bits,
                (Budget::Signed, Some(low), Some(high), _) => (low, high),
                _ => return false,
            };
            let bias = layer.start(channel);
            low + bias >= -(1 << (bits - 1)) && high + bias < 1 << (bits - 1)
        };
        let allowed = |i: usize| layer.masks[[1, channel, i]] != 0;
        let worth = |keep: &dyn Fn(usize) -> bool| -> f64 {
            (0..width)
                .filter(|&i| keep(i))
                .map(|i| saliency[[channel, i]])
                .sum()
        };
        let best = (0..1_u32 << width)
            .filter(|subset| (0..width).all(|i| subset >> i & 1 == 0 || allowed(i)))
            .filter(|subset| fits(&|i| subset >> i & 1 == 1))
            .map(|subset| worth(&|i| subset >> i & 1 == 1))
            .fold(f64::NEG_INFINITY, f64::max);
        let exact = |i: usize| exact[channel * width + i];
        let greedy = |i: usize| greedy[channel * width + i];
        assert!(fits(&exact) && fits(&greedy));
        assert!((0..width).all(|i| allowed(i) || !(exact(i) || greedy(i))));
        assert_eq!(worth(&exact), best);
        assert!(worth(&greedy) <= best);
        assert!(bound[channel] >= best * (1.0 - 1e-9));
    }
}

/// Neighbouring scales are this far apart.
const STEP: f64 = 1.090_507_732_665_257_7;
/// What the engine calls as near as the nearest.
const SLACK: f64 = 0.02;
/// What single precision does not see, as part of all that codes could gain.
const ROUNDING: f64 = 1e-6;

/// The gain of the best codes within the budget, the last unit in part (Dantzig 1957).
///
/// Every weight comes with its greatest code and with what a unit of it costs.
fn relaxed(weights: &[(f64, i64, f64)], scale: f64, bits: i64) -> f64 {
    let mut units: Vec<(f64, f64)> = Vec::new();
    for &(weight, greatest, cost) in weights {
        let gains = (1..=greatest).map(|unit| 2.0 * weight.abs() / scale - (2 * unit - 1) as f64);
        units.extend(gains.filter(|gain| *gain > 0.0).map(|gain| (gain, cost)));
    }
    units.sort_by(|a, b| (b.0 * a.1).total_cmp(&(a.0 * b.1)));
    let (mut room, mut gain) = (((1_i64 << bits) - 1) as f64, 0.0);
    for (worth, cost) in units {
        let part = if cost <= room { 1.0 } else { room / cost };
        gain += part * worth;
        room -= part * cost;
        if part < 1.0 {
            break;
        }
    }
    scale * scale * gain
}

fn check_scales<T: Made>(layer: &Layer<T>, bytes: &mut Bytes<'_>) {
    let codes = (-(bytes.below(8) as i64), 1 + bytes.below(7) as i64);
    let bits = 1 + bytes.below(62) as i64;
    let weight = layer.weight.map(|w| w.number() as f64 / 16.0);
    let start = Array1::from_shape_fn(weight.nrows(), |_| {
        (1.0 + f64::from(bytes.byte())) * f64::from(bytes.below(48) as f32 - 16.0).exp2()
    });
    let mask = layer.masks.index_axis(Axis(0), 1);
    let rounding = Rounding {
        weight: weight.view(),
        start: start.view(),
        inputs: std::slice::from_ref(&layer.inputs),
        bits,
        codes,
        mask: Some(mask),
    };
    let scales = fit_scales(&rounding).expect("finite weights have scales");
    for (channel, &scale) in scales.iter().enumerate() {
        let weights: Vec<(f64, i64, f64)> = (0..weight.ncols())
            .filter(|&i| mask[[channel, i]] != 0)
            .map(|i| {
                let w = weight[[channel, i]];
                let greatest = if w < 0.0 { -codes.0 } else { codes.1 };
                let cost = i128::from(layer.high[i]) - i128::from(layer.low[i]);
                (w, greatest, cost as f64)
            })
            .filter(|&(_, greatest, _)| greatest > 0)
            .collect();
        let largest = weights.iter().fold(0.0_f64, |most, w| most.max(w.0.abs()));
        if largest == 0.0 {
            assert_eq!(scale, start[channel]);
            continue;
        }
        let finest = largest / codes.1.max(-codes.0) as f64 / 16.0;
        let all: f64 = weights.iter().map(|w| w.0.powi(2)).sum();
        let gain = relaxed(&weights, scale, bits);
        for other in [
            scale * STEP,
            scale / STEP,
            start[channel].clamp(finest, largest),
        ] {
            if (finest..=largest).contains(&other) {
                let other = relaxed(&weights, other, bits);
                assert!(
                    gain >= (1.0 - SLACK) * other - ROUNDING * all,
                    "{gain} < {other}"
                );
            }
        }
    }
}

fn check_conv<T: Made>(bytes: &mut Bytes<'_>) {
    let groups = 1 + bytes.below(2);
    let (outputs, channels) = (groups * (1 + bytes.below(2)), 1 + bytes.below(2));
    let kernel = [1 + bytes.below(3), 1 + bytes.below(3)];
    let size = [1 + bytes.below(5), 1 + bytes.below(5)];
    let geometry = Geometry {
        input: vec![groups * channels, size[0], size[1]],
        stride: (0..2).map(|_| 1 + bytes.below(3)).collect(),
        padding: (0..2).map(|_| (bytes.below(3), bytes.below(3))).collect(),
        dilation: (0..2).map(|_| 1 + bytes.below(2)).collect(),
        groups,
    };
    let shape = [outputs, channels, kernel[0], kernel[1]];
    let pool: Vec<i64> = (0..1 + bytes.below(12)).map(|_| bytes.number()).collect();
    let mut at = 0;
    let weight = ArrayD::from_shape_fn(IxDyn(&shape), |_| {
        at += 1;
        T::made(pool[at * 5 % pool.len()])
    });
    let area = size[0] * size[1];
    let kind = bytes.byte();
    let (per_element, points) = (kind & 1 == 0, kind & 2 == 0);
    let count = groups * channels * if per_element { area } else { 1 };
    let ends: Vec<(i64, i64)> = (0..1 + bytes.below(6))
        .map(|_| {
            let a = bytes.number();
            let b = if points { a } else { bytes.number() };
            (a.min(b), a.max(b))
        })
        .collect();
    let low: Vec<i64> = (0..count).map(|i| ends[i % ends.len()].0).collect();
    let high: Vec<i64> = (0..count).map(|i| ends[i % ends.len()].1).collect();
    let inputs = InputRanges::each(low.clone(), high.clone()).expect("low is not above high");
    let problem = Conv {
        weight: weight.view(),
        geometry: &geometry,
        inputs: &inputs,
        bias: None,
        mask: None,
    };
    let windows: Vec<Option<usize>> = (0..2)
        .map(|a| {
            let padded = size[a] + geometry.padding[a].0 + geometry.padding[a].1;
            let extent = geometry.dilation[a] * (kernel[a] - 1) + 1;
            Some(padded.checked_sub(extent)? / geometry.stride[a] + 1)
        })
        .collect();
    let (Some(rows), Some(columns)) = (windows[0], windows[1]) else {
        assert!(matches!(conv(&problem), Err(Error::Shape { .. })));
        return;
    };
    let place = |axis: usize, window: usize, tap: usize| {
        let at = window * geometry.stride[axis] + tap * geometry.dilation[axis];
        at.checked_sub(geometry.padding[axis].0)
            .filter(|&at| at < size[axis])
    };
    let mut expected = Vec::new();
    for o in 0..outputs {
        let group = o / (outputs / groups);
        for (r, c) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            let (mut least, mut most) = (Big::default(), Big::default());
            for channel in 0..channels {
                for (y, x) in (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y, x))) {
                    let (Some(row), Some(column)) = (place(0, r, y), place(1, c, x)) else {
                        continue;
                    };
                    let from = group * channels + channel;
                    let index = if per_element {
                        from * area + row * size[1] + column
                    } else {
                        from
                    };
                    let w = i128::from(weight[[o, channel, y, x]].number());
                    let (a, b) = (w * i128::from(low[index]), w * i128::from(high[index]));
                    (least, most) = (least.plus(a.min(b)), most.plus(a.max(b)));
                }
            }
            expected.push((least, most));
        }
    }
    check_values(&problem, &low, &expected);
    let overflows = |error: Error| match error {
        Error::Overflow { channel, low, high } => {
            let ends = (low.into(), high.into());
            assert!(!fits(&ends));
            assert!(expected[channel * rows * columns..][..rows * columns].contains(&ends));
        }
        error => panic!("{error}"),
    };
    match conv_positions(&problem) {
        Ok((ranges, shape)) => {
            assert_eq!(shape, [rows, columns]);
            same(Ok(ranges), &expected, outputs);
        }
        Err(error) => overflows(error),
    }
    match conv(&problem) {
        Ok(ranges) => {
            let hulls = expected.chunks(rows * columns).map(|all| {
                let hull = |a: Ends, b: &Ends| (a.0.min(b.0), a.1.max(b.1));
                all.iter().fold(all[0], hull)
            });
            same(Ok(ranges), &hulls.collect::<Vec<_>>(), outputs);
        }
        Err(error) => overflows(error),
    }
}

/// Inputs that are points have no range but their values, which every machine computes alike.
fn check_values<T: Made>(problem: &Conv<'_, T>, x: &[i64], expected: &[Ends]) {
    let codes = problem.weight.mapv(|code| i8::try_from(code.number()));
    let points = expected.iter().all(|(low, high)| low == high);
    let elements: usize = problem.geometry.input.iter().product();
    if !points || x.len() != elements || codes.iter().any(|code| code.is_err()) {
        return;
    }
    let codes = codes.mapv(|code| code.expect("all of them are bytes"));
    for machine in Machine::all() {
        let geometry = problem.geometry.clone();
        let convolution = Convolution::by(machine, codes.clone(), None, geometry);
        let values = convolution.values(problem.geometry.input.clone(), x);
        if let Some((values, _)) = values.expect("its shapes are right") {
            let expected = expected.iter().map(|(low, _)| low.narrow());
            assert!(values.into_iter().map(Some).eq(expected));
        }
    }
}

fn check_tables<T: Made>(bytes: &mut Bytes<'_>) {
    let entries = 1 + bytes.below(12);
    let table = Array2::from_shape_fn((1, entries), |_| T::made(bytes.number()));
    let start = bytes.number();
    let (a, b) = (bytes.below(entries), bytes.below(entries));
    let (from, to) = (a.min(b), a.max(b));
    let (Some(low), Some(high)) = (start.checked_add(from as i64), start.checked_add(to as i64))
    else {
        return;
    };
    let indices = Ranges {
        low: vec![low],
        high: vec![high],
    };
    let part = (from..=to).map(|at| table[[0, at]].number());
    let end = |entry: Option<i64>| Big::default().plus(entry.expect("not empty").into());
    let expected = (end(part.clone().min()), end(part.max()));
    same(
        table_ranges(table.view(), &indices, &[start]),
        &[expected],
        1,
    );
}

fn check_all<T: Made>(bytes: &mut Bytes<'_>) {
    match bytes.byte() % 7 {
        0 => check_conv::<T>(bytes),
        1 => check_tables::<T>(bytes),
        what => {
            let mut layer = Layer::<T>::read(bytes);
            match what {
                2 => check_linear(&layer),
                3 => check_sums(&layer),
                4 => check_removals(&mut layer, bytes),
                5 => check_scales(&layer, bytes),
                _ => check_selection(&layer, bytes),
            }
        }
    }
}

/// Reads a layer and compares one function of the engine with its definition.
pub fn check(data: &[u8]) {
    let mut bytes = Bytes { data, wild: false };
    let kind = bytes.byte();
    bytes.wild = kind >= 192;
    match kind % 5 {
        0 => check_all::<i8>(&mut bytes),
        1 => check_all::<u8>(&mut bytes),
        2 => check_all::<i16>(&mut bytes),
        3 => check_all::<i32>(&mut bytes),
        _ => check_all::<i64>(&mut bytes),
    }
}
