//! Vectors of bytes, and the few things that the kernels for one-byte codes do with them.
//!
//! Each instruction set has what plain loops do not compile to: products of bytes summed in
//! pairs, and sums of bytes. [`Plain`] says in scalar code what every other one has to equal.

use pulp::cast;

/// One instruction set. `index` counts vectors from the start of a slice and must lie within it.
pub(crate) trait Vectors: Copy {
    /// Signed or unsigned bytes.
    type Bytes: Copy;
    /// Half as many 16-bit integers.
    type Shorts: Copy;
    /// Sums of products, in lanes of 32 bits.
    type Products: Copy;
    /// Sums of codes and of their magnitudes.
    type Totals: Copy;
    /// How many bytes a vector holds.
    const BYTES: usize;

    fn bytes(self, values: &[i8], index: usize) -> Self::Bytes;
    /// Codes where `mask` is not zero, zeros elsewhere.
    fn kept_bytes(self, values: &[i8], mask: &[u8], index: usize) -> Self::Bytes;
    /// The larger of each byte and zero.
    fn positive(self, bytes: Self::Bytes) -> Self::Bytes;

    fn no_totals(self) -> Self::Totals;
    /// Adds a vector of codes, at most 2¹⁷ of them.
    fn add_codes(self, totals: Self::Totals, codes: Self::Bytes) -> Self::Totals;
    /// The sum of the positive codes, and of the magnitudes of all.
    fn totals(self, totals: Self::Totals) -> (i64, i64);

    fn no_products(self) -> Self::Products;
    /// Adds `high · code` for each byte, `high` in 0 to 127: two products are less than 2¹⁵.
    fn add_byte_products(
        self,
        sums: Self::Products,
        high: Self::Bytes,
        codes: Self::Bytes,
    ) -> Self::Products;

    /// Codes widened, `BYTES / 2` to a vector.
    fn shorts(self, values: &[i8], index: usize) -> Self::Shorts;
    fn kept_shorts(self, values: &[i8], mask: &[u8], index: usize) -> Self::Shorts;
    fn wide_shorts(self, values: &[i16], index: usize) -> Self::Shorts;
    fn short_magnitude(self, shorts: Self::Shorts) -> Self::Shorts;
    /// Adds the products of 16-bit integers above -2¹⁵; lanes must not exceed 32 bits.
    fn add_short_products(
        self,
        sums: Self::Products,
        a: Self::Shorts,
        b: Self::Shorts,
    ) -> Self::Products;
    /// The sum of the lanes, which must fit 32 bits.
    fn sum(self, sums: Self::Products) -> i64;

    /// The same four bytes over and over.
    fn fours(self, bytes: [u8; 4]) -> Self::Bytes;
    fn no_shorts(self) -> Self::Shorts;
    /// Adds the products of two bytes after two, `high` in 0 to 127; lanes must not exceed 16 bits.
    fn add_byte_pairs(
        self,
        sums: Self::Shorts,
        high: Self::Bytes,
        codes: Self::Bytes,
    ) -> Self::Shorts;
    /// Adds two lanes after two.
    fn add_shorts(self, sums: Self::Products, shorts: Self::Shorts) -> Self::Products;
    /// Writes the lanes that [`Self::add_shorts`] adds to: one for four bytes.
    fn store(self, sums: Self::Products, into: &mut [i32; WIDEST / 4]);
}

/// The `index`-th `N` values, which must exist. (A way out for those that do not would cost the
/// loops their registers.)
#[inline(always)]
fn chunk<T: Copy, const N: usize>(values: &[T], index: usize) -> [T; N] {
    values.as_chunks::<N>().0[index]
}

/// No vector holds more bytes or shorts.
pub(crate) const WIDEST: usize = 64;

/// The values from `from` on, which fill no vector, padded with zeros.
#[inline(always)]
pub(crate) fn padded<T: Copy + Default>(values: &[T], from: usize) -> [T; WIDEST] {
    let mut padded = [T::default(); WIDEST];
    for (place, value) in padded.iter_mut().zip(&values[from..]) {
        *place = *value;
    }
    padded
}

/// Scalar code, for processors without any of the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain;

