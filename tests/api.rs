//! Every option of a call and every bad input to one, through the public API.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{bits, files, golden, load, with_nan, with_sigmoid};
use crossrank::{
    Backend, CancelToken, Document, Error, Isa, Item, ModelFiles, PairStatus, RerankOptions, Reranker,
    RerankerBuilder, Scored, Truncation, Windows,
};

const BERT: &str = "tests/fixtures/bert";
/// Special tokens of a BERT pair: [CLS] query [SEP] document [SEP].
const SPECIAL: usize = 3;

fn model() -> Reranker {
    load(BERT, Reranker::builder().threads(2))
}

fn sigmoid() -> Reranker {
    Reranker::builder().threads(2).load_files(with_sigmoid()).unwrap()
}

fn options() -> RerankOptions {
    RerankOptions::new()
}

/// A query and documents that all score differently.
fn texts() -> (String, Vec<String>) {
    let mut cases = golden(BERT).cases;
    let query = cases.remove(0).query;
    (query, cases.into_iter().map(|c| c.document).filter(|d| !d.is_empty()).collect())
}

/// Enough pairs for many groups on any number of threads.
fn many(count: usize) -> Vec<(String, String)> {
    let cases = golden(BERT).cases;
    (0..count).map(|i| &cases[i % cases.len()]).map(|c| (c.query.clone(), c.document.clone())).collect()
}

fn logit_bits(results: &[Scored]) -> Vec<Vec<u32>> {
    results.iter().map(|r| bits(&r.logits)).collect()
}

// Results and their order.

#[test]
fn a_ranking_is_ordered_by_logit_and_names_every_document_once() {
    let (query, documents) = texts();
    let model = sigmoid();
    let ranking = model.rerank(&query, &documents, &options()).unwrap();
    assert!(ranking.results.is_sorted_by(|a, b| a.logit >= b.logit));
    let mut indexes: Vec<_> = ranking.results.iter().map(|r| r.index).collect();
    indexes.sort();
    assert_eq!(indexes, (0..documents.len()).collect::<Vec<_>>());
    for r in &ranking.results {
        let alone = model.score(&[(&query, &documents[r.index])]).unwrap().remove(0);
        assert_eq!(alone.logits[0].to_bits(), r.logit.to_bits(), "document {}", r.index);
        assert_eq!(alone.scores[0].to_bits(), r.score.to_bits(), "document {}", r.index);
        assert!((r.score - 1.0 / (1.0 + (-f64::from(r.logit)).exp())).abs() < 1e-15);
        assert_eq!((r.status.clone(), r.id.clone()), (PairStatus::Scored, None));
    }
}

#[test]
fn no_documents_give_an_empty_ranking() {
    let ranking = model().rerank("query", &[""; 0], &options()).unwrap();
    assert!(ranking.results.is_empty());
    assert_eq!((ranking.usage.tokens, ranking.usage.groups), (0, 0));
    assert!(model().rerank_many::<&str>(&[], &options()).unwrap().is_empty());
    assert!(model().score::<&str, &str>(&[]).unwrap().is_empty());
}

#[test]
fn empty_texts_score_as_hugging_face_scores_them() {
    let mut empty = golden(BERT).cases;
    empty.retain(|c| c.query.is_empty() || c.document.is_empty());
    assert_eq!(empty.len(), 2, "the fixture has one empty query and one empty document");
    for case in empty {
        let ranking = model().rerank(&case.query, &[&case.document], &options()).unwrap();
        assert!((f64::from(ranking.results[0].logit) - case.logits[0]).abs() <= 1e-5);
        assert_eq!(ranking.results[0].tokens, case.input_ids.len());
    }
    // Two empty texts leave only the special tokens.
    assert_eq!(model().score(&[("", "")]).unwrap()[0].tokens, SPECIAL);
}

#[test]
fn a_document_of_ten_megabytes_costs_no_more_than_its_beginning() {
    let prose = golden(BERT).cases[24].document.clone();
    let long = prose.repeat((10 << 20) / prose.len() + 1);
    let start = Instant::now();
    let ranking = model().rerank("query", &[&long, &prose], &options()).unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let [a, b] = &ranking.results[..] else { panic!("{ranking:?}") };
    assert_eq!((a.logit.to_bits(), a.tokens), (b.logit.to_bits(), 128));
    assert!(a.truncated.document > 0);
}

#[test]
fn ties_keep_input_order() {
    let documents = ["same", "other words", "same", "same", "other words"];
    let ranking = model().rerank("query", &documents, &options()).unwrap();
    let indexes: Vec<_> = ranking.results.iter().map(|r| r.index).collect();
    assert!(indexes == [0, 2, 3, 1, 4] || indexes == [1, 4, 0, 2, 3], "{indexes:?}");
}

