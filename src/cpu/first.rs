//! Attention for the first token of a sequence only, with the key and value projections absorbed.
//!
//! q . (Wk x + bk) = (Wk^T q) . x + q . bk, and the last term is the same for every x, so the softmax does not see it.
//! And sum p (Wv x + bv) = Wv (sum p x) + bv, since the weights p sum to 1. So instead of projecting every token to keys
//! and values, each head's query is projected back once, u = Wk^T q, and the heads work on x itself:
//! scores = x u, z = sum p x, out = Wv z + bv.

use std::ops::Range;

use super::attention::{NEG_INF_ROW, softmax, update_running_max};
use super::gemm::{self, Linear, TileEpilogue};
use super::pack::Packed;
use super::simd::{
    ColMajor, Int8Kernel, KC, LANES, Lhs, MatMut, Rhs, RowMajor, RowScale, SCORE_STRIDE, Simd, SimdKernel,
    even_tiles, multiply_tile,
};
use crate::error::Result;
use crate::kernels::{LinearPart, WeightStorage};
use crate::text::batch::PackedBatch;

/// Key and value projections, head by head.
pub struct KeyValue<S> {
    /// Wk^T of each head: D -> H, no bias.
    pub keys: Vec<Packed<S>>,
    /// Wv of each head: H -> D.
    pub values: Vec<Packed<S>>,
}

impl<S: Simd> KeyValue<S> {
    /// Cuts `[H,H]` projections into heads. The key's bias is not needed.
    pub fn new(
        s: S,
        key: LinearPart<'_>,
        value: LinearPart<'_>,
        heads: usize,
        dot: &'static Int8Kernel,
    ) -> Result<Self> {
        let width = key.weight.rows / heads;
        let mut made = Self { keys: Vec::new(), values: Vec::new() };
        for head in 0..heads {
            let rows = head * width..(head + 1) * width;
            made.keys.push(Packed::transposed(key.weight, rows.clone(), key.scale, dot)?);
            let part =
                LinearPart { weight: value.weight.rows(rows.clone()), bias: value.bias.slice(rows), ..value };
            made.values.push(Packed::new(s, &[part], WeightStorage::F32, dot)?);
        }
        Ok(made)
    }
}

/// Some heads of every sequence.
pub struct First<'a, S> {
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
    /// Work space of [`scratch`] floats.
    pub scratch: &'a mut [f32],
}

/// Work space that [`First`] needs for that many heads of so many sequences of at most `len` tokens, in floats.
pub fn scratch(len: usize, sequences: usize, heads: usize, hidden: usize) -> usize {
    // Queries projected back and mixed rows; a copied left operand or what `Mix` needs: scores, a block of projected
    // queries, the last columns.
    let mix = len * SCORE_STRIDE + hidden * SCORE_STRIDE + len * LANES;
    2 * sequences * heads * hidden + mix.max(gemm::scratch(sequences))
}

impl<W: Simd> SimdKernel for First<'_, W> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(mut self, s: S) {
        let (hidden, width) = (self.hidden, self.hidden / self.kv.keys.len());
        let (sequences, stride) = (self.batch.sequences(), self.heads.len() * hidden);
        let (back, rest) = self.scratch.split_at_mut(sequences * stride);
        let (mixed, scratch) = rest.split_at_mut(sequences * stride);
        let rows = 0..sequences;
        let mut columns = MatMut::new(back, sequences, stride);
        for (slot, head) in self.heads.clone().enumerate() {
            let w = &self.kv.keys[head];
            let (x, panels, then) = (&self.q[head * width..], 0..w.panels(), TileEpilogue::Bias);
            let out = columns.block(rows.clone(), slot * hidden..(slot + 1) * hidden);
            s.dispatch(Linear { x, x_stride: hidden, w, then, panels, out, scratch: &mut *scratch });
        }
        let each = back.chunks_exact(stride).zip(mixed.chunks_exact_mut(stride));
        for (rows, (back, out)) in self.batch.rows().zip(each) {
            let x = &self.x[rows.start * hidden..rows.end * hidden];
            Mix { x, back, hidden, out, scratch: &mut *scratch }.compute(s);
        }
        for (slot, head) in self.heads.clone().enumerate() {
            let w = &self.kv.values[head];
            let (x, panels, then) = (&mixed[slot * hidden..], 0..w.panels(), TileEpilogue::Bias);
            let out = self.out.block(rows.clone(), slot * width..(slot + 1) * width);
            s.dispatch(Linear { x, x_stride: stride, w, then, panels, out, scratch: &mut *scratch });
        }
    }
}

