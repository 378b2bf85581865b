//! The interface of any reranker: a [`Reranker`], a cached one, or an application's own.

use std::sync::Arc;

use super::{Document, Reranker};
use crate::error::{Error, Result};
use crate::ranking::{Ranking, Scored, Usage};
use crate::rerank_options::{Progress, ProgressFn, RerankOptions};

/// Something that ranks documents. References, `Box`es and `Arc`s of rerankers are rerankers too, so that
/// `CachedReranker<Arc<Reranker>>` and `Vec<Box<dyn RerankerModel>>` work. With this trait in scope, the calls of an
/// `Arc<Reranker>` are those of the trait; `Reranker::rerank(&model, ...)` is the model's own, which takes documents of any type.
///
/// ```
/// use crossrank::{Ranked, Ranking, RerankOptions, RerankerModel, Result, Usage};
///
/// /// Counts the query's words in the document.
/// struct Words;
///
/// impl RerankerModel for Words {
///     fn model_id(&self) -> &str {
///         "words"
///     }
///
///     fn provider(&self) -> &str {
///         "example"
///     }
///
///     fn rerank(&self, query: &str, documents: &[&str], options: &RerankOptions) -> Result<Ranking> {
///         let count = |document: &str| query.split(' ').filter(|word| document.contains(word)).count();
///         let results = documents.iter().enumerate().map(|(index, document)| {
///             let count = count(document);
///             Ranked::new(index, count as f32, count as f64)
///         });
///         Ok(Ranking::select(results.collect(), Usage::default(), options.top_k, options.threshold))
///     }
/// }
///
/// let ranking = Words.rerank("red planet", &["blue", "a red planet", "red"], &RerankOptions::new())?;
/// assert_eq!(ranking.results[0].index, 1);
/// # Ok::<(), crossrank::Error>(())
/// ```
pub trait RerankerModel: Send + Sync {
    /// The model's name.
    fn model_id(&self) -> &str;

    /// The implementation or service that computes, for example `crossrank`.
    fn provider(&self) -> &str;

    /// A hash that is equal for two models only if they compute equal scores: part of the keys of
    /// [`CachedReranker`](crate::CachedReranker). Default: a hash of provider and name, for implementations in which a name
    /// always means the same weights.
    fn model_hash(&self) -> u64 {
        let named = [self.provider(), self.model_id()].join("\0");
        xxhash_rust::xxh3::xxh3_64(named.as_bytes())
    }

    /// Ranks documents by relevance to a query, as [`Reranker::rerank`] does.
    fn rerank(&self, query: &str, documents: &[&str], options: &RerankOptions) -> Result<Ranking>;

    /// [`rerank`](Self::rerank) for documents of any type: each result has its document's [id](Document::id).
    ///
    /// ```
    /// # use crossrank::{Document, Item, RerankOptions, RerankerModel, Result};
    /// # fn example(model: &dyn RerankerModel) -> Result<()> {
    /// let moon = Item { id: "moon".into(), text: "The Moon orbits the Earth.".into() };
    /// let documents: [&dyn Document; 2] = [&moon, &"Mars is called the red planet."];
    /// let ranking = model.rerank_documents("red planet", &documents, &RerankOptions::new())?;
    /// # Ok(())
    /// # }
    /// ```
    fn rerank_documents(
        &self,
        query: &str,
        documents: &[&dyn Document],
        options: &RerankOptions,
    ) -> Result<Ranking> {
        let texts: Vec<&str> = documents.iter().map(|document| document.text()).collect();
        let mut ranking = self.rerank(query, &texts, options)?;
        for ranked in &mut ranking.results {
            ranked.id = documents.get(ranked.index).and_then(|document| document.id()).map(str::to_owned);
        }
        Ok(ranking)
    }

    /// Ranks several (query, documents) sets, as [`Reranker::rerank_many`] does. Default: one set after the other. An
    /// implementation that can compute them together is faster.
    fn rerank_many(&self, sets: &[(&str, &[&str])], options: &RerankOptions) -> Result<Vec<Ranking>> {
        one_by_one(self, sets, options)
    }
}

/// Ranks one set after the other, with the progress, the indexes and the usage of one call.
fn one_by_one<R: RerankerModel + ?Sized>(
    model: &R,
    sets: &[(&str, &[&str])],
    options: &RerankOptions,
) -> Result<Vec<Ranking>> {
    let total = sets.iter().map(|(_, documents)| documents.len()).sum();
    let mut rankings = Vec::with_capacity(sets.len());
    let (mut before, mut usage) = (0, None::<Usage>);
    for (query, documents) in sets {
        let mut options = options.clone();
        options.on_progress = options.on_progress.map(|f| progress_of_part(f, before, total));
        let ranking = model.rerank(query, documents, &options).map_err(|error| match error {
            Error::TooLong { index, tokens, max_tokens } => {
                Error::TooLong { index: before + index, tokens, max_tokens }
            }
            error => error,
        })?;
        before += documents.len();
        usage = Some(match usage {
            None => ranking.usage.clone(),
            Some(sum) => sum.plus(&ranking.usage),
        });
        rankings.push(ranking);
    }
    let usage = usage.unwrap_or_default();
    Ok(rankings.into_iter().map(|ranking| Ranking { usage: usage.clone(), ..ranking }).collect())
}

