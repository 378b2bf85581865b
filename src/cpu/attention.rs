//! Fused attention: softmax(q k^T) v without ever holding a `[len, len]` matrix.
//!
//! Scores are computed transposed, a block of queries at a time: `scores[key][query]`. So the softmax runs down the keys
//! with one query per lane and needs no sum across lanes, and the block of weights is at once the lhs of the
//! product with the values. Work space is linear in the length of a sequence.

use std::ops::Range;

use super::activation::{EXP_MIN, exp_within};
use super::relative_position;
use super::score_mod::{QueryBlock, ScoreMod};
use super::simd::{
    ColMajor, LANES, Lhs, MatMut, Rhs, RowMajor, RowScale, SCORE_STRIDE, Simd, SimdKernel, even_tiles,
    multiply_tile,
};

/// Attention of some heads of one sequence.
pub struct Attention<'a, M> {
    /// Rows of the sequence [len, 3H]: scaled queries, keys, values.
    pub qkv: &'a [f32],
    /// H.
    pub hidden: usize,
    /// D.
    pub head_dim: usize,
    /// Heads to compute.
    pub heads: Range<usize>,
    /// What changes the scores besides products of queries and keys.
    pub score_mod: M,
    /// `[len, heads.len() * D]`.
    pub out: MatMut<'a>,
    /// Work space of [`scratch_floats`] floats.
    pub scratch: &'a mut [f32],
}

/// Work space that [`Attention`] needs for a sequence of `len` tokens and heads of dimension D, in floats.
pub fn scratch_floats(len: usize, head_dim: usize) -> usize {
    let padded = head_dim.next_multiple_of(LANES);
    // Scores, values, a transposed block of queries, and the work space of a score modification.
    len * SCORE_STRIDE + len * padded + head_dim * SCORE_STRIDE + relative_position::scratch_floats(len)
}

impl<M: ScoreMod> SimdKernel for Attention<'_, M> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(mut self, s: S) {
        let (len, head_dim, stride) = (self.out.rows(), self.head_dim, 3 * self.hidden);
        let padded = head_dim.next_multiple_of(LANES);
        let (scores, rest) = self.scratch.split_at_mut(len * SCORE_STRIDE);
        let (values, rest) = rest.split_at_mut(len * padded);
        let (transposed, mod_scratch) = rest.split_at_mut(head_dim * SCORE_STRIDE);
        let block_len = S::NV * LANES;

        for (slot, head) in self.heads.clone().enumerate() {
            // The head's part of the queries (0), keys (1) or values (2), from one row on.
            let part =
                |third: usize, row: usize| &self.qkv[row * stride + third * self.hidden + head * head_dim..];
            copy_rows(len, part(2, 0), stride, values, padded, head_dim);
            if padded > head_dim {
                // The lanes beyond the head's dimension.
                values.chunks_exact_mut(padded).for_each(|to| to[head_dim..].fill(0.0));
            }
            for start in (0..len).step_by(block_len) {
                let count = block_len.min(len - start);
                let lanes = count.next_multiple_of(LANES);
                for at in (0..lanes).step_by(LANES) {
                    // Idle lanes hold the first query: finite whenever the sequence is.
                    let rows: [&[f32]; LANES] = std::array::from_fn(|lane| {
                        let query = start + if at + lane < count { at + lane } else { 0 };
                        &part(0, query)[..head_dim]
                    });
                    transpose_rows(s, rows, &mut transposed[at..]);
                }
                let (transposed, queries) = (&*transposed, start..start + count);
                let keys = self.score_mod.visible_keys(queries.clone(), len);
                let block = QueryBlock { head, head_dim, len, queries, lanes, transposed };
                let key_rows = Lhs { values: part(1, keys.start), layout: RowMajor(stride) };
                let weights = &mut scores[..keys.len() * SCORE_STRIDE];
                let inverse =
                    softmax_weights(s, &self.score_mod, &block, keys.clone(), key_rows, mod_scratch, weights);
                for tile in even_tiles(count, S::MR) {
                    let weights = Lhs { values: &weights[tile.start..], layout: ColMajor };
                    for column in (0..head_dim).step_by(block_len) {
                        let columns = column..(column + block_len).min(head_dim);
                        let rows = start + tile.start..start + tile.end;
                        let first = slot * head_dim;
                        let c = self.out.block(rows, first + columns.start..first + columns.end);
                        let b = Rhs::new(&values[keys.start * padded + column..], padded);
                        multiply_tile(s, keys.len(), weights, b, c, false, RowScale(&inverse[tile.clone()]));
                    }
                }
            }
        }
    }
}

