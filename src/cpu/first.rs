//! Attention for the first token of a sequence only, with the key and value projections absorbed.
//!
//! q . (Wk x + bk) = (Wk^T q) . x + q . bk, and the last term is the same for every x, so the softmax does not see it.
//! And sum p (Wv x + bv) = Wv (sum p x) + bv, since the weights p sum to 1. So instead of projecting every token to keys
//! and values, each head's query is projected back once, u = Wk^T q, and the heads work on x itself:
//! scores = x u, z = sum p x, out = Wv z + bv.

use super::attention::{TILE_ROWS, softmax};
use super::gemm::even;
use super::pack::Packed;
use super::simd::{
    ByColumns, ByRows, DEPTH, Dot, LANES, MatMut, Op, ROW_STRIDE, Right, SCORE_STRIDE, Simd, multiply,
};
use crate::error::Result;
use crate::kernels::{Keep, Part};

/// Key and value projections, head by head.
pub struct KeyValue<S> {
    /// Wk^T of each head: D -> H, no bias.
    pub keys: Vec<Packed<S>>,
    /// Wv of each head: H -> D.
    pub values: Vec<Packed<S>>,
}

impl<S: Simd> KeyValue<S> {
    /// Cuts `[H,H]` projections into heads. The key's bias is not needed.
    pub fn new(key: Part<'_>, value: Part<'_>, heads: usize, dot: &'static Dot) -> Result<Self> {
        let width = key.weight.rows / heads;
        let mut made = Self { keys: Vec::new(), values: Vec::new() };
        for head in 0..heads {
            let rows = head * width..(head + 1) * width;
            made.keys.push(Packed::transposed(key.weight, rows.clone(), key.scale, dot)?);
            let part =
                Part { weight: value.weight.rows(rows.clone()), bias: value.bias.slice(rows), ..value };
            made.values.push(Packed::new(&[part], Keep::Wide, dot)?);
        }
        Ok(made)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.keys.iter().chain(&self.values).map(Packed::bytes).sum()
    }
}

/// z = sum p x for every head of one sequence, where p = softmax(x u).
pub struct Mix<'a> {
    /// Rows of the sequence `[len, H]`.
    pub x: &'a [f32],
    /// The heads' queries projected back, `[N,H]`.
    pub back: &'a [f32],
    /// H.
    pub hidden: usize,
    /// `[N,H]`.
    pub out: &'a mut [f32],
    /// Work space of [`scratch`] floats.
    pub scratch: &'a mut [f32],
}

/// Work space that [`Mix`] needs for a sequence of `len` tokens, in floats.
pub fn scratch(len: usize, hidden: usize) -> usize {
    // Scores, a block of projected queries, the last columns, a tile of rows.
    len * SCORE_STRIDE + hidden * SCORE_STRIDE + len * LANES + TILE_ROWS * ROW_STRIDE
}

impl Op for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let hidden = self.hidden;
        let (len, heads) = (self.x.len() / hidden, self.back.len() / hidden);
        let (scores, rest) = self.scratch.split_at_mut(len * SCORE_STRIDE);
        let (queries, rest) = rest.split_at_mut(hidden * SCORE_STRIDE);
        let (edge, rows) = rest.split_at_mut(len * LANES);
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
            for steps in even(hidden, DEPTH) {
                for tile in even(len, S::MR) {
                    for (row, to) in tile.clone().zip(rows.chunks_exact_mut(ROW_STRIDE)) {
                        to[..steps.len()].copy_from_slice(&self.x[row * hidden..][steps.clone()]);
                    }
                    let cells = &mut scores[tile.start * SCORE_STRIDE..tile.end * SCORE_STRIDE];
                    let mut c = MatMut::new(cells, tile.len(), SCORE_STRIDE);
                    let c = c.block(0..tile.len(), 0..lanes);
                    let b = Right::new(&queries[steps.start * SCORE_STRIDE..], SCORE_STRIDE);
                    multiply::<S, ByRows>(s, steps.len(), rows, b, c, steps.start > 0);
                }
            }
            let inverse = softmax(s, scores, lanes);
            for tile in even(count, S::MR) {
                let heads = start + tile.start..start + tile.end;
                let weights = &scores[tile.start..];
                for column in (0..whole).step_by(block) {
                    let c = out.block(heads.clone(), column..(column + block).min(whole));
                    let b = Right::new(&self.x[column..], hidden);
                    multiply::<S, ByColumns>(s, len, weights, b, c, false);
                }
                if whole < hidden {
                    let c = out.block(heads.clone(), whole..hidden);
                    multiply::<S, ByColumns>(s, len, weights, Right::new(edge, LANES), c, false);
                }
                for (head, lane) in heads.zip(tile) {
                    out.row(head).iter_mut().for_each(|z| *z *= inverse[lane]);
                }
            }
        }
    }
}