/// The progress of a set, reported as that of a call of `total` documents, of which `before` come before the set's.
fn progress_of_part(progress: ProgressFn, before: usize, total: usize) -> ProgressFn {
    Arc::new(move |part: &Progress<'_>| {
        let finished: Vec<Scored> =
            part.finished.iter().map(|s| Scored { index: before + s.index, ..s.clone() }).collect();
        progress(&Progress { done: before + part.done, total, finished: &finished });
    })
}

/// A pointer to a reranker is a reranker: every method is that of what it points to.
macro_rules! impl_for_pointers {
    ($($pointer:ty),*) => {$(
        impl<T: RerankerModel + ?Sized> RerankerModel for $pointer {
            fn model_id(&self) -> &str {
                (**self).model_id()
            }

            fn provider(&self) -> &str {
                (**self).provider()
            }

            fn model_hash(&self) -> u64 {
                (**self).model_hash()
            }

            fn rerank(&self, query: &str, documents: &[&str], options: &RerankOptions) -> Result<Ranking> {
                (**self).rerank(query, documents, options)
            }

            fn rerank_documents(
                &self,
                query: &str,
                documents: &[&dyn Document],
                options: &RerankOptions,
            ) -> Result<Ranking> {
                (**self).rerank_documents(query, documents, options)
            }

            fn rerank_many(&self, sets: &[(&str, &[&str])], options: &RerankOptions) -> Result<Vec<Ranking>> {
                (**self).rerank_many(sets, options)
            }
        }
    )*};
}

impl_for_pointers!(&T, Arc<T>, Box<T>);

impl RerankerModel for Reranker {
    fn model_id(&self) -> &str {
        &self.info().name
    }

    fn provider(&self) -> &str {
        "crossrank"
    }

    fn model_hash(&self) -> u64 {
        let info = self.info();
        xxhash_rust::xxh3::xxh3_64(format!("{} {:?} {:?}", info.hash, info.precision, info.tier).as_bytes())
    }

    fn rerank(&self, query: &str, documents: &[&str], options: &RerankOptions) -> Result<Ranking> {
        self.rerank(query, documents, options)
    }

