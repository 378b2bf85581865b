//! How a document that is too long for one window is divided into overlapping ones.

use std::ops::Range;

use crate::rerank_options::Windows;

/// The windows of one document.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// Tokens of the query that every window contains.
    pub query_tokens: usize,
    /// The document tokens of each window; at least one range, in order.
    pub windows: Vec<Range<usize>>,
}

/// Lays out windows of `budget` tokens (without the special tokens) over a query and a document of the given lengths
/// (tokens). A pair that fits has one window.
pub fn layout(query: usize, document: usize, budget: usize, options: Windows) -> Layout {
    if query.saturating_add(document) <= budget {
        let whole = 0..document;
        return Layout { query_tokens: query, windows: Vec::from([whole]) };
    }
    // The document gets the odd token, as in truncation.
    let query = query.min(budget / 2);
    let room = budget - query;
    // Every window starts at least one token after the one before.
    let stride = (room - options.overlap.min(room / 2)).max(1);
    let needed = 1 + document.saturating_sub(room).div_ceil(stride);
    let windows = (0..needed.min(options.max_windows.max(1)))
        .map(|i| (i * stride).min(document.saturating_sub(room)))
        .map(|start| start..document.min(start + room))
        .collect();
    Layout { query_tokens: query, windows }
}

/// The number of a document's tokens that all of its windows of `window` tokens can hold, plus one, which shows that the
/// document is longer.
pub fn tokens_needed(window: usize, options: Windows) -> usize {
    window.saturating_mul(options.max_windows.max(1)).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(overlap: usize, max_windows: usize) -> Windows {
        Windows { overlap, max_windows }
    }

    fn one(query: usize, window: Range<usize>) -> Layout {
        Layout { query_tokens: query, windows: Vec::from([window]) }
    }

    #[test]
    fn a_pair_that_fits_is_one_window() {
        assert_eq!(layout(3, 7, 10, options(2, 4)), one(3, 0..7));
        assert_eq!(layout(0, 0, 0, options(2, 4)), one(0, 0..0));
    }

    #[test]
    fn windows_overlap_and_the_last_one_ends_with_the_document() {
        assert_eq!(layout(3, 16, 10, options(2, 9)).windows, [0..7, 5..12, 9..16]);
        assert_eq!(layout(3, 17, 10, options(2, 9)).windows, [0..7, 5..12, 10..17]);
        assert_eq!(layout(3, 18, 10, options(2, 9)).windows, [0..7, 5..12, 10..17, 11..18]);
        assert_eq!(layout(3, 18, 10, options(0, 9)).windows, [0..7, 7..14, 11..18]);
        // The overlap is limited to half of the document's room.
        assert_eq!(layout(3, 12, 10, options(99, 9)).windows, [0..7, 4..11, 5..12]);
        assert_eq!(layout(3, 1000, 10, options(2, 3)).windows, [0..7, 5..12, 10..17]);
    }

    #[test]
    fn a_long_query_is_truncated_to_half_of_the_window() {
        assert_eq!(
            layout(9, 12, 10, options(0, 9)),
            Layout { query_tokens: 5, windows: vec![0..5, 5..10, 7..12] }
        );
        assert_eq!(layout(99, 0, 10, options(0, 9)), one(5, 0..0));
        assert_eq!(
            layout(9, 3, 1, options(0, 9)),
            Layout { query_tokens: 0, windows: vec![0..1, 1..2, 2..3] }
        );
        assert_eq!(layout(9, 3, 0, options(0, 2)), Layout { query_tokens: 0, windows: vec![0..0, 1..1] });
    }

    #[test]
    fn every_token_is_in_a_window_where_there_are_enough_windows() {
        for (query, document, budget, overlap) in (0..8).flat_map(|q| {
            (0..40).flat_map(move |d| (1..12).flat_map(move |b| (0..8).map(move |o| (q, d, b, o))))
        }) {
            let Layout { query_tokens: kept, windows } =
                layout(query, document, budget, options(overlap, usize::MAX));
            let case = format!("{query} {document} {budget} {overlap}: {kept} {windows:?}");
            assert!(windows.iter().all(|w| kept + w.len() <= budget.max(query + document)), "{case}");
            assert!(windows.iter().skip(1).all(|w| kept + w.len() == budget), "{case}");
            assert!((windows[0].start, windows[windows.len() - 1].end) == (0, document), "{case}");
            assert!(windows.windows(2).all(|w| w[1].start <= w[0].end && w[1].start > w[0].start), "{case}");
            let needed = windows.len() * budget + 1;
            assert!(tokens_needed(budget, options(overlap, windows.len())) >= needed.min(document), "{case}");
        }
    }
}
