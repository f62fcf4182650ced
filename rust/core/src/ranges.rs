//! Closed integer intervals, one per channel.

use std::ops::AddAssign;

use crate::{Error, Integer, Result};

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
    pub(crate) fn zeros(channels: usize) -> Result<Self> {
        let mut ranges = Self::with_room(channels)?;
        ranges.low.resize(channels, 0);
        ranges.high.resize(channels, 0);
        Ok(ranges)
    }

    /// No ranges yet, but room for as many as asked for.
    pub(crate) fn with_room(channels: usize) -> Result<Self> {
        let (mut low, mut high) = (Vec::new(), Vec::new());
        let room = reserve(&mut low, channels).and_then(|()| reserve(&mut high, channels));
        match room {
            Ok(()) => Ok(Self { low, high }),
            Err(_) => Err(Error::Memory {
                bytes: 16 * channels as u128,
            }),
        }
    }
}

/// Makes room, or says that there is none, where the process would otherwise end.
pub(crate) fn reserve<A>(into: &mut Vec<A>, more: usize) -> Result<()> {
    into.try_reserve_exact(more).map_err(|_| Error::Memory {
        bytes: size_of::<A>() as u128 * more as u128,
    })
}

/// As many copies of a value as asked for; [`Error::Memory`] where there is no room for them.
pub fn filled<A: Clone>(value: A, count: usize) -> Result<Vec<A>> {
    let mut all = Vec::new();
    reserve(&mut all, count)?;
    all.resize(count, value);
    Ok(all)
}

/// Both ends of one accumulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wide {
    pub low: Integer,
    pub high: Integer,
}

impl Wide {
    /// Both ends from 128 bits.
    #[inline(always)]
    pub fn new(low: i128, high: i128) -> Self {
        Self {
            low: low.into(),
            high: high.into(),
        }
    }

    /// Adds `w·x` for `x` in `[low, high]`.
    #[inline(always)]
    pub fn add_product(&mut self, w: i64, (low, high): (i64, i64)) {
        let (least, most) = product(w, low, high);
        self.low += least;
        self.high += most;
    }

    /// Takes away what [`Self::add_product`] adds.
    #[inline(always)]
    pub fn take_product(&mut self, w: i64, (low, high): (i64, i64)) {
        let (least, most) = product(w, low, high);
        self.low -= least;
        self.high -= most;
    }

    /// The range with the ends of the bias added, as 64-bit ends.
    #[inline(always)]
    pub fn narrow(mut self, bias_low: i64, bias_high: i64, channel: usize) -> Result<(i64, i64)> {
        self.low += i128::from(bias_low);
        self.high += i128::from(bias_high);
        match (self.low.narrow(), self.high.narrow()) {
            (Some(low), Some(high)) => Ok((low, high)),
            _ => Err(Error::Overflow {
                channel,
                low: self.low,
                high: self.high,
            }),
        }
    }
}

impl AddAssign for Wide {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        self.low += other.low;
        self.high += other.high;
    }
}

/// Least and greatest `w·x`: without a branch, since one that waits for a weight from memory
/// makes the next ones wait. One factor of each sum is zero.
#[inline(always)]
fn product(w: i64, low: i64, high: i64) -> (i128, i128) {
    let (p, n) = (i128::from(w.max(0)), i128::from(w.min(0)));
    let (l, h) = (i128::from(low), i128::from(high));
    (p * l + n * h, p * h + n * l)
}