/// The softmax weights of a block of queries before their division by their sum, and one over that sum for each query.
/// `key_rows` are the rows of `keys`; `weights` is `[keys.len(), SCORE_STRIDE]`.
#[inline(always)]
fn softmax_weights<S: Simd, M: ScoreMod>(
    s: S,
    score_mod: &M,
    block: &QueryBlock<'_>,
    keys: Range<usize>,
    key_rows: Lhs<'_, RowMajor>,
    mod_scratch: &mut [f32],
    weights: &mut [f32],
) -> [f32; SCORE_STRIDE] {
    score_mod.begin_block(s, block, mod_scratch);
    let mut running_max = NEG_INF_ROW;
    for tile in even_tiles(keys.len(), S::MR) {
        let tile_keys = keys.start + tile.start..keys.start + tile.end;
        let RowMajor(stride) = key_rows.layout;
        let tile_rows = Lhs { values: &key_rows.values[tile.start * stride..], layout: key_rows.layout };
        let scores = &mut weights[tile.start * SCORE_STRIDE..tile.end * SCORE_STRIDE];
        let mut c = MatMut::new(scores, tile.len(), SCORE_STRIDE);
        let c = c.block(0..tile.len(), 0..block.lanes);
        multiply_tile(s, block.head_dim, tile_rows, Rhs::new(block.transposed, SCORE_STRIDE), c, false, ());
        score_mod.add_to_scores(s, block, tile_keys, tile_rows, mod_scratch, scores);
        if !M::MASKS {
            // While the tile is in L1.
            update_running_max(s, scores, block.lanes, &mut running_max);
        }
    }
    if M::MASKS {
        score_mod.mask(block, keys.clone(), weights, f32::NEG_INFINITY);
        update_running_max(s, weights, block.lanes, &mut running_max);
    }
    let mut inverse = softmax(s, weights, block.lanes, &running_max);
    if M::MASKS {
        // Zeros before the sum: how many keys a block has beyond those of a query changes no bit.
        score_mod.mask(block, keys, weights, 0.0);
        inverse = inverse_sums(s, weights, block.lanes);
    }
    inverse
}

/// Writes rows as columns, [`SCORE_STRIDE`] floats from one k to the next.
#[inline(always)]
fn transpose_rows<S: Simd>(s: S, rows: [&[f32]; LANES], to: &mut [f32]) {
    let row_len = rows[0].len();
    let vectors_end = row_len - row_len % LANES;
    for start in (0..vectors_end).step_by(LANES) {
        let mut block = [s.splat(0.0); LANES];
        for lane in 0..LANES {
            block[lane] = s.load_slice(&rows[lane][start..start + LANES]);
        }
        let block = s.transpose(block);
        for step in 0..LANES {
            s.store_slice(block[step], &mut to[(start + step) * SCORE_STRIDE..][..LANES]);
        }
    }
    for step in vectors_end..row_len {
        for lane in 0..LANES {
            to[step * SCORE_STRIDE + lane] = rows[lane][step];
        }
    }
}

