//! Weights converted to float16 or int8 as they are read.

use crate::error::{Error, Result};
use crate::tensor::{Dtype, Tensor, narrow_f16, quantize_weights};

/// The smallest magnitude that rounds to infinity in float16.
const F16_OVERFLOW: f32 = 65_520.0;

/// A matrix that is converted row by row.
pub(super) struct RowConverter {
    dtype: Dtype,
    bytes: Vec<u8>,
    /// One per row for I8, else empty.
    scales: Vec<f32>,
    /// The current row in f32.
    row: Vec<f32>,
}

impl RowConverter {
    /// Allocates the result `[rows, cols]`, of type F16 or I8.
    pub fn new(dtype: Dtype, rows: usize, cols: usize) -> Result<Self> {
        let (count, mut bytes) = (rows * cols * dtype.elem_bytes(), Vec::new());
        bytes.try_reserve_exact(count).map_err(|_| Error::OutOfMemory { bytes: count as u64 })?;
        Ok(Self { dtype, bytes, scales: vec![], row: vec![0.0; cols] })
    }

    /// Converts and appends the rows of `tensor`. The error is a message that follows the tensor's name.
    pub fn append(&mut self, tensor: Tensor<'_>) -> Result<(), String> {
        for row in 0..tensor.rows {
            tensor.widen_row(row, &mut self.row);
            let start = self.bytes.len();
            self.bytes.resize(start + self.row.len() * self.dtype.elem_bytes(), 0);
            let out = &mut self.bytes[start..];
            if self.dtype == Dtype::I8 {
                self.scales.push(quantize_weights(&self.row, out));
                continue;
            }
            for (half, x) in out.as_chunks_mut().0.iter_mut().zip(&self.row) {
                *half = narrow_f16(*x).to_le_bytes();
            }
            if self.row.iter().any(|x| x.is_finite() && x.abs() >= F16_OVERFLOW) {
                return Err("holds numbers beyond float16: load it as float32".into());
            }
        }
        Ok(())
    }

    /// The converted bytes, and the scales of I8.
    pub fn into_parts(self) -> (Vec<u8>, Vec<f32>) {
        (self.bytes, self.scales)
    }
}
