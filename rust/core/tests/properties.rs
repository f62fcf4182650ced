//! The engine equals its definition; the fuzz target searches the same space by coverage.

mod common;

use ndarray::{Array1, Array2, Array3, ArrayD, Axis, IxDyn};
use proptest::prelude::*;
use secateur_core::{
    Choice, Convolution, Geometry, InputRanges, Kind, Machine, linear, linear_by, threads,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn the_engine_equals_its_definition(data in prop::collection::vec(any::<u8>(), 0..300)) {
        common::check(&data);
    }
}

proptest! {
    #[test]
    fn widening_an_input_never_narrows(
        codes in prop::collection::vec(any::<i8>(), 300),
        low in -9_i64..=0,
        high in 0_i64..9,
        at in 0_usize..300,
        more in 0_i64..5,
    ) {
        let weight = Array2::from_shape_vec((1, 300), codes).unwrap();
        let range = |ends: Vec<(i64, i64)>| {
            let (low, high) = ends.into_iter().unzip();
            linear(weight.view(), &InputRanges::each(low, high).unwrap(), None, None).unwrap()
        };
        let mut ends = vec![(low, high); 300];
        let narrow = range(ends.clone());
        ends[at] = (low - more, high + more);
        let wide = range(ends);
        prop_assert!(wide.low[0] <= narrow.low[0] && narrow.high[0] <= wide.high[0]);
    }
}

/// The longest sums of the largest products, at every length around those of vectors and blocks.
#[test]
fn every_kernel_holds_its_longest_sums() {
    let lengths = [
        1, 7, 8, 31, 32, 33, 63, 64, 65, 1000, 8191, 8193, 65_535, 65_537, 131_200,
    ];
    let ends = [
        (0, 127),
        (0, 128),
        (-16_383, 16_383),
        (-16_383, -16_382),
        (-5, 16_383),
    ];
    for (length, (low, high)) in lengths.into_iter().flat_map(|l| ends.map(|e| (l, e))) {
        let each = InputRanges::each(vec![low; length], vec![high; length]).unwrap();
        for (code, masked) in [(-128, false), (127, true), (-128, true)] {
            let weight = Array2::from_elem((5, length), code as i8);
            let mask = Array3::from_shape_fn((1, 5, length), |(_, _, at)| u8::from(at % 5 < 3));
            let kept = if masked {
                (0..length).filter(|at| at % 5 < 3).count()
            } else {
                length
            };
            let sums = [code * low, code * high].map(|product| product * kept as i64);
            for machine in Machine::all() {
                for least in [Kind::Bytes, Kind::Shorts, Kind::Any] {
                    let masks = masked.then_some(mask.view());
                    let choice = Choice { machine, least };
                    let ranges = linear_by(choice, weight.view(), &each, None, masks).unwrap();
                    assert_eq!(ranges.low, [sums[0].min(sums[1]); 5]);
                    assert_eq!(ranges.high, [sums[0].max(sums[1]); 5]);
                }
            }
        }
    }
}

/// Codes whose magnitudes are added up in lanes, beyond what is added before those are emptied.
#[test]
fn one_range_holds_its_longest_sums() {
    let length = (1 << 17) * 64 + 65;
    let inputs = InputRanges::one(-3, 5).unwrap();
    for code in [-128, 127] {
        let weight = Array2::from_elem((1, length), code as i8);
        let sums = [-3, 5].map(|end| code * end * length as i64);
        for machine in Machine::all() {
            let least = Kind::One;
            let choice = Choice { machine, least };
            let ranges = linear_by(choice, weight.view(), &inputs, None, None).unwrap();
            assert_eq!(ranges.low, [sums[0].min(sums[1])]);
            assert_eq!(ranges.high, [sums[0].max(sums[1])]);
        }
    }
}

#[test]
fn threads_change_nothing_but_the_time() {
    let codes: Vec<i8> = (0..5000 * 1000).map(|i| (i * 37 % 251) as i8).collect();
    let weight = Array2::from_shape_vec((5000, 1000), codes).unwrap();
    let inputs = InputRanges::one(-3, 12).unwrap();
    let alone = {
        threads::set_num_threads(1).unwrap();
        linear(weight.view(), &inputs, None, None).unwrap()
    };
    threads::set_num_threads(3).unwrap();
    assert_eq!(threads::num_threads(), 3);
    assert_eq!(linear(weight.view(), &inputs, None, None).unwrap(), alone);
    assert!(threads::set_num_threads(threads::MOST_THREADS + 1).is_err());
    threads::set_num_threads(0).unwrap();
}

/// A convolution and its inputs out of a seed: every value at an end of what bytes hold, or
/// anywhere between.
struct Batch {
    codes: ArrayD<i8>,
    bias: Array1<i64>,
    geometry: Geometry,
    x: Vec<i64>,
}

