//! Attention for the first token of a sequence only, with the key and value projections absorbed.
//!
//! q . (Wk x + bk) = (Wk^T q) . x + q . bk, and the last term is the same for every x, so the softmax does not see it.
//! And sum p (Wv x + bv) = Wv (sum p x) + bv, since the weights p sum to 1. So instead of projecting every token to keys
//! and values, each head's query is projected back once, u = Wk^T q, and the heads work on x itself:
//! scores = x u, z = sum p x, out = Wv z + bv.

use std::ops::Range;

use super::attention::{NEG_INF_ROW, softmax, update_running_max};
use super::gemm::{self, Gemm};
use super::pack::FloatPanels;
use super::simd::{
    ColMajor, KC, LANES, Lhs, MatMut, Rhs, RowMajor, RowScale, SCORE_STRIDE, Simd, SimdKernel, even_tiles,
    multiply_tile,
};
use crate::error::Result;
use crate::kernels::{Dtype, Epilogue, LinearPart};
use crate::text::batch::PackedBatch;

/// Key and value projections, head by head.
pub struct KeyValue<S> {
    /// Wk^T of each head: D -> H, no bias.
    pub keys: Vec<FloatPanels<S>>,
    /// Wv of each head: H -> D.
    pub values: Vec<FloatPanels<S>>,
}

impl<S: Simd> KeyValue<S> {
    /// Cuts `[H,H]` projections into heads. The key's bias is not needed.
    pub fn new(key: LinearPart<'_>, value: LinearPart<'_>, heads: usize) -> Result<Self> {
        let head_dim = key.weight.rows / heads;
        let mut packed = Self { keys: Vec::new(), values: Vec::new() };
        for head in 0..heads {
            let rows = head * head_dim..(head + 1) * head_dim;
            packed.keys.push(FloatPanels::transposed(key.weight, rows.clone(), key.scale)?);
            let (weight, bias) = (value.weight.rows(rows.clone()), value.bias.slice(rows));
            packed.values.push(FloatPanels::new(&[LinearPart { weight, bias, ..value }], Dtype::F32)?);
        }
        Ok(packed)
    }
}

/// Some heads of every sequence.
pub struct FirstAttention<'a, S> {
    /// The sequences.
    pub batch: &'a PackedBatch,
    /// Scaled queries `[S,H]`.
    pub q: &'a [f32],
    /// `[T,H]`.
    pub x: &'a [f32],
    /// The projections.
    pub kv: &'a KeyValue<S>,
    /// Heads to compute.
    pub heads: Range<usize>,
    /// H.
    pub hidden: usize,
    /// The columns of those heads of `[S,H]`.
    pub out: MatMut<'a>,
    /// Work space of [`scratch_floats`] floats.
    pub scratch: &'a mut [f32],
}

/// Work space that [`FirstAttention`] needs for that many heads of so many sequences of at most `len` tokens, in floats.
pub fn scratch_floats(len: usize, sequences: usize, heads: usize, hidden: usize) -> usize {
    // Back-projected queries and weighted sums of rows; then what `Gemm` or `WeightedRows` needs: scores, a block of
    // back-projected queries, the last columns.
    let weighted_rows = len * SCORE_STRIDE + hidden * SCORE_STRIDE + len * LANES;
    2 * sequences * heads * hidden + weighted_rows.max(gemm::scratch_floats(sequences))
}

impl<W: Simd> SimdKernel for FirstAttention<'_, W> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(mut self, s: S) {
        let (hidden, head_dim) = (self.hidden, self.hidden / self.kv.keys.len());
        let (sequences, stride) = (self.batch.sequences(), self.heads.len() * hidden);
        let (projected, rest) = self.scratch.split_at_mut(sequences * stride);
        let (sums, scratch) = rest.split_at_mut(sequences * stride);
        let rows = 0..sequences;
        let mut columns = MatMut::new(projected, sequences, stride);
        for (slot, head) in self.heads.clone().enumerate() {
            let weights = &self.kv.keys[head];
            let (x, x_stride, scratch) = (&self.q[head * head_dim..], hidden, &mut *scratch);
            let (panels, epilogue) = (0..weights.panels(), Epilogue::Store);
            let out = columns.block(rows.clone(), slot * hidden..(slot + 1) * hidden);
            s.dispatch(Gemm { x, x_stride, weights, epilogue, panels, out, scratch });
        }
        let per_sequence = projected.chunks_exact(stride).zip(sums.chunks_exact_mut(stride));
        for (rows, (projected, out)) in self.batch.rows().zip(per_sequence) {
            let x = &self.x[rows.start * hidden..rows.end * hidden];
            WeightedRows { x, projected, hidden, out, scratch: &mut *scratch }.compute(s);
        }
        for (slot, head) in self.heads.clone().enumerate() {
            let weights = &self.kv.values[head];
            let (x, x_stride, scratch) = (&sums[slot * hidden..], stride, &mut *scratch);
            let (panels, epilogue) = (0..weights.panels(), Epilogue::Store);
            let out = self.out.block(rows.clone(), slot * head_dim..(slot + 1) * head_dim);
            s.dispatch(Gemm { x, x_stride, weights, epilogue, panels, out, scratch });
        }
    }
}

