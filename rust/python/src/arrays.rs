//! NumPy arrays as views; whatever cannot be viewed is refused or, where cheap, converted.

use numpy::ndarray::{ArrayViewD, IxDyn};
use numpy::{
    Element, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyException, PyMemoryError, PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use secateur_core::{InputRanges, filled};

use crate::errors::{exception, raise};

/// Weights of any type that the engine takes.
pub enum Codes<'py> {
    I8(PyReadonlyArrayDyn<'py, i8>),
    U8(PyReadonlyArrayDyn<'py, u8>),
    I16(PyReadonlyArrayDyn<'py, i16>),
    I32(PyReadonlyArrayDyn<'py, i32>),
    I64(PyReadonlyArrayDyn<'py, i64>),
}

/// Runs the same expression for weights of every type.
#[macro_export]
macro_rules! with_codes {
    ($codes:expr, $view:ident => $body:expr) => {
        match $codes {
            $crate::arrays::Codes::I8(array) => {
                let $view = array.as_array();
                $body
            }
            $crate::arrays::Codes::U8(array) => {
                let $view = array.as_array();
                $body
            }
            $crate::arrays::Codes::I16(array) => {
                let $view = array.as_array();
                $body
            }
            $crate::arrays::Codes::I32(array) => {
                let $view = array.as_array();
                $body
            }
            $crate::arrays::Codes::I64(array) => {
                let $view = array.as_array();
                $body
            }
        }
    };
}

/// `value` as an array that can be viewed: aligned and in the machine's byte order.
fn array<'py>(
    value: &Bound<'py, PyAny>,
    argument: &str,
    expected: &str,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = value.py();
    let array = match value.cast::<PyUntypedArray>() {
        Ok(array) => array.clone(),
        Err(_) => match py.import("numpy")?.call_method1("asarray", (value,)) {
            Ok(array) => array.cast_into::<PyUntypedArray>()?,
            // Ragged lists, for one, make no array.
            Err(cause) if cause.is_instance_of::<PyException>(py) => {
                let error = type_error(value, argument, expected);
                error.set_cause(py, Some(cause));
                return Err(error);
            }
            Err(interrupt) => return Err(interrupt),
        },
    };
    let dtype = array.dtype();
    let itemsize = array.getattr("itemsize")?.extract::<usize>()?;
    if itemsize > 1
        && !array
            .getattr("flags")?
            .getattr("aligned")?
            .extract::<bool>()?
        || !dtype.getattr("isnative")?.extract::<bool>()?
    {
        let native = dtype.call_method1("newbyteorder", ("=",))?;
        let native = array.call_method1("astype", (native,));
        return Ok(converted(&array, native)?.cast_into()?);
    }
    Ok(array)
}

/// A conversion of an array, whose lack of memory is an error of ours, too.
pub fn converted<'py>(
    array: &Bound<'py, PyUntypedArray>,
    result: PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = array.py();
    result.map_err(|error| match error.is_instance_of::<PyMemoryError>(py) {
        true => {
            let bytes = size_of::<i64>() as u128 * array.len() as u128;
            raise(py, secateur_core::Error::Memory { bytes })
        }
        false => error,
    })
}

fn dtype_error(py: Python<'_>, dtype: &str, argument: &str, expected: &str) -> PyErr {
    let message = format!("{argument} has dtype {dtype}, expected {expected}");
    exception(py, "DtypeError", message, |facts| {
        facts.set_item("argument", argument)?;
        facts.set_item("dtype", dtype)?;
        facts.set_item("expected", expected)
    })
}

/// The same for what is no array.
fn type_error(value: &Bound<'_, PyAny>, argument: &str, expected: &str) -> PyErr {
    let build = |name: String| {
        let message = format!("{argument} is of type {name}, expected {expected}");
        exception(value.py(), "DtypeError", message, |facts| {
            facts.set_item("argument", argument)?;
            facts.set_item("dtype", name)?;
            facts.set_item("expected", expected)
        })
    };
    value
        .get_type()
        .name()
        .map_or_else(|error| error, |name| build(name.to_string()))
}

/// A shape error that the core would not see, since it knows the number of axes by type.
pub fn shape_error(
    py: Python<'_>,
    argument: &'static str,
    shape: &[usize],
    expected: String,
) -> PyErr {
    raise(
        py,
        secateur_core::Error::Shape {
            argument,
            shape: shape.to_vec(),
            expected,
        },
    )
}

const CODES: &str = "int8, int16, int32, int64 or uint8 codes";
const INTEGERS: &str = "integers that fit int64";

/// Weights, of whatever type and shape.
pub fn codes<'py>(value: &Bound<'py, PyAny>, argument: &str) -> PyResult<Codes<'py>> {
    if let Ok(bytes) = value.cast::<PyArrayDyn<i8>>() {
        return Ok(Codes::I8(bytes.readonly()));
    }
    let array = array(value, argument, CODES)?;
    let any = array.as_any();
    if let Ok(array) = any.cast::<PyArrayDyn<i8>>() {
        return Ok(Codes::I8(array.readonly()));
    }
    if let Ok(array) = any.cast::<PyArrayDyn<i64>>() {
        return Ok(Codes::I64(array.readonly()));
    }
    if let Ok(array) = any.cast::<PyArrayDyn<i32>>() {
        return Ok(Codes::I32(array.readonly()));
    }
    if let Ok(array) = any.cast::<PyArrayDyn<i16>>() {
        return Ok(Codes::I16(array.readonly()));
    }
    if let Ok(array) = any.cast::<PyArrayDyn<u8>>() {
        return Ok(Codes::U8(array.readonly()));
    }
    let dtype = array.dtype().to_string();
    Err(dtype_error(value.py(), &dtype, argument, CODES))
}

/// An array of integers as 64-bit ones, viewed where it has that type already.
pub fn integers<'py>(
    value: &Bound<'py, PyAny>,
    argument: &str,
) -> PyResult<PyReadonlyArrayDyn<'py, i64>> {
    let array = array(value, argument, INTEGERS)?;
    if let Ok(array) = array.as_any().cast::<PyArrayDyn<i64>>() {
        return Ok(array.readonly());
    }
    let kind: char = array.dtype().getattr("kind")?.extract()?;
    let size: usize = array.getattr("itemsize")?.extract()?;
    // An empty list arrives as an empty array of floats.
    let permitted = kind == 'i' || (kind == 'u' && size < 8) || array.len() == 0;
    if !permitted {
        let dtype = array.dtype().to_string();
        return Err(dtype_error(value.py(), &dtype, argument, INTEGERS));
    }
    let wide = converted(&array, array.call_method1("astype", ("int64",)))?;
    Ok(wide.cast_into::<PyArrayDyn<i64>>()?.readonly())
}

