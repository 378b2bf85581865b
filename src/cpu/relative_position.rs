//! Modifications of attention scores that depend on relative positions: a bias, a sliding window, or DeBERTa's products with
//! keys and queries of the positions themselves.

use std::ops::Range;

use super::alloc::{AlignedVec, zeros};
use super::score_mod::{QueryBlock, ScoreMod};
use super::simd::{
    LANES, Lhs, MAX_MR, MAX_NR, MatMut, Rhs, RowMajor, SCORE_STRIDE, Simd, even_tiles, multiply_tile,
};
use crate::error::{Error, Result};
use crate::kernels::Tensor;

/// Relative positions that occur between a tile of keys and a block of queries, at most, in whole vectors. A block has at most
/// as many queries as the widest tile has columns.
const MAX_TILE_POSITIONS: usize = (MAX_MR + MAX_NR).next_multiple_of(LANES);

/// A bias by head and relative position.
pub struct RelativeBias {
    /// `[N, stride]`: column `query - key + middle`, then zeros that idle lanes may read.
    values: AlignedVec<f32>,
    stride: usize,
    middle: usize,
}

impl RelativeBias {
    /// From `[N, 2L-1]`.
    pub fn new(bias: Tensor<'_>) -> Result<Self> {
        let stride = bias.cols + MAX_NR;
        let mut values = zeros(bias.rows * stride)?;
        for (row, to) in values.chunks_exact_mut(stride).enumerate() {
            bias.widen_row(row, &mut to[..bias.cols]);
        }
        Ok(Self { values, stride, middle: bias.cols / 2 })
    }
}

impl ScoreMod for &RelativeBias {
    #[inline(always)]
    fn add_to_scores<S: Simd>(
        &self,
        s: S,
        block: &QueryBlock<'_>,
        keys: Range<usize>,
        _key_rows: Lhs<'_, RowMajor>,
        _scratch: &mut [f32],
        scores: &mut [f32],
    ) {
        let values = &self.values[block.head * self.stride..(block.head + 1) * self.stride];
        for (key, row) in keys.zip(scores.as_chunks_mut::<SCORE_STRIDE>().0) {
            // The queries of a block follow each other, and so do their biases.
            let values = &values[block.queries.start + self.middle - key..];
            for v in (0..block.lanes).step_by(LANES) {
                let vector = row[v..].first_chunk_mut().expect("a row is whole vectors");
                let sum = s.add(s.load(vector), s.load_slice(&values[v..v + LANES]));
                s.store(sum, vector);
            }
        }
    }
}

/// Each query sees the keys that are at most `radius` tokens away.
pub struct SlidingWindow {
    /// In tokens.
    pub radius: usize,
}

impl ScoreMod for SlidingWindow {
    const MASKS: bool = true;

    #[inline(always)]
    fn visible_keys(&self, queries: Range<usize>, len: usize) -> Range<usize> {
        queries.start.saturating_sub(self.radius)..len.min(queries.end.saturating_add(self.radius))
    }

    #[inline(always)]
    fn mask(&self, block: &QueryBlock<'_>, keys: Range<usize>, cells: &mut [f32], value: f32) {
        for (key, row) in keys.zip(cells.as_chunks_mut::<SCORE_STRIDE>().0) {
            for (query, cell) in block.queries.clone().zip(row) {
                if key.abs_diff(query) > self.radius {
                    *cell = value;
                }
            }
        }
    }
}

/// Keys and queries of relative positions, which DeBERTa multiplies with the queries and keys of tokens.
pub struct DisentangledPositions {
    /// Keys, `[N,R,D]`; empty where the model has none.
    keys: AlignedVec<f32>,
    /// Queries transposed, `[N,D,stride]`, with [`MAX_NR`] zeros after each row; empty where the model has none.
    queries: AlignedVec<f32>,
    stride: usize,
    /// R.
    rows: usize,
    /// The row for a query and a key, at `query - key + middle`.
    row_of: Vec<u32>,
    middle: usize,
}

