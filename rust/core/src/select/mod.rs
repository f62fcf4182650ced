//! The best mask under a bit budget, channel by channel.
//!
//! With a free offset a channel fits P bits exactly where `Σ |wᵢ|(hᵢ − lᵢ) ≤ 2ᴾ − 1`: keeping the
//! most saliency is a 0/1 knapsack with the weights' spans as costs. Codes of few bits have few
//! costs, and of each only the most salient weights compete.

mod channel;
mod core;
mod double;
mod knapsack;
mod scale;
mod surplus;

use std::borrow::Cow;
use std::ops::Deref;

use ndarray::{ArrayView1, ArrayView2, Zip};

use self::channel::Channel;
use crate::inputs::InputRanges;
use crate::ranges::filled;
use crate::{Code, Error, Result, threads};

/// What has to fit the bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// The width of the range: a constant offset moves its low end to 0.
    Span,
    /// The range itself, bias included, in two's complement.
    Signed,
}

/// How the mask is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A mask of greatest kept saliency.
    Exact,
    /// By falling saliency per cost, whatever still fits.
    Greedy,
}

/// A layer and the budget of its channels.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a, T> {
    /// `[out, in]`.
    pub codes: ArrayView2<'a, T>,
    /// `[out, in]`, finite and not negative.
    pub saliency: ArrayView2<'a, f64>,
    /// One for all channels, or one per channel.
    pub inputs: &'a [InputRanges],
    /// One for all channels, or one per channel.
    pub bits: &'a [i64],
    /// What has to fit.
    pub budget: Budget,
    /// `[out]`; matters to [`Budget::Signed`] only.
    pub bias: Option<ArrayView1<'a, i64>>,
    /// `[out, in]`; zero where a weight is already gone.
    pub mask: Option<ArrayView2<'a, u8>>,
}

/// A weight that costs something, scaled to integers.
#[derive(Clone, Copy, Debug)]
struct Item {
    cost: u64,
    profit: i64,
    input: u32,
}

impl Item {
    /// Profit per cost, rounded; used for order and, with slack, for bounds.
    fn efficiency(&self) -> f64 {
        self.profit as f64 / self.cost as f64
    }
}

/// Widest permitted budget.
pub const MOST_BITS: i64 = 63;

/// Mask of the weights to keep, `[out, in]` in row-major order.
///
/// Weights that are zero or whose input is constant cost nothing and stay, unless `mask` already
/// took them. The mask is maximal: no weight that it removes would still fit. Of equal weights
/// with equal saliency the first stay. The result does not depend on the number of threads.
///
/// [`Method::Exact`] keeps a saliency that no mask exceeds by more than `in · 2⁻⁵¹` of the
/// channel's total, which is finer than float64 sums of it are; saliencies that are whole
/// multiples of a common unit, few enough for such a difference to be less than one, are kept
/// optimally to the last.
pub fn select<T: Code>(problem: &Problem<'_, T>, method: Method) -> Result<Vec<bool>> {
    let problem = &Checked::new(problem)?;
    let (outputs, inputs) = problem.codes.dim();
    let mut keep = filled(false, outputs.saturating_mul(inputs))?;
    if keep.is_empty() {
        // There is nothing to choose, yet a bias may be too wide by itself.
        for channel in 0..problem.bias.map_or(0, |bias| bias.len()) {
            Channel::read(problem, channel, &mut [])?;
        }
        return Ok(keep);
    }
    // Several at a time, so that no thread asks for work too often.
    let rows = (CHUNK / inputs).max(1);
    let chunks = keep.chunks_mut(rows * inputs).enumerate();
    threads::share(
        problem.codes.len() >= PARALLEL_FROM,
        chunks,
        |(chunk, keep)| {
            for (row, keep) in keep.chunks_mut(inputs).enumerate() {
                let channel = Channel::read(problem, chunk * rows + row, keep)?;
                channel.choose(method, keep)?;
            }
            Ok(())
        },
    )?;
    Ok(keep)
}

/// Upper bound of the saliency that any mask can keep, for every channel: the optimum where
/// weights could be kept in part (Dantzig 1957).
pub fn fractional_bounds<T: Code>(problem: &Problem<'_, T>) -> Result<Vec<f64>> {
    let problem = &Checked::new(problem)?;
    let mut free = vec![false; problem.codes.ncols()];
    let bound = |channel| {
        free.fill(false);
        let bound = Channel::read(problem, channel, &mut free)?.fractional_bound();
        let saliency = problem.saliency.row(channel);
        let kept = saliency.iter().zip(&free).filter(|(_, free)| **free);
        Ok(bound + kept.map(|(saliency, _)| saliency).sum::<f64>())
    };
    (0..problem.codes.nrows()).map(bound).collect()
}

/// Fewer weights than this are not worth waking a thread for.
const PARALLEL_FROM: usize = 1 << 13;

