//! The ranges of a layer's inputs, checked, and in the form that the kernels want.

use crate::code::Code;
use crate::{Error, Result};

/// Closed ranges of the inputs of a layer; `low <= high` holds for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRanges(pub(crate) Form);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Every input has the same range.
    One { low: i64, high: i64 },
    /// Input `i` lies in `[low[i], high[i]]`; both have the same length.
    Each { low: Vec<i64>, high: Vec<i64> },
}

impl InputRanges {
    /// One range for all inputs.
    pub fn one(low: i64, high: i64) -> Result<Self> {
        if low > high {
            return Err(Error::EmptyRange {
                index: 0,
                low,
                high,
            });
        }
        Ok(Self(Form::One { low, high }))
    }

    /// A range per input.
    pub fn each(low: Vec<i64>, high: Vec<i64>) -> Result<Self> {
        if low.len() != high.len() {
            return Err(Error::Shape {
                argument: "high",
                shape: vec![high.len()],
                expected: format!("low has shape [{}]", low.len()),
            });
        }
        if let Some(index) = (0..low.len()).find(|&i| low[i] > high[i]) {
            return Err(Error::EmptyRange {
                index,
                low: low[index],
                high: high[index],
            });
        }
        Ok(Self(Form::Each { low, high }))
    }

    /// Refuses ranges that are not as many as the inputs.
    pub(crate) fn check_len(&self, inputs: usize) -> Result<()> {
        match &self.0 {
            Form::Each { low, .. } if low.len() != inputs => Err(Error::Shape {
                argument: "low and high",
                shape: vec![low.len()],
                expected: format!("the weight has {inputs} inputs"),
            }),
            _ => Ok(()),
        }
    }

    /// The range of input `index`, which must exist.
    pub(crate) fn at(&self, index: usize) -> (i64, i64) {
        match &self.0 {
            Form::One { low, high } => (*low, *high),
            Form::Each { low, high } => (low[index], high[index]),
        }
    }

    /// How many ranges there are; nothing where one serves all inputs.
    pub(crate) fn len(&self) -> Option<usize> {
        match &self.0 {
            Form::One { .. } => None,
            Form::Each { low, .. } => Some(low.len()),
        }
    }

    /// The largest magnitude of any end.
    pub(crate) fn largest(&self) -> u64 {
        match &self.0 {
            Form::One { low, high } => low.unsigned_abs().max(high.unsigned_abs()),
            Form::Each { low, high } => low
                .iter()
                .chain(high)
                .fold(0, |largest, end| largest.max(end.unsigned_abs())),
        }
    }

    /// Every range widened to take in zero.
    pub(crate) fn with_zero(&self) -> Self {
        Self(match &self.0 {
            Form::One { low, high } => Form::One {
                low: (*low).min(0),
                high: (*high).max(0),
            },
            Form::Each { low, high } => Form::Each {
                low: low.iter().map(|&l| l.min(0)).collect(),
                high: high.iter().map(|&h| h.max(0)).collect(),
            },
        })
    }
}

/// Input ranges made ready for weights of one type.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// One range for all inputs: two sums per row are enough.
    One { low: i64, high: i64 },
    /// Middles and widths, doubled so that they stay integers, small enough for 16 bits.
    Narrow {
        /// `low + high` per input.
        middle: Vec<i16>,
        /// `high - low` per input.
        width: Vec<i16>,
        /// This many products of either with a weight fit 32 bits.
        run: usize,
    },
    /// Low ends and widths in a byte each, half the size of `Narrow`: rows too long for that to
    /// stay in the nearest cache, for weights of a byte.
    Bytes {
        /// The low end per input.
        low: Vec<i8>,
        /// `high - low` per input.
        width: Vec<u8>,
    },
    /// Anything else; `largest` bounds every magnitude.
    Any {
        low: Vec<i64>,
        high: Vec<i64>,
        largest: u64,
    },
}

/// A 32-bit run shorter than this does not pay.
const SHORTEST_RUN: usize = 128;

/// Numbers of inputs for which bytes are faster (measured; see `benches/RESULTS.md`).
const BYTE_ROWS: std::ops::RangeInclusive<usize> = 6145..=10_240;

impl Prepared {
    pub fn new<T: Code>(inputs: &InputRanges) -> Self {
        let (low, high) = match &inputs.0 {
            Form::One { low, high } => {
                return Self::One {
                    low: *low,
                    high: *high,
                };
            }
            Form::Each { low, high } => (low, high),
        };
        if let (Some(&l), Some(&h)) = (low.first(), high.first())
            && low.iter().all(|&x| x == l)
            && high.iter().all(|&x| x == h)
        {
            return Self::One { low: l, high: h };
        }
        if T::LARGEST <= 255 && BYTE_ROWS.contains(&low.len()) {
            let ends = low.iter().zip(high);
            let bytes = ends.map(|(&l, &h)| {
                let width = u8::try_from(i128::from(h) - i128::from(l)).ok()?;
                Some((i8::try_from(l).ok()?, width))
            });
            if let Some((low, width)) = bytes.collect::<Option<(Vec<i8>, Vec<u8>)>>() {
                return Self::Bytes { low, width };
            }
        }
        let largest = inputs.largest();
        // |low + high| and high - low are at most twice `largest`.
        if largest <= 16_383 {
            // `largest` fits i16, so every narrowing below keeps the value.
            let narrow = |x: i64| x as i16;
            let middle: Vec<i16> = low.iter().zip(high).map(|(l, h)| narrow(l + h)).collect();
            let width: Vec<i16> = low.iter().zip(high).map(|(l, h)| narrow(h - l)).collect();
            let factor = middle
                .iter()
                .chain(&width)
                .fold(1, |m: u64, &x| m.max(u64::from(x.unsigned_abs())));
            let run = (i32::MAX as u64) / factor.saturating_mul(T::LARGEST);
            if T::FITS_17_BITS && run as usize >= SHORTEST_RUN {
                return Self::Narrow {
                    middle,
                    width,
                    run: run as usize,
                };
            }
        }
        Self::Any {
            low: low.clone(),
            high: high.clone(),
            largest,
        }
    }
}
