//! `conv`, hull or position by position, and `convolve`.

use numpy::ndarray::{ArrayViewD, Ix1};
use numpy::{IntoPyArray, PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use secateur_core::{Conv, Geometry, InputRanges};

use crate::arrays::{self, axes};
use crate::bounds::{Ends, ends};
use crate::errors::raise;
use crate::with_codes;

/// Where the windows lie: `[in, *spatial]`, strides, paddings, dilations, groups.
type Where = (
    Vec<usize>,
    Vec<usize>,
    Vec<(usize, usize)>,
    Vec<usize>,
    usize,
);

fn geometry((input, stride, padding, dilation, groups): Where) -> Geometry {
    Geometry {
        input,
        stride,
        padding,
        dilation,
        groups,
    }
}

fn inputs(
    low: &Bound<'_, PyAny>,
    high: &Bound<'_, PyAny>,
    geometry: &Geometry,
) -> PyResult<InputRanges> {
    let input = geometry.input.as_slice();
    arrays::flat_inputs(low, high, &[&input[..input.len().min(1)], input])
}

macro_rules! convolution {
    ($name:ident, $result:ident, $outputs:ident => $shape:expr, $ranges:expr) => {
        /// Ranges of the accumulators of a convolution.
        #[pyfunction]
        #[pyo3(signature = (weight, low, high, bias, mask, geometry))]
        pub fn $name<'py>(
            py: Python<'py>,
            weight: &Bound<'py, PyAny>,
            low: &Bound<'py, PyAny>,
            high: &Bound<'py, PyAny>,
            bias: Option<&Bound<'py, PyAny>>,
            mask: Option<&Bound<'py, PyAny>>,
            geometry: Where,
        ) -> PyResult<Ends<'py>> {
            let weight = arrays::codes(weight, "weight")?;
            let geometry = self::geometry(geometry);
            let inputs = inputs(low, high, &geometry)?;
            let bias = bias.map(|bias| arrays::integers(bias, "bias")).transpose()?;
            let bias = match &bias {
                Some(bias) => Some(axes::<_, Ix1>(py, bias.as_array(), "bias", "[out]")?),
                None => None,
            };
            let mask = mask.map(arrays::mask).transpose()?;
            let mask: Option<ArrayViewD<'_, u8>> = mask.as_ref().map(|mask| mask.as_array());
            let ($result, $outputs) = with_codes!(&weight, view => {
                let outputs = view.shape().first().copied().unwrap_or(0);
                let conv = Conv {
                    weight: view,
                    geometry: &geometry,
                    inputs: &inputs,
                    bias,
                    mask,
                };
                (py.detach(|| secateur_core::$name(&conv)), outputs)
            });
            let $result = $result.map_err(|error| raise(py, error))?;
            let shape: Vec<usize> = $shape;
            ends(py, $ranges, &shape)
        }
    };
}

convolution!(conv, ranges, outputs => vec![outputs], ranges);
convolution!(conv_positions, result, outputs => {
    let mut shape = vec![outputs];
    shape.extend(&result.1);
    shape
}, result.0);

/// A convolution whose values are asked for.
#[pyclass(frozen, module = "secateur._native")]
pub struct Convolution(secateur_core::Convolution);

#[pymethods]
impl Convolution {
    #[new]
    fn new(
        py: Python<'_>,
        weight: &Bound<'_, PyAny>,
        bias: Option<&Bound<'_, PyAny>>,
        geometry: Where,
    ) -> PyResult<Self> {
        let weight = arrays::exactly::<i8>(weight, "weight", "int8")?;
        let bias = bias
            .map(|bias| arrays::integers(bias, "bias"))
            .transpose()?;
        let bias = match &bias {
            Some(bias) => Some(axes::<_, Ix1>(py, bias.as_array(), "bias", "[out]")?.to_owned()),
            None => None,
        };
        let (weight, geometry) = (weight.as_array().to_owned(), self::geometry(geometry));
        Ok(Self(secateur_core::Convolution::new(
            weight, bias, geometry,
        )))
    }

    /// The accumulators for a batch of inputs, or nothing.
    fn values<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyArrayDyn<i64>>>> {
        let x = arrays::integers(x, "x")?;
        let Some((&batch, input)) = x.shape().split_first() else {
            let expected = "it must have axes [batch, in, *spatial]".into();
            return Err(arrays::shape_error(py, "x", x.shape(), expected));
        };
        let input = input.to_vec();
        let x = x.as_array();
        let x = x.as_standard_layout();
        let values = py.detach(|| self.0.values(input, x.as_slice().unwrap_or_default()));
        let Some((values, spatial)) = values.map_err(|error| raise(py, error))? else {
            return Ok(None);
        };
        let values = values.into_pyarray(py);
        let mut shape = vec![batch, self.0.outputs()];
        shape.extend(spatial);
        values.reshape(arrays::shape(&shape)).map(Some)
    }
}