/// z = sum p x for some heads of one sequence, where p = softmax(x u).
struct Mix<'a> {
    /// Rows of the sequence `[len, H]`.
    x: &'a [f32],
    /// The heads' queries projected back, `[heads, H]`.
    back: &'a [f32],
    /// H.
    hidden: usize,
    /// `[heads, H]`.
    out: &'a mut [f32],
    /// Work space.
    scratch: &'a mut [f32],
}

impl SimdKernel for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(self, s: S) {
        let hidden = self.hidden;
        let (len, heads) = (self.x.len() / hidden, self.back.len() / hidden);
        let (scores, rest) = self.scratch.split_at_mut(len * SCORE_STRIDE);
        let (queries, rest) = rest.split_at_mut(hidden * SCORE_STRIDE);
        let edge = &mut rest[..len * LANES];
        let block = S::NV * LANES;
        // The columns that do not fill a vector, filled up with zeros.
        let whole = hidden - hidden % LANES;
        for (from, to) in self.x.chunks_exact(hidden).zip(edge.as_chunks_mut::<LANES>().0) {
            to[..hidden - whole].copy_from_slice(&from[whole..]);
            to[hidden - whole..].fill(0.0);
        }
        let mut out = MatMut::new(self.out, heads, hidden);
        for start in (0..heads).step_by(block) {
            let count = block.min(heads - start);
            let lanes = count.next_multiple_of(LANES);
            for lane in 0..lanes {
                let head = start + if lane < count { lane } else { 0 };
                for (h, u) in self.back[head * hidden..][..hidden].iter().enumerate() {
                    queries[h * SCORE_STRIDE + lane] = *u;
                }
            }
            for steps in even_tiles(hidden, KC) {
                for tile in even_tiles(len, S::MR) {
                    let values = &self.x[tile.start * hidden + steps.start..];
                    let a = Lhs { values, layout: RowMajor(hidden) };
                    let cells = &mut scores[tile.start * SCORE_STRIDE..tile.end * SCORE_STRIDE];
                    let mut c = MatMut::new(cells, tile.len(), SCORE_STRIDE);
                    let c = c.block(0..tile.len(), 0..lanes);
                    let b = Rhs::new(&queries[steps.start * SCORE_STRIDE..], SCORE_STRIDE);
                    multiply_tile(s, steps.len(), a, b, c, steps.start > 0, ());
                }
            }
            let mut running_max = NEG_INF_ROW;
            update_running_max(s, scores, lanes, &mut running_max);
            let inverse = softmax(s, scores, lanes, &running_max);
            for tile in even_tiles(count, S::MR) {
                let heads = start + tile.start..start + tile.end;
                let a = Lhs { values: &scores[tile.start..], layout: ColMajor };
                let end = RowScale(&inverse[tile.clone()]);
                for column in (0..whole).step_by(block) {
                    let c = out.block(heads.clone(), column..(column + block).min(whole));
                    let b = Rhs::new(&self.x[column..], hidden);
                    multiply_tile(s, len, a, b, c, false, end);
                }
                if whole < hidden {
                    let c = out.block(heads.clone(), whole..hidden);
                    multiply_tile(s, len, a, Rhs::new(edge, LANES), c, false, end);
                }
            }
        }
    }
}
