//! Matrices rounded to fewer bits as they are read.

use crate::error::{Error, Result};
use crate::tensor::{Dtype, Tensor, narrow_f16, quantize_weights};

/// Rows of a matrix as they are rounded.
pub(super) struct Rounded {
    dtype: Dtype,
    bytes: Vec<u8>,
    scales: Vec<f32>,
    wide: Vec<f32>,
}

impl Rounded {
    /// Room for `[rows, cols]`.
    pub fn new(dtype: Dtype, rows: usize, cols: usize) -> Result<Self> {
        let (count, mut bytes) = (rows * cols * dtype.elem_bytes(), Vec::new());
        bytes.try_reserve_exact(count).map_err(|_| Error::OutOfMemory { bytes: count as u64 })?;
        Ok(Self { dtype, bytes, scales: vec![], wide: vec![0.0; cols] })
    }

    /// Rounds the next rows, which are those of `tensor`; or says what is wrong with it.
    pub fn append(&mut self, tensor: Tensor<'_>) -> Result<(), String> {
        for row in 0..tensor.rows {
            tensor.widen_row(row, &mut self.wide);
            let start = self.bytes.len();
            self.bytes.resize(start + self.wide.len() * self.dtype.elem_bytes(), 0);
            let out = &mut self.bytes[start..];
            if self.dtype == Dtype::I8 {
                self.scales.push(quantize_weights(&self.wide, out));
                continue;
            }
            for (half, x) in out.as_chunks_mut().0.iter_mut().zip(&self.wide) {
                *half = narrow_f16(*x).to_le_bytes();
            }
            // The least number that narrows to infinity.
            if self.wide.iter().any(|x| x.is_finite() && x.abs() >= 65_520.0) {
                return Err("holds numbers beyond float16: load it as float32".into());
            }
        }
        Ok(())
    }

    /// The bytes, and the scales of I8.
    pub fn take(self) -> (Vec<u8>, Vec<f32>) {
        (self.bytes, self.scales)
    }
}
