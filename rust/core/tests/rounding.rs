//! Fitted scales against the fractional knapsack of all units of all codes.

use ndarray::{Array1, Array2, Axis};
use proptest::prelude::*;
use secateur_core::rounding::{Rounding, fit_scales};
use secateur_core::{InputRanges, threads};

const STEP: f64 = 1.090_507_732_665_257_7;
/// What the engine calls as near as the nearest.
const SLACK: f64 = 0.02;

/// The gain of the best codes within the budget, the last unit in part (Dantzig 1957).
fn relaxed(weights: &[f64], scale: f64, costs: &[i64], bits: i64, reach: i64) -> f64 {
    let mut units: Vec<(f64, f64)> = Vec::new();
    for (weight, &cost) in weights.iter().zip(costs) {
        for unit in 1..=reach {
            let gain = scale * scale * (2.0 * weight.abs() / scale - (2 * unit - 1) as f64);
            if gain > 0.0 {
                units.push((gain, cost as f64));
            }
        }
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
    gain
}

proptest! {
    #[test]
    fn no_neighbour_is_nearer(
        drawn in prop::collection::vec((-1.0..1.0_f64, 1_i64..16), 1..80),
        bits in 1_i64..12,
        reach in 1_i64..8,
        start in 0.02..2.0_f64,
    ) {
        let (weights, highs): (Vec<f64>, Vec<i64>) = drawn.into_iter().unzip();
        let largest = weights.iter().fold(0.0, |a: f64, w| a.max(w.abs()));
        prop_assume!(largest > 1e-3);
        let inputs = [InputRanges::each(vec![0; highs.len()], highs.clone()).unwrap()];
        let (row, start) = (Array1::from(weights.clone()), Array1::from_elem(1, start));
        let rounding = Rounding {
            weight: row.view().insert_axis(Axis(0)),
            start: start.view(),
            inputs: &inputs,
            bits,
            codes: (-reach, reach),
            mask: None,
        };
        let scale = fit_scales(&rounding).unwrap()[0];
        let gain = relaxed(&weights, scale, &highs, bits, reach);
        let finest = largest / reach as f64 / 16.0;
        for other in [scale * STEP, scale / STEP, start[0].clamp(finest, largest)] {
            if (finest..=largest).contains(&other) {
                let other = relaxed(&weights, other, &highs, bits, reach);
                prop_assert!(gain >= (1.0 - SLACK) * other, "{gain} < {other}");
            }
        }
    }
}

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
