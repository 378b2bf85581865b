//! Fused attention: softmax(q k^T) v without ever holding a `[len, len]` matrix.
//!
//! Scores are computed transposed, a block of queries at a time: `scores[key][query]`. So the softmax runs down the keys
//! with one query per lane and needs no sum across lanes, and the block of weights is at once the left operand of the
//! product with the values. Work space is linear in the length of a sequence.

use std::ops::Range;

use super::activation::{LEAST, exp_within};
use super::distance::extra;
use super::simd::{
    ColMajor, LANES, Lhs, MatMut, Rhs, RowMajor, RowScale, SCORE_STRIDE, Simd, SimdKernel, even_tiles,
    multiply_tile,
};

/// The heads of one sequence.
pub struct Attention<'a, T> {
    /// Rows of the sequence [len, 3H]: scaled queries, keys, values.
    pub qkv: &'a [f32],
    /// H.
    pub hidden: usize,
    /// D.
    pub width: usize,
    /// Heads to compute.
    pub heads: Range<usize>,
    /// What the scores are besides products of queries and keys.
    pub terms: T,
    /// `[len, heads.len() * D]`.
    pub out: MatMut<'a>,
    /// Work space of [`scratch`] floats.
    pub scratch: &'a mut [f32],
}

/// A block of queries of one head. Queries are lanes, and those that do not fill a vector hold the first query again.
pub struct Block<'a> {
    /// The head.
    pub head: usize,
    /// D.
    pub width: usize,
    /// Tokens of the sequence.
    pub len: usize,
    /// The queries of the block.
    pub queries: Range<usize>,
    /// Lanes in use, whole vectors.
    pub lanes: usize,
    /// The queries transposed, `[D][SCORE_STRIDE]`.
    pub transposed: &'a [f32],
}

/// What attention scores are besides products of queries and keys: nothing, unless a method says otherwise.
pub trait Terms {
    /// Whether some of a block's keys are not for all of its queries.
    const MASKS: bool = false;

    /// The keys that a block of queries needs.
    #[inline(always)]
    fn keys(&self, _queries: Range<usize>, len: usize) -> Range<usize> {
        0..len
    }

