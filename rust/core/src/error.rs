//! What can go wrong, with the facts that a message needs.

use crate::Integer;

/// The result of every fallible call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call was refused. No variant stands for a bug: those are ruled out by the types.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// An array does not match what it goes with.
    #[error("{argument} has shape {shape:?}, but {expected}")]
    Shape {
        /// The offending argument.
        argument: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// What it should have been, and why.
        expected: String,
    },
    /// A range whose low lies above its high.
    #[error("the input range at index {index} is empty: low {low} lies above high {high}")]
    EmptyRange {
        /// Flat index of the first such range.
        index: usize,
        /// Its lower end.
        low: i64,
        /// Its upper end.
        high: i64,
    },
    /// An accumulator that 64 bits cannot hold.
    #[error(
        "channel {channel} reaches [{low}, {high}], which does not fit 64 bits; \
         use smaller codes or input ranges, or split the layer"
    )]
    Overflow {
        /// The first such output channel.
        channel: usize,
        /// Its exact lower end.
        low: Integer,
        /// Its exact upper end.
        high: Integer,
    },
    /// A bit width outside what is permitted.
    #[error("bits must lie in {lowest} to {highest}, got {bits}{}", at_channel(*channel))]
    Bits {
        /// The width asked for.
        bits: i64,
        /// The channel that it was asked for, where widths are per channel.
        channel: Option<usize>,
        /// Smallest permitted width.
        lowest: i64,
        /// Largest permitted width.
        highest: i64,
    },
    /// A weight that has no code.
    #[error("weight[{channel}, {input}] is {value}; weights must be finite and at most 1e300")]
    Weight {
        /// Output channel.
        channel: usize,
        /// Input.
        input: usize,
        /// The value found.
        value: f64,
    },
    /// A scale that no code can have.
    #[error("the scale of channel {channel} is {value}; scales must be positive and finite")]
    Scale {
        /// The offending argument.
        argument: &'static str,
        /// Output channel.
        channel: usize,
        /// The value found.
        value: f64,
    },
    /// A saliency that is negative, infinite or not a number.
    #[error("saliency[{channel}, {input}] is {value}; saliencies must be finite and not negative")]
    Saliency {
        /// Output channel.
        channel: usize,
        /// Input.
        input: usize,
        /// The value found.
        value: f64,
    },
    /// Even with every weight removed the accumulator is too wide.
    #[error("channel {channel} cannot fit {bits} signed bits: its bias alone needs {needed_bits}")]
    Infeasible {
        /// Output channel.
        channel: usize,
        /// The width asked for.
        bits: u32,
        /// The width that the bias alone needs.
        needed_bits: u32,
    },
    /// An exact selection grew beyond what memory and time permit.
    #[error(
        "the exact selection for channel {channel} needs more than {limit} partial solutions; \
         use method=\"greedy\", which reports its gap to the optimum"
    )]
    SelectionLimit {
        /// Output channel.
        channel: usize,
        /// The limit that was reached.
        limit: usize,
    },
    /// A result that memory does not hold.
    #[error("the result takes {bytes} bytes, which memory does not hold; ask for less at a time")]
    Memory {
        /// The memory that it would take.
        bytes: u128,
    },
    /// An order of removal, or the counts asked of it, is not one.
    #[error("{argument}[{index}] is {value}, but {expected}")]
    Order {
        /// The offending argument.
        argument: &'static str,
        /// Position in it.
        index: usize,
        /// The value found there.
        value: i64,
        /// What was expected.
        expected: String,
    },
    /// A single number is not permitted.
    #[error("{argument} is {value}, but {expected}")]
    Argument {
        /// The offending argument.
        argument: &'static str,
        /// The value found.
        value: i64,
        /// What was expected.
        expected: String,
    },
    /// A channel or input that the layer does not have.
    #[error("{argument} {index} is out of range: the layer has {size}")]
    Index {
        /// What was indexed.
        argument: &'static str,
        /// The index asked for.
        index: i64,
        /// How many there are.
        size: usize,
    },
    /// A range that reaches beyond the entries of its table.
    #[error(
        "the range [{low}, {high}] of channel {channel} leaves its table, \
         which has entries for [{first}, {last}]"
    )]
    Table {
        /// The channel.
        channel: usize,
        /// Lower end of its range.
        low: i64,
        /// Upper end of its range.
        high: i64,
        /// The value that the first entry stands for.
        first: i128,
        /// The value that the last entry stands for.
        last: i128,
    },
}

impl Error {
    /// The channel of an overflow.
    pub(crate) fn channel(&self) -> Option<usize> {
        match self {
            Self::Overflow { channel, .. } => Some(*channel),
            _ => None,
        }
    }

    /// An overflow in a part of a layer, which starts after `first` other channels.
    pub(crate) fn after_channels(self, first: usize) -> Self {
        match self {
            Self::Overflow { channel, low, high } => Self::Overflow {
                channel: channel + first,
                low,
                high,
            },
            other => other,
        }
    }
}

fn at_channel(channel: Option<usize>) -> String {
    channel.map_or_else(String::new, |channel| format!(" for channel {channel}"))
}
