//! The structs that shaders read. Each is the twin of a WGSL struct of the same name; tests/shaders.rs compares the offsets
//! of their fields.

use bytemuck::{Pod, Zeroable};

/// Up to [`QUERIES`] queries of one sequence, which are `first..` of its rows `start..start + len`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct QueryBlock {
    /// The sequence's first row.
    pub start: u32,
    /// Its number of rows.
    pub len: u32,
    /// The first query, counted from `start`.
    pub first: u32,
}

/// The rows `start..start + len`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Sequence {
    /// First row.
    pub start: u32,
    /// Number of rows.
    pub len: u32,
}

/// The gathered table rows whose sum is a token's embedding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct TokenRows {
    /// Row of the word table.
    pub word: u32,
    /// Row of the position table.
    pub position: u32,
    /// Row of the token-type table.
    pub token_type: u32,
}

/// Queries of a [`QueryBlock`]: one per invocation of an attention workgroup.
pub const QUERIES: usize = 64;

/// Cuts sequences into query blocks, longest sequences first, so that the last workgroups to finish are short ones.
pub fn query_blocks(sequences: &[Sequence]) -> Vec<QueryBlock> {
    let mut order = sequences.to_vec();
    order.sort_by_key(|s| std::cmp::Reverse(s.len));
    order
        .iter()
        .flat_map(|s| {
            (0..s.len).step_by(QUERIES).map(|first| QueryBlock { start: s.start, len: s.len, first })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_is_in_one_block_and_long_sequences_come_first() {
        let sequences = [Sequence { start: 0, len: 1 }, Sequence { start: 1, len: 129 }];
        let block = |start, len, first| QueryBlock { start, len, first };
        assert_eq!(
            query_blocks(&sequences),
            [block(1, 129, 0), block(1, 129, 64), block(1, 129, 128), block(0, 1, 0)]
        );
    }
}
