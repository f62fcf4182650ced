//! `profile` and `RangeTracker`: ranges while weights are removed.

use numpy::ndarray::{Array2, Ix1, Ix2};
use numpy::{IntoPyArray, PyArray2, PyArrayMethods};
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::arrays::{self, axes};
use crate::bounds::{Ends, ends};
use crate::errors::{exception, raise};
use crate::with_codes;

/// Ranges after the first removals, `[counts, out]`.
#[pyfunction]
#[pyo3(signature = (weight, order, low, high, counts, bias=None))]
pub fn profile<'py>(
    py: Python<'py>,
    weight: &Bound<'py, PyAny>,
    order: &Bound<'py, PyAny>,
    low: &Bound<'py, PyAny>,
    high: &Bound<'py, PyAny>,
    counts: &Bound<'py, PyAny>,
    bias: Option<&Bound<'py, PyAny>>,
) -> PyResult<Ends<'py>> {
    let weight = arrays::codes(weight, "weight")?;
    let inputs = arrays::inputs(low, high)?;
    let order = Flat::read(order, "order")?;
    let counts = Flat::read(counts, "counts")?;
    let bias = bias
        .map(|bias| arrays::integers(bias, "bias"))
        .transpose()?;
    let bias = match &bias {
        Some(bias) => Some(axes::<_, Ix1>(py, bias.as_array(), "bias", "[out]")?),
        None => None,
    };
    let (order, counts) = (order.slice(), counts.slice());
    let (ranges, outputs) = with_codes!(&weight, view => {
        let view = axes::<_, Ix2>(py, view, "weight", "[out, in]")?;
        let ranges = py.detach(|| secateur_core::profile(view, order, &inputs, bias, counts));
        (ranges, view.nrows())
    });
    let ranges = ranges.map_err(|error| raise(py, error))?;
    ends(py, ranges, &[counts.len(), outputs])
}

/// The same over many layers with one order; a pair of `[counts, out]` for each.
#[pyfunction]
pub fn profile_network<'py>(
    py: Python<'py>,
    weights: Vec<Bound<'py, PyAny>>,
    order: &Bound<'py, PyAny>,
    lows: Vec<Bound<'py, PyAny>>,
    highs: Vec<Bound<'py, PyAny>>,
    counts: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let order = Flat::read(order, "order")?;
    let counts = Flat::read(counts, "counts")?;
    let mut layers = Vec::with_capacity(weights.len());
    let mut sizes = Vec::new();
    for ((weight, low), high) in weights.iter().zip(&lows).zip(&highs) {
        let weight = arrays::codes(weight, &format!("weights[{}]", layers.len()))?;
        let shape: (usize, usize) = with_codes!(&weight, view => {
            axes::<_, Ix2>(py, view, "weights", "[out, in]")?.dim()
        });
        let blocks = secateur_core::block_sizes(shape.0, shape.1);
        layers.push((weight, arrays::inputs(low, high)?, shape, blocks.len()));
        sizes.extend(blocks);
    }
    let (order, counts) = (order.slice(), counts.slice());
    let shares = py.detach(|| secateur_core::split_order(&sizes, order, counts));
    let shares = shares.map_err(|error| raise(py, error))?;
    let mut rest = shares.as_slice();
    let result = PyList::empty(py);
    for (layer, (weight, inputs, shape, blocks)) in layers.iter().enumerate() {
        let (own, others) = rest.split_at(*blocks);
        rest = others;
        let ranges = with_codes!(weight, view => {
            let view = axes::<_, Ix2>(py, view, "weights", "[out, in]")?;
            py.detach(|| secateur_core::profile_shares(view, own, inputs, None))
        });
        let ranges = ranges.map_err(|error| match error {
            // An index within a block would name a place that the caller never gave.
            secateur_core::Error::Order { .. } => {
                let message = format!("order removes a weight of layer {layer} twice");
                exception(py, "OrderError", message, |facts| {
                    facts.set_item("argument", "order")
                })
            }
            error => raise(py, error),
        })?;
        // A layer without channels has no blocks, and its ranges no counts.
        result.append(ends(py, ranges, &[counts.len(), shape.0])?)?;
    }
    Ok(result)
}

/// One axis of integers in a row.
struct Flat<'py>(numpy::PyReadonlyArrayDyn<'py, i64>);

impl<'py> Flat<'py> {
    fn read(value: &Bound<'py, PyAny>, argument: &'static str) -> PyResult<Self> {
        let py = value.py();
        let array = arrays::integers(value, argument)?;
        let shape = array.as_array().shape().to_vec();
        if shape.len() != 1 {
            let expected = "it must have one axis".into();
            return Err(arrays::shape_error(py, argument, &shape, expected));
        }
        if array.as_slice().is_ok() {
            return Ok(Self(array));
        }
        let copy = py
            .import("numpy")?
            .call_method1("ascontiguousarray", (value,));
        let copy = arrays::converted(array.as_untyped(), copy)?;
        Ok(Self(arrays::integers(&copy, argument)?))
    }

