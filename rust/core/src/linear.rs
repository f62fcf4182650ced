//! Exact ranges of the accumulators of a linear layer.
//!
//! `high = b + Σ max(wᵢlᵢ, wᵢhᵢ)` and `low = b + Σ min(wᵢlᵢ, wᵢhᵢ)`; both are attained.

use ndarray::{ArrayView1, ArrayView2, ArrayView3, Axis};

use crate::code::Code;
use crate::forms::{Form, Kind, Tile};
use crate::inputs::InputRanges;
use crate::machine::Machine;
use crate::ranges::Wide;
use crate::rows::Rows;
use crate::{Error, Ranges, Result, threads};

/// Exact range of every output channel.
///
/// `weight` is `[out, in]`, `bias` `[out]`. Each mask of `masks`, `[masks, out, in]`, keeps the
/// weights where it is not zero (one byte a weight, as NumPy stores booleans); the result holds
/// `out` ranges for each mask in turn, and `out` ranges where there are no masks.
pub fn linear<T: Code>(
    weight: ArrayView2<'_, T>,
    inputs: &InputRanges,
    bias: Option<ArrayView1<'_, i64>>,
    masks: Option<ArrayView3<'_, u8>>,
) -> Result<Ranges> {
    let bias = bias.map(|bias| (bias, bias));
    affine(weight, inputs, bias, masks, Choice::default())
}

/// Ranges that hold every partial sum, in whatever order bias and products are added.
///
/// Every term may be absent, so each is widened to take in zero: for the products that is the
/// same as widening the input ranges, since `max(0, wl, wh)` is `w·max(h, 0)` for positive and
/// `w·min(l, 0)` for negative weights. Arguments and result are those of [`linear`].
pub fn partial_sums<T: Code>(
    weight: ArrayView2<'_, T>,
    inputs: &InputRanges,
    bias: Option<ArrayView1<'_, i64>>,
    masks: Option<ArrayView3<'_, u8>>,
) -> Result<Ranges> {
    let ends = bias.map(|bias| (bias.mapv(|b| b.min(0)), bias.mapv(|b| b.max(0))));
    let ends = ends.as_ref().map(|(low, high)| (low.view(), high.view()));
    affine(weight, &inputs.with_zero(), ends, masks, Choice::default())
}

/// Which of the kernels that take a layer has to do it.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The instructions.
    pub machine: Machine,
    /// No form of the input ranges that comes before this one.
    pub least: Kind,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            machine: Machine::best(),
            least: Kind::One,
        }
    }
}

/// [`linear`] by a kernel of choice: all of them give the same.
pub fn linear_by<T: Code>(
    choice: Choice,
    weight: ArrayView2<'_, T>,
    inputs: &InputRanges,
    bias: Option<ArrayView1<'_, i64>>,
    masks: Option<ArrayView3<'_, u8>>,
) -> Result<Ranges> {
    affine(weight, inputs, bias.map(|bias| (bias, bias)), masks, choice)
}

/// [`linear`] with a bias that is itself a range.
pub(crate) fn affine<T: Code>(
    weight: ArrayView2<'_, T>,
    inputs: &InputRanges,
    bias: Option<(ArrayView1<'_, i64>, ArrayView1<'_, i64>)>,
    masks: Option<ArrayView3<'_, u8>>,
    choice: Choice,
) -> Result<Ranges> {
    let (outputs, width) = weight.dim();
    inputs.check_len(width)?;
    if let Some((bias, _)) = bias
        && bias.len() != outputs
    {
        return Err(Error::Shape {
            argument: "bias",
            shape: vec![bias.len()],
            expected: format!("the weight has {outputs} output channels"),
        });
    }
    if let Some(masks) = &masks
        && masks.shape()[1..] != [outputs, width]
    {
        return Err(Error::Shape {
            argument: "mask",
            shape: masks.shape().to_vec(),
            expected: format!("the weight has shape [{outputs}, {width}]"),
        });
    }
    let form = T::form(inputs, choice.least);
    let layers = masks.as_ref().map_or(1, |masks| masks.len_of(Axis(0)));
    let rows = layers.saturating_mul(outputs);
    let mut ranges = Ranges::zeros(rows)?;
    if rows == 0 {
        return Ok(ranges);
    }
    let job = Job {
        machine: choice.machine,
        weight,
        form: form.as_ref(),
        bias,
        masks,
    };
    let cost = rows.saturating_mul(width).saturating_mul(form.cost());
    let step = threads::step(rows, cost);
    let low = ranges.low.chunks_mut(step);
    let chunks = low.zip(ranges.high.chunks_mut(step)).enumerate();
    threads::share(step < rows, chunks, |(index, (low, high))| {
        job.fill(index * step, low, high)
    })?;
    Ok(ranges)
}

struct Job<'a, T> {
    machine: Machine,
    weight: ArrayView2<'a, T>,
    form: &'a dyn Form<T>,
    bias: Option<(ArrayView1<'a, i64>, ArrayView1<'a, i64>)>,
    masks: Option<ArrayView3<'a, u8>>,
}

/// Rows that a form sums at a time.
const TILE: usize = 16;

impl<T: Code> Job<'_, T> {
    /// Fills the ranges of the rows that start at `first`, mask by mask.
    fn fill(&self, first: usize, low: &mut [i64], high: &mut [i64]) -> Result<()> {
        let outputs = self.weight.nrows();
        let mut rows = Rows::new(self.weight);
        let (mut done, mut sums) = (0, [Wide::default(); TILE]);
        while done < low.len() {
            let layer = (first + done) / outputs;
            let layer_end = ((layer + 1) * outputs - first).min(low.len());
            let mut masks = self
                .masks
                .map(|masks| Rows::new(masks.index_axis_move(Axis(0), layer)));
            while done < layer_end {
                let channel = (first + done) % outputs;
                let count = TILE.min(layer_end - done);
                let rows: [&[T]; TILE] = rows.tile(channel);
                let masks: Option<[&[u8]; TILE]> = masks.as_mut().map(|masks| masks.tile(channel));
                let tile = Tile {
                    rows: &rows[..count],
                    masks: masks.as_ref().map(|masks| &masks[..count]),
                };
                self.form.sum(self.machine, tile, &mut sums[..count]);
                for (at, sum) in sums[..count].iter().enumerate() {
                    let channel = channel + at;
                    let (bias_low, bias_high) = match &self.bias {
                        Some((low, high)) => (low[channel], high[channel]),
                        None => (0, 0),
                    };
                    (low[done + at], high[done + at]) = sum.narrow(bias_low, bias_high, channel)?;
                }
                done += count;
            }
        }
        Ok(())
    }
}
