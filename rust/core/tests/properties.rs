//! The engine equals its definition; the fuzz target searches the same space by coverage.

mod common;

use ndarray::{Array2, Array3};
use proptest::prelude::*;
use secateur_core::{Choice, InputRanges, Kind, Machine, linear, linear_by, threads};

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
