//! One row for all tokens of a sequence.

use super::simd::{LANES, Simd, SimdKernel};
use crate::kernels::PoolMode;
use crate::text::batch::PackedBatch;

/// out `[S,H]` = one row for each sequence's rows, summed in their order.
pub struct PoolTokens<'a> {
    /// The sequences.
    pub batch: &'a PackedBatch,
    /// What is made of the rows.
    pub mode: PoolMode,
    /// `[T,H]`.
    pub x: &'a [f32],
    /// H.
    pub hidden: usize,
    /// `[S,H]`.
    pub out: &'a mut [f32],
}

impl SimdKernel for PoolTokens<'_> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(self, s: S) {
        let (zero, one) = (s.splat(0.0), |_| 1.0);
        // A loop of its own for each mode: a branch in the loop over the rows takes as long as the sum itself.
        match self.mode {
            PoolMode::Mean => self.fold(s, zero, |sum, row, _| s.add(sum, row), |n| n),
            PoolMode::MeanSqrtLen => self.fold(s, zero, |sum, row, _| s.add(sum, row), f32::sqrt),
            PoolMode::WeightedMean => {
                let add = |sum, row, i: usize| s.fma(row, s.splat((i + 1) as f32), sum);
                self.fold(s, zero, add, |n| n * (n + 1.0) / 2.0);
            }
            PoolMode::Max => {
                // Each maximum passes the NaN of one of its operands on: the sum has that of either.
                let max = |max, row, _| {
                    let without = s.max(row, max);
                    s.add(s.max(max, row), s.sub(without, without))
                };
                self.fold(s, s.splat(f32::MIN), max, one);
            }
            PoolMode::Last => self.fold(s, zero, |_, row, _| row, one),
        }
    }
}

impl PoolTokens<'_> {
    /// out = `step` over the rows of a sequence, with their indices, from `start` on, divided by `divisor` of their number.
    #[inline(always)]
    fn fold<S: Simd>(
        self,
        s: S,
        start: S::V,
        step: impl Fn(S::V, S::V, usize) -> S::V,
        divisor: impl Fn(f32) -> f32,
    ) {
        for (rows, out) in self.batch.rows().zip(self.out.chunks_exact_mut(self.hidden)) {
            let divisor = s.splat(divisor(rows.len() as f32));
            for (v, out) in (0..self.hidden).step_by(LANES).zip(out.chunks_mut(LANES)) {
                let mut pooled = start;
                for (i, row) in rows.clone().enumerate() {
                    let row = s.load_slice(&self.x[row * self.hidden + v..][..out.len()]);
                    pooled = step(pooled, row, i);
                }
                s.store_slice(s.div(pooled, divisor), out);
            }
        }
    }
}
