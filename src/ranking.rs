//! The results of a call, and their order.

use std::ops::Range;

use crate::error::Error;
use crate::options::{Backend, Isa};

/// Whether one pair was scored.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum PairStatus {
    /// The pair has a logit and a score (or one of each per label).
    Scored,
    /// The deadline passed before the pair was scored; logits and scores are NaN.
    NotScored,
    /// This pair failed, which has no effect on the others; logits and scores are NaN.
    Failed(Error),
}

/// The tokens that truncation removed from a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TruncatedTokens {
    /// Tokens removed from the query.
    pub query: usize,
    /// Tokens removed from the document.
    pub document: usize,
    /// Whether at least so many were removed, and how many more is not known: a long text is not read to its end. Where all
    /// that was read fits the window, because the first MiB has next to no tokens, the rest counts as one token.
    pub at_least: bool,
}

impl TruncatedTokens {
    /// Whether any token was removed, or text was not read.
    pub fn any(&self) -> bool {
        self.query + self.document > 0
    }
}

/// A query and a document as the model reads them: the value of [`Reranker::tokenize`](crate::Reranker::tokenize).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenizedPair {
    /// Token ids, special tokens included: Hugging Face's `input_ids` without padding.
    pub ids: Vec<u32>,
    /// Token type ids, as many as [`ids`](Self::ids): Hugging Face's `token_type_ids`. All 0 where the model does not
    /// distinguish the query from the document by them.
    pub token_types: Vec<u32>,
    /// Tokens removed to fit the window.
    pub truncated: TruncatedTokens,
}

/// One document of a [`Ranking`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ranked {
    /// Position in the input.
    pub index: usize,
    /// The document's id, if the input has one.
    pub id: Option<String>,
    /// The model's output before its activation; NaN unless `status` is [`PairStatus::Scored`].
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_fields::nan_as_null"))]
    pub logit: f32,
    /// The logit after the model's own activation; NaN unless `status` is [`PairStatus::Scored`].
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_fields::nan_as_null"))]
    pub score: f64,
    /// Tokens that the model reads for this pair, special tokens included; with several windows, of all of them.
    pub tokens: usize,
    /// Tokens removed to fit the window.
    pub truncated: TruncatedTokens,
    /// Bytes of the document that the score is about: those of the best window. `None` unless
    /// [`RerankOptions::windows`](crate::RerankOptions::windows) is set and the document was scored.
    pub window: Option<Range<usize>>,
    /// Whether the pair was scored.
    pub status: PairStatus,
}

impl Ranked {
    /// A scored document without an id, for implementations of [`RerankerModel`](crate::RerankerModel).
    pub fn new(index: usize, logit: f32, score: f64) -> Self {
        Self {
            index,
            id: None,
            logit,
            score,
            tokens: 0,
            truncated: TruncatedTokens::default(),
            window: None,
            status: PairStatus::Scored,
        }
    }
}

/// Documents ordered by relevance: by descending logit, ties in input order. Documents without a score come last.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ranking {
    /// Best first.
    pub results: Vec<Ranked>,
    /// The usage of the call; each ranking of `rerank_many` has that of the whole call.
    pub usage: Usage,
}

/// The result of one pair of [`Reranker::score`](crate::Reranker::score).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Scored {
    /// Position in the input.
    pub index: usize,
    /// The model's output before its activation, one per label; NaN unless `status` is [`PairStatus::Scored`].
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_fields::nans_as_null"))]
    pub logits: Vec<f32>,
    /// The logits after the model's own activation; NaN unless `status` is [`PairStatus::Scored`].
    #[cfg_attr(feature = "serde", serde(with = "crate::serde_fields::nans_as_null"))]
    pub scores: Vec<f64>,
    /// Tokens that the model reads for this pair, special tokens included; with several windows, of all of them.
    pub tokens: usize,
    /// Tokens removed to fit the window.
    pub truncated: TruncatedTokens,
    /// Bytes of the document that the scores are about: those of the best window. `None` unless
    /// [`RerankOptions::windows`](crate::RerankOptions::windows) is set and the pair was scored.
    pub window: Option<Range<usize>>,
    /// Whether the pair was scored.
    pub status: PairStatus,
}