    /// Called before the scores of a block.
    #[inline(always)]
    fn begin<S: Simd>(&self, _s: S, _block: &Block<'_>, _extra: &mut [f32]) {}

    /// Adds to the scores `[keys.len(), SCORE_STRIDE]` of some keys, whose rows are at hand as left operand.
    #[inline(always)]
    fn add<S: Simd>(
        &self,
        _s: S,
        _block: &Block<'_>,
        _keys: Range<usize>,
        _rows: Lhs<'_, RowMajor>,
        _extra: &mut [f32],
        _scores: &mut [f32],
    ) {
    }

    /// Sets what a query does not see, among the scores of a block or among their weights.
    #[inline(always)]
    fn mask(&self, _block: &Block<'_>, _keys: Range<usize>, _scores: &mut [f32], _value: f32) {}
}

/// Nothing more.
pub struct Content;

impl Terms for Content {}

/// Work space that [`Attention`] needs for a sequence of `len` tokens and heads of width D, in floats.
pub fn scratch(len: usize, width: usize) -> usize {
    let padded = width.next_multiple_of(LANES);
    // Scores, values, a block of queries, and what terms need.
    len * SCORE_STRIDE + len * padded + width * SCORE_STRIDE + extra(len)
}

impl<T: Terms> SimdKernel for Attention<'_, T> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(mut self, s: S) {
        let (len, width, stride) = (self.out.rows(), self.width, 3 * self.hidden);
        let padded = width.next_multiple_of(LANES);
        let (scores, rest) = self.scratch.split_at_mut(len * SCORE_STRIDE);
        let (values, rest) = rest.split_at_mut(len * padded);
        let (queries, extra) = rest.split_at_mut(width * SCORE_STRIDE);
        let block = S::NV * LANES;

        for (slot, head) in self.heads.clone().enumerate() {
            // The rows of queries, keys or values from one row on.
            let part =
                |third: usize, row: usize| &self.qkv[row * stride + third * self.hidden + head * width..];
            copy_rows(len, part(2, 0), stride, values, padded, width);
            if padded > width {
                // The lanes beyond the width.
                values.chunks_exact_mut(padded).for_each(|to| to[width..].fill(0.0));
            }
            for start in (0..len).step_by(block) {
                let count = block.min(len - start);
                let lanes = count.next_multiple_of(LANES);
                for at in (0..lanes).step_by(LANES) {
                    // Idle lanes hold the first query: finite whenever the sequence is.
                    let rows: [&[f32]; LANES] = std::array::from_fn(|lane| {
                        let query = start + if at + lane < count { at + lane } else { 0 };
                        &part(0, query)[..width]
                    });
                    transpose_rows(s, rows, &mut queries[at..]);
                }
                let (transposed, queries) = (&*queries, start..start + count);
                let seen = self.terms.keys(queries.clone(), len);
                let queries = Block { head, width, len, queries, lanes, transposed };
                self.terms.begin(s, &queries, extra);
                let scores = &mut scores[..seen.len() * SCORE_STRIDE];
                let mut top = LOWEST;
                for tile in even_tiles(seen.len(), S::MR) {
                    let tile_keys = seen.start + tile.start..seen.start + tile.end;
                    let keys = Lhs { values: part(1, tile_keys.start), layout: RowMajor(stride) };
                    let rows = &mut scores[tile.start * SCORE_STRIDE..tile.end * SCORE_STRIDE];
                    let mut c = MatMut::new(rows, tile.len(), SCORE_STRIDE);
                    let c = c.block(0..tile.len(), 0..lanes);
                    multiply_tile(s, width, keys, Rhs::new(transposed, SCORE_STRIDE), c, false, ());
                    self.terms.add(s, &queries, tile_keys, keys, extra, rows);
                    if !T::MASKS {
                        // While the tile is in L1.
                        raise(s, rows, lanes, &mut top);
                    }
                }
                if T::MASKS {
                    self.terms.mask(&queries, seen.clone(), scores, f32::NEG_INFINITY);
                    raise(s, scores, lanes, &mut top);
                }
                let mut inverse = softmax(s, scores, lanes, &top);
                if T::MASKS {
                    // Zeros before the sum: how many keys a block has beyond those of a query changes no bit.
                    self.terms.mask(&queries, seen.clone(), scores, 0.0);
                    inverse = inverse_sums(s, scores, lanes);
                }
                for tile in even_tiles(count, S::MR) {
                    let weights = Lhs { values: &scores[tile.start..], layout: ColMajor };
                    for column in (0..width).step_by(block) {
                        let columns = column..(column + block).min(width);
                        let rows = start + tile.start..start + tile.end;
                        let c =
                            self.out.block(rows, slot * width + columns.start..slot * width + columns.end);
                        let b = Rhs::new(&values[seen.start * padded + column..], padded);
                        multiply_tile(s, seen.len(), weights, b, c, false, RowScale(&inverse[tile.clone()]));
                    }
                }
            }
        }
    }
}

/// Writes rows as columns, [`SCORE_STRIDE`] floats from step to step.
#[inline(always)]
fn transpose_rows<S: Simd>(s: S, rows: [&[f32]; LANES], to: &mut [f32]) {
    let width = rows[0].len();
    let whole = width - width % LANES;
    for start in (0..whole).step_by(LANES) {
        let mut block = [s.splat(0.0); LANES];
        for lane in 0..LANES {
            block[lane] = s.load_slice(&rows[lane][start..start + LANES]);
        }
        let block = s.transpose(block);
        for step in 0..LANES {
            s.store_slice(block[step], &mut to[(start + step) * SCORE_STRIDE..][..LANES]);
        }
    }
    for step in whole..width {
        for lane in 0..LANES {
            to[step * SCORE_STRIDE + lane] = rows[lane][step];
        }
    }
}

