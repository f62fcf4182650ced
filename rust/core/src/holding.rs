//! Weights in training, held back so that their codes stay within the budget of their channel.
//!
//! A weight `w` of scale `s` has the code `round(w / s)`, and a channel fits P span bits where
//! `Σ |cᵢ|(hᵢ − lᵢ) ≤ 2ᴾ − 1`. What an optimiser's step takes beyond goes back across the edges
//! that it has crossed by least: a projection, as in projected gradient descent.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::{Add, Div, Mul};

use ndarray::{ArrayView1, ArrayView2};
use pulp::{Arch, NullaryFnOnce};

use crate::inputs::InputRanges;
use crate::ranges::filled;
use crate::rounding::{check_codes, check_parts};
use crate::{Error, Result, threads};

/// Weights of a layer and the budget of its channels.
#[derive(Clone, Copy, Debug)]
pub struct Holding<'a, W> {
    /// `[out, in]`, finite.
    pub weight: ArrayView2<'a, W>,
    /// `[out]`, positive and finite.
    pub scale: ArrayView1<'a, W>,
    /// One for all channels, or one per channel.
    pub inputs: &'a [InputRanges],
    /// Span bits of every accumulator, 0 to [`MOST_BITS`].
    pub bits: i64,
    /// The least and the greatest code; 0 lies between them or is one of them.
    pub codes: (i64, i64),
    /// `[out, in]`; zero where a weight is gone.
    pub mask: Option<ArrayView2<'a, u8>>,
}

/// The channels whose codes exceeded their budget, and their weights held back.
#[derive(Clone, Debug, PartialEq)]
pub struct Held<W> {
    /// Output channels, rising.
    pub channels: Vec<usize>,
    /// `[channels, in]` in row-major order.
    pub weight: Vec<W>,
}

/// Widest permitted budget.
pub const MOST_BITS: i64 = 64;

/// Where a weight is held, in units of its scale beyond the code that it keeps: it rounds to it.
const EDGE: f64 = 0.49;

/// Independent sums, so that the compiler may keep them side by side.
const LANES: usize = 16;

/// Fewer weights than this are not worth waking a thread for.
const PARALLEL_FROM: usize = 1 << 16;

/// About so many weights are done at a time.
const CHUNK: usize = 1 << 14;

/// What weights are trained in: `f32` or `f64`.
pub trait Real: Copy + Default + Send + Sync + Mul<Output = Self> + Div<Output = Self> {
    /// The nearest such number.
    fn near(value: f64) -> Self;

    /// The same number.
    fn wide(self) -> f64;

    /// The magnitude of its code.
    fn magnitude(self, ends: (Self, Self)) -> Self;

    /// A code, which single precision holds.
    fn single(self) -> f32;

    /// Whether it is neither NaN nor infinite.
    fn finite(self) -> bool;

    /// The magnitude with the sign of `self`.
    fn signed(self, magnitude: Self) -> Self;
}

macro_rules! real {
    ($float:ty) => {
        impl Real for $float {
            #[inline(always)]
            fn near(value: f64) -> Self {
                value as Self
            }

            #[inline(always)]
            fn wide(self) -> f64 {
                self.into()
            }

            #[inline(always)]
            fn magnitude(self, (least, most): (Self, Self)) -> Self {
                // A loop over `clamp` is not vectorised: it may panic.
                self.round_ties_even().max(least).min(most).abs()
            }

            #[inline(always)]
            fn single(self) -> f32 {
                self as f32
            }

            #[inline(always)]
            fn finite(self) -> bool {
                self.abs() <= Self::MAX
            }

            #[inline(always)]
            fn signed(self, magnitude: Self) -> Self {
                magnitude.copysign(self)
            }
        }
    };
}

real!(f32);
real!(f64);

/// What budgets are counted in: exact up to [`Amount::LARGEST`].
trait Amount: Copy + Default + Send + Sync + Add<Output = Self> + Mul<Output = Self> {
    const LARGEST: u128;

    fn of_span(span: u64) -> Self;

    fn of_code(code: f32) -> Self;

    fn exact(self) -> u128;
}

macro_rules! amount {
    ($kind:ty, $largest:expr) => {
        impl Amount for $kind {
            const LARGEST: u128 = $largest;

            #[inline(always)]
            fn of_span(span: u64) -> Self {
                span as Self
            }

            #[inline(always)]
            fn of_code(code: f32) -> Self {
                code as Self
            }

            #[inline(always)]
            fn exact(self) -> u128 {
                self as u128
            }
        }
    };
}

amount!(f32, 1 << 24);
amount!(f64, 1 << 53);
amount!(u128, u128::MAX);

