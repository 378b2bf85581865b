//! What attention adds to its scores besides products of queries and keys, and which keys a query sees.

use std::ops::Range;

use super::simd::{Lhs, RowMajor, Simd};

/// A block of queries of one head. Queries are lanes, and those that do not fill a vector hold the first query again.
pub struct QueryBlock<'a> {
    /// The head.
    pub head: usize,
    /// D.
    pub head_dim: usize,
    /// Tokens of the sequence.
    pub len: usize,
    /// The queries of the block.
    pub queries: Range<usize>,
    /// Lanes in use, whole vectors.
    pub lanes: usize,
    /// The queries transposed, `[D][SCORE_STRIDE]`.
    pub transposed: &'a [f32],
}

/// Modifies the scores of a block of queries. The default of each method changes nothing and compiles away.
pub trait ScoreMod {
    /// Whether some of a block's visible keys are hidden from some of its queries.
    const MASKS: bool = false;

    /// The keys that at least one query of a block sees.
    #[inline(always)]
    fn visible_keys(&self, _queries: Range<usize>, len: usize) -> Range<usize> {
        0..len
    }

    /// Called before the scores of a block are computed. `scratch` is the modification's own work space; what this method
    /// writes there is still in place when the block's scores are modified.
    #[inline(always)]
    fn begin_block<S: Simd>(&self, _s: S, _block: &QueryBlock<'_>, _scratch: &mut [f32]) {}

    /// Adds to the scores `[keys.len(), SCORE_STRIDE]` of some keys. `key_rows` are the rows of these keys.
    #[inline(always)]
    fn add_to_scores<S: Simd>(
        &self,
        _s: S,
        _block: &QueryBlock<'_>,
        _keys: Range<usize>,
        _key_rows: Lhs<'_, RowMajor>,
        _scratch: &mut [f32],
        _scores: &mut [f32],
    ) {
    }

    /// Sets the cells of keys that a query does not see to `value`, in the scores of a block or in its softmax weights.
    #[inline(always)]
    fn mask(&self, _block: &QueryBlock<'_>, _keys: Range<usize>, _cells: &mut [f32], _value: f32) {}
}

/// Leaves scores as they are.
pub struct NoScoreMod;

impl ScoreMod for NoScoreMod {}
