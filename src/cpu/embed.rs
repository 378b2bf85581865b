//! Embeddings: rows of three tables, summed and normalised.

use super::norm::{Norm, norm_row};
use super::simd::{Op, Simd};
use crate::kernels::Rows;
use crate::text::batch::PackedBatch;

/// out `[T,H]` = norm(word + position + kind), summed in that order.
pub struct Embed<'a> {
    /// The ids.
    pub batch: &'a PackedBatch,
    /// `[V,H]`, gathered by token id.
    pub word: &'a Rows,
    /// Gathered by position id.
    pub position: &'a Rows,
    /// Gathered by segment id.
    pub kind: &'a Rows,
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
        let (batch, word) = (self.batch, self.word);
        for (t, out) in self.out.chunks_exact_mut(word.cols).enumerate() {
            word.tensor().widen_row(batch.ids[t] as usize, out);
            for (table, id) in [(self.position, batch.positions[t]), (self.kind, batch.types[t])] {
                table.tensor().widen_row(id as usize, self.scratch);
                out.iter_mut().zip(&*self.scratch).for_each(|(o, x)| *o += x);
            }
            norm_row(s, self.norm, out);
        }
    }
}
