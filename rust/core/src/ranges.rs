//! Closed integer intervals, one per channel.

use crate::{Error, Result};

/// `[low, high]` of every channel, in the channels' order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// Lower ends.
    pub low: Vec<i64>,
    /// Upper ends.
    pub high: Vec<i64>,
}

impl Ranges {
    /// As many `[0, 0]` ranges as asked for.
    pub(crate) fn zeros(channels: usize) -> Self {
        Self {
            low: vec![0; channels],
            high: vec![0; channels],
        }
    }
}

/// Both ends of one accumulator, wide enough for every sum of fewer than 2⁶² 64-bit terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wide {
    pub low: i128,
    pub high: i128,
}

impl Wide {
    /// The range with the ends of the bias added, as 64-bit ends.
    #[inline(always)]
    pub fn narrow(self, bias_low: i64, bias_high: i64, channel: usize) -> Result<(i64, i64)> {
        let low = self.low.saturating_add(i128::from(bias_low));
        let high = self.high.saturating_add(i128::from(bias_high));
        match (i64::try_from(low), i64::try_from(high)) {
            (Ok(low), Ok(high)) => Ok((low, high)),
            _ => Err(Error::Overflow { channel, low, high }),
        }
    }
}
