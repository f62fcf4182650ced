//! A layer whose ranges are kept up to date while single weights come and go.

use ndarray::{ArrayView1, ArrayView2};

use crate::code::Code;
use crate::inputs::InputRanges;
use crate::ranges::{Wide, filled};
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
    ends: Vec<Wide>,
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
        ends: Wide,
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
            ends: filled(Wide::default(), outputs)?,
            weights: filled(0, outputs.saturating_mul(width))?,
            kept: filled(true, outputs.saturating_mul(width))?,
            inputs,
            bias: filled(0, outputs)?,
            channel_kept: filled(true, outputs)?,
            log: Vec::new(),
        };
        for (own, w) in tracker.weights.iter_mut().zip(weight) {
            *own = w.value();
        }
        for (own, given) in tracker.bias.iter_mut().zip(bias.iter().flatten()) {
            *own = *given;
        }
        if let Some(mask) = mask {
            tracker.kept = mask.iter().map(|&m| m != 0).collect();
        }
        for channel in 0..outputs {
            for input in 0..width {
                let at = channel * width + input;
                if tracker.kept[at] {
                    let range = tracker.inputs.at(input);
                    tracker.ends[channel].add_product(tracker.weights[at], range);
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
        let range = if self.channel_kept[channel] {
            self.ends[channel]
        } else {
            Wide::default()
        };
        let bias = self.bias[channel];
        range.narrow(bias, bias, channel)
    }

    /// The ranges of all channels.
    pub fn ranges(&self) -> Result<Ranges> {
        let mut ranges = Ranges::zeros(self.outputs)?;
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
        self.change(channel, at, self.weights[at], false);
        Ok(())
    }

    /// Puts one weight back with its value; nothing where it is there.
    pub fn restore(&mut self, channel: i64, input: i64) -> Result<()> {
        let (channel, at) = self.place(channel, input)?;
        self.change(channel, at, self.weights[at], true);
        Ok(())
    }

    /// Gives one weight a value, and puts it back where it was removed.
    pub fn set(&mut self, channel: i64, input: i64, value: i64) -> Result<()> {
        let (channel, at) = self.place(channel, input)?;
        self.change(channel, at, value, true);
        Ok(())
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

    fn place(&self, channel: i64, input: i64) -> Result<(usize, usize)> {
        let channel = index("channel", channel, self.outputs)?;
        let input = index("input", input, self.width)?;
        Ok((channel, channel * self.width + input))
    }

    fn change(&mut self, channel: usize, at: usize, value: i64, kept: bool) {
        let before = (self.weights[at], self.kept[at]);
        if before == (value, kept) {
            self.log.push(Change::Nothing);
            return;
        }
        self.log.push(Change::Weight {
            at,
            value: before.0,
            kept: before.1,
            ends: self.ends[channel],
        });
        let range = self.inputs.at(at % self.width);
        if before.1 {
            self.ends[channel].take_product(before.0, range);
        }
        if kept {
            self.ends[channel].add_product(value, range);
        }
        (self.weights[at], self.kept[at]) = (value, kept);
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