const PLAIN: usize = 16;

impl Vectors for Plain {
    type Bytes = [i8; PLAIN];
    type Shorts = [i16; PLAIN / 2];
    type Products = [i32; PLAIN];
    type Totals = [[u32; PLAIN]; 2];
    const BYTES: usize = PLAIN;

    #[inline(always)]
    fn bytes(self, values: &[i8], index: usize) -> Self::Bytes {
        chunk(values, index)
    }

    #[inline(always)]
    fn kept_bytes(self, values: &[i8], mask: &[u8], index: usize) -> Self::Bytes {
        let mask: [u8; PLAIN] = chunk(mask, index);
        let values: Self::Bytes = chunk(values, index);
        std::array::from_fn(|lane| if mask[lane] != 0 { values[lane] } else { 0 })
    }

    #[inline(always)]
    fn positive(self, bytes: Self::Bytes) -> Self::Bytes {
        bytes.map(|byte| byte.max(0))
    }

    #[inline(always)]
    fn no_totals(self) -> Self::Totals {
        [[0; PLAIN]; 2]
    }

    #[inline(always)]
    fn add_codes(self, [positive, magnitude]: Self::Totals, codes: Self::Bytes) -> Self::Totals {
        // At most 2¹⁷ · 128.
        let add = |sum: u32, byte: u8| sum.wrapping_add(u32::from(byte));
        [
            std::array::from_fn(|lane| add(positive[lane], codes[lane].max(0) as u8)),
            std::array::from_fn(|lane| add(magnitude[lane], codes[lane].unsigned_abs())),
        ]
    }

    #[inline(always)]
    fn totals(self, totals: Self::Totals) -> (i64, i64) {
        let [positive, magnitude] = totals.map(|sums| sums.iter().copied().map(i64::from).sum());
        (positive, magnitude)
    }

    #[inline(always)]
    fn no_products(self) -> Self::Products {
        [0; PLAIN]
    }

    #[inline(always)]
    fn add_byte_products(
        self,
        sums: Self::Products,
        high: Self::Bytes,
        codes: Self::Bytes,
    ) -> Self::Products {
        std::array::from_fn(|lane| {
            let product = i32::from(high[lane]).wrapping_mul(i32::from(codes[lane]));
            sums[lane].wrapping_add(product)
        })
    }

    #[inline(always)]
    fn shorts(self, values: &[i8], index: usize) -> Self::Shorts {
        chunk(values, index).map(i16::from)
    }

    #[inline(always)]
    fn kept_shorts(self, values: &[i8], mask: &[u8], index: usize) -> Self::Shorts {
        let mask: [u8; PLAIN / 2] = chunk(mask, index);
        let values = self.shorts(values, index);
        std::array::from_fn(|lane| if mask[lane] != 0 { values[lane] } else { 0 })
    }

    #[inline(always)]
    fn wide_shorts(self, values: &[i16], index: usize) -> Self::Shorts {
        chunk(values, index)
    }

    #[inline(always)]
    fn short_magnitude(self, shorts: Self::Shorts) -> Self::Shorts {
        shorts.map(i16::wrapping_abs)
    }

