//! Python binding of `secateur-core`: views arrays, lets go of the interpreter, maps errors.
//!
//! The functions here are private to `secateur.bounds`, which documents them.

mod arrays;
mod bounds;
mod convolution;
mod errors;
mod holding;
mod removal;
mod rounding;
mod selection;

use pyo3::prelude::*;

/// The Rust engine behind `secateur.bounds`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::bounds::{
        linear, num_threads, partial_sums, prefix_sums, set_num_threads, table_ranges,
    };
    #[pymodule_export]
    use super::convolution::{Convolution, conv, conv_positions};
    #[pymodule_export]
    use super::holding::hold_back;
    #[pymodule_export]
    use super::removal::{RangeTracker, profile, profile_network};
    #[pymodule_export]
    use super::rounding::fit_scales;
    #[pymodule_export]
    use super::selection::{fractional_bounds, select};
}