impl Batch {
    fn new(outputs: usize, channels: usize, groups: usize, low: i64, seed: u64) -> Self {
        let mut state = seed | 1;
        let mut next = move |limit: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % limit
        };
        let kernel = [1 + next(3), 1 + next(3)];
        let geometry = Geometry {
            input: vec![groups * channels, 3 + next(9), 3 + next(9)],
            stride: vec![1 + next(3), 1 + next(3)],
            padding: vec![(next(3), next(3)), (next(3), next(3))],
            dilation: vec![1; 2],
            groups,
        };
        let ends = next(2) == 0;
        let shape = [groups * outputs, channels, kernel[0], kernel[1]];
        let codes = ArrayD::from_shape_fn(IxDyn(&shape), |_| match ends {
            true => [i8::MIN, i8::MAX][next(2)],
            false => next(256) as u8 as i8,
        });
        let bias = Array1::from_shape_fn(groups * outputs, |_| next(1000) as i64 - 500);
        let count = (1 + next(4)) * geometry.input.iter().product::<usize>();
        let x = (0..count).map(|_| low + if ends { 127 * next(2) } else { next(128) } as i64);
        Self {
            x: x.collect(),
            codes,
            bias,
            geometry,
        }
    }

    /// Every accumulator, tap by tap.
    fn defined(&self) -> Vec<i64> {
        let geometry = &self.geometry;
        let (channels, groups) = (self.codes.shape()[1], geometry.groups);
        let outputs = self.codes.shape()[0] / groups;
        let (rows, columns) = (geometry.input[1], geometry.input[2]);
        let windows = |axis: usize| {
            let (before, after) = geometry.padding[axis];
            let room = geometry.input[axis + 1] + before + after - self.codes.shape()[axis + 2];
            room / geometry.stride[axis] + 1
        };
        let place = |axis: usize, window: usize, tap: usize| {
            let at = window * geometry.stride[axis] + tap;
            at.checked_sub(geometry.padding[axis].0)
                .filter(|&at| at < geometry.input[axis + 1])
        };
        let mut values = Vec::new();
        for x in self.x.chunks(groups * channels * rows * columns) {
            for output in 0..groups * outputs {
                for (r, c) in (0..windows(0)).flat_map(|r| (0..windows(1)).map(move |c| (r, c))) {
                    let mut sum = self.bias[output];
                    let codes = self.codes.index_axis(Axis(0), output);
                    for (index, &code) in codes.indexed_iter() {
                        let taps = (place(0, r, index[1]), place(1, c, index[2]));
                        if let (Some(row), Some(column)) = taps {
                            let channel = output / outputs * channels + index[0];
                            let at = (channel * rows + row) * columns + column;
                            sum += i64::from(code) * x[at];
                        }
                    }
                    values.push(sum);
                }
            }
        }
        values
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_machine_convolves_as_defined(
        outputs in prop::sample::select(vec![1_usize, 3, 15, 16, 17, 33]),
        channels in prop::sample::select(vec![1_usize, 2, 3, 21]),
        groups in 1_usize..3,
        low in -127_i64..=0,
        seed: u64,
    ) {
        let batch = Batch::new(outputs, channels, groups, low, seed);
        let expected = batch.defined();
        for machine in Machine::all() {
            let (codes, bias) = (batch.codes.clone(), Some(batch.bias.clone()));
            let convolution = Convolution::by(machine, codes, bias, batch.geometry.clone());
            for _ in 0..2 {
                let values = convolution.values(batch.geometry.input.clone(), &batch.x);
                let (values, _) = values.unwrap().expect("bytes hold the inputs");
                prop_assert_eq!(&values, &expected, "{:?}", machine);
            }
        }
    }
}

/// Sums beyond what 16 bits hold at every length of a block, and up to the last that 32 bits hold.
#[test]
fn a_convolution_widens_its_sums_in_time() {
    let geometry = Geometry {
        input: Vec::new(),
        stride: vec![1],
        padding: vec![(0, 0)],
        dilation: vec![1],
        groups: 1,
    };
    for (code, x, channels) in [
        (-128, 127, 2),
        (-128, 127, 132_103),
        (-128, 127, 132_105),
        (1, 127, 1000),
        (-1, 1, 70_000),
        (3, 3, 3641),
    ] {
        let codes = ArrayD::from_elem(IxDyn(&[2, channels, 1]), code as i8);
        let expected = code * x * channels as i64;
        for machine in Machine::all() {
            let convolution = Convolution::by(machine, codes.clone(), None, geometry.clone());
            let values = convolution.values(vec![channels, 1], &vec![x; channels]);
            let expected = (expected.abs() <= i64::from(i32::MAX)).then(|| vec![expected; 2]);
            assert_eq!(values.unwrap().map(|(values, _)| values), expected);
        }
    }
}
