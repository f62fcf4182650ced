//! The kernels of the core against the machine's own single-pass read of the same bytes.
//!
//! `cargo bench --bench bounds` prints a line of JSON for each size and number of threads: the
//! least seconds of each, all taken in turn, so that a busy machine disturbs all alike. As a test
//! it runs once over small layers and compares the kernels with each other.

use std::hint::black_box;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ndarray::{Array2, Array3};
use pulp::{Arch, NullaryFnOnce};
use secateur_core::{InputRanges, linear, threads};

const SIZES: [(usize, usize); 6] = [
    (64, 64),
    (512, 1024),
    (512, 4608),
    (4096, 4096),
    (8192, 8192),
    (32_768, 8192),
];

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

/// Reads every code once, with the instructions of the core: an addition a vector.
struct Read<'a>(&'a [i8]);

impl NullaryFnOnce for Read<'_> {
    type Output = i8;

    #[inline(always)]
    fn call(self) -> i8 {
        let mut lanes = [0_i8; 256];
        let (chunks, last) = self.0.as_chunks::<256>();
        for chunk in chunks {
            for (lane, code) in lanes.iter_mut().zip(chunk) {
                *lane = lane.wrapping_add(*code);
            }
        }
        let all = lanes.iter().chain(last);
        all.fold(0, |sum: i8, code| sum.wrapping_add(*code))
    }
}

fn read(codes: &[i8], pool: Option<&rayon::ThreadPool>) -> i8 {
    let Some(pool) = pool else {
        return Arch::new().dispatch(Read(codes));
    };
    let queue = Mutex::new(codes.chunks(codes.len().div_ceil(8).max(1)));
    let total = Mutex::new(0_i8);
    let help = || {
        while let Some(chunk) = { queue.lock().unwrap().next() } {
            let sum = Arch::new().dispatch(Read(chunk));
            let mut total = total.lock().unwrap();
            *total = total.wrapping_add(sum);
        }
    };
    pool.in_place_scope(|scope| {
        scope.spawn(|_| help());
        help();
    });
    total.into_inner().unwrap()
}

type Run<'a> = (&'static str, Box<dyn FnMut() + 'a>);

/// Least seconds of each, taken in turn for about so long, thrice at least.
fn least(runs: &mut [Run<'_>], time: Duration) -> Vec<f64> {
    let (mut best, start, mut rounds) = (vec![f64::INFINITY; runs.len()], Instant::now(), 0);
    while rounds < 3 || start.elapsed() < time {
        for ((_, run), best) in runs.iter_mut().zip(&mut best) {
            let start = Instant::now();
            run();
            *best = best.min(start.elapsed().as_secs_f64());
        }
        rounds += 1;
    }
    best
}

fn measure((outputs, inputs): (usize, usize), used: usize, time: Duration) {
    threads::set_num_threads(used).expect("a permitted number");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = (used > 1).then_some(pool.as_ref().expect("a thread"));
    let bytes = noise(outputs * inputs);
    let codes = bytes.iter().map(|&byte| byte as i8).collect();
    let weight: Array2<i8> = Array2::from_shape_vec((outputs, inputs), codes).expect("fits");
    let flat = weight.as_slice().expect("in a row");
    let ends = |low: fn(i64) -> i64, high: fn(i64) -> i64| {
        let each = |end: fn(i64) -> i64| (0..inputs as i64).map(end).collect();
        InputRanges::each(each(low), each(high)).expect("not empty")
    };
    let one = InputRanges::one(0, 15).expect("not empty");
    let seven_bits = ends(|_| 0, |i| i % 128);
    let eight_bits = ends(|i| -(i % 129), |i| i * 7 % 128);
    let fourteen_bits = ends(|i| -(i % 8192), |i| i * 7 % 16_384);
    let masks = Array3::from_shape_fn((1, outputs, inputs), |(_, o, i)| bytes[o * inputs + i] & 4);
    let by = |ranges: &'_ InputRanges, masked: bool| {
        let masks = masked.then_some(masks.view());
        black_box(linear(black_box(weight.view()), ranges, None, masks)).expect("fits 64 bits");
    };
    let mut runs: Vec<Run<'_>> = vec![
        (
            "read",
            Box::new(|| _ = black_box(read(black_box(flat), pool))),
        ),
        ("one", Box::new(|| by(&one, false))),
        ("seven_bits", Box::new(|| by(&seven_bits, false))),
        ("eight_bits", Box::new(|| by(&eight_bits, false))),
        ("fourteen_bits", Box::new(|| by(&fourteen_bits, false))),
        ("one_masked", Box::new(|| by(&one, true))),
        ("seven_bits_masked", Box::new(|| by(&seven_bits, true))),
        ("eight_bits_masked", Box::new(|| by(&eight_bits, true))),
    ];
    let seconds = least(&mut runs, time);
    let figures = runs
        .iter()
        .zip(seconds)
        .map(|((name, _), s)| format!(", \"{name}\": {s:e}"));
    println!(
        "{{\"outputs\": {outputs}, \"inputs\": {inputs}, \"threads\": {used}{}}}",
        figures.collect::<String>()
    );
}

fn main() {
    let timed = std::env::args().any(|argument| argument == "--bench");
    for used in [1, 2] {
        for size in SIZES {
            if timed {
                measure(size, used, Duration::from_secs(4));
            } else {
                measure((size.0 % 61, size.1 % 67), used, Duration::ZERO);
            }
        }
    }
}
