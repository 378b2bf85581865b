//! Fused attention: softmax(q k^T) v without ever holding a `[len, len]` matrix.
//!
//! Scores are computed transposed, a block of queries at a time: `scores[key][query]`. So the softmax runs down the keys
//! with one query per lane and needs no sum across lanes, and the block of weights is at once the left operand of the
//! product with the values. Work space is linear in the length of a sequence.

use std::ops::Range;

use super::activation::exp;
use super::gemm::even;
use super::simd::{ByColumns, ByRows, LANES, MatMut, Op, ROW_STRIDE, SCORE_STRIDE, Simd, multiply};

/// The heads of one sequence.
pub struct Attention<'a> {
    /// Rows of the sequence [len, 3H]: scaled queries, keys, values.
    pub qkv: &'a [f32],
    /// H.
    pub hidden: usize,
    /// D.
    pub width: usize,
    /// Heads to compute.
    pub heads: Range<usize>,
    /// `[len, heads.len() * D]`.
    pub out: MatMut<'a>,
    /// Work space of [`scratch`] floats.
    pub scratch: &'a mut [f32],
}

/// Work space that [`Attention`] needs for a sequence of `len` tokens and heads of width D, in floats.
pub fn scratch(len: usize, width: usize) -> usize {
    let padded = width.next_multiple_of(LANES);
    // Scores, values, a block of queries, a tile of keys.
    len * SCORE_STRIDE + len * padded + width * SCORE_STRIDE + TILE_ROWS * ROW_STRIDE
}

/// Rows of a copied tile: at least the tallest microkernel.
pub const TILE_ROWS: usize = 16;

impl Op for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (len, width, stride) = (self.out.rows(), self.width, 3 * self.hidden);
        let padded = width.next_multiple_of(LANES);
        let (scores, rest) = self.scratch.split_at_mut(len * SCORE_STRIDE);
        let (values, rest) = rest.split_at_mut(len * padded);
        let (queries, rest) = rest.split_at_mut(width * SCORE_STRIDE);
        let keys = &mut rest[..TILE_ROWS * ROW_STRIDE];
        let block = S::NV * LANES;

        for (slot, head) in self.heads.clone().enumerate() {
            let part = |third: usize, row: usize| {
                &self.qkv[row * stride + third * self.hidden + head * width..][..width]
            };
            // Lanes beyond the width stay zero from here on.
            for (row, to) in values.chunks_exact_mut(padded).enumerate() {
                to[..width].copy_from_slice(part(2, row));
                to[width..].fill(0.0);
            }
            for start in (0..len).step_by(block) {
                let count = block.min(len - start);
                // Idle lanes hold the first query: finite whenever the sequence is.
                for lane in 0..count.next_multiple_of(LANES) {
                    let query = part(0, start + if lane < count { lane } else { 0 });
                    for (d, q) in query.iter().enumerate() {
                        queries[d * SCORE_STRIDE + lane] = *q;
                    }
                }
                let lanes = count.next_multiple_of(LANES);
                for tile in even(len, S::MR) {
                    for (row, to) in tile.clone().zip(keys.chunks_exact_mut(ROW_STRIDE)) {
                        to[..width].copy_from_slice(part(1, row));
                    }
                    let rows = &mut scores[tile.start * SCORE_STRIDE..tile.end * SCORE_STRIDE];
                    let mut c = MatMut::new(rows, tile.len(), SCORE_STRIDE);
                    let c = c.block(0..tile.len(), 0..lanes);
                    multiply::<S, ByRows>(s, width, keys, queries, SCORE_STRIDE, c, false);
                }
                let inverse = softmax(s, scores, lanes);
                for tile in even(count, S::MR) {
                    for column in (0..width).step_by(block) {
                        let columns = column..(column + block).min(width);
                        let rows = start + tile.start..start + tile.end;
                        let mut out =
                            self.out.block(rows, slot * width + columns.start..slot * width + columns.end);
                        let c = out.block(0..tile.len(), 0..columns.len());
                        multiply::<S, ByColumns>(
                            s,
                            len,
                            &scores[tile.start..],
                            &values[column..],
                            padded,
                            c,
                            false,
                        );
                        for row in 0..tile.len() {
                            let factor = inverse[tile.start + row];
                            out.row(row).iter_mut().for_each(|o| *o *= factor);
                        }
                    }
                }
            }
        }
    }
}

/// Replaces scores by exp(score - greatest of its column), and gives one over the sum of each column.
#[inline(always)]
pub fn softmax<S: Simd>(s: S, scores: &mut [f32], lanes: usize) -> [f32; SCORE_STRIDE] {
    let mut inverse = [0.0; SCORE_STRIDE];
    for v in (0..lanes).step_by(LANES) {
        let mut top = s.splat(f32::NEG_INFINITY);
        for row in scores.as_chunks::<SCORE_STRIDE>().0 {
            top = s.max(top, s.load(row[v..].first_chunk().expect("a row is whole vectors")));
        }
        let mut sum = s.splat(0.0);
        for row in scores.as_chunks_mut::<SCORE_STRIDE>().0 {
            let cell = row[v..].first_chunk_mut().expect("a row is whole vectors");
            let weight = exp(s, s.sub(s.load(cell), top));
            sum = s.add(sum, weight);
            s.store(weight, cell);
        }
        let one = s.div(s.splat(1.0), sum);
        s.store(one, inverse[v..].first_chunk_mut().expect("a row is whole vectors"));
    }
    inverse
}