/// Copies the first `width` floats of some rows, a vector of every row at a time: a row of one head is too short to be worth
/// a call of memcpy.
#[inline(always)]
fn copy_rows(rows: usize, from: &[f32], from_stride: usize, to: &mut [f32], to_stride: usize, width: usize) {
    let whole = width - width % LANES;
    for v in (0..whole).step_by(LANES) {
        for row in 0..rows {
            let from = &from[row * from_stride + v..][..LANES];
            to[row * to_stride + v..][..LANES].copy_from_slice(from);
        }
    }
    if whole < width {
        for row in 0..rows {
            let from = &from[row * from_stride..][whole..width];
            to[row * to_stride..][whole..width].copy_from_slice(from);
        }
    }
}

/// No score is lower.
pub const LOWEST: [f32; SCORE_STRIDE] = [f32::NEG_INFINITY; SCORE_STRIDE];

/// The vectors that begin at `v` in each row of scores.
#[inline(always)]
fn cells(scores: &[f32], v: usize) -> impl Iterator<Item = &[f32; LANES]> {
    let rows = scores.as_chunks::<SCORE_STRIDE>().0.iter();
    rows.map(move |row| row[v..].first_chunk().expect("a row is whole vectors"))
}

/// top = max(top, the greatest of each column).
#[inline(always)]
pub fn raise<S: Simd>(s: S, scores: &[f32], lanes: usize, top: &mut [f32; SCORE_STRIDE]) {
    for v in (0..lanes).step_by(LANES) {
        let top = top[v..].first_chunk_mut().expect("a row is whole vectors");
        let greatest = cells(scores, v).fold(s.load(top), |greatest, cell| s.max(greatest, s.load(cell)));
        s.store(greatest, top);
    }
}

/// Replaces scores by exp(score - top of its column), and gives one over the sum of each column.
#[inline(always)]
pub fn softmax<S: Simd>(
    s: S,
    scores: &mut [f32],
    lanes: usize,
    top: &[f32; SCORE_STRIDE],
) -> [f32; SCORE_STRIDE] {
    let mut inverse = [0.0; SCORE_STRIDE];
    for v in (0..lanes).step_by(LANES) {
        let top = s.load(top[v..].first_chunk().expect("a row is whole vectors"));
        let mut sum = s.splat(0.0);
        for row in scores.as_chunks_mut::<SCORE_STRIDE>().0 {
            let cell = row[v..].first_chunk_mut().expect("a row is whole vectors");
            // At most 0, unless a NaN in its column spoils the sum anyway: the upper bound of `exp` is idle.
            let weight = exp_within(s, s.max(s.splat(LEAST), s.sub(s.load(cell), top)));
            sum = s.add(sum, weight);
            s.store(weight, cell);
        }
        let one = s.div(s.splat(1.0), sum);
        s.store(one, inverse[v..].first_chunk_mut().expect("a row is whole vectors"));
    }
    inverse
}

/// One over the sum of each column.
#[inline(always)]
fn inverse_sums<S: Simd>(s: S, weights: &[f32], lanes: usize) -> [f32; SCORE_STRIDE] {
    let mut inverse = [0.0; SCORE_STRIDE];
    for v in (0..lanes).step_by(LANES) {
        let sum = cells(weights, v).fold(s.splat(0.0), |sum, cell| s.add(sum, s.load(cell)));
        let one = s.div(s.splat(1.0), sum);
        s.store(one, inverse[v..].first_chunk_mut().expect("a row is whole vectors"));
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::scratch;

    #[test]
    fn work_space_is_linear_in_the_length() {
        for width in [16, 64, 100] {
            let per_token = scratch(2, width) - scratch(1, width);
            assert_eq!(scratch(8192, width), scratch(1, width) + 8191 * per_token);
            // 8192 tokens and heads of 64 take 4 MiB, where their scores would take 256.
            assert!(scratch(8192, width) * 4 < 8 << 20);
        }
    }
}