/// One integer that is no array.
pub fn integer(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<i64> {
    let py = value.py();
    value.extract::<i64>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(py) {
            let message = format!("{argument} is {value}, which does not fit int64");
            exception(py, "DtypeError", message, |facts| {
                facts.set_item("argument", argument)?;
                facts.set_item("dtype", "int")?;
                facts.set_item("expected", INTEGERS)
            })
        } else if error.is_instance_of::<PyTypeError>(py) {
            type_error(value, argument, "one integer")
        } else {
            error
        }
    })
}

/// One integer, or an array of them.
pub enum Integers<'py> {
    One(i64),
    Many(PyReadonlyArrayDyn<'py, i64>),
}

impl<'py> Integers<'py> {
    pub fn read(value: &Bound<'py, PyAny>, argument: &str) -> PyResult<Self> {
        if value.cast::<PyUntypedArray>().is_err() {
            match value.extract::<i64>() {
                Ok(one) => return Ok(Self::One(one)),
                Err(error) if error.is_instance_of::<PyTypeError>(value.py()) => {}
                Err(_) => return integer(value, argument).map(Self::One),
            }
        }
        let array = integers(value, argument)?;
        if array.ndim() == 0 {
            return Ok(Self::One(
                array.as_array().iter().copied().next().unwrap_or(0),
            ));
        }
        Ok(Self::Many(array))
    }

    pub fn shape(&self) -> &[usize] {
        match self {
            Self::One(_) => &[],
            Self::Many(array) => array.shape(),
        }
    }

