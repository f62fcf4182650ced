//! The forms that input ranges take for the kernels, and the kernels that sum rows in each.
//!
//! With `p = max(w, 0)` and `n = min(w, 0)` the ends of an accumulator are `Σ p·high + n·low` and
//! `Σ p·low + n·high`. Where all inputs share a range, `Σ p` and `Σ n` are enough; where lows are
//! zero, `Σ p·high` and `Σ w·high`; in general `Σ w·(low + high)` and `Σ |w|·(high − low)`, which
//! are twice the middle and the width.

use crate::code::{BLOCK, Code, block};
use crate::inputs::reach;
use crate::machine::{Kernel, Machine};
use crate::ranges::Wide;
use crate::vectors::{Vectors, WIDEST, padded};

/// Names the forms, the most particular first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One range for all inputs.
    One,
    /// Ranges from 0 to at most 127.
    Bytes,
    /// Ranges whose ends add up to 16 bits.
    Shorts,
    /// Any ranges.
    Any,
}

/// Rows of a layer and what is kept of them, one mask each or none at all.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a, T> {
    pub rows: &'a [&'a [T]],
    pub masks: Option<&'a [&'a [u8]]>,
}

impl<'a, T> Tile<'a, T> {
    fn each(self) -> impl Iterator<Item = (&'a [T], Option<&'a [u8]>)> {
        let mask = move |at: usize| self.masks.map(|masks| masks[at]);
        self.rows
            .iter()
            .enumerate()
            .map(move |(at, row)| (*row, mask(at)))
    }
}

/// Input ranges made ready, and the sums over rows under them.
pub(crate) trait Form<T>: Send + Sync {
    /// The ranges of the rows, without bias.
    fn sum(&self, machine: Machine, tile: Tile<'_, T>, ranges: &mut [Wide]);

    /// What a weight costs, as part of what one costs that is read and no more.
    fn cost(&self) -> usize;
}

/// One range for all inputs.
pub(crate) struct One {
    low: i64,
    high: i64,
}

impl One {
    pub fn new(low: i64, high: i64) -> Self {
        Self { low, high }
    }
}

impl<T: Code> Form<T> for One {
    fn sum(&self, machine: Machine, tile: Tile<'_, T>, ranges: &mut [Wide]) {
        machine.run(SignedSums {
            tile,
            ends: (self.low, self.high),
            ranges,
        });
    }

    fn cost(&self) -> usize {
        1
    }
}

struct SignedSums<'a, T> {
    tile: Tile<'a, T>,
    ends: (i64, i64),
    ranges: &'a mut [Wide],
}

impl<T: Code> Kernel for SignedSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        let (low, high) = (i128::from(self.ends.0), i128::from(self.ends.1));
        for ((row, mask), range) in self.tile.each().zip(self.ranges) {
            let (p, n) = T::signed_sums(v, row, mask);
            *range = if i64::try_from(p).is_ok() && i64::try_from(n).is_ok() {
                // Products below 2¹²⁶, their sums below 2¹²⁷.
                Wide::new(low * p + high * n, high * p + low * n)
            } else {
                wide_range(row, mask, |_| self.ends)
            };
        }
    }
}

/// A source of vectors: a row of bytes, masked or not.
trait Source: Copy {
    fn len(self) -> usize;
    /// The first `len` of it. Cut to what their loop reads, sources need no checks in it.
    fn first(self, len: usize) -> Self;
    fn bytes<V: Vectors>(self, v: V, index: usize) -> V::Bytes;
    fn shorts<V: Vectors>(self, v: V, index: usize) -> V::Shorts;
    /// What is left from `from` on, padded with zeros.
    fn last(self, from: usize) -> [i8; WIDEST];
}

impl Source for &[i8] {
    #[inline(always)]
    fn len(self) -> usize {
        <[i8]>::len(self)
    }

    #[inline(always)]
    fn first(self, len: usize) -> Self {
        &self[..len]
    }

