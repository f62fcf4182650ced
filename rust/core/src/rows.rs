//! Rows as slices, whatever the strides; masked without a masked copy of the layer.

use ndarray::{ArrayView2, Axis, Slice};

use crate::code::{BLOCK, Code};

/// Rows that are gathered at a time where they are not contiguous: enough for a column-major
/// layer to be read a cache line at a time.
const GATHERED: usize = 64;

/// Hands out the rows of a matrix as slices; contiguous rows are not copied.
pub(crate) struct Rows<'a, A> {
    view: ArrayView2<'a, A>,
    tile: Vec<A>,
    first: usize,
    held: usize,
}

impl<'a, A: Copy + Default> Rows<'a, A> {
    pub fn new(view: ArrayView2<'a, A>) -> Self {
        Self {
            view,
            tile: Vec::new(),
            first: 0,
            held: 0,
        }
    }

    /// Row `index`, which must exist.
    #[inline(always)]
    pub fn row(&mut self, index: usize) -> &[A] {
        match self.view.index_axis_move(Axis(0), index).to_slice() {
            Some(row) => row,
            None => self.gathered(index),
        }
    }

    #[inline(never)]
    fn gathered(&mut self, index: usize) -> &[A] {
        let (rows, columns) = self.view.dim();
        // Rows a power of two apart would share a few cache lines; the odd line keeps them off.
        let stride = columns + 64;
        if self.tile.is_empty() {
            self.tile = vec![A::default(); GATHERED.min(rows) * stride];
        }
        if index < self.first || index >= self.first + self.held {
            self.first = index;
            self.held = GATHERED.min(rows - index);
            let part = self
                .view
                .slice_axis(Axis(0), Slice::from(index..index + self.held));
            for (at, column) in part.axis_iter(Axis(1)).enumerate() {
                let places = self.tile[at..].iter_mut().step_by(stride);
                for (place, &value) in places.zip(column) {
                    *place = value;
                }
            }
        }
        &self.tile[(index - self.first) * stride..][..columns]
    }
}

/// `block` where `mask` is not zero, 0 elsewhere; untouched where there is no mask.
#[inline(always)]
pub(crate) fn masked<'a, T: Code>(
    block: &'a [T],
    mask: Option<&[u8]>,
    scratch: &'a mut [T; BLOCK],
) -> &'a [T] {
    let Some(mask) = mask else { return block };
    for ((kept, &w), &m) in scratch.iter_mut().zip(block).zip(mask) {
        *kept = if m != 0 { w } else { T::default() };
    }
    &scratch[..block.len().min(BLOCK)]
}
