//! What reading alone costs: the yardstick that the benches hold the engine against.

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use crate::threads;

/// The sum of all bytes, read once, with the threads and instructions of [`crate::linear`].
pub fn byte_sum(bytes: &[u8]) -> u64 {
    let sum = |bytes: &[u8]| Arch::new().dispatch(Sum(bytes));
    match threads::pool() {
        Some(pool) if bytes.len() >= 1 << 18 => {
            let step = bytes.len().div_ceil(4 * pool.current_num_threads());
            pool.install(|| bytes.par_chunks(step).map(sum).sum())
        }
        _ => sum(bytes),
    }
}

struct Sum<'a>(&'a [u8]);

impl NullaryFnOnce for Sum<'_> {
    type Output = u64;

    #[inline(always)]
    fn call(self) -> u64 {
        chunk_sum(self.0)
    }
}

#[inline(always)]
fn chunk_sum(bytes: &[u8]) -> u64 {
    let mut total = 0;
    // A lane adds 128 bytes: at most 32,640.
    for block in bytes.chunks(8192) {
        let mut lanes = [0_u16; 64];
        let (chunks, rest) = block.as_chunks::<64>();
        for chunk in chunks {
            for (lane, &byte) in lanes.iter_mut().zip(chunk) {
                *lane = lane.wrapping_add(u16::from(byte));
            }
        }
        total += lanes.iter().map(|&lane| u64::from(lane)).sum::<u64>();
        total += rest.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    }
    total
}