    fn rerank_many(&self, sets: &[(&str, &[&str])], options: &RerankOptions) -> Result<Vec<Ranking>> {
        self.rerank_many(sets, options)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::ranking::Ranked;
    use crate::reranker::Item;
    use crate::reranker::cached::CachedReranker;

    /// Scores a document by its length, and refuses one of more than 4 bytes as too long.
    struct Lengths;

    impl RerankerModel for Lengths {
        fn model_id(&self) -> &str {
            "lengths"
        }

        fn provider(&self) -> &str {
            "test"
        }

        fn rerank(&self, _: &str, documents: &[&str], options: &RerankOptions) -> Result<Ranking> {
            if let Some(index) = documents.iter().position(|document| document.len() > 4) {
                return Err(Error::TooLong { index, tokens: documents[index].len(), max_tokens: 4 });
            }
            let ranked = |(index, d): (usize, &&str)| Ranked::new(index, d.len() as f32, d.len() as f64);
            let results: Vec<Ranked> = documents.iter().enumerate().map(ranked).collect();
            if let Some(on_progress) = &options.on_progress {
                let scored = |r: &Ranked| Scored {
                    index: r.index,
                    logits: vec![r.logit],
                    scores: vec![r.score],
                    tokens: 0,
                    truncated: r.truncated,
                    window: None,
                    status: r.status.clone(),
                };
                let finished: Vec<Scored> = results.iter().map(scored).collect();
                on_progress(&Progress { done: results.len(), total: results.len(), finished: &finished });
            }
            let usage = Usage { tokens: documents.len(), groups: 1, ..Usage::default() };
            Ok(Ranking::select(results, usage, options.top_k, options.threshold))
        }
    }

    fn indexes(ranking: &Ranking) -> Vec<usize> {
        ranking.results.iter().map(|ranked| ranked.index).collect()
    }

    /// What a call reports on the way: done, total and finished.
    type Report = (usize, usize, Vec<usize>);

    /// The rankings of three sets by any implementation, and its reports.
    fn three_sets(model: &dyn RerankerModel) -> (Vec<Ranking>, Vec<Report>) {
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        let options = RerankOptions::new().on_progress(move |p| {
            let mut finished: Vec<usize> = p.finished.iter().map(|s| s.index).collect();
            finished.sort();
            seen.lock().unwrap().push((p.done, p.total, finished));
        });
        let sets: [(&str, &[&str]); 3] = [("q", &["a", "aaa", "aa"]), ("q", &[]), ("p", &["bb", "b"])];
        let rankings = model.rerank_many(&sets, &options).unwrap();
        let seen = log.lock().unwrap().clone();
        (rankings, seen)
    }

    #[test]
    fn sets_that_are_ranked_one_by_one_have_the_progress_and_the_usage_of_one_call() {
        let (rankings, seen) = three_sets(&Lengths);
        assert_eq!(rankings.iter().map(indexes).collect::<Vec<_>>(), [vec![1, 2, 0], vec![], vec![0, 1]]);
        assert!(rankings.iter().all(|r| (r.usage.tokens, r.usage.groups) == (5, 3)), "{rankings:?}");
        assert_eq!(seen, [(3, 5, vec![0, 1, 2]), (3, 5, vec![]), (5, 5, vec![3, 4])]);
        let sets: [(&str, &[&str]); 2] = [("q", &["a", "aaa"]), ("p", &["b", "bbbbb"])];
        let error = Lengths.rerank_many(&sets, &RerankOptions::new()).unwrap_err();
        assert_eq!(error, Error::TooLong { index: 3, tokens: 5, max_tokens: 4 });
        assert!(Lengths.rerank_many(&[], &RerankOptions::new()).unwrap().is_empty());
    }

    #[test]
    fn a_cache_looks_up_every_set_of_a_call() {
        let cached = CachedReranker::new(Lengths, 100);
        cached.rerank("q", &["aa"], &RerankOptions::new()).unwrap();
        let (rankings, seen) = three_sets(&cached);
        assert_eq!(rankings.iter().map(indexes).collect::<Vec<_>>(), [vec![1, 2, 0], vec![], vec![0, 1]]);
        assert!(rankings.iter().all(|r| r.usage.tokens == 4), "{rankings:?}");
        // The first report includes what the cache has.
        assert_eq!(seen, [(3, 5, vec![0, 1, 2]), (3, 5, vec![]), (5, 5, vec![3, 4])]);
        assert_eq!(cached.len(), 5);
        let sets: [(&str, &[&str]); 2] = [("q", &["a", "aaa"]), ("p", &["b", "bbbbb"])];
        let error = cached.rerank_many(&sets, &RerankOptions::new()).unwrap_err();
        assert_eq!(error, Error::TooLong { index: 3, tokens: 5, max_tokens: 4 });
    }

    #[test]
    fn references_boxes_and_arcs_of_a_reranker_are_rerankers() {
        let model = Arc::new(Reranker::load("tests/fixtures/bert").unwrap());
        let boxed: Box<dyn RerankerModel> = Box::new(Arc::clone(&model));
        let cached = CachedReranker::new(Arc::clone(&model), 100);
        let options = RerankOptions::new();
        let (query, documents) = ("desktop", ["one text", "the desktop", "another"]);
        let expected = Reranker::rerank(&model, query, &documents, &options).unwrap().results;
        fn check(model: impl RerankerModel, hash: u64, query: &str, documents: &[&str], expected: &[Ranked]) {
            assert_eq!((model.provider(), model.model_hash()), ("crossrank", hash));
            assert!(model.model_id().ends_with("bert"));
            let options = RerankOptions::new();
            assert_eq!(model.rerank(query, documents, &options).unwrap().results, expected);
            let many = model.rerank_many(&[(query, documents), (query, documents)], &options).unwrap();
            assert!(many.iter().all(|ranking| ranking.results == expected));
        }
        let hash = RerankerModel::model_hash(&*model);
        check(&*model, hash, query, &documents, &expected);
        check(&boxed, hash, query, &documents, &expected);
        check(&cached, hash, query, &documents, &expected);
        check(model, hash, query, &documents, &expected);
        check(boxed, hash, query, &documents, &expected);
        assert_eq!(cached.len(), 3);
    }

    #[test]
    fn documents_of_any_type_keep_their_ids() {
        let item = Item { id: "two".into(), text: "aa".into() };
        let documents: [&dyn Document; 3] = [&"a", &item, &String::from("aaa")];
        let boxed: Box<dyn RerankerModel> = Box::new(CachedReranker::new(Lengths, 100));
        // The second time from the cache, where there are no ids.
        for _ in 0..2 {
            let ranking = boxed.rerank_documents("q", &documents, &RerankOptions::new()).unwrap();
            let ids: Vec<_> = ranking.results.iter().map(|r| (r.index, r.id.as_deref())).collect();
            assert_eq!(ids, [(2, None), (1, Some("two")), (0, None)]);
        }
    }

    #[test]
    fn a_reranker_shows_its_facts_and_neither_weights_nor_texts() {
        let cached = CachedReranker::new(Reranker::load("tests/fixtures/bert").unwrap(), 100);
        cached
            .rerank("secretquery", &["secretdocument"], &RerankOptions::new().prompt("secretprompt"))
            .unwrap();
        let shown = format!("{cached:?}");
        for part in ["Reranker { info: ModelInfo", "BertForSequenceClassification", "len: 1", "capacity: 100"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(shown.len() < 2000 && !shown.contains("secret"), "{shown}");
        assert!(!format!("{:?}", RerankOptions::new().prompt("secretprompt")).contains("secret"));
    }
}
