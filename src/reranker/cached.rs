//! A bounded cache of scores.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::mem::{replace, take};
use std::sync::{Arc, Mutex, PoisonError};

use super::model::RerankerModel;
use crate::error::{Error, Result};
use crate::ranking::{PairStatus, Ranked, Ranking, Scored};
use crate::rerank_options::{Progress, ProgressFn, RerankOptions};

/// Wraps a reranker with a bounded cache of scores, keyed by model hash, options, query and document. A pair's score
/// depends on nothing else, and not on the other pairs of the call, so a cached score has the same bits as a computed one.
///
/// The usage of a ranking counts only the pairs that were computed for it, not those from the cache.
///
/// ```no_run
/// use crossrank::{CachedReranker, RerankOptions, Reranker, RerankerModel};
///
/// let cached = CachedReranker::new(Reranker::load("my-model")?, 10_000);
/// let documents = ["a document", "another one"];
/// let first = cached.rerank("query", &documents, &RerankOptions::new())?;
/// let second = cached.rerank("query", &documents, &RerankOptions::new())?;
/// assert_eq!(second.usage.tokens, 0);
/// # Ok::<(), crossrank::Error>(())
/// ```
pub struct CachedReranker<R> {
    inner: R,
    /// Two randomly keyed hashes make one 128-bit key: no texts can be constructed that collide, and no text is stored.
    hashers: [RandomState; 2],
    entries: Mutex<Entries>,
}

type Key = [u64; 2];

/// Two generations. An entry that is used moves to the young one. When that is full, it becomes the old one, and the old
/// one is dropped. So recently used entries stay, and there are never more than `capacity`.
struct Entries {
    young: HashMap<Key, Ranked>,
    old: HashMap<Key, Ranked>,
    capacity: usize,
}

impl Entries {
    fn get(&mut self, key: Key) -> Option<Ranked> {
        if let Some(found) = self.young.get(&key) {
            return Some(found.clone());
        }
        let found = self.old.remove(&key)?;
        self.insert(key, found.clone());
        Some(found)
    }

    fn insert(&mut self, key: Key, value: Ranked) {
        let half = self.capacity / 2;
        if half == 0 {
            return;
        }
        if self.young.len() >= half {
            self.old = take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

/// Shows the wrapped reranker and the number of cached scores; there is no text in it.
impl<R: fmt::Debug> fmt::Debug for CachedReranker<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("CachedReranker")
            .field("inner", &self.inner)
            .field("len", &(entries.young.len() + entries.old.len()))
            .field("capacity", &entries.capacity)
            .finish_non_exhaustive()
    }
}

impl<R: RerankerModel> CachedReranker<R> {
    /// Caches the scores of at most `capacity` pairs, about 200 bytes each. A capacity below 2 caches nothing.
    pub fn new(inner: R, capacity: usize) -> Self {
        let entries = Entries { young: HashMap::new(), old: HashMap::new(), capacity };
        Self { inner, hashers: [RandomState::new(), RandomState::new()], entries: Mutex::new(entries) }
    }

    /// The wrapped reranker.
    pub fn inner(&self) -> &R {
        &self.inner
    }

    /// The number of cached scores.
    pub fn len(&self) -> usize {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.young.len() + entries.old.len()
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all scores from the cache.
    pub fn clear(&self) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        (entries.young, entries.old) = Default::default();
    }

    fn key(&self, query: &str, document: &str, options: &RerankOptions) -> Key {
        let RerankOptions { label, truncation, max_tokens, windows, prompt, prompt_name, .. } = options;
        let read = (prompt, prompt_name, query, document);
        let parts = (self.inner.model_hash(), label, truncation, max_tokens, windows, read);
        [self.hashers[0].hash_one(parts), self.hashers[1].hash_one(parts)]
    }
}

impl<R: RerankerModel> RerankerModel for CachedReranker<R> {
    fn model_id(&self) -> &str {
        self.inner.model_id()
    }

    fn provider(&self) -> &str {
        self.inner.provider()
    }

    fn model_hash(&self) -> u64 {
        self.inner.model_hash()
    }

    fn rerank(&self, query: &str, documents: &[&str], options: &RerankOptions) -> Result<Ranking> {
        let mut rankings = self.rerank_many(&[(query, documents)], options)?;
        rankings.pop().ok_or_else(|| Error::Internal { message: "no ranking for a set".into() })
    }

