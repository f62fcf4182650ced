//! `select` and its bound.

use numpy::ndarray::{ArrayView1, ArrayView2, Ix1, Ix2};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArrayDyn};
use pyo3::prelude::*;
use secateur_core::InputRanges;
use secateur_core::select::{self as selection, Budget, Method, Problem};

use crate::arrays::{self, Integers, axes, shape_error};
use crate::errors::raise;
use crate::removal::matrix;
use crate::with_codes;

/// Everything about a selection but its codes.
struct Request<'py> {
    saliency: PyReadonlyArrayDyn<'py, f64>,
    inputs: Vec<InputRanges>,
    bits: Vec<i64>,
    budget: Budget,
    bias: Option<PyReadonlyArrayDyn<'py, i64>>,
    mask: Option<PyReadonlyArrayDyn<'py, u8>>,
}

struct Views<'a> {
    saliency: ArrayView2<'a, f64>,
    bias: Option<ArrayView1<'a, i64>>,
    mask: Option<ArrayView2<'a, u8>>,
}

impl<'py> Request<'py> {
    #[allow(clippy::too_many_arguments)]
    fn read(
        saliency: &Bound<'py, PyAny>,
        low: &Bound<'py, PyAny>,
        high: &Bound<'py, PyAny>,
        bits: &Bound<'py, PyAny>,
        signed: bool,
        bias: Option<&Bound<'py, PyAny>>,
        mask: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let py = saliency.py();
        let bits = Integers::read(bits, "bits")?;
        if bits.shape().len() > 1 {
            let expected = "it must be one integer or have shape [out]".into();
            return Err(shape_error(py, "bits", bits.shape(), expected));
        }
        Ok(Self {
            saliency: arrays::exactly(saliency, "saliency", "float64")?,
            inputs: rows_of_inputs(low, high)?,
            bits: bits.to_vec(py, 1)?,
            budget: if signed { Budget::Signed } else { Budget::Span },
            bias: bias
                .map(|bias| arrays::integers(bias, "bias"))
                .transpose()?,
            mask: mask.map(arrays::mask).transpose()?,
        })
    }

    fn views(&self, py: Python<'_>) -> PyResult<Views<'_>> {
        Ok(Views {
            saliency: axes::<_, Ix2>(py, self.saliency.as_array(), "saliency", "[out, in]")?,
            bias: match &self.bias {
                Some(bias) => Some(axes::<_, Ix1>(py, bias.as_array(), "bias", "[out]")?),
                None => None,
            },
            mask: match &self.mask {
                Some(mask) => Some(axes::<_, Ix2>(py, mask.as_array(), "mask", "[out, in]")?),
                None => None,
            },
        })
    }
}

/// Ranges for all channels alike, or `[out, in]` of them.
pub fn rows_of_inputs(
    low: &Bound<'_, PyAny>,
    high: &Bound<'_, PyAny>,
) -> PyResult<Vec<InputRanges>> {
    let py = low.py();
    let (lows, highs) = (Integers::read(low, "low")?, Integers::read(high, "high")?);
    if lows.shape().len() < 2 && highs.shape().len() < 2 {
        return Ok(vec![arrays::inputs(low, high)?]);
    }
    let shape = if lows.shape().len() == 2 {
        lows.shape()
    } else {
        highs.shape()
    };
    let &[outputs, inputs] = shape else {
        let expected = "it must be one integer or have shape [in] or [out, in]".into();
        return Err(shape_error(py, "low and high", shape, expected));
    };
    let mut all: Vec<InputRanges> = Vec::new();
    all.try_reserve_exact(outputs).map_err(|_| {
        let bytes = size_of::<InputRanges>() as u128 * outputs as u128;
        raise(py, secateur_core::Error::Memory { bytes })
    })?;
    let row = |ends: &Integers<'_>, row: usize| -> Option<Vec<i64>> {
        match ends {
            Integers::One(one) => Some(vec![*one; inputs]),
            Integers::Many(array) => match *array.as_array().shape() {
                [len] if len == inputs => Some(array.as_array().iter().copied().collect()),
                [r, len] if (r, len) == (outputs, inputs) => {
                    let array = array.as_array();
                    Some(array.outer_iter().nth(row)?.iter().copied().collect())
                }
                _ => None,
            },
        }
    };
    for index in 0..outputs {
        let (Some(low), Some(high)) = (row(&lows, index), row(&highs, index)) else {
            let expected = format!("low has shape {:?}", lows.shape());
            return Err(shape_error(py, "high", highs.shape(), expected));
        };
        all.push(InputRanges::each(low, high).map_err(|error| raise(py, error))?);
    }
    Ok(all)
}

/// Mask of the weights to keep.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub fn select<'py>(
    py: Python<'py>,
    codes: &Bound<'py, PyAny>,
    saliency: &Bound<'py, PyAny>,
    low: &Bound<'py, PyAny>,
    high: &Bound<'py, PyAny>,
    bits: &Bound<'py, PyAny>,
    exact: bool,
    signed: bool,
    bias: Option<&Bound<'py, PyAny>>,
    mask: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyArray2<bool>>> {
    let codes = arrays::codes(codes, "codes")?;
    let request = Request::read(saliency, low, high, bits, signed, bias, mask)?;
    let method = if exact { Method::Exact } else { Method::Greedy };
    let views = request.views(py)?;
    let (keep, shape) = with_codes!(&codes, view => {
        let problem = Problem {
            codes: axes::<_, Ix2>(py, view, "codes", "[out, in]")?,
            saliency: views.saliency,
            inputs: &request.inputs,
            bits: &request.bits,
            budget: request.budget,
            bias: views.bias,
            mask: views.mask,
        };
        (py.detach(|| selection::select(&problem, method)), problem.codes.dim())
    });
    let keep = keep.map_err(|error| raise(py, error))?;
    matrix(py, shape, keep)
}

/// Saliency that no mask can exceed, per channel.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub fn fractional_bounds<'py>(
    py: Python<'py>,
    codes: &Bound<'py, PyAny>,
    saliency: &Bound<'py, PyAny>,
    low: &Bound<'py, PyAny>,
    high: &Bound<'py, PyAny>,
    bits: &Bound<'py, PyAny>,
    signed: bool,
    bias: Option<&Bound<'py, PyAny>>,
    mask: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let codes = arrays::codes(codes, "codes")?;
    let request = Request::read(saliency, low, high, bits, signed, bias, mask)?;
    let views = request.views(py)?;
    let bounds = with_codes!(&codes, view => {
        let problem = Problem {
            codes: axes::<_, Ix2>(py, view, "codes", "[out, in]")?,
            saliency: views.saliency,
            inputs: &request.inputs,
            bits: &request.bits,
            budget: request.budget,
            bias: views.bias,
            mask: views.mask,
        };
        py.detach(|| selection::fractional_bounds(&problem))
    });
    Ok(bounds.map_err(|error| raise(py, error))?.into_pyarray(py))
}
