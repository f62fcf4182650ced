//! `fit_scales`.

use numpy::ndarray::{Ix1, Ix2};
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use secateur_core::rounding::{self, Rounding};

use crate::arrays::{self, axes};
use crate::errors::raise;
use crate::selection::rows_of_inputs;

/// Scales that suit weights and budget.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub fn fit_scales<'py>(
    py: Python<'py>,
    weight: &Bound<'py, PyAny>,
    start: &Bound<'py, PyAny>,
    low: &Bound<'py, PyAny>,
    high: &Bound<'py, PyAny>,
    bits: &Bound<'py, PyAny>,
    codes: (Bound<'py, PyAny>, Bound<'py, PyAny>),
    mask: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let weight = arrays::exactly::<f64>(weight, "weight", "float64")?;
    let start = arrays::exactly::<f64>(start, "start", "float64")?;
    let inputs = rows_of_inputs(low, high)?;
    let mask = mask.map(arrays::mask).transpose()?;
    let rounding = Rounding {
        weight: axes::<_, Ix2>(py, weight.as_array(), "weight", "[out, in]")?,
        start: axes::<_, Ix1>(py, start.as_array(), "start", "[out]")?,
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
    let scales = py.detach(|| rounding::fit_scales(&rounding));
    Ok(scales.map_err(|error| raise(py, error))?.into_pyarray(py))
}