/// About so many weights are done at a time.
const CHUNK: usize = 1 << 13;

/// A problem whose parts go together.
struct Checked<'p, 'a, T> {
    problem: &'p Problem<'a, T>,
    /// `high - low` of every input where all channels see the same.
    widths: Option<Vec<u64>>,
}

impl<'a, T> Deref for Checked<'_, 'a, T> {
    type Target = Problem<'a, T>;

    fn deref(&self) -> &Self::Target {
        self.problem
    }
}

impl<'p, 'a, T: Code> Checked<'p, 'a, T> {
    fn new(problem: &'p Problem<'a, T>) -> Result<Self> {
        problem.check()?;
        let widths = (problem.inputs.len() == 1).then(|| problem.widths_of(0));
        Ok(Self { problem, widths })
    }
}

impl<T: Code> Problem<'_, T> {
    fn bits_of(&self, channel: usize) -> u32 {
        self.bits[if self.bits.len() == 1 { 0 } else { channel }] as u32
    }

    fn inputs_of(&self, channel: usize) -> &InputRanges {
        &self.inputs[if self.inputs.len() == 1 { 0 } else { channel }]
    }

    /// `high - low` of every input of a channel.
    fn widths_of(&self, channel: usize) -> Vec<u64> {
        let inputs = self.inputs_of(channel);
        let ends = (0..self.codes.ncols()).map(|input| inputs.at(input));
        ends.map(|(low, high)| high.abs_diff(low)).collect()
    }

    /// Hands every weight that is not gone to `see`: input, code, saliency.
    #[inline(always)]
    fn visit(&self, channel: usize, mut see: impl FnMut(usize, i64, f64)) {
        let (codes, saliency) = (self.codes.row(channel), self.saliency.row(channel));
        let mask = self.mask.as_ref().map(|mask| mask.row(channel));
        // Loops over slices cost half of those over views, which mind strides.
        if let (Some(codes), Some(saliency)) = (codes.as_slice(), saliency.as_slice()) {
            let weights = codes.iter().zip(saliency).enumerate();
            match mask.map(|mask| {
                mask.to_slice()
                    .map_or_else(|| mask.to_vec().into(), Cow::Borrowed)
            }) {
                None => weights.for_each(|(input, (w, s))| see(input, w.value(), *s)),
                Some(mask) => weights
                    .zip(mask.iter())
                    .for_each(|((input, (w, s)), kept)| {
                        if *kept != 0 {
                            see(input, w.value(), *s);
                        }
                    }),
            }
            return;
        }
        Zip::indexed(codes).and(saliency).for_each(|input, w, s| {
            if mask.as_ref().is_none_or(|mask| mask[input] != 0) {
                see(input, w.value(), *s);
            }
        });
    }

    fn check(&self) -> Result<()> {
        let (outputs, inputs) = self.codes.dim();
        let shape = |argument, shape: &[usize], expected: String| {
            Err(Error::Shape {
                argument,
                shape: shape.to_vec(),
                expected,
            })
        };
        let like_codes = || format!("the codes have shape [{outputs}, {inputs}]");
        if self.saliency.shape() != [outputs, inputs] {
            return shape("saliency", self.saliency.shape(), like_codes());
        }
        if let Some(mask) = &self.mask
            && mask.shape() != [outputs, inputs]
        {
            return shape("mask", mask.shape(), like_codes());
        }
        let channels = || format!("the codes have {outputs} output channels");
        if let Some(bias) = &self.bias
            && bias.len() != outputs
        {
            return shape("bias", bias.shape(), channels());
        }
        if self.bits.len() != 1 && self.bits.len() != outputs {
            return shape("bits", &[self.bits.len()], channels());
        }
        if self.inputs.len() != 1 && self.inputs.len() != outputs {
            return shape("low and high", &[self.inputs.len(), inputs], channels());
        }
        for ranges in self.inputs {
            ranges.check_len(inputs)?;
        }
        if let Some(at) = self
            .bits
            .iter()
            .position(|bits| !(1..=MOST_BITS).contains(bits))
        {
            return Err(Error::Bits {
                bits: self.bits[at],
                channel: (self.bits.len() > 1).then_some(at),
                lowest: 1,
                highest: MOST_BITS,
            });
        }
        let rows = if inputs == 0 { 0 } else { outputs };
        for (channel, row) in self.saliency.outer_iter().enumerate().take(rows) {
            let bad = |s: &f64| !((*s >= 0.0) & (*s <= f64::MAX));
            // To look at all of them takes less time than to stop at the first.
            if row.fold(false, |any, s| any | bad(s))
                && let Some(input) = row.iter().position(bad)
            {
                return Err(Error::Saliency {
                    channel,
                    input,
                    value: row[input],
                });
            }
        }
        Ok(())
    }
}