#[test]
fn top_k_keeps_the_best() {
    let (query, documents) = texts();
    let model = model();
    let all = model.rerank(&query, &documents, &options()).unwrap().results;
    for count in [0, 1, 5, documents.len(), documents.len() + 1, usize::MAX] {
        let top = model.rerank(&query, &documents, &options().top_k(count)).unwrap().results;
        assert_eq!(top, all[..count.min(all.len())]);
    }
    let pairs = [("a", "b"), ("a", "c")];
    assert_eq!(model.score_with(&pairs, &options().top_k(1)).unwrap().results.len(), 2);
}

#[test]
fn the_threshold_is_on_the_score_and_inclusive() {
    let (query, documents) = texts();
    let model = sigmoid();
    let all = model.rerank(&query, &documents, &options()).unwrap().results;
    // The logits lie above the scores: a threshold on them would drop nothing.
    let middle = all[all.len() / 2].score;
    assert!(all.iter().all(|r| f64::from(r.logit) < 0.0 || r.score < 1.0));
    let kept = model.rerank(&query, &documents, &options().threshold(middle)).unwrap().results;
    assert_eq!(kept, all[..=all.len() / 2]);
    assert!(model.rerank(&query, &documents, &options().threshold(1.0)).unwrap().results.is_empty());
    let first = model.rerank(&query, &documents, &options().threshold(middle).top_k(1)).unwrap().results;
    assert_eq!(first, all[..1]);
    let pairs = [("a", "b")];
    assert_eq!(model.score_with(&pairs, &options().threshold(1.0)).unwrap().results.len(), 1);
    match model.rerank(&query, &documents, &options().threshold(f64::NAN)) {
        Err(Error::InvalidOption { option: "threshold", .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// A user's own type, without `AsRef<str>`.
struct Page {
    title: String,
    body: String,
}

impl Document for Page {
    fn text(&self) -> &str {
        &self.body
    }

    fn id(&self) -> Option<&str> {
        Some(&self.title)
    }
}

#[test]
fn documents_are_strings_of_any_kind_items_and_a_users_own_types() {
    let model = model();
    let texts = ["first text", "second text"];
    let expected = model.rerank("query", &texts, &options()).unwrap().results;
    let owned = texts.map(String::from);
    let borrowed = [&owned[0], &owned[1]];
    assert_eq!(model.rerank("query", &owned, &options()).unwrap().results, expected);
    assert_eq!(model.rerank("query", &borrowed, &options()).unwrap().results, expected);
    assert_eq!(model.rerank("query", &texts.map(Box::<str>::from), &options()).unwrap().results, expected);

    let items = texts.map(|text| Item { id: format!("id of {text}"), text: text.into() });
    let pages = texts.map(|text| Page { title: format!("id of {text}"), body: text.into() });
    let with_items = model.rerank("query", &items, &options()).unwrap().results;
    let with_pages = model.rerank("query", &pages, &options()).unwrap().results;
    assert_eq!(with_items, with_pages);
    for (r, expected) in with_items.iter().zip(expected) {
        assert_eq!(r.id, Some(format!("id of {}", texts[r.index])));
        assert_eq!((r.index, r.logit.to_bits()), (expected.index, expected.logit.to_bits()));
    }
}

#[test]
fn rerank_many_equals_one_rerank_after_the_other() {
    let cases = golden(BERT).cases;
    let documents: Vec<Vec<&str>> = [0..7, 7..7, 7..8, 2..26]
        .into_iter()
        .map(|range| cases[range].iter().map(|c| c.document.as_str()).collect())
        .collect();
    let queries = [&cases[0].query, &cases[1].query, "", &cases[25].query];
    let sets: Vec<_> = queries.into_iter().zip(documents.iter().map(|d| &d[..])).collect();
    let model = sigmoid();
    let options = options().top_k(5).threshold(0.6);
    let together = model.rerank_many(&sets, &options).unwrap();
    assert_eq!(together.len(), sets.len());
    for ((query, documents), ranking) in sets.into_iter().zip(&together) {
        assert_eq!(ranking.results, model.rerank(query, documents, &options).unwrap().results);
        assert_eq!(ranking.usage, together[0].usage, "usage is that of the whole call");
    }
}

// Windows and truncation.

#[test]
fn each_truncation_policy_truncates_its_side() {
    let model = model();
    let (query, document) = ("q ".repeat(100), "d ".repeat(500));
    let truncated = |policy| {
        let r = model.rerank(&query, &[&document], &options().truncation(policy)).unwrap().results.remove(0);
        assert_eq!(r.tokens, 128);
        r.truncated
    };
    let room = 128 - SPECIAL;
    // Half of the room for each, the odd token for the document.
    assert_eq!(truncated(Truncation::LongestFirst).query, 100 - room / 2);
    assert_eq!(truncated(Truncation::DocumentOnly).query, 0);
    assert!(truncated(Truncation::DocumentOnly).document > 0);

    let default = model.rerank(&query, &[&document], &options()).unwrap().results.remove(0);
    assert_eq!(default.truncated, truncated(Truncation::DocumentOnly), "the default of rerank");
    let default = model.score(&[(&query, &document)]).unwrap().remove(0);
    assert_eq!(default.truncated, truncated(Truncation::LongestFirst), "the default of score");

    let whole = model.score(&[("short", "pair")]).unwrap().remove(0);
    assert!(!whole.truncated.any());
}

#[test]
fn the_error_policy_names_the_first_pair_that_is_too_long() {
    let model = model();
    let long = "d ".repeat(500);
    let refuse = options().truncation(Truncation::Error);
    match model.rerank("query", &["short", "fits", &long, &long], &refuse) {
        Err(Error::TooLong { index: 2, tokens, max_tokens: 128 }) => assert!(tokens > 128),
        other => panic!("{other:?}"),
    }
    match model.score_with(&[("query", &*long)], &refuse.clone().max_tokens(40)) {
        Err(Error::TooLong { index: 0, tokens, max_tokens: 40 }) => assert!(tokens > 40),
        other => panic!("{other:?}"),
    }
    // A pair that fills the window exactly is not too long.
    let full = "d ".repeat(128 - SPECIAL - 1);
    assert_eq!(model.score_with(&[("q", &full)], &refuse).unwrap().results[0].tokens, 128);
    let message = model.rerank("query", &[&long], &refuse).unwrap_err().to_string();
    assert!(message.starts_with("pair 0 has ") && message.contains("the window is 128"), "{message}");
    assert!(!message.contains("d d"), "{message}");
}

#[test]
fn tokenize_returns_what_score_reads() {
    let model = model();
    for (query, document) in many(26) {
        for (window, truncation) in [(128, None), (20, None), (20, Some(Truncation::DocumentOnly))] {
            let options = options().max_tokens(window);
            let options = truncation.map_or(options.clone(), |policy| options.truncation(policy));
            let pair = model.tokenize(&query, &document, &options).unwrap();
            let scored = model.score_with(&[(&query, &document)], &options).unwrap().results.remove(0);
            assert_eq!((pair.ids.len(), pair.truncated), (scored.tokens, scored.truncated));
            assert_eq!(pair.token_types.len(), scored.tokens);
        }
    }
    let long = "d ".repeat(500);
    let refused = model.tokenize("q", &long, &options().truncation(Truncation::Error));
    assert!(matches!(refused, Err(Error::TooLong { index: 0, .. })), "{refused:?}");
    let windows = model.tokenize("q", &long, &options().windows(Windows::default()));
    assert!(matches!(windows, Err(Error::InvalidOption { option: "windows", .. })), "{windows:?}");
    let token = CancelToken::new();
    token.cancel();
    assert_eq!(model.tokenize("q", "d", &options().cancel(token)), Err(Error::Cancelled));
    // A deadline is about scores.
    assert!(model.tokenize("q", "d", &options().deadline(Instant::now())).is_ok());
}

#[test]
fn a_window_per_call_equals_the_same_window_at_load() {
    let pairs = many(26);
    for window in [SPECIAL + 2, 31, 128] {
        let loaded = load(BERT, Reranker::builder().threads(2).max_tokens(window));
        assert_eq!(loaded.info().max_tokens, window);
        let called = model().score_with(&pairs, &options().max_tokens(window)).unwrap();
        assert_eq!(loaded.score(&pairs).unwrap(), called.results);
        assert!(called.results.iter().all(|r| r.tokens <= window));
        assert_eq!(called.results.iter().map(|r| r.tokens).max(), Some(window));
    }
    // Never more than the model's own window, nor more than the one it was loaded with.
    let wide = load(BERT, Reranker::builder().max_tokens(1000));
    assert_eq!(wide.info().max_tokens, 128);
    let narrow = load(BERT, Reranker::builder().max_tokens(20));
    let long = "d ".repeat(500);
    let scored = narrow.score_with(&[("q", &long)], &options().max_tokens(100)).unwrap();
    assert_eq!(scored.results[0].tokens, 20);
}

#[test]
fn a_window_without_room_for_a_token_of_each_text_is_refused() {
    for window in [0, 1, SPECIAL - 1, SPECIAL, SPECIAL + 1] {
        let at_load = Reranker::builder().max_tokens(window).load_files(files(BERT)).err().unwrap();
        let in_call = model().score_with(&[("q", "d")], &options().max_tokens(window)).unwrap_err();
        for error in [at_load, in_call] {
            assert!(matches!(error, Error::InvalidOption { option: "max_tokens", .. }), "{error:?}");
            let message = error.to_string();
            assert!(message.contains("3 special tokens") && message.ends_with("give 5 or more"), "{message}");
        }
        // Whatever the texts are.
        model().rerank("", &[""; 0], &options().max_tokens(window)).unwrap_err();
    }
}

#[test]
fn a_text_that_is_not_read_to_its_end_is_truncated_by_at_least_a_token() {
    // Three megabytes without a token: Arabic marks, which are stripped, but are not among those that are skipped.
    let model = model();
    let nothing = "\u{654}".repeat(3 << 19);
    let long = "word ".repeat(1000);
    let documents = [nothing.as_str(), long.as_str(), "short"];
    let pairs = documents.map(|document| ("query", document));
    let scored = model.score(&pairs).unwrap();
    for (pair, at_least) in pairs.iter().zip([true, true, false]) {
        let usage = model.score_with(&[*pair], &options()).unwrap().usage;
        assert_eq!(usage.truncated_at_least, at_least);
    }
    for (scored, at_least) in scored.iter().zip([true, true, false]) {
        assert_eq!((scored.truncated.at_least, scored.truncated.any()), (at_least, at_least));
        assert_eq!(scored.truncated.document > 0, at_least);
        assert_eq!(scored.truncated.query, 0);
    }
    assert!(scored[0].tokens < 20, "{:?}", scored[0]);
    let refuse = options().truncation(Truncation::Error);
    for options in [refuse.clone(), refuse.windows(Windows { overlap: 0, max_windows: 2 })] {
        for (document, refused) in documents.iter().zip([true, true, false]) {
            match model.score_with(&[("query", document)], &options) {
                Ok(_) if !refused => {}
                Err(Error::TooLong { index: 0, tokens, .. }) if refused => assert!(tokens > 128, "{tokens}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

// Usage.

#[test]
fn usage_adds_up() {
    let pairs = many(60);
    let model = model();
    let scores = model.score_with(&pairs, &options()).unwrap();
    let usage = &scores.usage;
    assert_eq!(usage.tokens, scores.results.iter().map(|r| r.tokens).sum::<usize>());
    assert_eq!(
        usage.truncated_tokens,
        scores.results.iter().map(|r| r.truncated.query + r.truncated.document).sum::<usize>()
    );
    assert!(usage.truncated_tokens > 0, "two of the golden pairs are longer than the window");
    assert!((2..=pairs.len()).contains(&usage.groups), "{}", usage.groups);
    assert!(usage.tokenize_ms > 0.0 && usage.compute_ms > 0.0);
    assert!(usage.tokenize_ms + usage.compute_ms <= usage.total_ms, "{usage:?}");
    assert_eq!((usage.backend, usage.isa), (model.info().backend, model.info().isa));
}

// Cancellation and deadlines.

#[test]
fn a_cancelled_token_ends_a_call_before_it_starts_and_stays_cancelled() {
    let model = model();
    let token = CancelToken::new();
    let options = options().cancel(token.clone());
    assert_eq!(model.rerank("q", &["d"], &options).unwrap().results.len(), 1);
    token.cancel();
    for _ in 0..2 {
        assert_eq!(model.rerank("q", &["d"], &options).unwrap_err(), Error::Cancelled);
        assert_eq!(model.score_with(&[("q", "d")], &options).unwrap_err(), Error::Cancelled);
    }
    assert_eq!(model.score(&[("q", "d")]).unwrap().len(), 1, "calls without the token go on");
}

#[test]
fn cancelling_from_on_progress_ends_the_call_early() {
    let pairs = many(1500);
    for threads in [1, 2] {
        let model = load(BERT, slow().threads(threads));
        let start = Instant::now();
        model.score(&pairs[..150]).unwrap();
        let whole = start.elapsed() * 10;
        let (token, calls) = (CancelToken::new(), Arc::new(AtomicUsize::new(0)));
        let (trigger, count) = (token.clone(), Arc::clone(&calls));
        let options = options().cancel(token).on_progress(move |progress| {
            count.fetch_add(1, Ordering::Relaxed);
            assert!(progress.done < progress.total);
            trigger.cancel();
        });
        let start = Instant::now();
        assert_eq!(model.score_with(&pairs, &options).unwrap_err(), Error::Cancelled);
        let took = start.elapsed();
        assert!(took < whole / 2, "{took:?} of {whole:?} on {threads} threads");
        assert_eq!(calls.load(Ordering::Relaxed), 1, "a cancelled call reports nothing more");
    }
}

/// Portable Rust: slow enough for events in the middle of a call.
fn slow() -> RerankerBuilder {
    Reranker::builder().backend(Backend::Cpu).isa(Isa::Scalar)
}

#[test]
fn cancelling_from_another_thread_changes_nothing_for_other_callers() {
    let model = load(BERT, slow().threads(2));
    let pairs = many(200);
    let expected = logit_bits(&model.score(&pairs[..40]).unwrap());
    let token = CancelToken::new();
    let (begun, has_begun) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let cancelled = scope.spawn(|| {
            let raised = token.clone();
            let options = options().cancel(token.clone()).on_progress(move |_| {
                let _ = begun.send(());
                while !raised.is_cancelled() {
                    std::thread::yield_now();
                }
            });
            model.score_with(&pairs, &options)
        });
        let other = scope.spawn(|| model.score(&pairs[..40]));
        has_begun.recv().unwrap();
        token.cancel();
        assert_eq!(cancelled.join().unwrap().unwrap_err(), Error::Cancelled);
        assert_eq!(logit_bits(&other.join().unwrap().unwrap()), expected);
    });
    assert_eq!(logit_bits(&model.score(&pairs[..40]).unwrap()), expected);
}

#[test]
fn a_single_pair_is_cancelled_between_two_layers() {
    // One group of one pair: only the layers divide it.
    let model = load("models/crossrank-mini", slow().threads(1).max_tokens(128));
    let document = "word ".repeat(200);
    let pair = [("query", &document)];
    let start = Instant::now();
    model.score(&pair).unwrap();
    let whole = start.elapsed();

    let token = CancelToken::new();
    let trigger = token.clone();
    let start = Instant::now();
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(whole / 10);
            trigger.cancel();
        });
        model.score_with(&pair, &options().cancel(token))
    });
    assert_eq!(result.unwrap_err(), Error::Cancelled);
    assert!(start.elapsed() < whole * 2 / 3, "{:?} of {whole:?}", start.elapsed());

    let start = Instant::now();
    let late = model.score_with(&pair, &options().time_limit(whole / 10)).unwrap().results.remove(0);
    assert_eq!(late.status, PairStatus::NotScored);
    assert!(late.tokens == 128 && late.logits[0].is_nan());
    assert!(start.elapsed() < whole * 2 / 3, "{:?} of {whole:?}", start.elapsed());
}

#[test]
fn after_the_deadline_nothing_is_scored_and_every_document_is_returned() {
    let model = sigmoid();
    let past = options().deadline(Instant::now()).threshold(0.9);
    let ranking = model.rerank("query", &["a", "b", "c"], &past).unwrap();
    assert_eq!(ranking.results.iter().map(|r| r.index).collect::<Vec<_>>(), [0, 1, 2]);
    for r in &ranking.results {
        assert_eq!(r.status, PairStatus::NotScored);
        assert!(r.logit.is_nan() && r.score.is_nan());
    }
    assert_eq!(ranking.usage.tokens, 0);
    let scored = model.score_with(&[("q", "d")], &options().time_limit(Duration::ZERO)).unwrap().results;
    assert_eq!(scored[0].status, PairStatus::NotScored);
    assert!(scored[0].logits[0].is_nan() && scored[0].scores[0].is_nan());
    // A time limit beyond the end of the clock is no limit.
    let scored = model.score_with(&[("q", "d")], &options().time_limit(Duration::MAX)).unwrap().results;
    assert_eq!(scored[0].status, PairStatus::Scored);
}

#[test]
fn a_deadline_in_the_middle_returns_the_pairs_scored_by_then() {
    let model = load(BERT, slow().threads(2));
    let pairs = many(300);
    let start = Instant::now();
    let expected = logit_bits(&model.score(&pairs).unwrap());
    let whole = start.elapsed();
    let mut some = false;
    for percent in [50, 30, 70, 20, 80, 10, 90] {
        let options = options().time_limit(whole * percent / 100);
        let scores = model.score_with(&pairs, &options).unwrap();
        assert_eq!(scores.results.len(), pairs.len());
        let mut counts = [0, 0];
        for (scored, expected) in scores.results.iter().zip(&expected) {
            match scored.status {
                PairStatus::Scored => {
                    assert_eq!(bits(&scored.logits), *expected);
                    counts[0] += 1;
                }
                PairStatus::NotScored => {
                    assert!(scored.logits[0].is_nan() && scored.scores[0].is_nan());
                    counts[1] += 1;
                }
                PairStatus::Failed(ref error) => panic!("{error}"),
                _ => panic!("{scored:?}"),
            }
        }
        some |= counts[0] > 0 && counts[1] > 0;
        if some {
            return;
        }
    }
    panic!("no deadline fell into the middle of a call of {whole:?}");
}

// Progress.

/// The reports of `on_progress`: pairs with the bits of their logits, and (done, total) of each call.
#[derive(Default)]
struct Told {
    pairs: Vec<(usize, Vec<u32>)>,
    done: Vec<(usize, usize)>,
}

#[test]
fn progress_reports_every_pair_once_on_the_calling_thread() {
    // 1: one group that all threads share; 3: fewer groups than threads; 200: more.
    for (count, threads) in [(1, 3), (3, 3), (200, 1), (200, 3)] {
        let model = load(BERT, Reranker::builder().threads(threads));
        let pairs = many(count);
        let told = Arc::new(Mutex::new(Told::default()));
        let (told_here, caller) = (Arc::clone(&told), std::thread::current().id());
        let options = options().on_progress(move |progress| {
            let mut told = told_here.lock().unwrap();
            assert_eq!(std::thread::current().id(), caller);
            told.pairs.extend(progress.finished.iter().map(|r| (r.index, bits(&r.logits))));
            told.done.push((progress.done, progress.total));
            assert_eq!(told.pairs.len(), progress.done);
        });
        let results = model.score_with(&pairs, &options).unwrap().results;
        let mut told = told.lock().unwrap();
        told.pairs.sort();
        assert_eq!(told.pairs, results.iter().map(|r| (r.index, bits(&r.logits))).collect::<Vec<_>>());
        assert!(told.done.is_sorted_by(|a, b| a.0 < b.0), "{:?}", told.done);
        assert_eq!(told.done.last(), Some(&(count, count)));
    }
}

#[test]
fn a_panic_in_on_progress_is_an_error_and_the_model_stays_usable() {
    for threads in [1, 3] {
        let model = load(BERT, Reranker::builder().threads(threads));
        for count in [1, 100] {
            // Not panic!: its message would fill the test's output.
            let planted = options().on_progress(|_| std::panic::resume_unwind(Box::new("planted")));
            let error = model.score_with(&many(count), &planted).unwrap_err();
            assert!(
                matches!(&error, Error::Internal { message } if message.contains("planted")),
                "{error:?}"
            );
            assert_eq!(model.score(&many(count)).unwrap().len(), count);
        }
    }
}

#[test]
fn on_progress_may_call_the_model() {
    for threads in [1, 2] {
        let model = Arc::new(load(BERT, Reranker::builder().threads(threads)));
        let expected = logit_bits(&model.score(&many(3)).unwrap());
        let (inner, found) = (Arc::clone(&model), Arc::new(Mutex::new(Vec::new())));
        let keep = Arc::clone(&found);
        let options = options().on_progress(move |_| {
            keep.lock().unwrap().push(logit_bits(&inner.score(&many(3)).unwrap()));
        });
        assert_eq!(model.score_with(&many(60), &options).unwrap().results.len(), 60);
        let found = found.lock().unwrap();
        assert!(!found.is_empty() && found.iter().all(|bits| *bits == expected));
    }
}

// Models and options that do not fit together.

#[test]
fn nan_in_the_weights_fails_only_the_pairs_that_read_it() {
    let cases = golden(BERT).cases;
    // The token of the query "x".
    let token = cases[23].input_ids[1];
    let fails: Vec<bool> = cases.iter().map(|c| c.input_ids.contains(&token)).collect();
    let count = fails.iter().filter(|f| **f).count();
    assert!((1..cases.len() / 2).contains(&count), "{count}");
    let pairs: Vec<_> = cases.iter().map(|c| (&c.query, &c.document)).collect();
    for (name, builder) in common::backends() {
        let clean = load(BERT, builder.clone()).score(&pairs).unwrap();
        let model = builder.threads(2).load_files(with_nan(token)).unwrap();
        let scored = model.score(&pairs).unwrap();
        for ((scored, clean), fails) in scored.iter().zip(&clean).zip(&fails) {
            if *fails {
                let index = scored.index;
                assert_eq!(scored.status, PairStatus::Failed(Error::NonFinite { index }), "{name}");
                assert!(scored.logits[0].is_nan() && scored.scores[0].is_nan(), "{name} {index}");
                assert_eq!(scored.tokens, clean.tokens);
            } else {
                assert_eq!(scored, clean, "{name}");
            }
        }

        let sets: [(&str, &[&str]); 2] = [("a", &["x", "b"]), ("x", &["a", "b"])];
        let rankings = model.rerank_many(&sets, &options()).unwrap();
        let order = |i: usize| rankings[i].results.iter().map(|r| r.index).collect::<Vec<_>>();
        assert_eq!((order(0), order(1)), (vec![1, 0], vec![0, 1]), "{name}: failures last");
        assert_eq!(rankings[0].results[0].status, PairStatus::Scored);
        assert_eq!(rankings[0].results[1].status, PairStatus::Failed(Error::NonFinite { index: 0 }));
        assert_eq!(rankings[1].results[1].status, PairStatus::Failed(Error::NonFinite { index: 1 }));
        let error = Error::NonFinite { index: 1 }.to_string();
        assert!(error.contains("pair 1") && error.contains("NaN"), "{error}");
    }
}

#[test]
fn a_model_with_several_labels_ranks_by_the_chosen_one() {
    let model = load("tests/fixtures/bert-3-labels", Reranker::builder());
    let documents = ["a", "b c", "red planet", "one two three"];
    let pairs: Vec<_> = documents.iter().map(|d| ("q", *d)).collect();
    let scored = model.score(&pairs).unwrap();
    for label in 0..3 {
        let names = &model.info().labels;
        let rank = |options: RerankOptions| {
            let results = model.rerank("q", &documents, &options).unwrap().results;
            results.into_iter().map(|r| (r.index, r.logit, r.score)).collect::<Vec<_>>()
        };
        let ranked = rank(options().label(label));
        let mut expected: Vec<_> =
            scored.iter().map(|s| (s.index, s.logits[label], s.scores[label])).collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_eq!(ranked, expected);
        assert_eq!(rank(options().label(names[label].as_str())), expected);
        assert_eq!(rank(options().label(names[label].clone())), expected);
    }
    for options in [options().label(3), options().label("nonsense")] {
        let error = model.rerank("q", &documents, &options).unwrap_err();
        assert!(matches!(&error, Error::InvalidOption { option: "label", .. }), "{error}");
        assert!(error.to_string().contains("LABEL_0, LABEL_1, LABEL_2"), "{error}");
    }
    // The only label may be chosen too.
    assert_eq!(
        self::model().rerank("q", &documents, &options().label(0)).unwrap().results,
        self::model().rerank("q", &documents, &options()).unwrap().results
    );
}

/// The fixture with three labels, reduced to its first two with these names.
fn two_labels(names: [&str; 2]) -> ModelFiles {
    let mut files = files("tests/fixtures/bert-3-labels");
    let mut config: serde_json::Value = serde_json::from_slice(&files.config).unwrap();
    config["id2label"] = serde_json::json!({"0": names[0], "1": names[1]});
    files.config = serde_json::to_vec(&config).unwrap();
    let [crossrank::WeightFile::Bytes(_, bytes)] = &mut files.weights[..] else { panic!("one weight file") };
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes[8..start]).unwrap();
    let (mut tensors, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, mut info) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
        let at = |i: usize| start + info["data_offsets"][i].as_u64().unwrap() as usize;
        let mut tensor = bytes[at(0)..at(1)].to_vec();
        if name.starts_with("classifier.") {
            tensor.truncate(tensor.len() / 3 * 2);
            info["shape"][0] = 2.into();
        }
        info["data_offsets"] = serde_json::json!([data.len(), data.len() + tensor.len()]);
        data.extend(tensor);
        tensors.insert(name, info);
    }
    let header = serde_json::to_vec(&tensors).unwrap();
    *bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat().into();
    files
}

#[test]
fn of_two_labels_without_names_the_second_one_is_relevance() {
    let load = |names| Reranker::builder().load_files(two_labels(names)).unwrap();
    let model = load(["LABEL_0", "LABEL_1"]);
    let documents = ["a", "b c", "red planet", "one two three"];
    let ranked = model.rerank("q", &documents, &options()).unwrap().results;
    assert!(ranked.is_sorted_by(|a, b| a.score >= b.score));
    for result in ranked {
        let [zero, one] = model.score(&[("q", documents[result.index])]).unwrap()[0].logits[..] else {
            panic!("two labels")
        };
        assert!((f64::from(result.logit) - f64::from(one) + f64::from(zero)).abs() < 1e-6);
        let softmax = 1.0 / (1.0 + (f64::from(zero) - f64::from(one)).exp());
        assert!((result.score - softmax).abs() < 1e-12, "{} {softmax}", result.score);
    }
    let named = load(["contradiction", "entailment"]);
    assert_eq!(named.rerank("q", &documents, &options()).unwrap_err(), Error::SeveralLabels { labels: 2 });
    assert!(named.rerank("q", &documents, &options().label("entailment")).is_ok());
}

#[test]
fn a_model_with_three_labels_scores_and_does_not_rank() {
    let model = load("tests/fixtures/bert-3-labels", Reranker::builder());
    let error = model.rerank("q", &["d"], &options()).unwrap_err();
    assert_eq!(error, Error::SeveralLabels { labels: 3 });
    assert!(error.to_string().contains("use `score`"), "{error}");
    assert_eq!(model.rerank("q", &[""; 0], &options()).unwrap_err(), error);
    let scored = model.score(&[("q", "d")]).unwrap().remove(0);
    assert_eq!((scored.logits.len(), scored.scores.len()), (3, 3));
    assert_eq!(model.info().labels.len(), 3);
}

#[test]
fn a_memory_limit_is_kept_or_refused() {
    let error = Reranker::builder().threads(1).memory_limit(1000).load_files(files(BERT)).err().unwrap();
    let Error::MemoryLimit { needed, limit: 1000 } = error else { panic!("{error:?}") };
    let load = |bytes| Reranker::builder().threads(1).memory_limit(bytes).load_files(files(BERT));
    assert_eq!(load(needed - 1).err().unwrap(), Error::MemoryLimit { needed, limit: needed - 1 });
    let model = load(needed).unwrap();
    assert!(model.info().weight_bytes < needed);
    let stored: u64 = common::read(BERT, "model.safetensors").len() as u64;
    assert!((stored / 2..2 * stored).contains(&model.info().weight_bytes), "{}", model.info().weight_bytes);
}

#[test]
fn no_threads_are_refused() {
    let error = Reranker::builder().threads(0).load_files(files(BERT)).err().unwrap();
    assert!(matches!(error, Error::InvalidOption { option: "threads", .. }), "{error:?}");
    assert!(error.to_string().contains("1 or more"), "{error}");
}

#[test]
fn a_model_from_memory_equals_the_one_from_its_directory() {
    let (memory, directory) = (Reranker::builder().load_files(files(BERT)).unwrap(), model());
    assert_eq!(memory.info().hash, directory.info().hash);
    assert_eq!(memory.score(&many(26)).unwrap(), directory.score(&many(26)).unwrap());
    let other = Reranker::builder().load_files(with_sigmoid()).unwrap();
    assert_ne!(other.info().hash, directory.info().hash);
}

#[test]
fn a_model_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Reranker>();
    shared::<RerankOptions>();
    shared::<CancelToken>();
    shared::<Error>();
}

