//! Documents longer than the window, read in several windows.

mod common;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Random, golden, load, with_nan};
use crossrank::{
    CachedReranker, Error, PairStatus, RerankOptions, Reranker, RerankerModel, Truncation, Windows,
};

const BERT: &str = "tests/fixtures/bert";
/// Words of one token each, so that the text of a window alone has the same tokens as the window.
const WORDS: [&str; 7] = ["the", "desktop", "library", "for", "system", "is", "data"];
/// Tokens of a window besides the document's, for a query of one token: [CLS] query [SEP] document [SEP].
const OTHER_TOKENS: usize = 4;

fn model(threads: usize) -> Reranker {
    load(BERT, Reranker::builder().threads(threads))
}

fn words(count: usize) -> String {
    let mut random = Random(1);
    (0..count).map(|_| WORDS[random.below(WORDS.len())]).collect::<Vec<_>>().join(" ")
}

fn options(window: usize, overlap: usize, max_windows: usize) -> RerankOptions {
    RerankOptions::new().max_tokens(window).windows(Windows { overlap, max_windows })
}

/// The byte range of a range of the words of `words(..)`.
fn bytes(text: &str, range: Range<usize>) -> Range<usize> {
    let starts: Vec<usize> = text.match_indices(' ').map(|(at, _)| at + 1).collect();
    let start = |word: usize| if word == 0 { 0 } else { starts[word - 1] };
    start(range.start)..if range.end == starts.len() + 1 { text.len() } else { start(range.end) - 1 }
}

#[test]
fn a_document_scores_as_its_best_window_does_alone() {
    let text = words(100);
    // 16 tokens of the document in each window, 4 of them shared.
    let expected: Vec<Range<usize>> =
        (0..8).map(|i| i * 12).map(|at: usize| at.min(84)..at.min(84) + 16).collect();
    assert_eq!(expected[7], 84..100);
    for threads in [1, 3] {
        let model = model(threads);
        let alone: Vec<f32> = expected
            .iter()
            .map(|range| model.score(&[("x", &text[bytes(&text, range.clone())])]).unwrap()[0].logits[0])
            .collect();
        let best = (0..8).max_by(|&a, &b| alone[a].total_cmp(&alone[b])).unwrap();
        let ranking = model.rerank("x", &[&text], &options(16 + OTHER_TOKENS, 4, 99)).unwrap();
        let ranked = &ranking.results[0];
        assert_eq!(ranked.logit.to_bits(), alone[best].to_bits());
        assert_eq!(ranked.window, Some(bytes(&text, expected[best].clone())));
        assert_eq!((ranked.tokens, ranked.truncated.any()), (8 * (16 + OTHER_TOKENS), false));
        assert_eq!((ranking.usage.tokens, ranking.usage.truncated_tokens), (ranked.tokens, 0));
    }
}

#[test]
fn a_document_that_fits_has_the_same_bits_and_the_whole_text_as_its_window() {
    let model = model(2);
    for case in golden(BERT).cases {
        let plain = model.rerank(&case.query, &[&case.document], &RerankOptions::new()).unwrap();
        if plain.results[0].truncated.any() {
            continue;
        }
        let options = RerankOptions::new().windows(Windows::default());
        let windows = model.rerank(&case.query, &[&case.document], &options).unwrap();
        assert_eq!(windows.results[0].logit.to_bits(), plain.results[0].logit.to_bits());
        assert_eq!(windows.results[0].window, Some(0..case.document.len()));
        assert_eq!(plain.results[0].window, None);
    }
}

#[test]
fn windows_of_any_script_begin_and_end_between_characters() {
    let model = model(2);
    let texts: Vec<String> = golden(BERT).cases.iter().map(|c| c.document.repeat(9)).collect();
    let ranking = model.rerank("query", &texts, &options(12, 3, 7)).unwrap();
    let mut inner = 0;
    for ranked in &ranking.results {
        let window = ranked.window.clone().unwrap();
        // Slicing panics if a bound is inside a character.
        let part = &texts[ranked.index][window.clone()];
        inner += usize::from(!part.is_empty() && window.start > 0);
    }
    assert!(inner >= 5, "only {inner} windows begin inside a text");
}