    #[inline(always)]
    fn bytes<V: Vectors>(self, v: V, index: usize) -> V::Bytes {
        v.bytes(self, index)
    }

    #[inline(always)]
    fn shorts<V: Vectors>(self, v: V, index: usize) -> V::Shorts {
        v.shorts(self, index)
    }

    #[inline(always)]
    fn last(self, from: usize) -> [i8; WIDEST] {
        padded(self, from)
    }
}

#[derive(Clone, Copy)]
struct Masked<'a> {
    row: &'a [i8],
    mask: &'a [u8],
}

impl Source for Masked<'_> {
    #[inline(always)]
    fn len(self) -> usize {
        self.row.len().min(self.mask.len())
    }

    #[inline(always)]
    fn first(self, len: usize) -> Self {
        Self {
            row: &self.row[..len],
            mask: &self.mask[..len],
        }
    }

    #[inline(always)]
    fn bytes<V: Vectors>(self, v: V, index: usize) -> V::Bytes {
        v.kept_bytes(self.row, self.mask, index)
    }

    #[inline(always)]
    fn shorts<V: Vectors>(self, v: V, index: usize) -> V::Shorts {
        v.kept_shorts(self.row, self.mask, index)
    }

    #[inline(always)]
    fn last(self, from: usize) -> [i8; WIDEST] {
        let (mut last, mask) = (padded(self.row, from), padded(self.mask, from));
        for (code, kept) in last.iter_mut().zip(mask) {
            *code = if kept != 0 { *code } else { 0 };
        }
        last
    }
}

/// Vectors of bytes are added up so many at a time.
const MOST_TOTALS: usize = 1 << 17;

/// Sum of the positive and sum of the negative codes of a row.
#[inline(always)]
pub(crate) fn signed_bytes<V: Vectors>(v: V, row: &[i8], mask: Option<&[u8]>) -> (i128, i128) {
    match mask {
        None => byte_sums(v, row),
        Some(mask) => byte_sums(v, Masked { row, mask }),
    }
}

#[inline(always)]
fn byte_sums<V: Vectors, S: Source>(v: V, row: S) -> (i128, i128) {
    let (full, all) = (row.len() / V::BYTES, row.len().div_ceil(V::BYTES));
    let whole = row.first(full * V::BYTES);
    let (mut positive, mut magnitude) = (0_i64, 0_i64);
    for start in (0..all).step_by(MOST_TOTALS) {
        let end = (start + MOST_TOTALS).min(all);
        let mut totals = v.no_totals();
        for index in start..end.min(full) {
            totals = v.add_codes(totals, whole.bytes(v, index));
        }
        if end > full {
            totals = v.add_codes(totals, v.bytes(&row.last(full * V::BYTES), 0));
        }
        let (p, m) = v.totals(totals);
        positive += p;
        magnitude += m;
    }
    (positive.into(), (positive - magnitude).into())
}

/// Ranges from 0 to at most 127: products of bytes.
pub(crate) struct Bytes {
    /// Upper ends.
    high: Vec<i8>,
}

impl Bytes {
    pub fn new(low: &[i64], high: &[i64], _largest: u64) -> Option<Self> {
        // To look at all of them takes less time than to stop at the first.
        let reach = low.iter().fold(0, |all, &end| all | end);
        let fits = high.iter().fold(0, |all, &end| all | end) <= i64::from(i8::MAX);
        // No high is negative where its low is zero.
        if reach != 0 || !fits {
            return None;
        }
        let high = high.iter().map(|&end| end as i8).collect();
        Some(Self { high })
    }
}

impl Form<i8> for Bytes {
    fn sum(&self, machine: Machine, tile: Tile<'_, i8>, ranges: &mut [Wide]) {
        machine.run(ByteProducts {
            form: self,
            tile,
            ranges,
        });
    }

    fn cost(&self) -> usize {
        1
    }
}

struct ByteProducts<'a> {
    form: &'a Bytes,
    tile: Tile<'a, i8>,
    ranges: &'a mut [Wide],
}

