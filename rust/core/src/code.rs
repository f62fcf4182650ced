//! The integer types of weights, and the sums over a row that every range is made of.
//!
//! The loops are plain and safe; `linear` compiles them once per instruction set. Release
//! builds check every addition, so each loop here that adds with `wrapping_add` carries its
//! proof that nothing wraps.

/// The kernels take at most this many weights at a time: the proofs below lean on it.
pub(crate) const BLOCK: usize = 8192;

/// An integer type that weights may have.
///
/// Sealed: implemented for `i8`, `u8`, `i16`, `i32` and `i64`.
pub trait Code: sealed::Kernels {}

impl<T: sealed::Kernels> Code for T {}

pub(crate) mod sealed {
    use std::fmt::Debug;

    /// What the ranges ask of a weight type. `block` never exceeds [`super::BLOCK`].
    pub trait Kernels: Copy + Default + Debug + Send + Sync + 'static {
        /// The largest magnitude of the type.
        const LARGEST: u64;
        /// Whether products with 16-bit factors fit 32 bits.
        const FITS_17_BITS: bool;

        /// The value itself.
        fn value(self) -> i64;

        /// Sum of the positive and sum of the negative weights.
        fn signed_sums(block: &[Self]) -> (i128, i128);

        /// `Σ w·middle` and `Σ |w|·width`; every run of `run` products fits 32 bits.
        fn narrow_dots(block: &[Self], middle: &[i16], width: &[i16], run: usize) -> (i64, i64);

        /// The same over one run, whose every partial sum fits 32 bits.
        fn narrow_run(block: &[Self], middle: &[i16], width: &[i16]) -> (i64, i64);

        /// `Σ w·(2·low + width)` and `Σ |w|·width`, for types of one byte.
        fn byte_dots(block: &[Self], low: &[i8], width: &[u8]) -> (i64, i64);

        /// `Σ min(w·low, w·high)` and `Σ max(w·low, w·high)`; the caller has proved that
        /// every partial sum fits 64 bits.
        fn dots(block: &[Self], low: &[i64], high: &[i64]) -> (i64, i64);

        /// The largest magnitude in the block.
        fn largest(block: &[Self]) -> u64;
    }
}

macro_rules! kernels {
    ($code:ty, $sum:ty, $run:expr, $fits:literal, $magnitude:expr) => {
        impl sealed::Kernels for $code {
            const LARGEST: u64 = (<$code>::MAX as u64) + (<$code>::MIN != 0) as u64;
            const FITS_17_BITS: bool = $fits;

            #[inline(always)]
            fn value(self) -> i64 {
                i64::from(self)
            }

            #[inline(always)]
            fn signed_sums(block: &[Self]) -> (i128, i128) {
                // A run's sums fit the narrow type: 256 · -128 and 128 · 255 fit 16 bits.
                const { assert!($run as i128 * Self::LARGEST as i128 <= -(<$sum>::MIN as i128)) };
                let (mut positive, mut negative) = (0_i64, 0_i64);
                for run in block.chunks($run) {
                    let (mut p, mut n) = (0 as $sum, 0 as $sum);
                    for &w in run {
                        let w = <$sum>::from(w);
                        p = p.wrapping_add(w.max(0));
                        n = n.wrapping_add(w.min(0));
                    }
                    positive += i64::from(p);
                    negative += i64::from(n);
                }
                (i128::from(positive), i128::from(negative))
            }

            #[inline(always)]
            fn narrow_dots(
                block: &[Self],
                middle: &[i16],
                width: &[i16],
                run: usize,
            ) -> (i64, i64) {
                let (mut centre, mut spread) = (0_i64, 0_i64);
                let runs = block
                    .chunks(run)
                    .zip(middle.chunks(run))
                    .zip(width.chunks(run));
                for ((block, middle), width) in runs {
                    let (c, s) = Self::narrow_run(block, middle, width);
                    centre += c;
                    spread += s;
                }
                (centre, spread)
            }

            #[inline(always)]
            fn narrow_run(block: &[Self], middle: &[i16], width: &[i16]) -> (i64, i64) {
                let (mut centre, mut spread) = (0_i32, 0_i32);
                for ((&w, &m), &r) in block.iter().zip(middle).zip(width) {
                    // Both factors visibly 16 bits wide: that makes one multiply-add of them.
                    let magnitude = i32::from($magnitude(w));
                    centre = centre.wrapping_add(i32::from(w as i16).wrapping_mul(i32::from(m)));
                    spread = spread.wrapping_add(magnitude.wrapping_mul(i32::from(r)));
                }
                (i64::from(centre), i64::from(spread))
            }

            #[inline(always)]
            fn byte_dots(block: &[Self], low: &[i8], width: &[u8]) -> (i64, i64) {
                // |2·low + width| <= 383 and |w| <= 255, so BLOCK products stay below 2³⁰.
                let (mut centre, mut spread) = (0_i32, 0_i32);
                for ((&w, &l), &r) in block.iter().zip(low).zip(width) {
                    let magnitude = i32::from($magnitude(w));
                    let (l, r) = (i16::from(l), i16::from(r));
                    let middle = i32::from(l.wrapping_add(l).wrapping_add(r));
                    centre = centre.wrapping_add(i32::from(w as i16).wrapping_mul(middle));
                    spread = spread.wrapping_add(magnitude.wrapping_mul(i32::from(r)));
                }
                (i64::from(centre), i64::from(spread))
            }

            #[inline(always)]
            fn dots(block: &[Self], low: &[i64], high: &[i64]) -> (i64, i64) {
                let (mut lowest, mut highest) = (0_i64, 0_i64);
                for ((&w, &l), &h) in block.iter().zip(low).zip(high) {
                    let w = i64::from(w);
                    let (for_low, for_high) = if w < 0 { (h, l) } else { (l, h) };
                    lowest = lowest.wrapping_add(w.wrapping_mul(for_low));
                    highest = highest.wrapping_add(w.wrapping_mul(for_high));
                }
                (lowest, highest)
            }

            #[inline(always)]
            fn largest(block: &[Self]) -> u64 {
                let (mut least, mut most) = (0, 0);
                for &w in block {
                    least = w.min(least);
                    most = w.max(most);
                }
                i64::from(least)
                    .unsigned_abs()
                    .max(i64::from(most).unsigned_abs())
            }
        }
    };
}

