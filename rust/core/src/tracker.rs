//! A layer whose ranges are kept up to date while single weights come and go.

use ndarray::{ArrayView1, ArrayView2};

use crate::code::Code;
use crate::inputs::InputRanges;
use crate::{Error, Ranges, Result};

/// Weights, what is left of them, and the ranges of their channels. Every change and every
/// question about one channel takes constant time; `undo` takes back changes one by one.
#[derive(Clone, Debug)]
pub struct RangeTracker {
    outputs: usize,
    width: usize,
    weights: Vec<i64>,
    kept: Vec<bool>,
    inputs: InputRanges,
    bias: Vec<i64>,
    /// Ends without the bias, as if every channel were kept.
    ends: Vec<(i128, i128)>,
    channel_kept: Vec<bool>,
    log: Vec<Change>,
}

/// What `undo` puts back.
#[derive(Clone, Copy, Debug)]
enum Change {
    Nothing,
    Weight {
        at: usize,
        value: i64,
        kept: bool,
        ends: (i128, i128),
    },
    Channel {
        channel: usize,
        kept: bool,
    },
}

impl RangeTracker {
    /// Starts with the weights that `mask` keeps, or with all. Arguments are those of
    /// [`crate::linear`].
    pub fn new<T: Code>(
        weight: ArrayView2<'_, T>,
        inputs: InputRanges,
        bias: Option<ArrayView1<'_, i64>>,
        mask: Option<ArrayView2<'_, u8>>,
    ) -> Result<Self> {
        let (outputs, width) = weight.dim();
        inputs.check_len(width)?;
        if let Some(bias) = &bias
            && bias.len() != outputs
        {
            return Err(Error::Shape {
                argument: "bias",
                shape: vec![bias.len()],
                expected: format!("the weight has {outputs} output channels"),
            });
        }
        if let Some(mask) = &mask
            && mask.dim() != weight.dim()
        {
            return Err(Error::Shape {
                argument: "mask",
                shape: mask.shape().to_vec(),
                expected: format!("the weight has shape [{outputs}, {width}]"),
            });
        }
        let mut tracker = Self {
            outputs,
            width,
            weights: weight.iter().map(|w| w.value()).collect(),
            kept: vec![true; outputs * width],
            inputs,
            bias: bias.map_or_else(|| vec![0; outputs], |bias| bias.to_vec()),
            ends: vec![(0, 0); outputs],
            channel_kept: vec![true; outputs],
            log: Vec::new(),
        };
        if let Some(mask) = mask {
            tracker.kept = mask.iter().map(|&m| m != 0).collect();
        }
        for channel in 0..outputs {
            for input in 0..width {
                let at = channel * width + input;
                if tracker.kept[at] {
                    tracker.ends[channel] = tracker.ends_with(channel, at)?;
                }
            }
        }
        Ok(tracker)
    }

    /// `[out, in]`.
    pub fn shape(&self) -> (usize, usize) {
        (self.outputs, self.width)
    }

    /// The range of one channel: its bias alone where the channel is removed.
    pub fn range(&self, channel: i64) -> Result<(i64, i64)> {
        let channel = index("channel", channel, self.outputs)?;
        self.range_at(channel)
    }

    fn range_at(&self, channel: usize) -> Result<(i64, i64)> {
        let (low, high) = if self.channel_kept[channel] {
            self.ends[channel]
        } else {
            (0, 0)
        };
        let bias = self.bias[channel];
        crate::ranges::Wide { low, high }.narrow(bias, bias, channel)
    }

    /// The ranges of all channels.
    pub fn ranges(&self) -> Result<Ranges> {
        let mut ranges = Ranges::zeros(self.outputs);
        for channel in 0..self.outputs {
            (ranges.low[channel], ranges.high[channel]) = self.range_at(channel)?;
        }
        Ok(ranges)
    }

    /// The mask of what is kept, `[out, in]` in row-major order.
    pub fn mask(&self) -> Vec<bool> {
        let channels = self.channel_kept.iter();
        let rows = self.kept.chunks(self.width.max(1)).zip(channels);
        rows.flat_map(|(row, &channel)| row.iter().map(move |&kept| kept && channel))
            .collect()
    }

    /// The codes, removed or not, `[out, in]` in row-major order.
    pub fn weights(&self) -> &[i64] {
        &self.weights
    }

    /// Removes one weight; nothing where it is gone already.
    pub fn remove(&mut self, channel: i64, input: i64) -> Result<()> {
        let (channel, at) = self.place(channel, input)?;
        self.change(channel, at, self.weights[at], false)
    }

    /// Puts one weight back with its value; nothing where it is there.
    pub fn restore(&mut self, channel: i64, input: i64) -> Result<()> {
        let (channel, at) = self.place(channel, input)?;
        self.change(channel, at, self.weights[at], true)
    }

