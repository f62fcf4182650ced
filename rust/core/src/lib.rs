//! Exact ranges of the accumulators of integer networks, and the best masks under them.
//!
//! An accumulator is the integer `v = b + Σ wᵢxᵢ` of one output channel. Everything here is
//! exact over the box of the input ranges: narrow integers where a proof beside the loop shows
//! that they suffice, 128 bits otherwise, an [`Error`] where a result does not fit 64 bits.

#![forbid(unsafe_code)]

mod code;
mod error;
mod inputs;
mod linear;
mod ranges;
mod rows;
pub mod select;
pub mod threads;

pub use code::Code;
pub use error::{Error, Result};
pub use inputs::InputRanges;
pub use linear::{linear, partial_sums};
pub use ranges::Ranges;