#[test]
#[cfg(not(feature = "gpu"))]
fn a_build_without_the_gpu_says_so() {
    let error = Reranker::builder().backend(Backend::Gpu).load("tests/fixtures/bert").err().unwrap();
    let Error::InvalidOption { option: "backend", message } = error else { panic!("{error}") };
    assert!(message.contains("build with the feature `gpu`"), "{message}");
}

/// The recipe of the crate's documentation.
mod async_recipe {
    use super::*;
    use crossrank::{Ranking, Result};

    struct CancelOnDrop(CancelToken);

    impl Drop for CancelOnDrop {
        fn drop(&mut self) {
            self.0.cancel();
        }
    }

    pub async fn rerank(
        model: Arc<Reranker>,
        query: String,
        documents: Vec<String>,
        options: RerankOptions,
    ) -> Result<Ranking> {
        let token = CancelToken::new();
        let _cancel_on_drop = CancelOnDrop(token.clone());
        let call = move || model.rerank(&query, &documents, &options.cancel(token));
        tokio::task::spawn_blocking(call).await.unwrap_or(Err(Error::Cancelled))
    }
}

#[test]
fn a_future_that_is_dropped_cancels_its_call() {
    let model = Arc::new(load(BERT, Reranker::builder().threads(1)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (query, documents) = texts();
    let expected = model.rerank(&query, &documents, &options()).unwrap().results;
    let found = async_recipe::rerank(model.clone(), query.clone(), documents, options());
    assert_eq!(runtime.block_on(found).unwrap().results, expected);
    // Minutes of work, of which the first report shows that it has begun.
    let begun = Arc::new(AtomicUsize::new(0));
    let counter = begun.clone();
    let options = options().on_progress(move |p| counter.store(p.done, Ordering::Relaxed));
    let endless = async_recipe::rerank(model, query, vec!["desktop ".repeat(100); 50_000], options);
    let done = runtime.block_on(async {
        let mut endless = Box::pin(endless);
        while begun.load(Ordering::Relaxed) == 0 {
            let waited = tokio::time::timeout(Duration::from_millis(1), &mut endless).await;
            assert!(waited.is_err(), "the call ended");
        }
        drop(endless);
        begun.load(Ordering::Relaxed)
    });
    // Ends when the threads that block have: the call has stopped.
    let start = Instant::now();
    drop(runtime);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(done < 25_000, "{done}");
}