/// The results of [`Reranker::score_with`](crate::Reranker::score_with).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Scores {
    /// In input order.
    pub results: Vec<Scored>,
    /// The usage of the call.
    pub usage: Usage,
}

/// The work and time of one call, and what computed it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Usage {
    /// Tokens that the model read, special tokens included.
    pub tokens: usize,
    /// Tokens removed to fit the window.
    pub truncated_tokens: usize,
    /// Whether at least so many were removed: a text was not read to its end, see [`TruncatedTokens::at_least`].
    pub truncated_at_least: bool,
    /// Groups of whole pairs that were computed together.
    pub groups: usize,
    /// Milliseconds of tokenization.
    pub tokenize_ms: f64,
    /// Milliseconds of computing logits.
    pub compute_ms: f64,
    /// Milliseconds of the whole call.
    pub total_ms: f64,
    /// The backend that computed. [`Backend::Cpu`] where a GPU failed and any part was computed on the CPU instead;
    /// [`Backend::Auto`] only in usages of other implementations of [`RerankerModel`](crate::RerankerModel).
    pub backend: Backend,
    /// The instruction set that computed; `None` for the reference backend and the GPU.
    pub isa: Option<Isa>,
    /// Why the GPU did not compute the whole call, if it should have.
    pub gpu_failure: Option<Error>,
}

impl Usage {
    /// The usage of two calls together, one after the other. A GPU's failure in either of them is the failure of both.
    pub(crate) fn plus(self, other: &Self) -> Self {
        let ran = if self.gpu_failure.is_none() && other.gpu_failure.is_some() { other } else { &self };
        Self {
            tokens: self.tokens + other.tokens,
            truncated_tokens: self.truncated_tokens + other.truncated_tokens,
            truncated_at_least: self.truncated_at_least || other.truncated_at_least,
            groups: self.groups + other.groups,
            tokenize_ms: self.tokenize_ms + other.tokenize_ms,
            compute_ms: self.compute_ms + other.compute_ms,
            total_ms: self.total_ms + other.total_ms,
            backend: ran.backend,
            isa: ran.isa,
            gpu_failure: ran.gpu_failure.clone(),
        }
    }
}

impl Ranking {
    /// Orders results, drops those whose score is below `threshold` and keeps the first `top_k`; without a value, each
    /// keeps all. Results without a score pass the threshold and come last, so that a failed document does not disappear
    /// silently.
    pub fn select(
        mut results: Vec<Ranked>,
        usage: Usage,
        top_k: Option<usize>,
        threshold: Option<f64>,
    ) -> Self {
        order(&mut results);
        results.retain(|r| r.status != PairStatus::Scored || threshold.is_none_or(|min| r.score >= min));
        results.truncate(top_k.unwrap_or(usize::MAX));
        Self { results, usage }
    }
}

/// Sorts by descending logit, ties by index. Results without a score come last, in input order.
fn order(results: &mut [Ranked]) {
    results.sort_by(|a, b| {
        let scored = |r: &Ranked| r.status == PairStatus::Scored;
        scored(b).cmp(&scored(a)).then_with(|| b.logit.total_cmp(&a.logit)).then(a.index.cmp(&b.index))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(index: usize, logit: f32) -> Ranked {
        let status = if logit.is_nan() { PairStatus::NotScored } else { PairStatus::Scored };
        Ranked {
            index,
            id: None,
            logit,
            score: logit.into(),
            tokens: 1,
            truncated: TruncatedTokens::default(),
            window: None,
            status,
        }
    }

    #[test]
    fn ties_keep_input_order_and_the_unscored_come_last() {
        let mut results: Vec<_> = [f32::NAN, 1.0, 3.0, 1.0, -f32::NAN, 3.0]
            .into_iter()
            .enumerate()
            .map(|(i, l)| ranked(i, l))
            .collect();
        order(&mut results);
        assert_eq!(results.iter().map(|r| r.index).collect::<Vec<_>>(), [2, 5, 1, 3, 0, 4]);
    }
}
