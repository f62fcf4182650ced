//! The integer types of weights, and the plain loops over their rows.
//!
//! The loops are compiled once per instruction set (see [`crate::machine`]). Release builds check
//! every addition, so each loop here that adds with `wrapping_add` carries its proof that nothing
//! wraps.

/// The plain loops take at most this many weights at a time: the proofs below lean on it.
pub(crate) const BLOCK: usize = 8192;

/// An integer type that weights may have.
///
/// Sealed: implemented for `i8`, `u8`, `i16`, `i32` and `i64`.
pub trait Code: sealed::Loops {}

impl<T: sealed::Loops> Code for T {}

use crate::forms::{self, Form, Kind};
use crate::inputs::{Ends, InputRanges, common};
use crate::vectors::Vectors;

pub(crate) mod sealed {
    use crate::forms::{Form, Kind};
    use crate::inputs::InputRanges;
    use crate::vectors::Vectors;
    use std::fmt::Debug;

    /// What the ranges ask of a weight type. `block` never exceeds [`super::BLOCK`].
    pub trait Loops: Copy + Default + Debug + Send + Sync + 'static {
        /// The largest magnitude of the type.
        const LARGEST: u64;

        /// The value itself.
        fn value(self) -> i64;

        /// The ranges in the fastest form that takes them, of those from `least` on.
        #[allow(private_interfaces)]
        fn form(inputs: &InputRanges, least: Kind) -> Box<dyn Form<Self>>;

        /// Sum of the positive and sum of the negative weights of a row.
        #[allow(private_bounds)]
        fn signed_sums<V: Vectors>(v: V, row: &[Self], mask: Option<&[u8]>) -> (i128, i128);

        /// `Σ min(w·low, w·high)` and `Σ max(w·low, w·high)`; the caller has proved that
        /// every partial sum fits 64 bits.
        fn dots(block: &[Self], low: &[i64], high: &[i64]) -> (i64, i64);

        /// The largest magnitude in the row.
        fn largest(row: &[Self]) -> u64;
    }
}

/// At most [`BLOCK`] weights from `at` on: 0 where the mask is 0.
#[inline(always)]
pub(crate) fn block<'a, T: Code>(
    row: &'a [T],
    mask: Option<&[u8]>,
    at: usize,
    scratch: &'a mut [T; BLOCK],
) -> &'a [T] {
    let end = (at + BLOCK).min(row.len());
    let (block, Some(mask)) = (&row[at..end], mask) else {
        return &row[at..end];
    };
    for ((kept, &w), &m) in scratch.iter_mut().zip(block).zip(&mask[at..end]) {
        *kept = if m != 0 { w } else { T::default() };
    }
    &scratch[..block.len()]
}

macro_rules! loops {
    ($code:ty, [$($form:ident),*], $signed_sums:expr) => {
        impl sealed::Loops for $code {
            const LARGEST: u64 = (<$code>::MAX as u64) + (<$code>::MIN != 0) as u64;

            #[inline(always)]
            fn value(self) -> i64 {
                i64::from(self)
            }

            #[allow(private_interfaces)]
            fn form(inputs: &InputRanges, least: Kind) -> Box<dyn Form<Self>> {
                let (low, high) = match inputs {
                    InputRanges(Ends::One { low, high }) => {
                        return Box::new(forms::One::new(*low, *high));
                    }
                    InputRanges(Ends::Each { low, high }) => (low, high),
                };
                if let (Kind::One, Some((low, high))) = (least, common(low, high)) {
                    return Box::new(forms::One::new(low, high));
                }
                $(if least <= Kind::$form
                    && let Some(form) = forms::$form::new(low, high, Self::LARGEST)
                {
                    return Box::new(form);
                })*
                Box::new(forms::Any::new(low, high))
            }

            #[inline(always)]
            #[allow(private_bounds)]
            fn signed_sums<V: Vectors>(v: V, row: &[Self], mask: Option<&[u8]>) -> (i128, i128) {
                $signed_sums(v, row, mask)
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
            fn largest(row: &[Self]) -> u64 {
                let (mut least, mut most) = (0, 0);
                for &w in row {
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

/// Sum of the positive and sum of the negative weights, where a block's fit `$sum`.
macro_rules! sums {
    ($name:ident, $code:ty, $sum:ty) => {
        #[inline(always)]
        fn $name<V: Vectors>(_: V, row: &[$code], mask: Option<&[u8]>) -> (i128, i128) {
            const {
                assert!(
                    BLOCK as i128 * <$code as sealed::Loops>::LARGEST as i128
                        <= <$sum>::MAX as i128
                )
            };
            let mut scratch = [0; BLOCK];
            let (mut positive, mut negative) = (0, 0);
            for at in (0..row.len()).step_by(BLOCK) {
                let (mut p, mut n) = (0 as $sum, 0 as $sum);
                for &w in block(row, mask, at, &mut scratch) {
                    p = p.wrapping_add(<$sum>::from(w.max(0)));
                    n = n.wrapping_add(<$sum>::from(w.min(0)));
                }
                positive += i128::from(p);
                negative += i128::from(n);
            }
            (positive, negative)
        }
    };
}

sums!(sums_u8, u8, i32);
sums!(sums_i16, i16, i32);
sums!(sums_i32, i32, i64);

/// The same for the widest type.
#[inline(always)]
fn sums_i64<V: Vectors>(_: V, row: &[i64], mask: Option<&[u8]>) -> (i128, i128) {
    let mut scratch = [0; BLOCK];
    let (mut positive, mut negative) = (0, 0);
    for at in (0..row.len()).step_by(BLOCK) {
        // Upper and lower halves apart: at most 8192 · 2³² = 2⁴⁵ each.
        let (mut p, mut n) = ((0_i64, 0_i64), (0_i64, 0_i64));
        for &w in block(row, mask, at, &mut scratch) {
            let (above, below) = (w.max(0), w.min(0));
            p.0 = p.0.wrapping_add(above & 0xffff_ffff);
            p.1 = p.1.wrapping_add(above >> 32);
            n.0 = n.0.wrapping_add(below & 0xffff_ffff);
            n.1 = n.1.wrapping_add(below >> 32);
        }
        positive += (i128::from(p.1) << 32) + i128::from(p.0);
        negative += (i128::from(n.1) << 32) + i128::from(n.0);
    }
    (positive, negative)
}

loops!(i8, [Bytes, Shorts], forms::signed_bytes);
loops!(u8, [Shorts], sums_u8);
loops!(i16, [Shorts], sums_i16);
loops!(i32, [], sums_i32);
loops!(i64, [], sums_i64);
