//! Pairs of token ids, concatenated without padding.

use std::ops::Range;

use crate::ranking::TruncatedTokens;

/// One query and one document as the model reads them, special tokens included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Token type ids, as many as `ids`.
    pub token_types: Vec<u32>,
    /// Tokens removed to fit the window.
    pub truncated: TruncatedTokens,
}

/// Concatenated whole sequences: T tokens of S sequences. Sequence `s` owns the rows `starts[s]..starts[s + 1]` of every
/// activation, from the first layer to the last, so no kernel sees padding or a mask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedBatch {
    /// Token ids, T.
    pub ids: Vec<u32>,
    /// Token type ids, T.
    pub token_types: Vec<u32>,
    /// Position ids, T: those of each sequence start at the model's first position.
    pub positions: Vec<u32>,
    /// The first row of each sequence and, as the last value, T: S + 1 values.
    pub starts: Vec<usize>,
}

impl PackedBatch {
    /// Concatenates pairs; `first_position` is the position id of each sequence's first token.
    pub fn new<'a>(pairs: impl IntoIterator<Item = &'a Pair>, first_position: u32) -> Self {
        let mut batch = Self { starts: vec![0], ..Self::default() };
        for pair in pairs {
            batch.ids.extend_from_slice(&pair.ids);
            batch.token_types.extend_from_slice(&pair.token_types);
            batch.positions.extend((first_position..).take(pair.ids.len()));
            batch.starts.push(batch.ids.len());
        }
        batch
    }

    /// The number of tokens, T.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The number of sequences, S.
    pub fn sequences(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rows of each sequence.
    pub fn rows(&self) -> impl Iterator<Item = Range<usize>> {
        self.starts.windows(2).map(|w| w[0]..w[1])
    }

    /// A range of the sequences as a batch of its own.
    pub fn slice(&self, sequences: Range<usize>) -> Self {
        let rows = self.starts[sequences.start]..self.starts[sequences.end];
        let starts = &self.starts[sequences.start..=sequences.end];
        Self {
            ids: self.ids[rows.clone()].to_vec(),
            token_types: self.token_types[rows.clone()].to_vec(),
            positions: self.positions[rows.clone()].to_vec(),
            starts: starts.iter().map(|start| start - rows.start).collect(),
        }
    }

    /// The number of tokens of the longest sequence.
    pub fn max_sequence_tokens(&self) -> usize {
        self.rows().map(|r| r.len()).max().unwrap_or(0)
    }
}

/// Divides pairs of the given lengths into groups of at most `budget` tokens; a longer pair is a group of its own. The
/// longest pairs come first, so that the last groups to finish are the short ones and threads end at about the same time.
pub fn group_by_tokens(lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lengths[i]), i));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for i in order {
        match groups.last_mut() {
            Some(last) if lengths[i] <= room => {
                last.push(i);
                room -= lengths[i];
            }
            _ => {
                groups.push(vec![i]);
                room = budget.saturating_sub(lengths[i]);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_restart_with_every_sequence() {
        let pair = |n: usize| Pair {
            ids: vec![7; n],
            token_types: vec![0; n],
            truncated: TruncatedTokens::default(),
        };
        let batch = PackedBatch::new([&pair(3), &pair(1), &pair(2)], 2);
        assert_eq!(batch.positions, [2, 3, 4, 2, 2, 3]);
        assert_eq!(batch.starts, [0, 3, 4, 6]);
        assert_eq!(batch.max_sequence_tokens(), 3);
        let last = batch.slice(1..3);
        assert_eq!((&last.positions[..], &last.starts[..]), (&[2, 2, 3][..], &[0, 1, 3][..]));
        assert_eq!(batch.slice(0..3), batch);
    }

    #[test]
    fn every_pair_is_in_exactly_one_group_within_the_budget() {
        let lengths = [5, 300, 20, 20, 90, 1, 255, 256, 257];
        let groups = group_by_tokens(&lengths, 256);
        let mut seen: Vec<usize> = groups.concat();
        seen.sort();
        assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        for g in &groups {
            let tokens: usize = g.iter().map(|&i| lengths[i]).sum();
            assert!(tokens <= 256 || g.len() == 1, "{g:?} holds {tokens}");
        }
    }
}
