//! Scales at which weights, rounded to codes, suit the accumulators of their channels.
//!
//! Codes `cᵢ` of a scale `s` stand for the weights `s·cᵢ`, and a channel fits P span bits where
//! `Σ |cᵢ|(hᵢ − lᵢ) ≤ 2ᴾ − 1`. Too fine a scale spends the budget on few weights with large codes,
//! too coarse a one leaves it unspent.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use ndarray::{ArrayView1, ArrayView2};
use pulp::{Arch, NullaryFnOnce};

use crate::inputs::InputRanges;
use crate::select::MOST_BITS;
use crate::{Error, Result, threads};

/// Weights that are to be rounded, and the budget of their channels.
#[derive(Clone, Copy, Debug)]
pub struct Rounding<'a> {
    /// `[out, in]`, finite.
    pub weight: ArrayView2<'a, f64>,
    /// One for all channels, or one per channel.
    pub inputs: &'a [InputRanges],
    /// `[out]`, positive and finite: the scales that the search starts from.
    pub start: ArrayView1<'a, f64>,
    /// Span bits of every accumulator, 1 to [`MOST_BITS`].
    pub bits: i64,
    /// The least and the greatest code; 0 lies between them or is one of them.
    pub codes: (i64, i64),
    /// `[out, in]`; zero where a weight is already gone.
    pub mask: Option<ArrayView2<'a, u8>>,
}

/// The largest permitted magnitude of a code.
pub const LARGEST_CODE: i64 = 1 << 20;

/// Weights beyond it leave no room for coarser scales.
const LARGEST_WEIGHT: f64 = 1e300;

/// A channel without a larger weight is a channel without weights.
const SMALLEST_UNIT: f64 = 1e-300;

/// Neighbouring scales are this far apart.
const STEP: f32 = 1.090_507_7; // 2^(1/8)

/// No scale is tried that is so many times finer than the one that clips no weight.
const FINEST: f32 = 16.0;

/// Independent sums, so that the compiler may keep them side by side.
const LANES: usize = 16;

/// The price of the budget is sought until what it leads to is known up to this part of it,
const TOLERANCE: f32 = 1e-2;

/// or at so many prices.
const MOST_PRICES: u32 = 12;

/// Fewer weights than this are not worth waking a thread for.
const PARALLEL_FROM: usize = 1 << 12;

/// The scale of every channel, `[out]`: where the codes that fit come nearest to the weights.
///
/// What counts is the least `Σ (wᵢ − s·cᵢ)²` of all codes within the budget, as the Lagrangian
/// relaxation of that choice has it (Everett 1963). The search climbs from the scale that it
/// starts from in steps of 2^(1/8) to the nearest optimum. A channel that has no weight for which
/// there is a code keeps its scale.
pub fn fit_scales(rounding: &Rounding<'_>) -> Result<Vec<f64>> {
    rounding.check()?;
    let costs: Vec<_> = rounding
        .inputs
        .iter()
        .map(|each| rounding.costs(each))
        .collect();
    let scale = |channel| {
        let costs = &costs[if costs.len() == 1 { 0 } else { channel }];
        Arch::new().dispatch(Fit {
            rounding,
            channel,
            costs,
        })
    };
    let mut scales = vec![0.0; rounding.weight.nrows()];
    let wanted = rounding.weight.len() >= PARALLEL_FROM;
    threads::share(wanted, scales.iter_mut().enumerate(), |(channel, place)| {
        *place = scale(channel);
        Ok(())
    })?;
    Ok(scales)
}

/// What a unit of each code costs, as part of the budget.
struct Costs {
    each: Vec<f32>,
    /// The least that is not 0.
    least: f32,
}

/// The weights of one channel.
///
/// Single precision will do: nothing is proved by scales.
struct Channel<'a> {
    /// Magnitudes, in units of the largest; 0 where a weight is gone.
    weights: Vec<f32>,
    /// The largest magnitude of each code.
    limits: Vec<f32>,
    costs: &'a Costs,
    /// The largest magnitude of a weight that can have a code other than 0.
    unit: f64,
    start: f64,
}

