//! Dot products of AVX-512 VNNI, which `pulp` detects but has no functions for.

#![cfg(target_arch = "x86_64")]

use core::arch::x86_64::{__m512i, _mm512_dpbusd_epi32, _mm512_dpwssd_epi32};

pulp::simd_type! {
    /// A processor with all of [`pulp::x86::V4`], and VNNI: whoever has a value has asked it.
    pub struct Vnni {
        sse: "sse",
        sse2: "sse2",
        fxsr: "fxsr",
        sse3: "sse3",
        ssse3: "ssse3",
        sse4_1: "sse4.1",
        sse4_2: "sse4.2",
        popcnt: "popcnt",
        avx: "avx",
        avx2: "avx2",
        bmi1: "bmi1",
        bmi2: "bmi2",
        fma: "fma",
        lzcnt: "lzcnt",
        avx512f: "avx512f",
        avx512bw: "avx512bw",
        avx512cd: "avx512cd",
        avx512dq: "avx512dq",
        avx512vl: "avx512vl",
        avx512vnni: "avx512vnni",
    }
}

impl Vnni {
    /// Adds the products of four unsigned and four signed bytes to each lane of 32 bits, and wraps.
    #[inline(always)]
    pub fn add_byte_products(self, sums: __m512i, unsigned: __m512i, signed: __m512i) -> __m512i {
        // SAFETY: `self` says that the processor has it.
        unsafe { _mm512_dpbusd_epi32(sums, unsigned, signed) }
    }

    /// Adds the products of two and two 16-bit integers to each lane of 32 bits, and wraps.
    #[inline(always)]
    pub fn add_short_products(self, sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` says that the processor has it.
        unsafe { _mm512_dpwssd_epi32(sums, a, b) }
    }
}

#[cfg(test)]
mod tests {
    use pulp::cast;

    use super::*;

    #[test]
    fn sums_are_those_of_scalars() {
        let Some(vnni) = Vnni::try_new() else {
            return;
        };
        let unsigned: [u8; 64] = std::array::from_fn(|at| (255 - 3 * at) as u8);
        let signed: [i8; 64] = std::array::from_fn(|at| (37 * at) as u8 as i8);
        let before: [i32; 16] = std::array::from_fn(|lane| 1000 * lane as i32);
        let sums = vnni.add_byte_products(cast(before), cast(unsigned), cast(signed));
        let expected: [i32; 16] = std::array::from_fn(|lane| {
            let at = 4 * lane..4 * lane + 4;
            before[lane]
                + at.map(|at| i32::from(unsigned[at]) * i32::from(signed[at]))
                    .sum::<i32>()
        });
        assert_eq!(cast::<_, [i32; 16]>(sums), expected);

        let a: [i16; 32] = std::array::from_fn(|at| (2047 * at) as u16 as i16);
        let sums = vnni.add_short_products(cast(before), cast(a), cast(signed));
        let b: [i16; 32] = cast(cast::<_, __m512i>(signed));
        let expected: [i32; 16] = std::array::from_fn(|lane| {
            let at = 2 * lane..2 * lane + 2;
            at.fold(before[lane], |sum, at| {
                sum.wrapping_add(i32::from(a[at]) * i32::from(b[at]))
            })
        });
        assert_eq!(cast::<_, [i32; 16]>(sums), expected);
    }
}