    /// Gives one weight a value, and puts it back where it was removed.
    pub fn set(&mut self, channel: i64, input: i64, value: i64) -> Result<()> {
        let (channel, at) = self.place(channel, input)?;
        self.change(channel, at, value, true)
    }

    /// Removes a whole output channel; its weights come back as they are with the channel.
    pub fn remove_channel(&mut self, channel: i64) -> Result<()> {
        self.change_channel(channel, false)
    }

    /// Puts an output channel back.
    pub fn restore_channel(&mut self, channel: i64) -> Result<()> {
        self.change_channel(channel, true)
    }

    /// Number of changes that `undo` can take back.
    pub fn changes(&self) -> usize {
        self.log.len()
    }

    /// Takes back the last `steps` changes, or all of them where there are fewer; says how many.
    pub fn undo(&mut self, steps: usize) -> usize {
        let mut undone = 0;
        while undone < steps
            && let Some(change) = self.log.pop()
        {
            match change {
                Change::Nothing => {}
                Change::Channel { channel, kept } => self.channel_kept[channel] = kept,
                Change::Weight {
                    at,
                    value,
                    kept,
                    ends,
                } => {
                    // Changes of a channel come back in reverse, so its ends do too.
                    (self.weights[at], self.kept[at]) = (value, kept);
                    self.ends[at / self.width] = ends;
                }
            }
            undone += 1;
        }
        undone
    }

    /// What the weight at `at` adds to either end.
    fn share(&self, at: usize) -> (i128, i128) {
        let (low, high) = self.inputs.at(at % self.width);
        let w = i128::from(self.weights[at]);
        let (a, b) = (w * i128::from(low), w * i128::from(high));
        (a.min(b), a.max(b))
    }

    /// The ends of `channel` with the weight at `at` counted once more, where 128 bits hold them.
    fn ends_with(&self, channel: usize, at: usize) -> Result<(i128, i128)> {
        let ((low, high), (l, h)) = (self.ends[channel], self.share(at));
        match (low.checked_add(l), high.checked_add(h)) {
            (Some(low), Some(high)) => Ok((low, high)),
            _ => Err(Error::Overflow {
                channel,
                low: low.saturating_add(l),
                high: high.saturating_add(h),
            }),
        }
    }

    /// The ends of `channel` without the weight at `at`, where 128 bits hold them.
    fn ends_without(&self, channel: usize, at: usize) -> Result<(i128, i128)> {
        let (low, high) = self.ends[channel];
        if !self.kept[at] {
            return Ok((low, high));
        }
        let (l, h) = self.share(at);
        match (low.checked_sub(l), high.checked_sub(h)) {
            (Some(low), Some(high)) => Ok((low, high)),
            _ => Err(Error::Overflow {
                channel,
                low: low.saturating_sub(l),
                high: high.saturating_sub(h),
            }),
        }
    }

    fn place(&self, channel: i64, input: i64) -> Result<(usize, usize)> {
        let channel = index("channel", channel, self.outputs)?;
        let input = index("input", input, self.width)?;
        Ok((channel, channel * self.width + input))
    }

    fn change(&mut self, channel: usize, at: usize, value: i64, kept: bool) -> Result<()> {
        let before = (self.weights[at], self.kept[at]);
        if before == (value, kept) {
            self.log.push(Change::Nothing);
            return Ok(());
        }
        let ends = self.ends[channel];
        let changed = self.ends_without(channel, at).and_then(|without| {
            self.ends[channel] = without;
            (self.weights[at], self.kept[at]) = (value, kept);
            if kept {
                self.ends_with(channel, at)
            } else {
                Ok(without)
            }
        });
        let (value, kept) = before;
        match changed {
            Ok(changed) => {
                self.ends[channel] = changed;
                self.log.push(Change::Weight {
                    at,
                    value,
                    kept,
                    ends,
                });
                Ok(())
            }
            Err(error) => {
                (self.weights[at], self.kept[at]) = before;
                self.ends[channel] = ends;
                Err(error)
            }
        }
    }

    fn change_channel(&mut self, channel: i64, kept: bool) -> Result<()> {
        let channel = index("channel", channel, self.outputs)?;
        let change = Change::Channel {
            channel,
            kept: self.channel_kept[channel],
        };
        self.channel_kept[channel] = kept;
        self.log.push(change);
        Ok(())
    }
}

/// A checked index.
fn index(argument: &'static str, index: i64, size: usize) -> Result<usize> {
    match usize::try_from(index) {
        Ok(index) if index < size => Ok(index),
        _ => Err(Error::Index {
            argument,
            index,
            size,
        }),
    }
}
