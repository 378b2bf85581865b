//! What attention knows about distances: a bias, a neighbourhood, or queries and keys of their own.

use std::ops::Range;

use super::attention::{Block, Terms};
use super::simd::{LANES, Lhs, MatMut, Rhs, RowMajor, SCORE_STRIDE, Simd, even_tiles, multiply_tile};
use crate::error::{Error, Result};
use crate::kernels::Tensor;

/// The widest tile of the microkernel.
const WIDEST: usize = 32;

/// A bias by head and distance.
pub struct Bias {
    /// `[N, stride]`: column `query - key + middle`, filled up with zeros that idle lanes may read.
    values: Vec<f32>,
    stride: usize,
    middle: usize,
}

impl Bias {
    /// From `[N, 2L-1]`.
    pub fn new(bias: Tensor<'_>) -> Result<Self> {
        let stride = bias.cols + WIDEST;
        let mut values = super::pack::zeros(bias.rows * stride)?;
        for (row, to) in values.chunks_exact_mut(stride).enumerate() {
            bias.widen_row(row, &mut to[..bias.cols]);
        }
        Ok(Self { values, stride, middle: bias.cols / 2 })
    }
}

impl Terms for &Bias {
    #[inline(always)]
    fn add<S: Simd>(
        &self,
        s: S,
        block: &Block<'_>,
        keys: Range<usize>,
        _rows: Lhs<'_, RowMajor>,
        _extra: &mut [f32],
        scores: &mut [f32],
    ) {
        let values = &self.values[block.head * self.stride..(block.head + 1) * self.stride];
        for (key, cells) in keys.zip(scores.as_chunks_mut::<SCORE_STRIDE>().0) {
            // Queries are neighbours, and so are their biases.
            let values = &values[block.queries.start + self.middle - key..];
            for v in (0..block.lanes).step_by(LANES) {
                let cell = cells[v..].first_chunk_mut().expect("a row is whole vectors");
                let sum = s.add(s.load(cell), s.load_slice(&values[v..v + LANES]));
                s.store(sum, cell);
            }
        }
    }
}

/// Keys at most so far away.
pub struct Local {
    /// In tokens.
    pub reach: usize,
}

impl Terms for Local {
    const MASKS: bool = true;

    #[inline(always)]
    fn keys(&self, queries: Range<usize>, len: usize) -> Range<usize> {
        queries.start.saturating_sub(self.reach)..len.min(queries.end.saturating_add(self.reach))
    }

    #[inline(always)]
    fn mask(&self, block: &Block<'_>, keys: Range<usize>, scores: &mut [f32], value: f32) {
        for (key, cells) in keys.zip(scores.as_chunks_mut::<SCORE_STRIDE>().0) {
            for (query, cell) in block.queries.clone().zip(cells) {
                if key.abs_diff(query) > self.reach {
                    *cell = value;
                }
            }
        }
    }
}

/// Distances as queries and keys.
pub struct Relative {
    /// Keys, `[N,R,D]`.
    keys: Vec<f32>,
    /// Queries transposed, `[N,D,stride]`, filled up with zeros by the widest tile.
    queries: Vec<f32>,
    stride: usize,
    rows: usize,
    /// The row for a query and a key, at `query - key + middle`.
    row_of: Vec<u32>,
    middle: usize,
}

impl Relative {
    /// From projections `[R,H]`, each of which may be missing.
    pub fn new(
        keys: Option<&[f32]>,
        queries: Option<&[f32]>,
        row_of: &[u32],
        rows: usize,
        heads: usize,
    ) -> Result<Self> {
        let sound = row_of.iter().all(|row| (*row as usize) < rows)
            && row_of.windows(2).all(|w| w[1] == w[0] || w[1] == w[0] + 1);
        if !sound {
            return Err(Error::Internal { message: "rows of distances are not in order".into() });
        }
        let stride = rows + WIDEST;
        let mut made = Self {
            keys: Vec::new(),
            queries: Vec::new(),
            stride,
            rows,
            row_of: row_of.to_vec(),
            middle: row_of.len() / 2,
        };
        if let Some(keys) = keys {
            let hidden = keys.len() / rows;
            let width = hidden / heads;
            made.keys = super::pack::zeros(keys.len())?;
            for (i, to) in made.keys.chunks_exact_mut(width).enumerate() {
                let (head, row) = (i / rows, i % rows);
                to.copy_from_slice(&keys[row * hidden + head * width..][..width]);
            }
        }
        if let Some(queries) = queries {
            let hidden = queries.len() / rows;
            made.queries = super::pack::zeros(hidden * stride)?;
            for (row, from) in queries.chunks_exact(hidden).enumerate() {
                for (h, q) in from.iter().enumerate() {
                    made.queries[h * stride + row] = *q;
                }
            }
        }
        Ok(made)
    }