/// Holds back the weights of every channel whose codes cost more than its budget.
///
/// Of such a channel, those weights that lie least beyond the edge of their code go back across
/// it, one code at a time and of equal ones the first, until the codes fit; each then lies just
/// within the code that it keeps. All other weights stay as they are.
pub fn hold_back<W: Real>(holding: &Holding<'_, W>) -> Result<Held<W>> {
    if holding.check()? == 0 {
        // Of no weights none has to move, however many channels have none.
        return Ok(Held {
            channels: Vec::new(),
            weight: Vec::new(),
        });
    }
    let spans: Vec<Vec<u64>> = holding
        .inputs
        .iter()
        .map(|each| holding.spans(each))
        .collect();
    let widest = spans.iter().flatten().copied().max().unwrap_or(0);
    let reach = holding.codes.1.max(-holding.codes.0) as u128;
    // 2^20 · 2^64 · 2^40 bytes of weights: 128 bits are never exceeded.
    let most = reach * u128::from(widest) * holding.weight.ncols() as u128;
    // A sum and its parts are whole, and no sum of parts exceeds it.
    if most <= f32::LARGEST {
        holding.run::<f32>(&spans)
    } else if most <= f64::LARGEST {
        holding.run::<f64>(&spans)
    } else {
        holding.run::<u128>(&spans)
    }
}

impl<W: Real> Holding<'_, W> {
    fn run<A: Amount>(&self, spans: &[Vec<u64>]) -> Result<Held<W>> {
        let (outputs, inputs) = self.weight.dim();
        let amounts: Vec<Vec<A>> = spans
            .iter()
            .map(|spans| spans.iter().map(|span| A::of_span(*span)).collect())
            .collect();
        let mut held: Vec<Option<Vec<W>>> = filled(None, outputs)?;
        let rows = (CHUNK / inputs.max(1)).max(1);
        let chunks = held.chunks_mut(rows).enumerate();
        let wanted = self.weight.len() >= PARALLEL_FROM;
        threads::share(wanted, chunks, |(chunk, places)| {
            for (at, place) in places.iter_mut().enumerate() {
                let channel = chunk * rows + at;
                let of = if spans.len() == 1 { 0 } else { channel };
                *place = self.row(channel, &spans[of], &amounts[of])?;
            }
            Ok(())
        })?;
        let wide = held.into_iter().enumerate();
        let wide = wide.filter_map(|(channel, row)| Some((channel, row?)));
        let (channels, rows): (Vec<_>, Vec<_>) = wide.unzip();
        Ok(Held {
            channels,
            weight: rows.concat(),
        })
    }

    /// The weights of a channel, where they have to change.
    fn row<A: Amount>(
        &self,
        channel: usize,
        spans: &[u64],
        amounts: &[A],
    ) -> Result<Option<Vec<W>>> {
        let weight = self.weight.row(channel);
        let weight = contiguous(&weight);
        let mask = self.mask.as_ref().map(|mask| mask.row(channel));
        let mask = mask.as_ref().map(contiguous);
        let mask = mask.as_deref();
        let ends = (W::near(self.codes.0 as f64), W::near(self.codes.1 as f64));
        let spent = Arch::new().dispatch(Spend {
            weight: &weight,
            scale: self.scale[channel],
            ends,
            mask,
            amounts,
        });
        let Some(spent) = spent else {
            let input = weight.iter().position(|w| !w.finite()).unwrap_or(0);
            return Err(Error::Weight {
                channel,
                input,
                value: weight[input].wide(),
            });
        };
        let budget = (1_u128 << self.bits) - 1;
        Ok((spent.exact() > budget).then(|| {
            let kept = |input: usize| mask.is_none_or(|mask| mask[input] != 0);
            let excess = spent.exact() - budget;
            let magnitudes = Arch::new().dispatch(Magnitudes {
                weight: &weight,
                scale: self.scale[channel],
                ends,
            });
            self.back(
                &weight,
                self.scale[channel],
                magnitudes,
                spans,
                kept,
                excess,
            )
        }))
    }

    fn back(
        &self,
        weight: &[W],
        scale: W,
        mut codes: Vec<W>,
        spans: &[u64],
        kept: impl Fn(usize) -> bool,
        mut excess: u128,
    ) -> Vec<W> {
        let reach = self.codes.1.max(-self.codes.0) as f64;
        let mut crossed = Vec::new();
        for (input, (code, span)) in codes.iter().zip(spans).enumerate() {
            let code = code.wide();
            if code > 0.0 && *span > 0 && kept(input) {
                // How far beyond the edge; it is not negative, so that its bits are in its order.
                let units = weight[input] / scale;
                let beyond = units.wide().abs().min(reach) - code + 0.5;
                crossed.push(Reverse((beyond.max(0.0).to_bits(), input)));
            }
        }
        let mut held = weight.to_vec();
        let mut crossed = BinaryHeap::from(crossed);
        while excess > 0
            && let Some(Reverse((beyond, input))) = crossed.pop()
        {
            let code = codes[input].wide() - 1.0;
            codes[input] = W::near(code);
            excess = excess.saturating_sub(spans[input].into());
            held[input] = weight[input].signed(W::near(code + EDGE)) * scale;
            if code > 0.0 {
                let beyond = f64::from_bits(beyond) + 1.0;
                crossed.push(Reverse((beyond.to_bits(), input)));
            }
        }
        held
    }

    /// `high - low` of every input.
    fn spans(&self, inputs: &InputRanges) -> Vec<u64> {
        let ends = (0..self.weight.ncols()).map(|input| inputs.at(input));
        ends.map(|(low, high)| high.abs_diff(low)).collect()
    }

    /// How many weights there are, if everything goes together.
    fn check(&self) -> Result<usize> {
        check_parts(
            self.weight.dim(),
            self.mask.as_ref(),
            ("scale", self.scale.shape()),
            self.inputs,
            (self.bits, 0..=MOST_BITS),
        )?;
        check_codes(self.codes)?;
        if self.weight.is_empty() {
            return Ok(0);
        }
        let wrong = |scale: &W| !(scale.wide() > 0.0 && scale.finite());
        match self.scale.iter().position(wrong) {
            Some(channel) => Err(Error::Scale {
                argument: "scale",
                channel,
                value: self.scale[channel].wide(),
            }),
            None => Ok(self.weight.len()),
        }
    }
}

