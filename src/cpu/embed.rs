//! Embeddings: rows of three tables, summed and normalised.

use super::norm::{Norm, norm_row};
use super::simd::{Op, Simd};
use crate::error::{Error, Result};
use crate::kernels::{Dtype, Tensor};
use crate::text::batch::PackedBatch;

/// An embedding table in the checkpoint's own numbers: a table of 250 000 rows is never widened whole.
pub struct Table {
    bytes: Vec<u8>,
    scales: Vec<f32>,
    dtype: Dtype,
    rows: usize,
    cols: usize,
}

impl Table {
    /// Copies a checkpoint's table.
    pub fn new(table: Tensor<'_>) -> Result<Self> {
        let (Tensor { rows, cols, dtype, .. }, mut bytes) = (table, Vec::new());
        bytes
            .try_reserve_exact(table.bytes.len())
            .map_err(|_| Error::OutOfMemory { bytes: table.bytes.len() as u64 })?;
        bytes.extend_from_slice(table.bytes);
        Ok(Self { bytes, scales: table.scales.to_vec(), dtype, rows, cols })
    }

    fn widen_row(&self, row: u32, out: &mut [f32]) {
        let Self { rows, cols, dtype, .. } = *self;
        Tensor { rows, cols, dtype, bytes: &self.bytes, scales: &self.scales }.widen_row(row as usize, out);
    }
}

/// out `[T,H]` = norm(word + position + kind), summed in that order.
pub struct Embed<'a> {
    /// The ids.
    pub batch: &'a PackedBatch,
    /// `[V,H]`, gathered by token id.
    pub word: &'a Table,
    /// Gathered by position id.
    pub position: &'a Table,
    /// Gathered by segment id.
    pub kind: &'a Table,
    /// The norm.
    pub norm: &'a Norm,
    /// `[T,H]`.
    pub out: &'a mut [f32],
    /// Work space of H floats.
    pub scratch: &'a mut [f32],
}

impl Op for Embed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let batch = self.batch;
        for (t, out) in self.out.chunks_exact_mut(self.word.cols).enumerate() {
            self.word.widen_row(batch.ids[t], out);
            for (table, id) in [(self.position, batch.positions[t]), (self.kind, batch.types[t])] {
                table.widen_row(id, self.scratch);
                out.iter_mut().zip(&*self.scratch).for_each(|(o, x)| *o += x);
            }
            norm_row(s, self.norm, out);
        }
    }
}