    /// The values in the given shape, a single one repeated; the caller has compared the shapes.
    pub fn to_vec(&self, py: Python<'_>, len: usize) -> PyResult<Vec<i64>> {
        let (value, len) = match self {
            Self::One(one) => (*one, len),
            Self::Many(array) => (0, array.len()),
        };
        let mut all = filled(value, len).map_err(|error| raise(py, error))?;
        if let Self::Many(array) = self {
            for (place, value) in all.iter_mut().zip(array.as_array()) {
                *place = *value;
            }
        }
        Ok(all)
    }
}

/// Input ranges from `low` and `high`, each one integer or one per input.
pub fn inputs(low: &Bound<'_, PyAny>, high: &Bound<'_, PyAny>) -> PyResult<InputRanges> {
    let py = low.py();
    let (low, high) = (Integers::read(low, "low")?, Integers::read(high, "high")?);
    if let (Integers::One(low), Integers::One(high)) = (&low, &high) {
        return InputRanges::one(*low, *high).map_err(|error| raise(py, error));
    }
    for (argument, ends) in [("low", &low), ("high", &high)] {
        if ends.shape().len() > 1 {
            let expected = "it must be one integer or have shape [in]".into();
            return Err(shape_error(py, argument, ends.shape(), expected));
        }
    }
    let len = low
        .shape()
        .first()
        .or(high.shape().first())
        .copied()
        .unwrap_or(1);
    InputRanges::each(low.to_vec(py, len)?, high.to_vec(py, len)?).map_err(|error| raise(py, error))
}

/// An array of that type and no other.
pub fn exactly<'py, T: Element>(
    value: &Bound<'py, PyAny>,
    argument: &str,
    expected: &str,
) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    let array = array(value, argument, expected)?;
    match array.as_any().cast::<PyArrayDyn<T>>() {
        Ok(array) => Ok(array.readonly()),
        Err(_) => {
            let dtype = array.dtype().to_string();
            Err(dtype_error(value.py(), &dtype, argument, expected))
        }
    }
}

/// A boolean array as bytes: NumPy permits any byte in one, Rust's `bool` does not.
pub fn mask<'py>(value: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArrayDyn<'py, u8>> {
    let expected = "bool (True keeps a weight)";
    let array = array(value, "mask", expected)?;
    let kind: char = array.dtype().getattr("kind")?.extract()?;
    if kind != 'b' {
        let dtype = array.dtype().to_string();
        return Err(dtype_error(value.py(), &dtype, "mask", expected));
    }
    let bytes = array.call_method1("view", ("uint8",))?;
    Ok(bytes.cast_into::<PyArrayDyn<u8>>()?.readonly())
}

/// The view with exactly `N` axes.
pub fn axes<'a, T, D>(
    py: Python<'_>,
    view: ArrayViewD<'a, T>,
    argument: &'static str,
    expected: &str,
) -> PyResult<numpy::ndarray::ArrayView<'a, T, D>>
where
    D: numpy::ndarray::Dimension,
{
    let shape = view.shape().to_vec();
    view.into_dimensionality::<D>().map_err(|_| {
        shape_error(
            py,
            argument,
            &shape,
            format!("it must have axes {expected}"),
        )
    })
}

/// A shape of any number of axes.
pub fn shape(axes: &[usize]) -> IxDyn {
    IxDyn(axes)
}

/// Input ranges of any shape, flat; a missing shape is one range for all.
pub fn flat_inputs(
    low: &Bound<'_, PyAny>,
    high: &Bound<'_, PyAny>,
    shapes: &[&[usize]],
) -> PyResult<InputRanges> {
    let py = low.py();
    let (low, high) = (Integers::read(low, "low")?, Integers::read(high, "high")?);
    if let (Integers::One(low), Integers::One(high)) = (&low, &high) {
        return InputRanges::one(*low, *high).map_err(|error| raise(py, error));
    }
    let shape = if low.shape().is_empty() {
        high.shape()
    } else {
        low.shape()
    };
    for (argument, ends) in [("low", &low), ("high", &high)] {
        let fits = ends.shape().is_empty() || (ends.shape() == shape && shapes.contains(&shape));
        if !fits {
            let expected = format!("it must be one integer or have one of the shapes {shapes:?}");
            return Err(shape_error(py, argument, ends.shape(), expected));
        }
    }
    let len = shape.iter().product();
    InputRanges::each(low.to_vec(py, len)?, high.to_vec(py, len)?).map_err(|error| raise(py, error))
}
