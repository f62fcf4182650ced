//! Fitted scales where properties do not look: any number of threads, inputs far from zero.

use ndarray::{Array1, Array2, array};
use secateur_core::rounding::{Rounding, fit_scales};
use secateur_core::{InputRanges, threads};

#[test]
fn threads_change_nothing_but_the_time() {
    let weight = Array2::from_shape_fn((900, 70), |(o, i)| ((o * 31 + i * 17) % 101) as f64 - 50.0);
    let start = Array1::from_elem(900, 7.0);
    let inputs = [InputRanges::one(0, 3).unwrap()];
    let rounding = Rounding {
        weight: weight.view(),
        start: start.view(),
        inputs: &inputs,
        bits: 6,
        codes: (-3, 3),
        mask: None,
    };
    threads::set_num_threads(1).unwrap();
    let alone = fit_scales(&rounding).unwrap();
    threads::set_num_threads(3).unwrap();
    assert_eq!(fit_scales(&rounding).unwrap(), alone);
    threads::set_num_threads(0).unwrap();
}

#[test]
fn costs_of_inputs_far_from_zero_are_exact() {
    let (weight, start) = (array![[-1.0]], array![0.01]);
    let scale = |low: i64| {
        let inputs = [InputRanges::one(low, low + 1).unwrap()];
        let rounding = Rounding {
            weight: weight.view(),
            start: start.view(),
            inputs: &inputs,
            bits: 1,
            codes: (-2, 1),
            mask: None,
        };
        fit_scales(&rounding).unwrap()
    };
    assert_eq!(scale(i64::MAX - 1), scale(0));
}
