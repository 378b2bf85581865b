//! Rotary positions: queries and keys rotated by their position, in place.

use super::alloc::{AlignedVec, zeros};
use super::simd::{LANES, Simd, SimdKernel};
use crate::error::Result;
use crate::kernels::Tensor;
use crate::text::batch::PackedBatch;

/// Cosines and sines by position, `[L,D]`: in each row D/2 cosines and then D/2 sines.
pub struct Rotary {
    cos_sin: AlignedVec<f32>,
    head_dim: usize,
}

impl Rotary {
    /// Keeps a table.
    pub fn new(cos_sin: Tensor<'_>) -> Result<Self> {
        let mut values = zeros(cos_sin.rows * cos_sin.cols)?;
        for (row, to) in values.chunks_exact_mut(cos_sin.cols).enumerate() {
            cos_sin.widen_row(row, to);
        }
        Ok(Self { cos_sin: values, head_dim: cos_sin.cols })
    }
}

/// (x, y) -> (x cos - y sin, y cos + x sin) for the halves of every head of queries and keys.
pub struct Rotate<'a> {
    /// The sequences.
    pub batch: &'a PackedBatch,
    /// The rotations.
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
        let head_dim = self.rotary.head_dim;
        for rows in self.batch.rows() {
            let positions = self.rotary.cos_sin.chunks_exact(head_dim);
            for (row, cos_sin) in rows.zip(positions) {
                let (cosines, sines) = cos_sin.split_at(head_dim / 2);
                // The heads of the queries, then those of the keys.
                let queries_keys = &mut self.qkv[row * self.stride..][..2 * self.heads * head_dim];
                for head in queries_keys.chunks_exact_mut(head_dim) {
                    let (xs, ys) = head.split_at_mut(head_dim / 2);
                    let rotations = cosines.chunks(LANES).zip(sines.chunks(LANES));
                    for ((x, y), (cos, sin)) in xs.chunks_mut(LANES).zip(ys.chunks_mut(LANES)).zip(rotations)
                    {
                        let (a, b) = (s.load_slice(x), s.load_slice(y));
                        let (cos, sin) = (s.load_slice(cos), s.load_slice(sin));
                        s.store_slice(s.sub(s.mul(a, cos), s.mul(b, sin)), x);
                        s.store_slice(s.add(s.mul(b, cos), s.mul(a, sin)), y);
                    }
                }
            }
        }
    }
}