    fn slice(&self) -> &[i64] {
        self.0.as_slice().unwrap_or_default()
    }
}

/// A layer whose ranges are kept up to date while single weights come and go.
#[pyclass(module = "secateur._native")]
pub struct RangeTracker(secateur_core::RangeTracker);

#[pymethods]
impl RangeTracker {
    #[new]
    #[pyo3(signature = (weight, low, high, bias=None, mask=None))]
    fn new(
        py: Python<'_>,
        weight: &Bound<'_, PyAny>,
        low: &Bound<'_, PyAny>,
        high: &Bound<'_, PyAny>,
        bias: Option<&Bound<'_, PyAny>>,
        mask: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
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
        let tracker = with_codes!(&weight, view => {
            let view = axes::<_, Ix2>(py, view, "weight", "[out, in]")?;
            py.detach(|| secateur_core::RangeTracker::new(view, inputs, bias, mask))
        });
        Ok(Self(tracker.map_err(|error| raise(py, error))?))
    }

    /// Removes one weight.
    fn remove(&mut self, channel: &Bound<'_, PyAny>, input: &Bound<'_, PyAny>) -> PyResult<()> {
        let (at, place) = (self.channel(channel)?, self.input(input)?);
        let done = self.0.remove(at, place);
        done.map_err(|error| raise(channel.py(), error))
    }

    /// Puts one weight back.
    fn restore(&mut self, channel: &Bound<'_, PyAny>, input: &Bound<'_, PyAny>) -> PyResult<()> {
        let (at, place) = (self.channel(channel)?, self.input(input)?);
        let done = self.0.restore(at, place);
        done.map_err(|error| raise(channel.py(), error))
    }

    /// Gives one weight a value.
    fn set(
        &mut self,
        channel: &Bound<'_, PyAny>,
        input: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (at, place) = (self.channel(channel)?, self.input(input)?);
        let done = self.0.set(at, place, arrays::integer(value, "value")?);
        done.map_err(|error| raise(channel.py(), error))
    }

    /// Removes an output channel.
    fn remove_channel(&mut self, channel: &Bound<'_, PyAny>) -> PyResult<()> {
        let done = self.0.remove_channel(self.channel(channel)?);
        done.map_err(|error| raise(channel.py(), error))
    }

    /// Puts an output channel back.
    fn restore_channel(&mut self, channel: &Bound<'_, PyAny>) -> PyResult<()> {
        let done = self.0.restore_channel(self.channel(channel)?);
        done.map_err(|error| raise(channel.py(), error))
    }

    /// Takes back changes; says how many.
    fn undo(&mut self, steps: usize) -> usize {
        self.0.undo(steps)
    }

    /// Number of changes that can be taken back.
    fn changes(&self) -> usize {
        self.0.changes()
    }

    /// Low and high of one channel.
    fn range(&self, channel: &Bound<'_, PyAny>) -> PyResult<(i64, i64)> {
        let range = self.0.range(self.channel(channel)?);
        range.map_err(|error| raise(channel.py(), error))
    }

    /// Low and high of all channels.
    fn ranges<'py>(&self, py: Python<'py>) -> PyResult<Ends<'py>> {
        let ranges = self.0.ranges().map_err(|error| raise(py, error))?;
        ends(py, ranges, &[self.0.shape().0])
    }

    /// What is kept, `[out, in]`.
    fn mask<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<bool>>> {
        matrix(py, self.0.shape(), self.0.mask())
    }

    /// The codes, removed or not, `[out, in]`.
    fn weight<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<i64>>> {
        matrix(py, self.0.shape(), self.0.weights().to_vec())
    }
}

impl RangeTracker {
    fn channel(&self, value: &Bound<'_, PyAny>) -> PyResult<i64> {
        place(value, "channel", self.0.shape().0)
    }

    fn input(&self, value: &Bound<'_, PyAny>) -> PyResult<i64> {
        place(value, "input", self.0.shape().1)
    }
}

/// An index; one that 64 bits do not hold is out of range as well.
fn place(value: &Bound<'_, PyAny>, argument: &str, size: usize) -> PyResult<i64> {
    let py = value.py();
    match value.extract::<i64>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
            let message = format!("{argument} {value} is out of range: the layer has {size}");
            Err(exception(py, "IndexRangeError", message, |facts| {
                facts.set_item("argument", argument)?;
                facts.set_item("index", value)?;
                facts.set_item("size", size)
            }))
        }
        _ => arrays::integer(value, argument),
    }
}

/// Elements in row-major order as an array.
pub fn matrix<T: numpy::Element>(
    py: Python<'_>,
    shape: (usize, usize),
    elements: Vec<T>,
) -> PyResult<Bound<'_, PyArray2<T>>> {
    match Array2::from_shape_vec(shape, elements) {
        Ok(matrix) => Ok(matrix.into_pyarray(py)),
        Err(error) => Err(pyo3::exceptions::PyRuntimeError::new_err(error.to_string())),
    }
}
