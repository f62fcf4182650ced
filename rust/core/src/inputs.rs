//! The ranges of a layer's inputs, checked, and in the form that the kernels want.

use crate::{Error, Result};

/// Closed ranges of the inputs of a layer; `low <= high` holds for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRanges(pub(crate) Ends);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
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
        Ok(Self(Ends::One { low, high }))
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
        Ok(Self(Ends::Each { low, high }))
    }

    /// Refuses ranges that are not as many as the inputs.
    pub(crate) fn check_len(&self, inputs: usize) -> Result<()> {
        match &self.0 {
            Ends::Each { low, .. } if low.len() != inputs => Err(Error::Shape {
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
            Ends::One { low, high } => (*low, *high),
            Ends::Each { low, high } => (low[index], high[index]),
        }
    }

    /// How many ranges there are; nothing where one serves all inputs.
    pub(crate) fn len(&self) -> Option<usize> {
        match &self.0 {
            Ends::One { .. } => None,
            Ends::Each { low, .. } => Some(low.len()),
        }
    }

    /// The largest magnitude of any end.
    pub(crate) fn largest(&self) -> u64 {
        match &self.0 {
            Ends::One { low, high } => low.unsigned_abs().max(high.unsigned_abs()),
            Ends::Each { low, high } => reach(low, high),
        }
    }

    /// Whether zero lies in all ranges.
    pub(crate) fn hold_zero(&self) -> bool {
        match &self.0 {
            Ends::One { low, high } => *low <= 0 && *high >= 0,
            Ends::Each { low, high } => {
                low.iter().all(|&low| low <= 0) && high.iter().all(|&high| high >= 0)
            }
        }
    }

    /// Every range widened to take in zero.
    pub(crate) fn with_zero(&self) -> Self {
        Self(match &self.0 {
            Ends::One { low, high } => Ends::One {
                low: (*low).min(0),
                high: (*high).max(0),
            },
            Ends::Each { low, high } => Ends::Each {
                low: low.iter().map(|&l| l.min(0)).collect(),
                high: high.iter().map(|&h| h.max(0)).collect(),
            },
        })
    }
}

/// The largest magnitude of any end.
pub(crate) fn reach(low: &[i64], high: &[i64]) -> u64 {
    let ends = low.iter().chain(high);
    ends.fold(0, |reach, end| reach.max(end.unsigned_abs()))
}

/// The range that all inputs share, where they do and there are any.
pub(crate) fn common(low: &[i64], high: &[i64]) -> Option<(i64, i64)> {
    let ends = (*low.first()?, *high.first()?);
    let same = low.iter().all(|&low| low == ends.0) && high.iter().all(|&high| high == ends.1);
    same.then_some(ends)
}
