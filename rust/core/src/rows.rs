//! Rows as slices, whatever the strides; masked without a masked copy of the layer.

use ndarray::{Array2, ArrayView2, Axis, Slice};

use crate::code::{BLOCK, Code};

/// Rows that are gathered at a time where they are not contiguous: enough for a column-major
/// layer to be read a cache line at a time.
const GATHERED: usize = 64;

/// Hands out the rows of a matrix as slices; contiguous rows are not copied.
pub(crate) struct Rows<'a, A> {
    view: ArrayView2<'a, A>,
    tile: Array2<A>,
    first: usize,
    held: usize,
}

impl<'a, A: Copy + Default> Rows<'a, A> {
    pub fn new(view: ArrayView2<'a, A>) -> Self {
        Self {
            view,
            tile: Array2::default((0, 0)),
            first: 0,
            held: 0,
        }
    }

    /// Row `index`, which must exist.
    #[inline(always)]
    pub fn row(&mut self, index: usize) -> &[A] {
        match self.view.clone().index_axis_move(Axis(0), index).to_slice() {
            Some(row) => row,
            None => self.gathered(index),
        }
    }

    #[inline(never)]
    fn gathered(&mut self, index: usize) -> &[A] {
        let (rows, columns) = self.view.dim();
        if self.tile.is_empty() {
            self.tile = Array2::default((GATHERED.min(rows), columns));
        }
        if index < self.first || index >= self.first + self.held {
            self.first = index;
            self.held = GATHERED.min(rows - index);
            let rows = Slice::from(index..index + self.held);
            self.tile
                .slice_axis_mut(Axis(0), Slice::from(..self.held))
                .assign(&self.view.slice_axis(Axis(0), rows));
        }
        // The tile is row-major, so the row is there; an empty one needs no elements.
        let at = index - self.first;
        self.tile
            .as_slice()
            .and_then(|all| all.get(at * columns..(at + 1) * columns))
            .unwrap_or_default()
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
