//! Python binding of `secateur-core`: views arrays, lets go of the interpreter, maps errors.
//!
//! The functions here are private to `secateur.bounds`, which documents them.

mod arrays;
mod bounds;
mod errors;
mod selection;

use pyo3::prelude::*;

/// The Rust engine behind `secateur.bounds`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::bounds::{linear, num_threads, partial_sums, set_num_threads};
    #[pymodule_export]
    use super::selection::{fractional_bounds, select};
}
