//! Sums that cannot overflow: integers wide enough for every sum of 128-bit terms in memory.

use std::fmt;
use std::ops::{AddAssign, SubAssign};

/// An integer of 192 bits, `upper · 2⁶⁴ + lower`.
///
/// Starting from 64 bits it holds every sum and difference of fewer than 2⁶² terms of 128 bits:
/// each moves `upper` by at most 2⁶³ + 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Integer {
    upper: i128,
    lower: u64,
}

impl Integer {
    /// `(upper, lower)` with the value `upper · 2⁶⁴ + lower`.
    pub fn parts(self) -> (i128, u64) {
        (self.upper, self.lower)
    }

    /// The value where 64 bits hold it.
    #[inline(always)]
    pub fn narrow(self) -> Option<i64> {
        let low = self.lower as i64;
        (self.upper == i128::from(low >> 63)).then_some(low)
    }
}

impl From<i128> for Integer {
    #[inline(always)]
    fn from(value: i128) -> Self {
        Self {
            upper: value >> 64,
            lower: value as u64,
        }
    }
}

impl From<i64> for Integer {
    #[inline(always)]
    fn from(value: i64) -> Self {
        i128::from(value).into()
    }
}

impl AddAssign for Integer {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        let (lower, carry) = self.lower.overflowing_add(other.lower);
        self.lower = lower;
        self.upper += other.upper + i128::from(carry);
    }
}

impl AddAssign<i128> for Integer {
    #[inline(always)]
    fn add_assign(&mut self, term: i128) {
        *self += Self::from(term);
    }
}

impl SubAssign<i128> for Integer {
    #[inline(always)]
    fn sub_assign(&mut self, term: i128) {
        let term = Self::from(term);
        let (lower, borrow) = self.lower.overflowing_sub(term.lower);
        self.lower = lower;
        self.upper -= term.upper + i128::from(borrow);
    }
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The magnitude in three limbs; dividing them by 10¹⁹ gives its digits from the end.
        let negative = self.upper < 0;
        let (mut lower, mut upper) = (self.lower, self.upper as u128);
        if negative {
            lower = self.lower.wrapping_neg();
            upper = (!upper).wrapping_add(u128::from(lower == 0));
        }
        let mut limbs = [(upper >> 64) as u64, upper as u64, lower];
        const CHUNK: u128 = 10_000_000_000_000_000_000;
        let mut digits = String::new();
        loop {
            let mut rest = 0_u128;
            for limb in &mut limbs {
                let part = (rest << 64) + u128::from(*limb);
                *limb = (part / CHUNK) as u64;
                rest = part % CHUNK;
            }
            if limbs == [0; 3] {
                return f.pad_integral(!negative, "", &format!("{rest}{digits}"));
            }
            digits = format!("{rest:019}{digits}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Integer;
    use num_bigint::BigInt;
    use proptest::prelude::*;

    fn edges() -> impl Strategy<Value = i128> {
        let powers = (0_u32..127, -2_i128..=2, any::<bool>()).prop_map(|(power, more, minus)| {
            let near = (1_i128 << power).saturating_add(more);
            if minus { -near } else { near }
        });
        prop_oneof![Just(i128::MIN), Just(i128::MAX), any::<i128>(), powers]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn sums_are_those_of_big_integers(
            start in any::<i64>(),
            terms in prop::collection::vec((edges(), any::<bool>()), 0..40),
        ) {
            let (mut sum, mut big) = (Integer::from(start), BigInt::from(start));
            for (term, plus) in terms {
                let before = (sum, big.clone());
                if plus {
                    sum += term;
                    big += term;
                } else {
                    sum -= term;
                    big -= term;
                }
                prop_assert_eq!(sum.to_string(), big.to_string());
                prop_assert_eq!(sum.narrow(), i64::try_from(&big).ok());
                prop_assert_eq!(sum.cmp(&before.0), big.cmp(&before.1));
            }
        }
    }
}
