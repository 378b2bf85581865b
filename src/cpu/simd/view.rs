//! A matrix that several threads write at once, each its own part.

use std::marker::PhantomData;
use std::ops::Range;

/// A row-major `[rows, cols]` matrix with `stride` floats from row to row, borrowed mutably. Unlike a slice it can be
/// split by columns.
pub struct MatMut<'a> {
    start: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: a MatMut is an exclusive borrow of floats, like &mut [f32], which is Send.
unsafe impl Send for MatMut<'_> {}

impl<'a> MatMut<'a> {
    /// All of `values` as `[rows, cols]`.
    pub fn new(values: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(values.len(), rows * cols);
        Self { start: values.as_mut_ptr(), rows, cols, stride: cols, owner: PhantomData }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Splits off the columns from `at` on.
    pub fn split_columns(self, at: usize) -> (Self, Self) {
        assert!(at <= self.cols);
        // SAFETY: `at <= cols <= stride`, so the pointer stays within, or one row past the end of, the allocation; the
        // two halves never cover the same float, because each touches only its own columns.
        let right = unsafe { self.start.add(if self.rows == 0 { 0 } else { at }) };
        let (rows, cols, stride, owner) = (self.rows, self.cols - at, self.stride, PhantomData);
        (Self { cols: at, ..self }, Self { start: right, rows, cols, stride, owner })
    }

    /// Splits off the rows from `at` on.
    pub fn split_rows(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows);
        // SAFETY: the start of a row of the matrix, or of the matrix itself where no rows are left; the two halves share no
        // row.
        let below = unsafe { self.start.add(if at == self.rows { 0 } else { at * self.stride }) };
        let (rows, cols, stride, owner) = (self.rows - at, self.cols, self.stride, PhantomData);
        (Self { rows: at, ..self }, Self { start: below, rows, cols, stride, owner })
    }

    /// Borrows a block of rows and columns.
    pub fn block(&mut self, rows: Range<usize>, cols: Range<usize>) -> MatMut<'_> {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        assert!(cols.start <= cols.end && cols.end <= self.cols);
        let offset =
            if rows.is_empty() || cols.is_empty() { 0 } else { rows.start * self.stride + cols.start };
        // SAFETY: the first element of a block that lies inside the matrix, or of the matrix for an empty block.
        let start = unsafe { self.start.add(offset) };
        MatMut { start, rows: rows.len(), cols: cols.len(), stride: self.stride, owner: PhantomData }
    }

    /// The columns of one row.
    #[inline(always)]
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: the row lies inside the matrix, its columns are borrowed exclusively through `self`.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.cols) }
    }
}

/// The bytes of some floats: work space for other types.
pub fn as_bytes(floats: &mut [f32]) -> &mut [u8] {
    // SAFETY: the same memory for the same lifetime, and any bytes are valid floats.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), size_of_val(floats)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_parts_and_blocks_write_only_their_own_floats() {
        let mut values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let (mut left, mut right) = MatMut::new(&mut values, 3, 4).split_columns(1);
        left.row(2)[0] = -1.0;
        right.block(1..3, 1..3).row(0).copy_from_slice(&[-2.0, -3.0]);
        assert_eq!(values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, -2.0, -3.0, -1.0, 9.0, 10.0, 11.0]);
    }

    #[test]
    fn row_parts_write_only_their_own_floats() {
        let mut values = [0.0; 12];
        let (mut above, mut below) = MatMut::new(&mut values, 4, 3).split_rows(1);
        assert_eq!((above.rows(), below.rows()), (1, 3));
        above.row(0).fill(1.0);
        below.row(0).fill(2.0);
        below.row(2).fill(3.0);
        assert_eq!(values, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 3.0, 3.0, 3.0]);
        let (all, none) = MatMut::new(&mut values, 4, 3).split_rows(4);
        assert_eq!((all.rows(), none.rows()), (4, 0));
    }
}