/// Copies the first `cols` floats of some rows, a vector of every row at a time: a row of one head is too short to be worth
/// a call of memcpy.
#[inline(always)]
fn copy_rows(rows: usize, from: &[f32], from_stride: usize, to: &mut [f32], to_stride: usize, cols: usize) {
    let vectors_end = cols - cols % LANES;
    for v in (0..vectors_end).step_by(LANES) {
        for row in 0..rows {
            let from = &from[row * from_stride + v..][..LANES];
            to[row * to_stride + v..][..LANES].copy_from_slice(from);
        }
    }
    if vectors_end < cols {
        for row in 0..rows {
            let from = &from[row * from_stride..][vectors_end..cols];
            to[row * to_stride..][vectors_end..cols].copy_from_slice(from);
        }
    }
}

/// Where a running maximum of scores begins: no score is lower.
pub const NEG_INF_ROW: [f32; SCORE_STRIDE] = [f32::NEG_INFINITY; SCORE_STRIDE];

/// The vector at columns `v..v + LANES` of each row of scores.
#[inline(always)]
fn column_vectors(scores: &[f32], v: usize) -> impl Iterator<Item = &[f32; LANES]> {
    let rows = scores.as_chunks::<SCORE_STRIDE>().0.iter();
    rows.map(move |row| row[v..].first_chunk().expect("a row is whole vectors"))
}

/// running_max = max(running_max, the maximum of each column).
#[inline(always)]
pub fn update_running_max<S: Simd>(
    s: S,
    scores: &[f32],
    lanes: usize,
    running_max: &mut [f32; SCORE_STRIDE],
) {
    for v in (0..lanes).step_by(LANES) {
        let running_max = running_max[v..].first_chunk_mut().expect("a row is whole vectors");
        let max =
            column_vectors(scores, v).fold(s.load(running_max), |max, vector| s.max(max, s.load(vector)));
        s.store(max, running_max);
    }
}

/// Replaces scores by exp(score - maximum of its column), and returns one over the sum of each column.
#[inline(always)]
pub fn softmax<S: Simd>(
    s: S,
    scores: &mut [f32],
    lanes: usize,
    column_max: &[f32; SCORE_STRIDE],
) -> [f32; SCORE_STRIDE] {
    let mut inverse = [0.0; SCORE_STRIDE];
    for v in (0..lanes).step_by(LANES) {
        let max = s.load(column_max[v..].first_chunk().expect("a row is whole vectors"));
        let mut sum = s.splat(0.0);
        for row in scores.as_chunks_mut::<SCORE_STRIDE>().0 {
            let vector = row[v..].first_chunk_mut().expect("a row is whole vectors");
            // The argument is at most 0, so `exp` needs no upper bound; a NaN in the column makes the sum NaN anyway.
            let weight = exp_within(s, s.max(s.splat(EXP_MIN), s.sub(s.load(vector), max)));
            sum = s.add(sum, weight);
            s.store(weight, vector);
        }
        let quotient = s.div(s.splat(1.0), sum);
        s.store(quotient, inverse[v..].first_chunk_mut().expect("a row is whole vectors"));
    }
    inverse
}

/// One over the sum of each column.
#[inline(always)]
fn inverse_sums<S: Simd>(s: S, weights: &[f32], lanes: usize) -> [f32; SCORE_STRIDE] {
    let mut inverse = [0.0; SCORE_STRIDE];
    for v in (0..lanes).step_by(LANES) {
        let sum = column_vectors(weights, v).fold(s.splat(0.0), |sum, vector| s.add(sum, s.load(vector)));
        let quotient = s.div(s.splat(1.0), sum);
        s.store(quotient, inverse[v..].first_chunk_mut().expect("a row is whole vectors"));
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::scratch_floats;

    #[test]
    fn work_space_is_linear_in_the_length() {
        for head_dim in [16, 64, 100] {
            let per_token = scratch_floats(2, head_dim) - scratch_floats(1, head_dim);
            assert_eq!(scratch_floats(8192, head_dim), scratch_floats(1, head_dim) + 8191 * per_token);
            // 8192 tokens and heads of 64 take 4 MiB; all of their scores at once would take 256.
            assert!(scratch_floats(8192, head_dim) * 4 < 8 << 20);
        }
    }
}
