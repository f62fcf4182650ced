//! Ranges of the partial sums of a linear layer in the order of its inputs.

use ndarray::{ArrayView1, ArrayView2};

use crate::code::Code;
use crate::forms::sums_fit;
use crate::inputs::InputRanges;
use crate::ranges::Wide;
use crate::{Error, Ranges, Result};

/// Hull over every prefix: the bias alone, the bias and the first product, and so on.
///
/// `weight` and `mask` are `[out, in]`, `bias` is `[out]`; inputs are added from first to last.
pub fn prefix_sums<T: Code>(
    weight: ArrayView2<'_, T>,
    inputs: &InputRanges,
    bias: Option<ArrayView1<'_, i64>>,
    mask: Option<ArrayView2<'_, u8>>,
) -> Result<Ranges> {
    let (outputs, width) = weight.dim();
    inputs.check_len(width)?;
    if let Some(bias) = &bias
        && bias.len() != outputs
    {
        return Err(Error::Shape {
            argument: "bias",
            shape: vec![bias.len()],
            expected: format!("the weight has {outputs} output channels"),
        });
    }
    if let Some(mask) = &mask
        && mask.dim() != weight.dim()
    {
        return Err(Error::Shape {
            argument: "mask",
            shape: mask.shape().to_vec(),
            expected: format!("the weight has shape [{outputs}, {width}]"),
        });
    }
    let largest = inputs.largest();
    let mut ranges = Ranges::zeros(outputs)?;
    for channel in 0..outputs {
        let start = bias.map_or(0, |bias| bias[channel]);
        let terms = weight
            .row(channel)
            .into_iter()
            .enumerate()
            .map(|(input, w)| {
                let kept = mask.is_none_or(|mask| mask[[channel, input]] != 0);
                let (low, high) = inputs.at(input);
                (if kept { w.value() } else { 0 }, low, high)
            });
        let proved = sums_fit(width.saturating_add(1), T::LARGEST, largest.max(1))
            && start.unsigned_abs() <= T::LARGEST;
        let (low, high) = if proved {
            hull(start, terms)
        } else {
            wide_hull(start, terms).narrow(0, 0, channel)?
        };
        (ranges.low[channel], ranges.high[channel]) = (low, high);
    }
    Ok(ranges)
}

/// The hull where every prefix fits 64 bits.
fn hull(start: i64, terms: impl Iterator<Item = (i64, i64, i64)>) -> (i64, i64) {
    let (mut low, mut high) = (start, start);
    let (mut least, mut most) = (start, start);
    for (w, l, h) in terms {
        let (for_low, for_high) = if w < 0 { (h, l) } else { (l, h) };
        low += w * for_low;
        high += w * for_high;
        least = least.min(low);
        most = most.max(high);
    }
    (least, most)
}

/// The hull where nothing is known about magnitudes.
fn wide_hull(start: i64, terms: impl Iterator<Item = (i64, i64, i64)>) -> Wide {
    let mut range = Wide::new(start.into(), start.into());
    let mut hull = range;
    for (w, l, h) in terms {
        range.add_product(w, (l, h));
        hull.low = hull.low.min(range.low);
        hull.high = hull.high.max(range.high);
    }
    hull
}
