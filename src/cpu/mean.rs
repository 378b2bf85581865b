//! The mean of the tokens of a sequence.

use super::simd::{LANES, Simd, SimdKernel};
use crate::text::batch::PackedBatch;

/// out `[S,H]` = the mean of each sequence's rows, summed in their order.
pub struct MeanTokens<'a> {
    /// The sequences.
    pub batch: &'a PackedBatch,
    /// `[T,H]`.
    pub x: &'a [f32],
    /// H.
    pub hidden: usize,
    /// `[S,H]`.
    pub out: &'a mut [f32],
}

impl SimdKernel for MeanTokens<'_> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(self, s: S) {
        for (rows, out) in self.batch.rows().zip(self.out.chunks_exact_mut(self.hidden)) {
            let count = s.splat(rows.len() as f32);
            for (v, out) in (0..self.hidden).step_by(LANES).zip(out.chunks_mut(LANES)) {
                let mut sum = s.splat(0.0);
                for row in rows.clone() {
                    sum = s.add(sum, s.load_slice(&self.x[row * self.hidden + v..][..out.len()]));
                }
                s.store_slice(s.div(sum, count), out);
            }
        }
    }
}