#[test]
fn the_bits_and_windows_do_not_depend_on_the_other_documents() {
    let model = model(2);
    let texts: Vec<String> = (1..40).map(|i| words(i * 7)).collect();
    let options = options(24, 8, 5);
    let together = model.rerank("system data", &texts, &options).unwrap();
    for ranked in &together.results {
        let alone = model.rerank("system data", &[&texts[ranked.index]], &options).unwrap();
        assert_eq!(alone.results[0].logit.to_bits(), ranked.logit.to_bits());
        assert_eq!(alone.results[0].window, ranked.window);
    }
}

#[test]
fn tokens_beyond_the_last_window_are_truncated_and_reported() {
    let model = model(1);
    let text = words(100);
    let ranked = &model.rerank("x", &[&text], &options(16 + OTHER_TOKENS, 4, 3)).unwrap().results[0];
    assert!(ranked.window.clone().unwrap().end <= bytes(&text, 0..40).end);
    assert!(ranked.truncated.document > 0 && ranked.truncated.query == 0);
    assert_eq!(ranked.tokens, 3 * (16 + OTHER_TOKENS));
    // A query of more than half of the window is truncated to half.
    let ranked = &model.rerank(&text, &[&text], &options(20, 0, 2)).unwrap().results[0];
    assert_eq!(ranked.truncated.query, 100 - 8);
}

#[test]
fn the_error_policy_refuses_pairs_that_windows_would_truncate() {
    let model = model(1);
    let text = words(100);
    let strict = |max_windows| options(16 + OTHER_TOKENS, 4, max_windows).truncation(Truncation::Error);
    assert!(model.rerank("x", &["short", &text], &strict(8)).is_ok());
    let short = model.rerank("x", &["short", &text], &strict(7));
    assert!(matches!(short, Err(Error::TooLong { index: 1, .. })), "{short:?}");
    let long_query = model.rerank(&text, &["x"], &strict(8));
    assert!(matches!(long_query, Err(Error::TooLong { index: 0, .. })), "{long_query:?}");
}

#[test]
fn zero_windows_and_several_labels_are_refused() {
    let none = model(1).rerank("x", &["y"], &options(20, 4, 0));
    assert!(matches!(none, Err(Error::InvalidOption { option: "windows", .. })), "{none:?}");
    let labels = load("tests/fixtures/bert-3-labels", Reranker::builder());
    let several = labels.score_with(&[("x", "y")], &options(20, 4, 2));
    assert!(matches!(several, Err(Error::SeveralLabels { labels: 3 })), "{several:?}");
}

#[test]
fn a_document_with_a_failed_or_late_window_has_no_score() {
    let cases = golden(BERT).cases;
    // The token id of "kernel".
    let model = Reranker::builder().threads(1).load_files(with_nan(1141)).unwrap();
    let text = format!("{} kernel {}", words(40), words(40));
    let results = model.rerank("x", &[&text, &words(40)], &options(20, 4, 99)).unwrap().results;
    assert_eq!((results[0].index, &results[0].status), (1, &PairStatus::Scored));
    assert_eq!(results[1].status, PairStatus::Failed(Error::NonFinite { index: 0 }));
    assert!(results[1].logit.is_nan() && results[1].window.is_none());

    let late = options(20, 4, 99).time_limit(Duration::ZERO);
    let late = model.rerank("x", &[&cases[0].document], &late).unwrap();
    assert_eq!((&late.results[0].status, &late.results[0].window), (&PairStatus::NotScored, &None));
}

#[test]
fn progress_counts_documents_and_a_cache_tells_windows_apart() {
    let model = model(2);
    let texts: Vec<String> = (1..30).map(|i| words(i * 9)).collect();
    let seen = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&seen);
    let watched = options(24, 8, 50).on_progress(move |p| {
        count.fetch_add(p.finished.len(), Ordering::Relaxed);
        assert!(p.total == 29 && p.done == count.load(Ordering::Relaxed));
        assert!(p.finished.iter().all(|s| s.window.is_some() && s.logits[0].is_finite()));
    });
    model.rerank("x", &texts, &watched).unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 29);

    let text = words(100);
    let cached = CachedReranker::new(model, 10);
    let rank = |options: &RerankOptions| cached.rerank("x", &[&text], options).unwrap().results.remove(0);
    let windows = options(24, 8, 50);
    let (first, cut) = (rank(&windows), rank(&RerankOptions::new().max_tokens(24)));
    assert!(first.window.is_some() && cut.window.is_none());
    assert_eq!((rank(&windows), cached.len()), (first, 2));
}