impl DisentangledPositions {
    /// From projections `[R,H]`, each of which may be missing.
    pub fn new(
        keys: Option<&[f32]>,
        queries: Option<&[f32]>,
        row_of: &[u32],
        rows: usize,
        heads: usize,
    ) -> Result<Self> {
        let ascending = row_of.iter().all(|row| (*row as usize) < rows)
            && row_of.windows(2).all(|w| w[1] == w[0] || w[1] == w[0] + 1);
        if !ascending {
            return Err(Error::Internal { message: "rows of relative positions are not in order".into() });
        }
        let stride = rows + MAX_NR;
        let mut made = Self {
            keys: AlignedVec::default(),
            queries: AlignedVec::default(),
            stride,
            rows,
            row_of: row_of.to_vec(),
            middle: row_of.len() / 2,
        };
        if let Some(keys) = keys {
            let hidden = keys.len() / rows;
            let head_dim = hidden / heads;
            made.keys = zeros(keys.len())?;
            for (i, to) in made.keys.chunks_exact_mut(head_dim).enumerate() {
                let (head, row) = (i / rows, i % rows);
                to.copy_from_slice(&keys[row * hidden + head * head_dim..][..head_dim]);
            }
        }
        if let Some(queries) = queries {
            let hidden = queries.len() / rows;
            made.queries = zeros(hidden * stride)?;
            for (row, from) in queries.chunks_exact(hidden).enumerate() {
                for (h, q) in from.iter().enumerate() {
                    made.queries[h * stride + row] = *q;
                }
            }
        }
        Ok(made)
    }

    /// The rows that occur between a block of queries and some keys.
    fn rows_between(&self, block: &QueryBlock<'_>, keys: Range<usize>) -> Range<usize> {
        let row = |query: usize, key: usize| self.row_of[query + self.middle - key] as usize;
        row(block.queries.start, keys.end - 1)..row(block.queries.end - 1, keys.start) + 1
    }
}

/// Work space that [`DisentangledPositions`] needs for a sequence of `len` tokens, in floats: products of a block of queries
/// with the keys of all its relative positions, and of a tile of keys with the queries of its relative positions.
pub fn scratch_floats(len: usize) -> usize {
    (len + MAX_NR) * SCORE_STRIDE + MAX_MR * MAX_TILE_POSITIONS
}

impl ScoreMod for &DisentangledPositions {
    #[inline(always)]
    fn begin_block<S: Simd>(&self, s: S, block: &QueryBlock<'_>, scratch: &mut [f32]) {
        if self.keys.is_empty() {
            return;
        }
        let rows = self.rows_between(block, 0..block.len);
        for tile in even_tiles(rows.len(), S::MR) {
            let first = block.head * self.rows + rows.start + tile.start;
            let keys = Lhs { values: &self.keys[first * block.head_dim..], layout: RowMajor(block.head_dim) };
            let products = &mut scratch[tile.start * SCORE_STRIDE..tile.end * SCORE_STRIDE];
            let mut c = MatMut::new(products, tile.len(), SCORE_STRIDE);
            let c = c.block(0..tile.len(), 0..block.lanes);
            multiply_tile(s, block.head_dim, keys, Rhs::new(block.transposed, SCORE_STRIDE), c, false, ());
        }
    }

    #[inline(always)]
    fn add_to_scores<S: Simd>(
        &self,
        s: S,
        block: &QueryBlock<'_>,
        keys: Range<usize>,
        key_rows: Lhs<'_, RowMajor>,
        scratch: &mut [f32],
        scores: &mut [f32],
    ) {
        let (query_products, key_products) = scratch.split_at_mut((block.len + MAX_NR) * SCORE_STRIDE);
        let block_first = self.rows_between(block, 0..block.len).start;
        let tile_rows = self.rows_between(block, keys.clone());
        if !self.queries.is_empty() {
            let key_products = &mut key_products[..keys.len() * MAX_TILE_POSITIONS];
            let mut c = MatMut::new(key_products, keys.len(), MAX_TILE_POSITIONS);
            let head = &self.queries[block.head * block.head_dim * self.stride..];
            for column in (0..tile_rows.len()).step_by(S::NV * LANES) {
                let columns = column..(column + S::NV * LANES).min(tile_rows.len());
                let c = c.block(0..keys.len(), columns);
                let b = Rhs::new(&head[tile_rows.start + column..], self.stride);
                multiply_tile(s, block.head_dim, key_rows, b, c, false, ());
            }
        }
        for (i, key) in keys.enumerate() {
            let row_of = &self.row_of[block.queries.start + self.middle - key..][..block.queries.len()];
            let cells = &mut scores[i * SCORE_STRIDE..][..block.queries.len()];
            for (lane, (cell, row)) in cells.iter_mut().zip(row_of).enumerate() {
                let row = *row as usize;
                if !self.keys.is_empty() {
                    *cell += query_products[(row - block_first) * SCORE_STRIDE + lane];
                }
                if !self.queries.is_empty() {
                    *cell += key_products[i * MAX_TILE_POSITIONS + row - tile_rows.start];
                }
            }
        }
    }
}