    fn rerank_many(&self, sets: &[(&str, &[&str])], options: &RerankOptions) -> Result<Vec<Ranking>> {
        let looked_up = self.look_up(sets, options);
        // Called even where nothing is missing: its usage names the backend, and it checks the options of every call.
        let texts: Vec<Vec<&str>> = sets
            .iter()
            .zip(&looked_up)
            .map(|((_, documents), set)| set.missing.iter().map(|&index| documents[index]).collect())
            .collect();
        let missing_sets: Vec<(&str, &[&str])> =
            sets.iter().zip(&texts).map(|((query, _), texts)| (*query, &texts[..])).collect();
        let missing =
            Arc::new(over_all_sets(&looked_up, |set| set.missing.iter().copied()).collect::<Vec<_>>());
        let mut inner_options = options.clone();
        (inner_options.top_k, inner_options.threshold) = (None, None);
        inner_options.on_progress = options
            .on_progress
            .clone()
            .map(|f| progress_over_all(f, found_over_all(&looked_up), missing.clone()));
        let rankings = self
            .inner
            .rerank_many(&missing_sets, &inner_options)
            .map_err(|error| relocate(error, &missing))?;

        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let complete = |(set, ranking): (LookedUp, Ranking)| {
            let LookedUp { keys, found: mut results, missing } = set;
            for mut ranked in ranking.results {
                ranked.index = missing[ranked.index];
                match ranked.status {
                    PairStatus::Scored => entries.insert(keys[ranked.index], ranked.clone()),
                    PairStatus::Failed(error) => {
                        ranked.status = PairStatus::Failed(relocate(error, &missing));
                    }
                    PairStatus::NotScored => {}
                }
                results.push(ranked);
            }
            Ranking::select(results, ranking.usage, options.top_k, options.threshold)
        };
        Ok(looked_up.into_iter().zip(rankings).map(complete).collect())
    }
}

/// What the cache knows of one set; indexes are those of the set's documents.
struct LookedUp {
    /// One per document.
    keys: Vec<Key>,
    found: Vec<Ranked>,
    missing: Vec<usize>,
}

impl<R: RerankerModel> CachedReranker<R> {
    fn look_up(&self, sets: &[(&str, &[&str])], options: &RerankOptions) -> Vec<LookedUp> {
        let keys = sets.iter().map(|(query, documents)| {
            documents.iter().map(|document| self.key(query, document, options)).collect::<Vec<Key>>()
        });
        // Hashed before the lock is taken.
        let keys: Vec<Vec<Key>> = keys.collect();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut look_up = |keys: Vec<Key>| {
            let (mut found, mut missing) = (Vec::with_capacity(keys.len()), Vec::new());
            for (index, key) in keys.iter().enumerate() {
                match entries.get(*key) {
                    Some(ranked) => found.push(Ranked { index, ..ranked }),
                    None => missing.push(index),
                }
            }
            LookedUp { keys, found, missing }
        };
        keys.into_iter().map(&mut look_up).collect()
    }
}

/// Indexes of documents of every set, each counted over the documents of all sets.
fn over_all_sets<'a, I: Iterator<Item = usize>>(
    sets: &'a [LookedUp],
    indexes: impl Fn(&'a LookedUp) -> I,
) -> impl Iterator<Item = usize> {
    let starts = sets.iter().scan(0, |before, set| Some(replace(before, *before + set.keys.len())));
    starts.zip(sets).flat_map(move |(start, set)| indexes(set).map(move |index| start + index))
}

/// The documents that the cache has, with indexes over the documents of all sets.
fn found_over_all(sets: &[LookedUp]) -> Vec<Ranked> {
    let found = sets.iter().flat_map(|set| &set.found);
    let indexes = over_all_sets(sets, |set| set.found.iter().map(|ranked| ranked.index));
    found.zip(indexes).map(|(ranked, index)| Ranked { index, ..ranked.clone() }).collect()
}

/// Replaces the index in an error about the missing documents by the index among all documents.
fn relocate(error: Error, missing: &[usize]) -> Error {
    match error {
        Error::TooLong { index, tokens, max_tokens } => {
            Error::TooLong { index: missing[index], tokens, max_tokens }
        }
        Error::NonFinite { index } => Error::NonFinite { index: missing[index] },
        error => error,
    }
}

/// Reports progress over all documents from the progress over the missing ones. The first report includes the cached
/// documents.
fn progress_over_all(progress: ProgressFn, found: Vec<Ranked>, missing: Arc<Vec<usize>>) -> ProgressFn {
    let total = found.len() + missing.len();
    let count = found.len();
    let found: Vec<Scored> = found
        .into_iter()
        .map(|r| Scored {
            index: r.index,
            logits: vec![r.logit],
            scores: vec![r.score],
            tokens: r.tokens,
            truncated: r.truncated,
            window: r.window,
            status: r.status,
        })
        .collect();
    let found = Mutex::new(found);
    Arc::new(move |inner: &Progress<'_>| {
        let mut finished = take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
        finished.extend(inner.finished.iter().map(|s| Scored { index: missing[s.index], ..s.clone() }));
        progress(&Progress { done: inner.done + count, total, finished: &finished });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranking::Usage;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Scores a document by its length, and counts the scored documents.
    #[derive(Default)]
    struct Lengths {
        scored: AtomicUsize,
    }

    impl RerankerModel for Lengths {
        fn model_id(&self) -> &str {
            "lengths"
        }

        fn provider(&self) -> &str {
            "test"
        }

        fn rerank(&self, _: &str, documents: &[&str], options: &RerankOptions) -> Result<Ranking> {
            self.scored.fetch_add(documents.len(), Ordering::Relaxed);
            let result = |(index, document): (usize, &&str)| {
                let ranked = Ranked::new(index, document.len() as f32, document.len() as f64);
                let failed = PairStatus::Failed(Error::NonFinite { index });
                if document.is_empty() { Ranked { status: failed, ..ranked } } else { ranked }
            };
            let usage = Usage { tokens: documents.len(), ..Usage::default() };
            let results = documents.iter().enumerate().map(result).collect();
            Ok(Ranking::select(results, usage, options.top_k, options.threshold))
        }
    }

    fn indexes(ranking: &Ranking) -> Vec<usize> {
        ranking.results.iter().map(|r| r.index).collect()
    }

    #[test]
    fn only_missing_documents_are_computed_and_the_ranking_is_the_same() {
        let cached = CachedReranker::new(Lengths::default(), 100);
        let options = RerankOptions::new();
        let first = cached.rerank("q", &["aaa", "a", "aa"], &options).unwrap();
        assert_eq!(indexes(&first), [0, 2, 1]);
        let second = cached.rerank("q", &["a", "aaaa", "aa", "aaa"], &options).unwrap();
        assert_eq!(indexes(&second), [1, 3, 2, 0]);
        assert_eq!(second.usage.tokens, 1);
        assert_eq!(cached.inner().scored.load(Ordering::Relaxed), 4);
        // Another query, another window, another label: other keys.
        cached.rerank("p", &["a"], &options).unwrap();
        cached.rerank("q", &["a"], &RerankOptions::new().max_tokens(9)).unwrap();
        cached.rerank("q", &["a"], &RerankOptions::new().label(1)).unwrap();
        assert_eq!(cached.inner().scored.load(Ordering::Relaxed), 7);
        // Another prompt: another key, and a prompt is not the prompt of that name.
        cached.rerank("q", &["a"], &RerankOptions::new().prompt("p")).unwrap();
        cached.rerank("q", &["a"], &RerankOptions::new().prompt_name("p")).unwrap();
        assert_eq!(cached.inner().scored.load(Ordering::Relaxed), 9);
        // top_k and threshold choose among scores and are no part of the key.
        let top =
            cached.rerank("q", &["a", "aaa", "aa"], &RerankOptions::new().top_k(2).threshold(2.5)).unwrap();
        assert_eq!(indexes(&top), [1]);
        assert_eq!(cached.inner().scored.load(Ordering::Relaxed), 9);
    }

    #[test]
    fn a_failed_pair_names_its_own_index_and_is_not_cached() {
        let cached = CachedReranker::new(Lengths::default(), 100);
        cached.rerank("q", &["a"], &RerankOptions::new()).unwrap();
        for _ in 0..2 {
            let ranking = cached.rerank("q", &["a", ""], &RerankOptions::new()).unwrap();
            assert_eq!(ranking.results[1].status, PairStatus::Failed(Error::NonFinite { index: 1 }));
        }
        assert_eq!(cached.inner().scored.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn the_cache_stays_within_its_capacity_and_keeps_used_entries() {
        let cached = CachedReranker::new(Lengths::default(), 8);
        let options = RerankOptions::new();
        for i in 0..100 {
            cached.rerank("q", &["kept", &format!("{i:050}")], &options).unwrap();
            assert!(cached.len() <= 8);
        }
        assert_eq!(cached.inner().scored.load(Ordering::Relaxed), 101);
        cached.clear();
        assert!(cached.is_empty());
        let nothing = CachedReranker::new(Lengths::default(), 0);
        nothing.rerank("q", &["a"], &options).unwrap();
        assert!(nothing.is_empty());
    }

    #[test]
    fn progress_counts_over_all_documents() {
        let cached = CachedReranker::new(crate::Reranker::load("tests/fixtures/bert").unwrap(), 100);
        cached.rerank("disk", &["one", "two"], &RerankOptions::new()).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let options = RerankOptions::new().on_progress(move |p| {
            assert_eq!(p.total, 4);
            log.lock().unwrap().extend(p.finished.iter().map(|s| s.index));
        });
        cached.rerank("disk", &["three", "two", "four", "one"], &options).unwrap();
        let mut seen = seen.lock().unwrap().clone();
        seen.sort();
        assert_eq!(seen, [0, 1, 2, 3]);
    }
}
