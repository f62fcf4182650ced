//! The core without Python: the same sizes as `benches/test_bounds.py`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use secateur_core::{InputRanges, linear, threads, yardstick};
use std::hint::black_box;

/// Bytes without a pattern, the same in every run (Vigna's splitmix64).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0_u64;
    (0..len)
        .map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) as u8
        })
        .collect()
}

fn layers(criterion: &mut Criterion) {
    for used in [1, 2] {
        threads::set_num_threads(used).expect("a permitted number");
        let mut group = criterion.benchmark_group(format!("linear, {used} threads"));
        for (outputs, inputs) in [(64, 64), (512, 4608), (4096, 4096), (8192, 8192)] {
            let bytes = noise(outputs * inputs);
            let codes: Vec<i8> = bytes.iter().map(|&b| b as i8).collect();
            let weight = Array2::from_shape_vec((outputs, inputs), codes).expect("fits");
            let one = InputRanges::one(0, 15).expect("not empty");
            let low = (0..inputs as i64).map(|i| -(i % 8)).collect();
            let high = (0..inputs as i64).map(|i| i % 255).collect();
            let each = InputRanges::each(low, high).expect("not empty");
            let name = format!("{outputs}x{inputs}");
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            group.bench_function(BenchmarkId::new("read", &name), |b| {
                b.iter(|| yardstick::byte_sum(black_box(&bytes)));
            });
            for (kind, inputs) in [("one range", &one), ("range per input", &each)] {
                group.bench_function(BenchmarkId::new(kind, &name), |b| {
                    b.iter(|| linear(black_box(weight.view()), inputs, None, None));
                });
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(1500))
        .without_plots();
    targets = layers
}
criterion_main!(benches);
