//! Core errors as exceptions of `secateur.errors`, facts included.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use secateur_core::{Error, Integer};

/// The exception of that class with that message and those facts.
pub fn exception<'py>(
    py: Python<'py>,
    class: &str,
    message: String,
    fill: impl FnOnce(&Bound<'py, PyDict>) -> PyResult<()>,
) -> PyErr {
    let build = || -> PyResult<Bound<'py, PyAny>> {
        let facts = PyDict::new(py);
        fill(&facts)?;
        py.import("secateur.errors")?
            .getattr(class)?
            .call((message,), Some(&facts))
    };
    match build() {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

/// The same integer in Python.
fn integer(py: Python<'_>, value: Integer) -> PyResult<Bound<'_, PyAny>> {
    let (upper, lower) = value.parts();
    upper.into_bound_py_any(py)?.lshift(64)?.bitor(lower)
}

/// A core error as its exception.
pub fn raise(py: Python<'_>, error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Shape {
            argument,
            shape,
            expected,
        } => exception(py, "ShapeError", message, |facts| {
            facts.set_item("argument", argument)?;
            facts.set_item("shape", pyo3::types::PyTuple::new(py, shape)?)?;
            facts.set_item("expected", expected)
        }),
        Error::EmptyRange { index, low, high } => {
            exception(py, "EmptyRangeError", message, |facts| {
                facts.set_item("argument", "low and high")?;
                facts.set_item("index", index)?;
                facts.set_item("low", low)?;
                facts.set_item("high", high)
            })
        }
        Error::Overflow { channel, low, high } => {
            exception(py, "AccumulatorOverflowError", message, |facts| {
                facts.set_item("channel", channel)?;
                facts.set_item("low", integer(py, low)?)?;
                facts.set_item("high", integer(py, high)?)
            })
        }
        Error::Bits {
            bits,
            lowest,
            highest,
            channel: _,
        } => exception(py, "BitsError", message, |facts| {
            facts.set_item("argument", "bits")?;
            facts.set_item("bits", bits)?;
            facts.set_item("lowest", lowest)?;
            facts.set_item("highest", highest)
        }),
        Error::Weight { channel, .. } => exception(py, "NotFiniteError", message, |facts| {
            facts.set_item("argument", "weight")?;
            facts.set_item("channel", channel)
        }),
        Error::Scale {
            argument, channel, ..
        } => exception(py, "NotFiniteError", message, |facts| {
            facts.set_item("argument", argument)?;
            facts.set_item("channel", channel)
        }),
        Error::Memory { bytes } => exception(py, "OutOfMemoryError", message, |facts| {
            facts.set_item("bytes", bytes)
        }),
        Error::Saliency {
            channel,
            input,
            value,
        } => exception(py, "SaliencyError", message, |facts| {
            facts.set_item("index", (channel, input))?;
            facts.set_item("value", value)
        }),
        Error::Infeasible {
            channel,
            bits,
            needed_bits,
        } => exception(py, "InfeasibleError", message, |facts| {
            facts.set_item("channel", channel)?;
            facts.set_item("bits", bits)?;
            facts.set_item("needed_bits", needed_bits)
        }),
        Error::SelectionLimit { channel, limit } => {
            exception(py, "SelectionLimitError", message, |facts| {
                facts.set_item("channel", channel)?;
                facts.set_item("limit", limit)
            })
        }
        Error::Order {
            argument,
            index,
            value,
            expected,
        } => exception(py, "OrderError", message, |facts| {
            facts.set_item("argument", argument)?;
            facts.set_item("index", index)?;
            facts.set_item("value", value)?;
            facts.set_item("expected", expected)
        }),
        Error::Argument {
            argument,
            value,
            expected,
        } => exception(py, "ArgumentError", message, |facts| {
            facts.set_item("argument", argument)?;
            facts.set_item("value", value)?;
            facts.set_item("expected", expected)
        }),
        Error::Index {
            argument,
            index,
            size,
        } => exception(py, "IndexRangeError", message, |facts| {
            facts.set_item("argument", argument)?;
            facts.set_item("index", index)?;
            facts.set_item("size", size)
        }),
        Error::Table {
            channel,
            low,
            high,
            first,
            last,
        } => exception(py, "TableRangeError", message, |facts| {
            facts.set_item("channel", channel)?;
            facts.set_item("low", low)?;
            facts.set_item("high", high)?;
            facts.set_item("first", first)?;
            facts.set_item("last", last)
        }),
    }
}
