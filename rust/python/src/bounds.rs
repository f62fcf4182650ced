//! `linear` and its kin.

use numpy::ndarray::{ArrayView3, Axis, Ix1, Ix2, Ix3};
use numpy::{IntoPyArray, PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use secateur_core::{InputRanges, Ranges, Result, threads};

use crate::arrays::{self, Integers, axes};
use crate::errors::raise;
use crate::with_codes;

/// Both ends as arrays of the given shape.
pub fn ends<'py>(py: Python<'py>, ranges: Ranges, shape: &[usize]) -> PyResult<Ends<'py>> {
    let array = |values: Vec<i64>| -> PyResult<Bound<'py, PyAny>> {
        let array: Bound<'py, PyArray1<i64>> = values.into_pyarray(py);
        if shape.len() == 1 {
            return Ok(array.into_any());
        }
        Ok(array.reshape(arrays::shape(shape))?.into_any())
    };
    Ok((array(ranges.low)?, array(ranges.high)?))
}

pub type Ends<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

macro_rules! affine {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (weight, low, high, bias=None, mask=None))]
        pub fn $name<'py>(
            py: Python<'py>,
            weight: &Bound<'py, PyAny>,
            low: &Bound<'py, PyAny>,
            high: &Bound<'py, PyAny>,
            bias: Option<&Bound<'py, PyAny>>,
            mask: Option<&Bound<'py, PyAny>>,
        ) -> PyResult<Ends<'py>> {
            let weight = arrays::codes(weight, "weight")?;
            let inputs: InputRanges = arrays::inputs(low, high)?;
            let bias = bias.map(|bias| arrays::integers(bias, "bias")).transpose()?;
            let bias = match &bias {
                Some(bias) => Some(axes::<_, Ix1>(py, bias.as_array(), "bias", "[out]")?),
                None => None,
            };
            let mask = mask.map(arrays::mask).transpose()?;
            let batch = mask.as_ref().is_some_and(|mask| mask.as_array().ndim() == 3);
            let masks: Option<ArrayView3<'_, u8>> = match &mask {
                Some(mask) if batch => Some(axes::<_, Ix3>(py, mask.as_array(), "mask", "[masks, out, in]")?),
                Some(mask) => Some(
                    axes::<_, Ix2>(py, mask.as_array(), "mask", "[out, in] or [masks, out, in]")?
                        .insert_axis(Axis(0)),
                ),
                None => None,
            };
            let (ranges, outputs): (Result<Ranges>, usize) = with_codes!(&weight, view => {
                let view = axes::<_, Ix2>(py, view, "weight", "[out, in]")?;
                (py.detach(|| secateur_core::$name(view, &inputs, bias, masks)), view.nrows())
            });
            let ranges = ranges.map_err(|error| raise(py, error))?;
            match masks {
                Some(masks) if batch => ends(py, ranges, &[masks.len_of(Axis(0)), outputs]),
                _ => ends(py, ranges, &[outputs]),
            }
        }
    };
}

affine!(linear);
affine!(partial_sums);

/// Hull over the prefixes of the sum.
#[pyfunction]
#[pyo3(signature = (weight, low, high, bias=None, mask=None))]
pub fn prefix_sums<'py>(
    py: Python<'py>,
    weight: &Bound<'py, PyAny>,
    low: &Bound<'py, PyAny>,
    high: &Bound<'py, PyAny>,
    bias: Option<&Bound<'py, PyAny>>,
    mask: Option<&Bound<'py, PyAny>>,
) -> PyResult<Ends<'py>> {
    let weight = arrays::codes(weight, "weight")?;
    let inputs = arrays::inputs(low, high)?;
    let bias = bias
        .map(|bias| arrays::integers(bias, "bias"))
        .transpose()?;
    let bias = match &bias {
        Some(bias) => Some(axes::<_, Ix1>(py, bias.as_array(), "bias", "[out]")?),
        None => None,
    };
    let mask = mask.map(arrays::mask).transpose()?;
    let mask = match &mask {
        Some(mask) => Some(axes::<_, Ix2>(py, mask.as_array(), "mask", "[out, in]")?),
        None => None,
    };
    let (ranges, outputs) = with_codes!(&weight, view => {
        let view = axes::<_, Ix2>(py, view, "weight", "[out, in]")?;
        (py.detach(|| secateur_core::prefix_sums(view, &inputs, bias, mask)), view.nrows())
    });
    ends(py, ranges.map_err(|error| raise(py, error))?, &[outputs])
}

/// Least and greatest entry of every table within its index range.
#[pyfunction]
pub fn table_ranges<'py>(
    py: Python<'py>,
    tables: &Bound<'py, PyAny>,
    low: &Bound<'py, PyAny>,
    high: &Bound<'py, PyAny>,
    start: &Bound<'py, PyAny>,
) -> PyResult<Ends<'py>> {
    let tables = arrays::codes(tables, "tables")?;
    let read = |value, argument| -> PyResult<Vec<i64>> {
        let integers = Integers::read(value, argument)?;
        if integers.shape().len() > 1 {
            let expected = "it must be one integer or have shape [channels]".into();
            return Err(arrays::shape_error(
                py,
                argument,
                integers.shape(),
                expected,
            ));
        }
        integers.to_vec(py, 1)
    };
    let indices = Ranges {
        low: read(low, "low")?,
        high: read(high, "high")?,
    };
    let start = read(start, "start")?;
    let ranges = with_codes!(&tables, view => {
        let view = if view.ndim() == 1 { view.insert_axis(Axis(0)) } else { view };
        let view = axes::<_, Ix2>(py, view, "tables", "[entries] or [channels, entries]")?;
        py.detach(|| secateur_core::table_ranges(view, &indices, &start))
    });
    ends(
        py,
        ranges.map_err(|error| raise(py, error))?,
        &[indices.low.len()],
    )
}

/// Most threads that a call uses; 0 stands for one per processor.
#[pyfunction]
pub fn set_num_threads(py: Python<'_>, threads: usize) -> PyResult<()> {
    threads::set_num_threads(threads).map_err(|error| raise(py, error))
}

/// Number of threads that a large call uses.
#[pyfunction]
pub fn num_threads() -> usize {
    threads::num_threads()
}