impl Kernel for ByteProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        for ((row, mask), range) in self.tile.each().zip(self.ranges) {
            *range = match mask {
                None => byte_products(v, row, &self.form.high),
                Some(mask) => byte_products(v, Masked { row, mask }, &self.form.high),
            };
        }
    }
}

/// Products of bytes are added up in 32 bits for so many columns: each is at most 2¹⁴.
const BYTE_COLUMNS: usize = 1 << 16;

/// The range of a row: `Σ max(w, 0)·high` is its upper end, `Σ w·high` the sum of both.
#[inline(always)]
fn byte_products<V: Vectors, S: Source>(v: V, row: S, high: &[i8]) -> Wide {
    let (full, all) = (row.len() / V::BYTES, row.len().div_ceil(V::BYTES));
    let (whole, whole_high) = (row.first(full * V::BYTES), &high[..full * V::BYTES]);
    let step = BYTE_COLUMNS / V::BYTES;
    let (mut upper, mut both) = (0_i64, 0_i64);
    for start in (0..all).step_by(step) {
        let end = (start + step).min(all);
        let (mut positive, mut total) = (v.no_products(), v.no_products());
        for index in start..end.min(full) {
            let (codes, high) = (whole.bytes(v, index), v.bytes(whole_high, index));
            positive = v.add_byte_products(positive, high, v.positive(codes));
            total = v.add_byte_products(total, high, codes);
        }
        if end > full {
            let codes = v.bytes(&row.last(full * V::BYTES), 0);
            let high = v.bytes(&padded(high, full * V::BYTES), 0);
            positive = v.add_byte_products(positive, high, v.positive(codes));
            total = v.add_byte_products(total, high, codes);
        }
        upper += v.sum(positive);
        both += v.sum(total);
    }
    Wide::new(i128::from(both) - i128::from(upper), upper.into())
}

/// Twice the middles and the widths in 16 bits each.
pub(crate) struct Shorts {
    /// `low + high` per input.
    middle: Vec<i16>,
    /// `high - low` per input.
    width: Vec<i16>,
    /// So many products of either with a weight fit 32 bits.
    run: usize,
}

/// A run shorter than this does not pay.
const SHORTEST_RUN: u64 = 128;

impl Shorts {
    pub fn new(low: &[i64], high: &[i64], largest: u64) -> Option<Self> {
        // |low + high| and high - low are at most twice the largest end.
        if reach(low, high) > 16_383 {
            return None;
        }
        let ends = || low.iter().zip(high);
        let factor = ends().fold(1, |most, (&low, &high)| {
            most.max((low + high).abs()).max(high - low)
        });
        let run = i32::MAX as u64 / (factor.unsigned_abs() * largest);
        if run < SHORTEST_RUN {
            return None;
        }
        Some(Self {
            middle: ends().map(|(&low, &high)| (low + high) as i16).collect(),
            width: ends().map(|(&low, &high)| (high - low) as i16).collect(),
            run: run as usize,
        })
    }
}

impl Form<i8> for Shorts {
    fn sum(&self, machine: Machine, tile: Tile<'_, i8>, ranges: &mut [Wide]) {
        machine.run(ShortProducts {
            form: self,
            tile,
            ranges,
        });
    }

    fn cost(&self) -> usize {
        2
    }
}

/// So many rows share each load of a middle and a width.
const ROWS: usize = 4;

struct ShortProducts<'a> {
    form: &'a Shorts,
    tile: Tile<'a, i8>,
    ranges: &'a mut [Wide],
}

