//! Exact ranges of the accumulators of integer networks, and the best masks under them.
//!
//! An accumulator is the integer `v = b + Σ wᵢxᵢ` of one output channel. Everything here is
//! exact over the box of the input ranges: narrow integers where a proof beside the loop shows
//! that they suffice, 128 bits otherwise, an [`Error`] where a result does not fit 64 bits.

#![forbid(unsafe_code)]

mod code;
mod conv;
mod convolve;
mod error;
mod forms;
pub mod holding;
mod inputs;
mod integer;
mod linear;
mod machine;
mod prefix;
mod profile;
mod ranges;
pub mod rounding;
mod rows;
pub mod select;
mod table;
pub mod threads;
mod tracker;
mod vectors;

#[doc(hidden)]
pub use self::{
    forms::Kind,
    linear::{Choice, linear_by},
    machine::Machine,
};
pub use code::Code;
pub use conv::{Conv, Geometry, conv, conv_positions};
pub use convolve::{Convolution, Values};
pub use error::{Error, Result};
pub use inputs::InputRanges;
pub use integer::Integer;
pub use linear::{linear, partial_sums};
pub use prefix::prefix_sums;
pub use profile::{Position, Share, block_sizes, profile, profile_shares, split_order};
pub use ranges::{Ranges, filled};
pub use table::table_ranges;
pub use tracker::RangeTracker;