/// z = sum p x for some heads of one sequence, where p = softmax(x u).
struct WeightedRows<'a> {
    /// Rows of the sequence `[len, H]`.
    x: &'a [f32],
    /// The heads' back-projected queries u, `[heads, H]`.
    projected: &'a [f32],
    /// H.
    hidden: usize,
    /// `[heads, H]`.
    out: &'a mut [f32],
    /// Work space.
    scratch: &'a mut [f32],
}

impl SimdKernel for WeightedRows<'_> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(self, s: S) {
        let hidden = self.hidden;
        let (len, heads) = (self.x.len() / hidden, self.projected.len() / hidden);
        let (scores, rest) = self.scratch.split_at_mut(len * SCORE_STRIDE);
        let (queries, rest) = rest.split_at_mut(hidden * SCORE_STRIDE);
        let last_columns = &mut rest[..len * LANES];
        let block = S::NV * LANES;
        // The columns that do not fill a vector, filled up with zeros.
        let full_cols = hidden - hidden % LANES;
        for (from, to) in self.x.chunks_exact(hidden).zip(last_columns.as_chunks_mut::<LANES>().0) {
            to[..hidden - full_cols].copy_from_slice(&from[full_cols..]);
            to[hidden - full_cols..].fill(0.0);
        }
        let mut out = MatMut::new(self.out, heads, hidden);
        for start in (0..heads).step_by(block) {
            let count = block.min(heads - start);
            let lanes = count.next_multiple_of(LANES);
            for lane in 0..lanes {
                let head = start + if lane < count { lane } else { 0 };
                for (h, u) in self.projected[head * hidden..][..hidden].iter().enumerate() {
                    queries[h * SCORE_STRIDE + lane] = *u;
                }
            }
            for ks in even_tiles(hidden, KC) {
                for tile in even_tiles(len, S::MR) {
                    let values = &self.x[tile.start * hidden + ks.start..];
                    let lhs = Lhs { values, layout: RowMajor(hidden) };
                    let cells = &mut scores[tile.start * SCORE_STRIDE..tile.end * SCORE_STRIDE];
                    let mut c = MatMut::new(cells, tile.len(), SCORE_STRIDE);
                    let c = c.block(0..tile.len(), 0..lanes);
                    let rhs = Rhs::new(&queries[ks.start * SCORE_STRIDE..], SCORE_STRIDE);
                    multiply_tile(s, ks.len(), lhs, rhs, c, ks.start > 0, ());
                }
            }
            let mut running_max = NEG_INF_ROW;
            update_running_max(s, scores, lanes, &mut running_max);
            let inverse = softmax(s, scores, lanes, &running_max);
            for tile in even_tiles(count, S::MR) {
                let heads = start + tile.start..start + tile.end;
                let lhs = Lhs { values: &scores[tile.start..], layout: ColMajor };
                let scale = RowScale(&inverse[tile.clone()]);
                for column in (0..full_cols).step_by(block) {
                    let c = out.block(heads.clone(), column..(column + block).min(full_cols));
                    let rhs = Rhs::new(&self.x[column..], hidden);
                    multiply_tile(s, len, lhs, rhs, c, false, scale);
                }
                if full_cols < hidden {
                    let c = out.block(heads.clone(), full_cols..hidden);
                    multiply_tile(s, len, lhs, Rhs::new(last_columns, LANES), c, false, scale);
                }
            }
        }
    }
}
