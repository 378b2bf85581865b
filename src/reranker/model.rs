//! The interface of any reranker: a [`Reranker`], a cached one, or an application's own.

use super::Reranker;
use crate::error::Result;
use crate::ranking::Ranking;
use crate::rerank_options::RerankOptions;

/// Something that ranks documents.
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
}

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
}
