//! How a call's pairs are divided into groups that are computed together.

use super::engine::GROUP_TOKENS;
use crate::text::batch::group_by_tokens;

/// Minimum tokens of a group that only exists to give an idle thread work. Below, one group whose products are shared by
/// the threads is faster.
const MIN_GROUP_TOKENS: usize = 96;

/// Pairs by group.
#[derive(Debug, PartialEq)]
pub struct Groups {
    /// Indexes of the pairs of each group.
    pub members: Vec<Vec<usize>>,
    /// Whether groups are computed one after another, each by all threads. Otherwise each thread computes groups of its
    /// own.
    pub sequential: bool,
}

/// Groups pairs of the given lengths (tokens) for the CPU. Groups are sequential where there are fewer of them than
/// threads and threads can share one (`can_share`). Otherwise every thread gets the same number of groups of about the
/// same size.
pub fn group_pairs(lengths: &[usize], threads: usize, can_share: bool) -> Groups {
    let total: usize = lengths.iter().sum();
    let rounds = total.div_ceil(GROUP_TOKENS * threads).max(1);
    let tokens_each = total.div_ceil(rounds * threads).clamp(MIN_GROUP_TOKENS, GROUP_TOKENS);
    let members = group_by_tokens(lengths, tokens_each);
    if can_share && members.len() < threads {
        return Groups { members: group_by_tokens(lengths, GROUP_TOKENS), sequential: true };
    }
    Groups { members, sequential: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_get_equal_shares_or_share_each_group() {
        // One pair: all threads share it.
        let one = |sequential| Groups { members: vec![vec![0]], sequential };
        assert_eq!(group_pairs(&[73], 2, true), one(true));
        // Too little for eight groups: full groups, shared.
        let groups = group_pairs(&[30; 10], 8, true);
        assert_eq!((groups.members.len(), groups.sequential), (2, true));
        // 600 tokens would be three groups of 200 on two threads: two and two end sooner than two and one.
        let groups = group_pairs(&[50; 12], 2, true);
        assert_eq!(groups.members.iter().map(Vec::len).collect::<Vec<_>>(), vec![3; 4]);
        assert!(!groups.sequential);
        assert_eq!(group_pairs(&[], 4, true), Groups { members: vec![], sequential: true });
        // A host's threads cannot share a group.
        assert_eq!(group_pairs(&[73], 2, false), one(false));
    }
}