    /// The rows for a block of queries and some keys.
    fn rows(&self, block: &Block<'_>, keys: Range<usize>) -> Range<usize> {
        let row = |query: usize, key: usize| self.row_of[query + self.middle - key] as usize;
        row(block.queries.start, keys.end - 1)..row(block.queries.end - 1, keys.start) + 1
    }
}

/// Rows that a tile of keys and a block of queries can have between them.
const TILE_ROWS_OF_DISTANCES: usize = TILE_ROWS + WIDEST;

/// Keys in a tile: at least the tallest microkernel.
const TILE_ROWS: usize = 16;

/// Floats that [`Relative`] needs beside the scores of a sequence of `len` tokens: products of a block of queries with the
/// keys of all distances from it, and of a tile of keys with the queries of the distances in it.
pub fn extra(len: usize) -> usize {
    (len + WIDEST) * SCORE_STRIDE + TILE_ROWS * TILE_ROWS_OF_DISTANCES
}

impl Terms for &Relative {
    #[inline(always)]
    fn begin<S: Simd>(&self, s: S, block: &Block<'_>, extra: &mut [f32]) {
        if self.keys.is_empty() {
            return;
        }
        let all = self.rows(block, 0..block.len);
        for tile in even_tiles(all.len(), S::MR) {
            let first = block.head * self.rows + all.start + tile.start;
            let keys = Lhs { values: &self.keys[first * block.width..], layout: RowMajor(block.width) };
            let cells = &mut extra[tile.start * SCORE_STRIDE..tile.end * SCORE_STRIDE];
            let mut c = MatMut::new(cells, tile.len(), SCORE_STRIDE);
            let c = c.block(0..tile.len(), 0..block.lanes);
            multiply_tile(s, block.width, keys, Rhs::new(block.transposed, SCORE_STRIDE), c, false, ());
        }
    }

    #[inline(always)]
    fn add<S: Simd>(
        &self,
        s: S,
        block: &Block<'_>,
        keys: Range<usize>,
        rows: Lhs<'_, RowMajor>,
        extra: &mut [f32],
        scores: &mut [f32],
    ) {
        let (by_query, by_key) = extra.split_at_mut((block.len + WIDEST) * SCORE_STRIDE);
        let first = self.rows(block, 0..block.len).start;
        let near = self.rows(block, keys.clone());
        if !self.queries.is_empty() {
            let by_key = &mut by_key[..keys.len() * TILE_ROWS_OF_DISTANCES];
            let mut c = MatMut::new(by_key, keys.len(), TILE_ROWS_OF_DISTANCES);
            let head = &self.queries[block.head * block.width * self.stride..];
            for column in (0..near.len()).step_by(S::NV * LANES) {
                let columns = column..(column + S::NV * LANES).min(near.len());
                let c = c.block(0..keys.len(), columns);
                let b = Rhs::new(&head[near.start + column..], self.stride);
                multiply_tile(s, block.width, rows, b, c, false, ());
            }
        }
        for (i, key) in keys.enumerate() {
            let row_of = &self.row_of[block.queries.start + self.middle - key..][..block.queries.len()];
            let cells = &mut scores[i * SCORE_STRIDE..][..block.queries.len()];
            for (lane, (cell, row)) in cells.iter_mut().zip(row_of).enumerate() {
                let row = *row as usize;
                if !self.keys.is_empty() {
                    *cell += by_query[(row - first) * SCORE_STRIDE + lane];
                }
                if !self.queries.is_empty() {
                    *cell += by_key[i * TILE_ROWS_OF_DISTANCES + row - near.start];
                }
            }
        }
    }
}