kernels!(i8, i16, 256, true, |w: i8| (w as i16).wrapping_abs());
kernels!(u8, i16, 128, true, |w: u8| w as i16);
kernels!(i16, i32, BLOCK, true, i16::unsigned_abs);
kernels!(i32, i64, BLOCK, false, |w: i32| w.unsigned_abs() as u16);

impl sealed::Kernels for i64 {
    const LARGEST: u64 = i64::MIN.unsigned_abs();
    const FITS_17_BITS: bool = false;

    #[inline(always)]
    fn value(self) -> i64 {
        self
    }

    #[inline(always)]
    fn signed_sums(block: &[Self]) -> (i128, i128) {
        // Upper and lower halves apart: at most 8192 · 2³² = 2⁴⁵ each.
        let (mut positive_low, mut positive_high) = (0_i64, 0_i64);
        let (mut negative_low, mut negative_high) = (0_i64, 0_i64);
        for &w in block {
            let (p, n) = (w.max(0), w.min(0));
            positive_low = positive_low.wrapping_add(p & 0xffff_ffff);
            positive_high = positive_high.wrapping_add(p >> 32);
            negative_low = negative_low.wrapping_add(n & 0xffff_ffff);
            negative_high = negative_high.wrapping_add(n >> 32);
        }
        let join = |low: i64, high: i64| (i128::from(high) << 32) + i128::from(low);
        (
            join(positive_low, positive_high),
            join(negative_low, negative_high),
        )
    }

    #[inline(always)]
    fn narrow_dots(block: &[Self], middle: &[i16], width: &[i16], _run: usize) -> (i64, i64) {
        Self::narrow_run(block, middle, width)
    }

    #[inline(always)]
    fn narrow_run(block: &[Self], middle: &[i16], width: &[i16]) -> (i64, i64) {
        // Never chosen for this type (`FITS_17_BITS`), yet right where it does not overflow.
        let mut sums = (0_i64, 0_i64);
        for ((&w, &m), &r) in block.iter().zip(middle).zip(width) {
            sums.0 += w * i64::from(m);
            sums.1 += w.abs() * i64::from(r);
        }
        sums
    }

    #[inline(always)]
    fn byte_dots(block: &[Self], low: &[i8], width: &[u8]) -> (i64, i64) {
        // Never chosen for this type, yet right where it does not overflow.
        let mut sums = (0_i64, 0_i64);
        for ((&w, &l), &r) in block.iter().zip(low).zip(width) {
            sums.0 += w * (2 * i64::from(l) + i64::from(r));
            sums.1 += w.abs() * i64::from(r);
        }
        sums
    }

    #[inline(always)]
    fn dots(block: &[Self], low: &[i64], high: &[i64]) -> (i64, i64) {
        let (mut lowest, mut highest) = (0_i64, 0_i64);
        for ((&w, &l), &h) in block.iter().zip(low).zip(high) {
            let (for_low, for_high) = if w < 0 { (h, l) } else { (l, h) };
            lowest = lowest.wrapping_add(w.wrapping_mul(for_low));
            highest = highest.wrapping_add(w.wrapping_mul(for_high));
        }
        (lowest, highest)
    }

    #[inline(always)]
    fn largest(block: &[Self]) -> u64 {
        let (mut least, mut most) = (0_i64, 0_i64);
        for &w in block {
            least = w.min(least);
            most = w.max(most);
        }
        least.unsigned_abs().max(most.unsigned_abs())
    }
}