impl Rounding<'_> {
    fn costs(&self, inputs: &InputRanges) -> Costs {
        let budget = (u64::MAX >> (64 - self.bits)) as f64;
        let cost = |(low, high): (i64, i64)| (high.abs_diff(low) as f64 / budget) as f32;
        let inputs = (0..self.weight.ncols()).map(|input| inputs.at(input));
        let each: Vec<f32> = inputs.map(cost).collect();
        let positive = each.iter().copied().filter(|cost| *cost > 0.0);
        Costs {
            least: positive.fold(f32::MAX, f32::min),
            each,
        }
    }

    #[inline(always)]
    fn read<'a>(&self, channel: usize, costs: &'a Costs) -> Channel<'a> {
        let (negative, positive) = (-self.codes.0 as f32, self.codes.1 as f32);
        let row = self.weight.row(channel);
        // A loop over a view is not vectorised: it minds strides.
        let row = row
            .as_slice()
            .map_or_else(|| Cow::Owned(row.to_vec()), Cow::Borrowed);
        let limit = |weight: &f64| if *weight < 0.0 { negative } else { positive };
        let limits: Vec<f32> = row.iter().map(limit).collect();
        let mut magnitudes: Vec<f64> = row.iter().map(|weight| weight.abs()).collect();
        for (magnitude, limit) in magnitudes.iter_mut().zip(&limits) {
            *magnitude = if *limit > 0.0 { *magnitude } else { 0.0 };
        }
        if let Some(mask) = &self.mask {
            for (magnitude, kept) in magnitudes.iter_mut().zip(mask.row(channel)) {
                *magnitude = if *kept != 0 { *magnitude } else { 0.0 };
            }
        }
        let unit = largest(&magnitudes);
        let per_unit = 1.0 / unit;
        Channel {
            weights: magnitudes.iter().map(|m| (m * per_unit) as f32).collect(),
            limits,
            costs,
            unit,
            start: self.start[channel],
        }
    }

    fn check(&self) -> Result<()> {
        check_parts(
            self.weight.dim(),
            self.mask.as_ref(),
            ("start", self.start.shape()),
            self.inputs,
            (self.bits, 1..=MOST_BITS),
        )?;
        check_codes(self.codes)?;
        if let Some(channel) = self.start.iter().position(|s| !(*s > 0.0 && s.is_finite())) {
            return Err(Error::Scale {
                argument: "start",
                channel,
                value: self.start[channel],
            });
        }
        for (channel, row) in self.weight.outer_iter().enumerate() {
            let bad = |w: &f64| w.is_nan() | (w.abs() > LARGEST_WEIGHT);
            // To look at all of them takes less time than to stop at the first.
            if row.fold(false, |any, w| any | bad(w))
                && let Some(input) = row.iter().position(bad)
            {
                return Err(Error::Weight {
                    channel,
                    input,
                    value: row[input],
                });
            }
        }
        Ok(())
    }
}

/// Refuses parts that do not fit a weight of `outputs` rows of `inputs`.
///
/// `scale` is an argument's name and shape, one number a row; `bits` a width and those there are.
pub(crate) fn check_parts(
    (outputs, inputs): (usize, usize),
    mask: Option<&ArrayView2<'_, u8>>,
    (argument, scale): (&'static str, &[usize]),
    ranges: &[InputRanges],
    (bits, widths): (i64, RangeInclusive<i64>),
) -> Result<()> {
    let shape = |argument, shape: &[usize], expected: String| {
        Err(Error::Shape {
            argument,
            shape: shape.to_vec(),
            expected,
        })
    };
    let channels = || format!("the weight has {outputs} output channels");
    if let Some(mask) = mask
        && mask.shape() != [outputs, inputs]
    {
        let expected = format!("the weight has shape [{outputs}, {inputs}]");
        return shape("mask", mask.shape(), expected);
    }
    if scale != [outputs] {
        return shape(argument, scale, channels());
    }
    if ranges.len() != 1 && ranges.len() != outputs {
        return shape("low and high", &[ranges.len(), inputs], channels());
    }
    for row in ranges {
        row.check_len(inputs)?;
    }
    if !widths.contains(&bits) {
        return Err(Error::Bits {
            bits,
            channel: None,
            lowest: *widths.start(),
            highest: *widths.end(),
        });
    }
    Ok(())
}

/// Refuses what is no least and greatest code.
pub(crate) fn check_codes((lowest, greatest): (i64, i64)) -> Result<()> {
    let permitted = -LARGEST_CODE..=LARGEST_CODE;
    for (code, fits) in [
        (lowest, lowest <= 0 && permitted.contains(&lowest)),
        (
            greatest,
            greatest >= 0 && greatest > lowest && permitted.contains(&greatest),
        ),
    ] {
        if !fits {
            return Err(Error::Argument {
                argument: "codes",
                value: code,
                expected: "the least must lie in -2^20 to 0, the greatest in 0 to 2^20, \
                           and they must differ"
                    .into(),
            });
        }
    }
    Ok(())
}

#[inline(always)]
fn largest(magnitudes: &[f64]) -> f64 {
    let (chunks, rest) = magnitudes.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, magnitude) in lanes.iter_mut().zip(chunk) {
            // A loop over `max` is not vectorised: it minds NaN.
            *lane = if magnitude > lane { *magnitude } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(0.0, f64::max)
}

struct Fit<'a, 'b> {
    rounding: &'a Rounding<'b>,
    channel: usize,
    costs: &'a Costs,
}

impl NullaryFnOnce for Fit<'_, '_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let (lowest, greatest) = self.rounding.codes;
        let channel = self.rounding.read(self.channel, self.costs);
        channel.fit(greatest.max(-lowest) as f32)
    }
}