fn contiguous<'a, A: Copy>(row: &'a ArrayView1<'_, A>) -> Cow<'a, [A]> {
    row.as_slice()
        .map_or_else(|| Cow::Owned(row.to_vec()), Cow::Borrowed)
}

/// The magnitudes of the codes of a channel.
struct Magnitudes<'a, W> {
    weight: &'a [W],
    scale: W,
    ends: (W, W),
}

impl<W: Real> NullaryFnOnce for Magnitudes<'_, W> {
    type Output = Vec<W>;

    #[inline(always)]
    fn call(self) -> Vec<W> {
        let magnitude = |w: &W| (*w / self.scale).magnitude(self.ends);
        self.weight.iter().map(magnitude).collect()
    }
}

/// What the codes of a channel cost; nothing where a weight is not finite.
struct Spend<'a, W, A> {
    weight: &'a [W],
    scale: W,
    ends: (W, W),
    mask: Option<&'a [u8]>,
    amounts: &'a [A],
}

impl<W: Real, A: Amount> NullaryFnOnce for Spend<'_, W, A> {
    type Output = Option<A>;

    #[inline(always)]
    fn call(self) -> Option<A> {
        let (weights, last) = self.weight.as_chunks::<LANES>();
        let (amounts, last_amounts) = self.amounts.as_chunks::<LANES>();
        let (mut spent, mut finite) = ([A::default(); LANES], [true; LANES]);
        let mut add = |lane: usize, w: W, amount: A, kept: bool| {
            let code = (w / self.scale).magnitude(self.ends).single();
            let code = if kept { code } else { 0.0 };
            spent[lane] = spent[lane] + A::of_code(code) * amount;
            finite[lane] &= w.finite();
        };
        match self.mask {
            None => {
                for (weights, amounts) in weights.iter().zip(amounts) {
                    for lane in 0..LANES {
                        add(lane, weights[lane], amounts[lane], true);
                    }
                }
                for (lane, (w, amount)) in last.iter().zip(last_amounts).enumerate() {
                    add(lane, *w, *amount, true);
                }
            }
            Some(mask) => {
                let (masks, last_mask) = mask.as_chunks::<LANES>();
                for ((weights, amounts), mask) in weights.iter().zip(amounts).zip(masks) {
                    for lane in 0..LANES {
                        add(lane, weights[lane], amounts[lane], mask[lane] != 0);
                    }
                }
                let rest = last.iter().zip(last_amounts).zip(last_mask);
                for (lane, ((w, amount), kept)) in rest.enumerate() {
                    add(lane, *w, *amount, *kept != 0);
                }
            }
        }
        let sum = |all: A, lane: &A| all + *lane;
        finite
            .iter()
            .all(|lane| *lane)
            .then(|| spent.iter().fold(A::default(), sum))
    }
}
