//! How many tokens of each side are kept when a pair is longer than the window.

use crate::rerank_options::Truncation;

/// The end of a text at which tokens are dropped when a pair is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TruncationSide {
    /// The first tokens are kept.
    #[default]
    Right,
    /// The last tokens are kept.
    Left,
}

/// Tokens to keep of a query and a document of the given lengths, so that together they have at most `budget` tokens:
/// the window without the special tokens. `None` where the policy refuses the pair.
///
/// `DocumentOnly` leaves the document at least one token; where the query is too long for that, it truncates as
/// `LongestFirst` does.
pub fn kept_lengths(
    query: usize,
    document: usize,
    budget: usize,
    policy: Truncation,
) -> Option<(usize, usize)> {
    if query.saturating_add(document) <= budget {
        return Some((query, document));
    }
    match policy {
        Truncation::Error => None,
        Truncation::DocumentOnly if query < budget => Some((query, budget - query)),
        Truncation::DocumentOnly | Truncation::LongestFirst => Some(longest_first(query, document, budget)),
    }
}

/// The arithmetic of `truncate_encodings` in Hugging Face tokenizers. The shorter side is kept whole if it takes at most
/// half of the budget. Otherwise each side gets half, and the longer one (the document, if equal) gets the odd token.
fn longest_first(query: usize, document: usize, budget: usize) -> (usize, usize) {
    let shorter = query.min(document);
    let (short, long) = match budget.checked_sub(shorter) {
        Some(rest) if rest >= shorter => (shorter, rest),
        _ => (budget / 2, budget - budget / 2),
    };
    if query > document { (long, short) } else { (short, long) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Truncation::{DocumentOnly, Error, LongestFirst};

    #[test]
    fn a_pair_that_fits_is_kept_whole_by_every_policy() {
        for policy in [LongestFirst, DocumentOnly, Error] {
            assert_eq!(kept_lengths(3, 7, 10, policy), Some((3, 7)));
            assert_eq!(kept_lengths(0, 0, 0, policy), Some((0, 0)));
        }
    }

    #[test]
    fn longest_first_halves_the_budget_and_gives_the_longer_side_the_odd_token() {
        assert_eq!(kept_lengths(3, 20, 10, LongestFirst), Some((3, 7)));
        assert_eq!(kept_lengths(20, 3, 10, LongestFirst), Some((7, 3)));
        assert_eq!(kept_lengths(5, 20, 10, LongestFirst), Some((5, 5)));
        assert_eq!(kept_lengths(6, 20, 11, LongestFirst), Some((5, 6)));
        assert_eq!(kept_lengths(20, 6, 11, LongestFirst), Some((6, 5)));
        assert_eq!(kept_lengths(20, 20, 11, LongestFirst), Some((5, 6)));
        assert_eq!(kept_lengths(20, 20, 0, LongestFirst), Some((0, 0)));
        assert_eq!(kept_lengths(20, 0, 1, LongestFirst), Some((1, 0)));
    }

    #[test]
    fn document_only_keeps_the_query_where_a_document_token_fits_beside_it() {
        assert_eq!(kept_lengths(9, 20, 10, DocumentOnly), Some((9, 1)));
        assert_eq!(kept_lengths(10, 20, 10, DocumentOnly), Some((5, 5)));
        assert_eq!(kept_lengths(11, 20, 10, DocumentOnly), Some((5, 5)));
    }

    #[test]
    fn the_error_policy_refuses_one_token_too_many() {
        assert_eq!(kept_lengths(3, 8, 10, Error), None);
        assert_eq!(kept_lengths(usize::MAX, 1, 10, Error), None);
    }

    #[test]
    fn every_truncated_pair_fills_the_budget_exactly() {
        for (query, document, budget) in
            (0..12).flat_map(|q| (0..12).flat_map(move |d| (0..14).map(move |b| (q, d, b))))
        {
            for policy in [LongestFirst, DocumentOnly] {
                let (q, d) = kept_lengths(query, document, budget, policy).unwrap();
                assert!(q <= query && d <= document, "{query} {document} {budget} {policy:?}: {q} {d}");
                assert_eq!(q + d, budget.min(query + document), "{query} {document} {budget} {policy:?}");
            }
        }
    }
}
