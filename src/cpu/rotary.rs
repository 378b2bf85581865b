//! Rotary positions: queries and keys turned by their position, in place.

use super::simd::{LANES, Simd, SimdKernel};
use crate::kernels::Tensor;
use crate::text::batch::PackedBatch;

/// Cosines and sines by position, `[L,D]`: in each row D/2 of each.
pub struct Rotary {
    turns: Vec<f32>,
    width: usize,
}

impl Rotary {
    /// Keeps a table.
    pub fn new(turns: Tensor<'_>) -> crate::error::Result<Self> {
        let mut values = super::pack::zeros(turns.rows * turns.cols)?;
        for (row, to) in values.chunks_exact_mut(turns.cols).enumerate() {
            turns.widen_row(row, to);
        }
        Ok(Self { turns: values, width: turns.cols })
    }
}

/// (x, y) -> (x cos - y sin, y cos + x sin) for the halves of every head of queries and keys.
pub struct Rotate<'a> {
    /// Whose rows.
    pub batch: &'a PackedBatch,
    /// The turns.
    pub rotary: &'a Rotary,
    /// N.
    pub heads: usize,
    /// `[T,3H]`.
    pub qkv: &'a mut [f32],
    /// 3H.
    pub stride: usize,
}

impl SimdKernel for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(self, s: S) {
        let width = self.rotary.width;
        for rows in self.batch.rows() {
            let turns = self.rotary.turns.chunks_exact(width);
            for (row, turn) in rows.zip(turns) {
                let (cosines, sines) = turn.split_at(width / 2);
                // The heads of the queries, then those of the keys.
                let both = &mut self.qkv[row * self.stride..][..2 * self.heads * width];
                for head in both.chunks_exact_mut(width) {
                    let (xs, ys) = head.split_at_mut(width / 2);
                    let turn = cosines.chunks(LANES).zip(sines.chunks(LANES));
                    for ((x, y), (cos, sin)) in xs.chunks_mut(LANES).zip(ys.chunks_mut(LANES)).zip(turn) {
                        let (a, b, cos, sin) =
                            (s.load_slice(x), s.load_slice(y), s.load_slice(cos), s.load_slice(sin));
                        s.store_slice(s.sub(s.mul(a, cos), s.mul(b, sin)), x);
                        s.store_slice(s.add(s.mul(b, cos), s.mul(a, sin)), y);
                    }
                }
            }
        }
    }
}
