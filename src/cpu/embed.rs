//! Embeddings: rows of three tables, summed and normalized.

use super::norm::{Norm, norm_row};
use super::simd::{MatMut, Simd, SimdKernel};
use crate::kernels::OwnedTensor;
use crate::text::batch::PackedBatch;

/// out = norm(word + position + token type), summed in that order, for some of the tokens.
pub struct Embed<'a> {
    /// The ids.
    pub batch: &'a PackedBatch,
    /// `[V,H]`, looked up by token id.
    pub word: &'a OwnedTensor,
    /// Looked up by position.
    pub position: &'a OwnedTensor,
    /// Looked up by token type.
    pub token_type: &'a OwnedTensor,
    /// The norm.
    pub norm: &'a Norm,
    /// The first of the tokens to compute.
    pub first_token: usize,
    /// The rows of those tokens, `[tokens, H]`.
    pub out: MatMut<'a>,
    /// Work space of 2 H floats.
    pub scratch: &'a mut [f32],
}

impl SimdKernel for Embed<'_> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(mut self, s: S) {
        let batch = self.batch;
        let (sum, row_of_table) = self.scratch.split_at_mut(self.out.cols());
        for row in 0..self.out.rows() {
            let t = self.first_token + row;
            self.word.tensor().widen_row(batch.ids[t] as usize, sum);
            for (table, id) in [(self.position, batch.positions[t]), (self.token_type, batch.token_types[t])]
            {
                table.tensor().widen_row(id as usize, row_of_table);
                sum.iter_mut().zip(&*row_of_table).for_each(|(sum, x)| *sum += x);
            }
            norm_row(s, self.norm, sum, self.out.row(row));
        }
    }
}