impl Channel<'_> {
    /// Climbs from the scale that it starts from to where no neighbour gains more.
    #[inline(always)]
    fn fit(&self, reach: f32) -> f64 {
        // In units of less, magnitudes would not be finite.
        if self.unit < SMALLEST_UNIT {
            return self.start;
        }
        let (finest, coarsest) = (1.0 / reach / FINEST, 1.0);
        let start = ((self.start / self.unit) as f32).clamp(finest, coarsest);
        let mut best = start;
        let mut most = self.gain(best);
        for step in [STEP, 1.0 / STEP] {
            while (finest..=coarsest).contains(&(best * step)) {
                let gain = self.gain(best * step);
                if gain <= most {
                    break;
                }
                (best, most) = (best * step, gain);
            }
            if best != start {
                break;
            }
        }
        f64::from(best) * self.unit
    }

    /// By how much the best codes at `scale` that fit are nearer to the weights, in squares, than
    /// zeros are; of the last unit that fits in part, the part counts.
    ///
    /// No price of the budget gives less than that (weak duality), and what prices give is convex:
    /// where the tangents at two of them meet is no more than the least (Kelley 1960).
    #[inline(always)]
    fn gain(&self, scale: f32) -> f32 {
        let mut low = self.at_price(scale, 0.0);
        let mut least = low.gain;
        if low.slope < 0.0 {
            // Too dear for any code that costs something; without what costs nothing this is
            // less than the gain there, and the tangent still lies below.
            let price = 1.0 / self.costs.least / scale;
            let mut high = Priced {
                price,
                gain: 2.0 * price,
                slope: 2.0,
            };
            for _ in 0..MOST_PRICES {
                let price = (low.intercept() - high.intercept()) / (high.slope - low.slope);
                let priced = self.at_price(scale, price);
                least = least.min(priced.gain);
                if least - (low.intercept() + low.slope * price) <= TOLERANCE * least {
                    break;
                }
                if priced.slope < 0.0 {
                    low = priced;
                } else {
                    high = priced;
                }
            }
        }
        scale * scale * least
    }

    /// What the best codes gain where the whole budget has twice this price, and what they leave
    /// of it is paid back.
    #[inline(always)]
    fn at_price(&self, scale: f32, price: f32) -> Priced {
        let fineness = 1.0 / scale;
        let (weights, last) = self.weights.as_chunks::<LANES>();
        let (costs, last_costs) = self.costs.each.as_chunks::<LANES>();
        let (limits, last_limits) = self.limits.as_chunks::<LANES>();
        let (mut gains, mut spent) = ([0.0; LANES], [0.0; LANES]);
        for ((weights, costs), limits) in weights.iter().zip(costs).zip(limits) {
            for lane in 0..LANES {
                let units = weights[lane] * fineness - price * costs[lane];
                let (gain, cost) = best_code(units, costs[lane], limits[lane]);
                gains[lane] += gain;
                spent[lane] += cost;
            }
        }
        for (lane, ((weight, cost), limit)) in
            last.iter().zip(last_costs).zip(last_limits).enumerate()
        {
            let units = weight * fineness - price * cost;
            let (gain, cost) = best_code(units, *cost, *limit);
            gains[lane] += gain;
            spent[lane] += cost;
        }
        Priced {
            price,
            gain: gains.iter().sum::<f32>() + 2.0 * price,
            slope: 2.0 * (1.0 - spent.iter().sum::<f32>()),
        }
    }
}

/// What the best code of a weight gains, in squared units of the scale, and what it costs.
#[inline(always)]
fn best_code(units: f32, cost: f32, limit: f32) -> (f32, f32) {
    // A loop over `clamp` is not vectorised: it may panic.
    let code = units.round_ties_even().max(0.0).min(limit);
    (code * (2.0 * units - code), code * cost)
}

/// A price of the budget and what it leads to, in squared units of the scale.
struct Priced {
    price: f32,
    gain: f32,
    /// By how much the gain grows with the price: below 0 where the codes exceed the budget.
    slope: f32,
}

impl Priced {
    /// The gain at price 0 on the tangent here.
    fn intercept(&self) -> f32 {
        self.gain - self.slope * self.price
    }
}