    #[inline(always)]
    fn add_short_products(
        self,
        mut sums: Self::Products,
        a: Self::Shorts,
        b: Self::Shorts,
    ) -> Self::Products {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum = sum.wrapping_add(i32::from(*a).wrapping_mul(i32::from(b)));
        }
        sums
    }

    #[inline(always)]
    fn sum(self, sums: Self::Products) -> i64 {
        sums.iter().copied().map(i64::from).sum()
    }

    #[inline(always)]
    fn fours(self, bytes: [u8; 4]) -> Self::Bytes {
        std::array::from_fn(|lane| bytes[lane % 4] as i8)
    }

    #[inline(always)]
    fn no_shorts(self) -> Self::Shorts {
        [0; PLAIN / 2]
    }

    #[inline(always)]
    fn add_byte_pairs(
        self,
        sums: Self::Shorts,
        high: Self::Bytes,
        codes: Self::Bytes,
    ) -> Self::Shorts {
        std::array::from_fn(|lane| {
            let product = |at: usize| i16::from(high[at]).wrapping_mul(i16::from(codes[at]));
            let pair = product(2 * lane).wrapping_add(product(2 * lane + 1));
            sums[lane].wrapping_add(pair)
        })
    }

    #[inline(always)]
    fn add_shorts(self, mut sums: Self::Products, shorts: Self::Shorts) -> Self::Products {
        for (sum, pair) in sums.iter_mut().zip(shorts.as_chunks::<2>().0) {
            let pair = i32::from(pair[0]).wrapping_add(i32::from(pair[1]));
            *sum = sum.wrapping_add(pair);
        }
        sums
    }

    #[inline(always)]
    fn store(self, sums: Self::Products, into: &mut [i32; WIDEST / 4]) {
        into[..PLAIN / 4].copy_from_slice(&sums[..PLAIN / 4]);
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx512, Pairs};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Vectors, WIDEST, cast, chunk};
    use core::arch::x86_64::{__m128i, __m256i, __m512i};
    use pulp::x86::{V3, V4};
    use secateur_vnni::Vnni;

    impl Vectors for V3 {
        type Bytes = __m256i;
        type Shorts = __m256i;
        type Products = __m256i;
        type Totals = [__m256i; 2];
        const BYTES: usize = 32;

        #[inline(always)]
        fn bytes(self, values: &[i8], index: usize) -> __m256i {
            cast(chunk::<i8, 32>(values, index))
        }

        #[inline(always)]
        fn kept_bytes(self, values: &[i8], mask: &[u8], index: usize) -> __m256i {
            let mask = cast(chunk::<u8, 32>(mask, index));
            let zero = self.avx._mm256_setzero_si256();
            let gone = self.avx2._mm256_cmpeq_epi8(mask, zero);
            self.avx2
                ._mm256_andnot_si256(gone, self.bytes(values, index))
        }

        #[inline(always)]
        fn positive(self, bytes: __m256i) -> __m256i {
            let zero = self.avx._mm256_setzero_si256();
            self.avx2._mm256_max_epi8(bytes, zero)
        }

        #[inline(always)]
        fn no_totals(self) -> [__m256i; 2] {
            [self.avx._mm256_setzero_si256(); 2]
        }

        #[inline(always)]
        fn add_codes(self, [positive, magnitude]: [__m256i; 2], codes: __m256i) -> [__m256i; 2] {
            // Eight bytes to a lane of 64 bits.
            let zero = self.avx._mm256_setzero_si256();
            let add = |sums, bytes| {
                let eights = self.avx2._mm256_sad_epu8(bytes, zero);
                self.avx2._mm256_add_epi64(sums, eights)
            };
            [
                add(positive, self.positive(codes)),
                add(magnitude, self.avx2._mm256_abs_epi8(codes)),
            ]
        }

        #[inline(always)]
        fn totals(self, totals: [__m256i; 2]) -> (i64, i64) {
            let [positive, magnitude] = totals.map(|sums| cast::<_, [i64; 4]>(sums).iter().sum());
            (positive, magnitude)
        }

        #[inline(always)]
        fn no_products(self) -> __m256i {
            self.avx._mm256_setzero_si256()
        }

        #[inline(always)]
        fn add_byte_products(self, sums: __m256i, high: __m256i, codes: __m256i) -> __m256i {
            // The pairs lie within ±2·127·128, so saturation does not occur.
            let pairs = self.avx2._mm256_maddubs_epi16(high, codes);
            let ones = self.avx._mm256_set1_epi16(1);
            let fours = self.avx2._mm256_madd_epi16(pairs, ones);
            self.avx2._mm256_add_epi32(sums, fours)
        }

        #[inline(always)]
        fn shorts(self, values: &[i8], index: usize) -> __m256i {
            let half: __m128i = cast(chunk::<i8, 16>(values, index));
            self.avx2._mm256_cvtepi8_epi16(half)
        }

        #[inline(always)]
        fn kept_shorts(self, values: &[i8], mask: &[u8], index: usize) -> __m256i {
            let mask: __m128i = cast(chunk::<u8, 16>(mask, index));
            let half: __m128i = cast(chunk::<i8, 16>(values, index));
            let zero = self.sse2._mm_setzero_si128();
            let gone = self.sse2._mm_cmpeq_epi8(mask, zero);
            let kept = self.sse2._mm_andnot_si128(gone, half);
            self.avx2._mm256_cvtepi8_epi16(kept)
        }

        #[inline(always)]
        fn wide_shorts(self, values: &[i16], index: usize) -> __m256i {
            cast(chunk::<i16, 16>(values, index))
        }

        #[inline(always)]
        fn short_magnitude(self, shorts: __m256i) -> __m256i {
            self.avx2._mm256_abs_epi16(shorts)
        }

        #[inline(always)]
        fn add_short_products(self, sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
            let pairs = self.avx2._mm256_madd_epi16(a, b);
            self.avx2._mm256_add_epi32(sums, pairs)
        }

        #[inline(always)]
        fn sum(self, sums: __m256i) -> i64 {
            let lanes: [i32; 8] = cast(sums);
            lanes.iter().copied().map(i64::from).sum()
        }

        #[inline(always)]
        fn fours(self, bytes: [u8; 4]) -> __m256i {
            self.avx._mm256_set1_epi32(i32::from_ne_bytes(bytes))
        }

        #[inline(always)]
        fn no_shorts(self) -> __m256i {
            self.avx._mm256_setzero_si256()
        }

        #[inline(always)]
        fn add_byte_pairs(self, sums: __m256i, high: __m256i, codes: __m256i) -> __m256i {
            let pairs = self.avx2._mm256_maddubs_epi16(high, codes);
            self.avx2._mm256_add_epi16(sums, pairs)
        }

        #[inline(always)]
        fn add_shorts(self, sums: __m256i, shorts: __m256i) -> __m256i {
            let ones = self.avx._mm256_set1_epi16(1);
            let fours = self.avx2._mm256_madd_epi16(shorts, ones);
            self.avx2._mm256_add_epi32(sums, fours)
        }

        #[inline(always)]
        fn store(self, sums: __m256i, into: &mut [i32; WIDEST / 4]) {
            let lanes: [i32; 8] = cast(sums);
            into[..8].copy_from_slice(&lanes);
        }
    }

    /// Vectors of 512 bits.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512<D> {
        pub v4: V4,
        pub dots: D,
    }

    /// How 512 bits of codes are multiplied and summed.
    pub(crate) trait Dots: Copy {
        /// [`Vectors::add_codes`].
        fn add_codes(self, v4: V4, totals: [__m512i; 2], codes: __m512i) -> [__m512i; 2];
        /// [`Vectors::totals`].
        fn totals(self, v4: V4, totals: [__m512i; 2]) -> (i64, i64);
        /// [`Vectors::add_byte_products`].
        fn add_byte_products(self, v4: V4, sums: __m512i, high: __m512i, codes: __m512i)
        -> __m512i;
        /// [`Vectors::add_short_products`].
        fn add_short_products(self, v4: V4, sums: __m512i, a: __m512i, b: __m512i) -> __m512i;
    }

    /// Pair by pair, as every processor with AVX-512 can.
    #[derive(Clone, Copy)]
    pub(crate) struct Pairs;

    impl Dots for Pairs {
        #[inline(always)]
        fn add_codes(
            self,
            v4: V4,
            [positive, magnitude]: [__m512i; 2],
            codes: __m512i,
        ) -> [__m512i; 2] {
            // Eight bytes to a lane of 64 bits.
            let zero = v4.avx512f._mm512_setzero_si512();
            let add = |sums, bytes| {
                let eights = v4.avx512bw._mm512_sad_epu8(bytes, zero);
                v4.avx512f._mm512_add_epi64(sums, eights)
            };
            [
                add(positive, v4.avx512bw._mm512_max_epi8(codes, zero)),
                add(magnitude, v4.avx512bw._mm512_abs_epi8(codes)),
            ]
        }

        #[inline(always)]
        fn totals(self, v4: V4, totals: [__m512i; 2]) -> (i64, i64) {
            let [positive, magnitude] = totals.map(|sums| v4.avx512f._mm512_reduce_add_epi64(sums));
            (positive, magnitude)
        }

        #[inline(always)]
        fn add_byte_products(
            self,
            v4: V4,
            sums: __m512i,
            high: __m512i,
            codes: __m512i,
        ) -> __m512i {
            // The pairs lie within ±2·127·128, so saturation does not occur.
            let pairs = v4.avx512bw._mm512_maddubs_epi16(high, codes);
            let ones = v4.avx512f._mm512_set1_epi16(1);
            let fours = v4.avx512bw._mm512_madd_epi16(pairs, ones);
            v4.avx512f._mm512_add_epi32(sums, fours)
        }

        #[inline(always)]
        fn add_short_products(self, v4: V4, sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
            let pairs = v4.avx512bw._mm512_madd_epi16(a, b);
            v4.avx512f._mm512_add_epi32(sums, pairs)
        }
    }

    impl Dots for Vnni {
        #[inline(always)]
        fn add_codes(self, v4: V4, [all, magnitude]: [__m512i; 2], codes: __m512i) -> [__m512i; 2] {
            // Lanes of 32 bits, together at most 2¹⁷ · 64 · 128. A magnitude of 128 is unsigned.
            let ones = v4.avx512f._mm512_set1_epi8(1);
            let magnitudes = v4.avx512bw._mm512_abs_epi8(codes);
            [
                Vnni::add_byte_products(self, all, ones, codes),
                Vnni::add_byte_products(self, magnitude, magnitudes, ones),
            ]
        }

        #[inline(always)]
        fn totals(self, v4: V4, totals: [__m512i; 2]) -> (i64, i64) {
            let [all, magnitude] =
                totals.map(|sums| i64::from(v4.avx512f._mm512_reduce_add_epi32(sums)));
            ((all + magnitude) / 2, magnitude)
        }

        #[inline(always)]
        fn add_byte_products(self, _: V4, sums: __m512i, high: __m512i, codes: __m512i) -> __m512i {
            Vnni::add_byte_products(self, sums, high, codes)
        }

        #[inline(always)]
        fn add_short_products(self, _: V4, sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
            Vnni::add_short_products(self, sums, a, b)
        }
    }

    impl<D: Dots> Vectors for Avx512<D> {
        type Bytes = __m512i;
        type Shorts = __m512i;
        type Products = __m512i;
        type Totals = [__m512i; 2];
        const BYTES: usize = 64;

        #[inline(always)]
        fn bytes(self, values: &[i8], index: usize) -> __m512i {
            cast(chunk::<i8, 64>(values, index))
        }

        #[inline(always)]
        fn kept_bytes(self, values: &[i8], mask: &[u8], index: usize) -> __m512i {
            let mask = cast(chunk::<u8, 64>(mask, index));
            let kept = self.v4.avx512bw._mm512_test_epi8_mask(mask, mask);
            let codes = self.bytes(values, index);
            self.v4.avx512bw._mm512_maskz_mov_epi8(kept, codes)
        }

        #[inline(always)]
        fn positive(self, bytes: __m512i) -> __m512i {
            let zero = self.v4.avx512f._mm512_setzero_si512();
            self.v4.avx512bw._mm512_max_epi8(bytes, zero)
        }

        #[inline(always)]
        fn no_totals(self) -> [__m512i; 2] {
            [self.v4.avx512f._mm512_setzero_si512(); 2]
        }

        #[inline(always)]
        fn add_codes(self, totals: [__m512i; 2], codes: __m512i) -> [__m512i; 2] {
            self.dots.add_codes(self.v4, totals, codes)
        }

        #[inline(always)]
        fn totals(self, totals: [__m512i; 2]) -> (i64, i64) {
            self.dots.totals(self.v4, totals)
        }

        #[inline(always)]
        fn no_products(self) -> __m512i {
            self.v4.avx512f._mm512_setzero_si512()
        }

        #[inline(always)]
        fn add_byte_products(self, sums: __m512i, high: __m512i, codes: __m512i) -> __m512i {
            self.dots.add_byte_products(self.v4, sums, high, codes)
        }

        #[inline(always)]
        fn shorts(self, values: &[i8], index: usize) -> __m512i {
            let half: __m256i = cast(chunk::<i8, 32>(values, index));
            self.v4.avx512bw._mm512_cvtepi8_epi16(half)
        }

        #[inline(always)]
        fn kept_shorts(self, values: &[i8], mask: &[u8], index: usize) -> __m512i {
            let mask: __m256i = cast(chunk::<u8, 32>(mask, index));
            let half: __m256i = cast(chunk::<i8, 32>(values, index));
            let zero = self.v4.avx._mm256_setzero_si256();
            let gone = self.v4.avx2._mm256_cmpeq_epi8(mask, zero);
            let kept = self.v4.avx2._mm256_andnot_si256(gone, half);
            self.v4.avx512bw._mm512_cvtepi8_epi16(kept)
        }

        #[inline(always)]
        fn wide_shorts(self, values: &[i16], index: usize) -> __m512i {
            cast(chunk::<i16, 32>(values, index))
        }

        #[inline(always)]
        fn short_magnitude(self, shorts: __m512i) -> __m512i {
            self.v4.avx512bw._mm512_abs_epi16(shorts)
        }

        #[inline(always)]
        fn add_short_products(self, sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
            self.dots.add_short_products(self.v4, sums, a, b)
        }

        #[inline(always)]
        fn sum(self, sums: __m512i) -> i64 {
            self.v4.avx512f._mm512_reduce_add_epi32(sums).into()
        }

        #[inline(always)]
        fn fours(self, bytes: [u8; 4]) -> __m512i {
            self.v4.avx512f._mm512_set1_epi32(i32::from_ne_bytes(bytes))
        }

        #[inline(always)]
        fn no_shorts(self) -> __m512i {
            self.v4.avx512f._mm512_setzero_si512()
        }

        #[inline(always)]
        fn add_byte_pairs(self, sums: __m512i, high: __m512i, codes: __m512i) -> __m512i {
            let pairs = self.v4.avx512bw._mm512_maddubs_epi16(high, codes);
            self.v4.avx512bw._mm512_add_epi16(sums, pairs)
        }

        #[inline(always)]
        fn add_shorts(self, sums: __m512i, shorts: __m512i) -> __m512i {
            let ones = self.v4.avx512f._mm512_set1_epi16(1);
            let fours = self.v4.avx512bw._mm512_madd_epi16(shorts, ones);
            self.v4.avx512f._mm512_add_epi32(sums, fours)
        }

        #[inline(always)]
        fn store(self, sums: __m512i, into: &mut [i32; WIDEST / 4]) {
            *into = cast(sums);
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::{Vectors, WIDEST, cast, chunk};
    use core::arch::aarch64::{int8x16_t, int16x8_t, int32x4_t, uint32x4_t};
    use pulp::aarch64::Neon;

    impl Vectors for Neon {
        type Bytes = int8x16_t;
        type Shorts = int16x8_t;
        type Products = int32x4_t;
        type Totals = [uint32x4_t; 2];
        const BYTES: usize = 16;

        #[inline(always)]
        fn bytes(self, values: &[i8], index: usize) -> int8x16_t {
            cast(chunk::<i8, 16>(values, index))
        }

        #[inline(always)]
        fn kept_bytes(self, values: &[i8], mask: &[u8], index: usize) -> int8x16_t {
            let mask = cast(chunk::<u8, 16>(mask, index));
            let kept = cast(self.neon.vtstq_u8(mask, mask));
            self.neon.vandq_s8(self.bytes(values, index), kept)
        }

        #[inline(always)]
        fn positive(self, bytes: int8x16_t) -> int8x16_t {
            self.neon.vmaxq_s8(bytes, self.neon.vdupq_n_s8(0))
        }

        #[inline(always)]
        fn no_totals(self) -> [uint32x4_t; 2] {
            [self.neon.vdupq_n_u32(0); 2]
        }

        #[inline(always)]
        fn add_codes(
            self,
            [positive, magnitude]: [uint32x4_t; 2],
            codes: int8x16_t,
        ) -> [uint32x4_t; 2] {
            // Four bytes to a lane: at most 2¹⁷ · 512. The magnitude of -128 wraps to 128 unsigned.
            let add = |sums, bytes: int8x16_t| {
                let pairs = self.neon.vpaddlq_u8(cast(bytes));
                self.neon.vpadalq_u16(sums, pairs)
            };
            [
                add(positive, self.positive(codes)),
                add(magnitude, self.neon.vabsq_s8(codes)),
            ]
        }

        #[inline(always)]
        fn totals(self, totals: [uint32x4_t; 2]) -> (i64, i64) {
            let sum = |lanes: [u32; 4]| lanes.iter().copied().map(i64::from).sum::<i64>();
            let [positive, magnitude] = totals.map(|sums| sum(cast(sums)));
            (positive, magnitude)
        }

        #[inline(always)]
        fn no_products(self) -> int32x4_t {
            self.neon.vdupq_n_s32(0)
        }

        #[inline(always)]
        fn add_byte_products(
            self,
            sums: int32x4_t,
            high: int8x16_t,
            codes: int8x16_t,
        ) -> int32x4_t {
            // Products within ±127·128 fit 16 bits; pairs of them are added in 32.
            let (high_half, codes_half) =
                (self.neon.vget_low_s8(high), self.neon.vget_low_s8(codes));
            let lower = self.neon.vmull_s8(high_half, codes_half);
            let upper = self.neon.vmull_high_s8(high, codes);
            self.neon
                .vpadalq_s16(self.neon.vpadalq_s16(sums, lower), upper)
        }

        #[inline(always)]
        fn shorts(self, values: &[i8], index: usize) -> int16x8_t {
            self.neon.vmovl_s8(cast(chunk::<i8, 8>(values, index)))
        }

        #[inline(always)]
        fn kept_shorts(self, values: &[i8], mask: &[u8], index: usize) -> int16x8_t {
            let mask = cast(chunk::<u8, 8>(mask, index));
            let kept = cast(self.neon.vtst_u8(mask, mask));
            let codes = cast(chunk::<i8, 8>(values, index));
            self.neon.vmovl_s8(self.neon.vand_s8(codes, kept))
        }

        #[inline(always)]
        fn wide_shorts(self, values: &[i16], index: usize) -> int16x8_t {
            cast(chunk::<i16, 8>(values, index))
        }

        #[inline(always)]
        fn short_magnitude(self, shorts: int16x8_t) -> int16x8_t {
            self.neon.vabsq_s16(shorts)
        }

        #[inline(always)]
        fn add_short_products(self, sums: int32x4_t, a: int16x8_t, b: int16x8_t) -> int32x4_t {
            let (a_half, b_half) = (self.neon.vget_low_s16(a), self.neon.vget_low_s16(b));
            let lower = self.neon.vmlal_s16(sums, a_half, b_half);
            self.neon.vmlal_high_s16(lower, a, b)
        }

        #[inline(always)]
        fn sum(self, sums: int32x4_t) -> i64 {
            cast::<_, [i32; 4]>(sums)
                .iter()
                .copied()
                .map(i64::from)
                .sum()
        }

        #[inline(always)]
        fn fours(self, bytes: [u8; 4]) -> int8x16_t {
            cast(self.neon.vdupq_n_u32(u32::from_ne_bytes(bytes)))
        }

        #[inline(always)]
        fn no_shorts(self) -> int16x8_t {
            self.neon.vdupq_n_s16(0)
        }

        #[inline(always)]
        fn add_byte_pairs(self, sums: int16x8_t, high: int8x16_t, codes: int8x16_t) -> int16x8_t {
            let (high_half, codes_half) =
                (self.neon.vget_low_s8(high), self.neon.vget_low_s8(codes));
            let lower = self.neon.vmull_s8(high_half, codes_half);
            let upper = self.neon.vmull_high_s8(high, codes);
            self.neon
                .vaddq_s16(sums, self.neon.vpaddq_s16(lower, upper))
        }

        #[inline(always)]
        fn add_shorts(self, sums: int32x4_t, shorts: int16x8_t) -> int32x4_t {
            self.neon.vpadalq_s16(sums, shorts)
        }

        #[inline(always)]
        fn store(self, sums: int32x4_t, into: &mut [i32; WIDEST / 4]) {
            let lanes: [i32; 4] = cast(sums);
            into[..4].copy_from_slice(&lanes);
        }
    }
}
