//! `hold_back`.

use numpy::ndarray::{Ix1, Ix2};
use numpy::{Element, IntoPyArray, PyArray1, PyArrayDyn};
use pyo3::prelude::*;
use secateur_core::holding::{self, Holding, Real};

use crate::arrays::{self, axes};
use crate::errors::raise;
use crate::removal::matrix;
use crate::selection::rows_of_inputs;

/// The channels that exceed their budget, and their weights held back.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub fn hold_back<'py>(
    py: Python<'py>,
    weight: &Bound<'py, PyAny>,
    scale: &Bound<'py, PyAny>,
    low: &Bound<'py, PyAny>,
    high: &Bound<'py, PyAny>,
    bits: &Bound<'py, PyAny>,
    codes: (Bound<'py, PyAny>, Bound<'py, PyAny>),
    mask: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Bound<'py, PyArray1<i64>>, Bound<'py, PyAny>)> {
    let hold = match weight.cast::<PyArrayDyn<f32>>() {
        Ok(_) => held::<f32>,
        Err(_) => held::<f64>,
    };
    hold(py, weight, scale, low, high, bits, codes, mask)
}

#[allow(clippy::too_many_arguments)]
fn held<'py, W: Real + Element>(
    py: Python<'py>,
    weight: &Bound<'py, PyAny>,
    scale: &Bound<'py, PyAny>,
    low: &Bound<'py, PyAny>,
    high: &Bound<'py, PyAny>,
    bits: &Bound<'py, PyAny>,
    codes: (Bound<'py, PyAny>, Bound<'py, PyAny>),
    mask: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Bound<'py, PyArray1<i64>>, Bound<'py, PyAny>)> {
    let weight = arrays::exactly::<W>(weight, "weight", "float32 or float64")?;
    let scale = arrays::exactly::<W>(scale, "scale", "the weight's")?;
    let inputs = rows_of_inputs(low, high)?;
    let mask = mask.map(arrays::mask).transpose()?;
    let holding = Holding {
        weight: axes::<_, Ix2>(py, weight.as_array(), "weight", "[out, in]")?,
        scale: axes::<_, Ix1>(py, scale.as_array(), "scale", "[out]")?,
        inputs: &inputs,
        bits: arrays::integer(bits, "bits")?,
        codes: (
            arrays::integer(&codes.0, "codes")?,
            arrays::integer(&codes.1, "codes")?,
        ),
        mask: match &mask {
            Some(mask) => Some(axes::<_, Ix2>(py, mask.as_array(), "mask", "[out, in]")?),
            None => None,
        },
    };
    let width = holding.weight.ncols();
    let held = py.detach(|| holding::hold_back(&holding));
    let held = held.map_err(|error| raise(py, error))?;
    let rows = matrix(py, (held.channels.len(), width), held.weight)?;
    let channels: Vec<i64> = held
        .channels
        .iter()
        .map(|&channel| channel as i64)
        .collect();
    Ok((channels.into_pyarray(py), rows.into_any()))
}
