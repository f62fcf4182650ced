//! Rows as slices, whatever the strides.

use ndarray::{ArrayView2, Axis, Slice};

/// Rows that are gathered at a time where they are not contiguous: enough for a column-major
/// layer to be read a cache line at a time.
const GATHERED: usize = 64;

/// Hands out the rows of a matrix as slices; contiguous rows are not copied.
pub(crate) struct Rows<'a, A> {
    view: ArrayView2<'a, A>,
    gathered: Vec<A>,
    first: usize,
    held: usize,
}

impl<'a, A: Copy + Default> Rows<'a, A> {
    pub fn new(view: ArrayView2<'a, A>) -> Self {
        Self {
            view,
            gathered: Vec::new(),
            first: 0,
            held: 0,
        }
    }

    /// `N` rows from `first` on, the last one again where there are fewer; one must exist.
    #[inline]
    pub fn tile<const N: usize>(&mut self, first: usize) -> [&[A]; N] {
        let last = self.view.nrows() - 1;
        let end = (first + N - 1).min(last);
        if self.view.row(first).as_slice().is_none() {
            self.gather(first, end);
        }
        std::array::from_fn(|at| self.row((first + at).min(last)))
    }

    fn row(&self, index: usize) -> &[A] {
        match self.view.index_axis_move(Axis(0), index).to_slice() {
            Some(row) => row,
            None => {
                let columns = self.view.ncols();
                &self.gathered[(index - self.first) * stride(columns)..][..columns]
            }
        }
    }

    #[inline(never)]
    fn gather(&mut self, index: usize, end: usize) {
        if index >= self.first && end < self.first + self.held {
            return;
        }
        let (rows, columns) = self.view.dim();
        let stride = stride(columns);
        self.gathered
            .resize(GATHERED.min(rows) * stride, A::default());
        self.first = index;
        self.held = GATHERED.min(rows - index);
        let rows = Slice::from(index..index + self.held);
        let part = self.view.slice_axis(Axis(0), rows);
        for (at, column) in part.axis_iter(Axis(1)).enumerate() {
            let places = self.gathered[at..].iter_mut().step_by(stride);
            for (place, &value) in places.zip(column) {
                *place = value;
            }
        }
    }
}

/// Rows a power of two apart would share a few cache lines; the odd line keeps them off.
fn stride(columns: usize) -> usize {
    columns + 64
}
