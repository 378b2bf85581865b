//! Embeddings: rows of three tables, summed and normalised.

use super::norm::{Norm, norm_row};
use super::simd::{MatMut, Op, Simd};
use crate::kernels::Rows;
use crate::text::batch::PackedBatch;

/// out = norm(word + position + kind), summed in that order, for some of the tokens.
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
    /// The first of the tokens.
    pub start: usize,
    /// Their rows `[tokens, H]`.
    pub out: MatMut<'a>,
    /// Work space of H floats.
    pub scratch: &'a mut [f32],
}

impl Op for Embed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let batch = self.batch;
        for row in 0..self.out.rows() {
            let (t, out) = (self.start + row, self.out.row(row));
            self.word.tensor().widen_row(batch.ids[t] as usize, out);
            for (table, id) in [(self.position, batch.positions[t]), (self.kind, batch.types[t])] {
                table.tensor().widen_row(id as usize, self.scratch);
                out.iter_mut().zip(&*self.scratch).for_each(|(o, x)| *o += x);
            }
            norm_row(s, self.norm, out);
        }
    }
}