impl Kernel for ShortProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        let (form, Tile { rows, masks }) = (self.form, self.tile);
        let (fours, ones) = rows.as_chunks::<ROWS>();
        let (ranges, last) = self.ranges.split_at_mut(fours.len() * ROWS);
        let ranges = ranges.as_chunks_mut::<ROWS>().0;
        match masks {
            None => {
                for (rows, ranges) in fours.iter().zip(ranges) {
                    *ranges = short_products(v, *rows, form);
                }
                for (row, range) in ones.iter().zip(last) {
                    [*range] = short_products(v, [*row], form);
                }
            }
            Some(masks) => {
                let (four_masks, one_masks) = masks.as_chunks::<ROWS>();
                for ((rows, masks), ranges) in fours.iter().zip(four_masks).zip(ranges) {
                    let rows = std::array::from_fn::<_, ROWS, _>(|at| Masked {
                        row: rows[at],
                        mask: masks[at],
                    });
                    *ranges = short_products(v, rows, form);
                }
                for ((row, mask), range) in ones.iter().zip(one_masks).zip(last) {
                    [*range] = short_products(v, [Masked { row, mask }], form);
                }
            }
        }
    }
}

/// The range of which twice the middle and the width are given. Both have the parity of
/// `Σ w(high - low)`, so the halves are whole.
#[inline(always)]
fn around((middle, width): (i64, i64)) -> Wide {
    let (middle, width) = (i128::from(middle), i128::from(width));
    Wide::new((middle - width) / 2, (middle + width) / 2)
}

/// The ranges of the rows, from their `Σ w·middle` and `Σ |w|·width`.
#[inline(always)]
fn short_products<V: Vectors, S: Source, const R: usize>(
    v: V,
    rows: [S; R],
    form: &Shorts,
) -> [Wide; R] {
    let lanes = V::BYTES / 2;
    let columns = rows
        .iter()
        .fold(usize::MAX, |width, row| row.len().min(width));
    let (full, all) = (columns / lanes, columns.div_ceil(lanes));
    // No shorter than one vector: a run has at least 128 columns.
    let step = form.run / lanes;
    let whole = rows.map(|row| row.first(full * lanes));
    let middles = &form.middle[..full * lanes];
    let widths = &form.width[..full * lanes];
    let mut sums = [(0, 0); R];
    for start in (0..all).step_by(step) {
        let end = (start + step).min(all);
        let (mut centre, mut spread) = ([v.no_products(); R], [v.no_products(); R]);
        for index in start..end.min(full) {
            let middle = v.wide_shorts(middles, index);
            let width = v.wide_shorts(widths, index);
            for r in 0..R {
                let codes = whole[r].shorts(v, index);
                centre[r] = v.add_short_products(centre[r], codes, middle);
                spread[r] = v.add_short_products(spread[r], v.short_magnitude(codes), width);
            }
        }
        if end > full {
            let middle = v.wide_shorts(&padded(&form.middle, full * lanes), 0);
            let width = v.wide_shorts(&padded(&form.width, full * lanes), 0);
            for r in 0..R {
                let codes = v.shorts(&rows[r].last(full * lanes), 0);
                centre[r] = v.add_short_products(centre[r], codes, middle);
                spread[r] = v.add_short_products(spread[r], v.short_magnitude(codes), width);
            }
        }
        for r in 0..R {
            sums[r].0 += v.sum(centre[r]);
            sums[r].1 += v.sum(spread[r]);
        }
    }
    sums.map(around)
}

/// Plain loops over middles and widths, for codes of more than a byte or without a sign.
macro_rules! plain_shorts {
    ($code:ty, $kernel:ident, $magnitude:expr) => {
        impl Form<$code> for Shorts {
            fn sum(&self, machine: Machine, tile: Tile<'_, $code>, ranges: &mut [Wide]) {
                machine.run($kernel {
                    form: self,
                    tile,
                    ranges,
                });
            }

            fn cost(&self) -> usize {
                4
            }
        }

        struct $kernel<'a> {
            form: &'a Shorts,
            tile: Tile<'a, $code>,
            ranges: &'a mut [Wide],
        }

        impl Kernel for $kernel<'_> {
            type Output = ();

            #[inline(always)]
            fn run<V: Vectors>(self, _: V) {
                let Shorts { middle, width, run } = self.form;
                let mut scratch = [0; BLOCK];
                for ((row, mask), range) in self.tile.each().zip(self.ranges) {
                    let mut sums = (0, 0);
                    for at in (0..row.len()).step_by(BLOCK) {
                        let block = block(row, mask, at, &mut scratch);
                        let (middle, width) = (&middle[at..], &width[at..]);
                        let runs = block.chunks(*run).zip(middle.chunks(*run));
                        for ((block, middle), width) in runs.zip(width.chunks(*run)) {
                            // A run of products fits 32 bits.
                            let (mut centre, mut spread) = (0_i32, 0_i32);
                            for ((&w, &m), &r) in block.iter().zip(middle).zip(width) {
                                // Both factors visibly 16 bits wide: one multiply-add of them.
                                let product = i32::from(w as i16).wrapping_mul(i32::from(m));
                                let magnitude = i32::from($magnitude(w));
                                centre = centre.wrapping_add(product);
                                spread = spread.wrapping_add(magnitude.wrapping_mul(i32::from(r)));
                            }
                            sums.0 += i64::from(centre);
                            sums.1 += i64::from(spread);
                        }
                    }
                    *range = around(sums);
                }
            }
        }
    };
}

plain_shorts!(u8, ShortsU8, |w: u8| w);
plain_shorts!(i16, ShortsI16, i16::unsigned_abs);

/// Any ranges: 64 bits where the row permits it, exact sums otherwise.
pub(crate) struct Any {
    low: Vec<i64>,
    high: Vec<i64>,
    /// The largest magnitude of any end.
    largest: u64,
}

impl Any {
    pub fn new(low: &[i64], high: &[i64]) -> Self {
        Self {
            low: low.to_vec(),
            high: high.to_vec(),
            largest: reach(low, high),
        }
    }
}

impl<T: Code> Form<T> for Any {
    fn sum(&self, machine: Machine, tile: Tile<'_, T>, ranges: &mut [Wide]) {
        machine.run(Dots {
            form: self,
            tile,
            ranges,
        });
    }

    fn cost(&self) -> usize {
        16
    }
}

struct Dots<'a, T> {
    form: &'a Any,
    tile: Tile<'a, T>,
    ranges: &'a mut [Wide],
}

impl<T: Code> Kernel for Dots<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, _: V) {
        let Any { low, high, largest } = self.form;
        let mut scratch = [T::default(); BLOCK];
        for ((row, mask), range) in self.tile.each().zip(self.ranges) {
            let fits = sums_fit(row.len(), T::LARGEST, *largest)
                || sums_fit(row.len(), T::largest(row), *largest);
            if !fits {
                *range = wide_range(row, mask, |input| (low[input], high[input]));
                continue;
            }
            let mut sums = (0, 0);
            for at in (0..row.len()).step_by(BLOCK) {
                let block = block(row, mask, at, &mut scratch);
                let (least, most) = T::dots(block, &low[at..], &high[at..]);
                sums.0 += least;
                sums.1 += most;
            }
            *range = Wide::new(sums.0.into(), sums.1.into());
        }
    }
}

/// Whether sums of `terms` products of such magnitudes fit 64 bits.
#[inline(always)]
pub(crate) fn sums_fit(terms: usize, weight: u64, input: u64) -> bool {
    let product = u128::from(weight) * u128::from(input);
    product
        .checked_mul(terms as u128)
        .is_some_and(|sum| sum <= i64::MAX as u128)
}

/// The range of one row where nothing is known about magnitudes.
#[inline(never)]
fn wide_range<T: Code>(
    row: &[T],
    mask: Option<&[u8]>,
    input: impl Fn(usize) -> (i64, i64),
) -> Wide {
    let mut range = Wide::default();
    for (at, w) in row.iter().enumerate() {
        if mask.is_none_or(|mask| mask[at] != 0) {
            range.add_product(w.value(), input(at));
        }
    }
    range
}
