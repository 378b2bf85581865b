//! What a call returns, and the order of results.

use std::ops::Range;

use crate::error::Error;
use crate::options::{Backend, Isa};

/// What became of one pair.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PairStatus {
    /// `logit` and `score` are valid.
    Scored,
    /// The deadline passed first; `logit` and `score` are NaN.
    NotScored,
    /// This pair alone failed, with the reason; `logit` and `score` are NaN.
    Failed(Error),
}

/// How much of a pair was cut to fit the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TruncatedTokens {
    /// Tokens cut from the query.
    pub query: usize,
    /// Tokens cut from the document; at least, for documents that were not read to their end.
    pub document: usize,
}

impl TruncatedTokens {
    /// Whether anything was cut.
    pub fn any(&self) -> bool {
        self.query + self.document > 0
    }
}

/// One document of a [`Ranking`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ranked {
    /// Position in the input.
    pub index: usize,
    /// The document's id, where the input had one.
    pub id: Option<String>,
    /// The model's raw output; NaN unless `status` is [`Status::Scored`].
    pub logit: f32,
    /// The logit through the model's own activation; NaN unless `status` is [`Status::Scored`].
    pub score: f64,
    /// Tokens the model read for this pair, special tokens included.
    pub tokens: usize,
    /// What was cut to fit the window.
    pub truncated: TruncatedTokens,
    /// Bytes of the document that the score stands for: those of the best window. `None` unless
    /// [`RerankOptions::windows`] is set and the document was scored.
    pub window: Option<Range<usize>>,
    /// Whether the pair was scored.
    pub status: PairStatus,
}

impl Ranked {
    /// A scored document without an id, for rerankers of your own.
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

/// Documents ordered by relevance: best first by logit, ties by input order, then the failed and the unscored.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ranking {
    /// Best first.
    pub results: Vec<Ranked>,
    /// What the call cost. `rerank_many` gives each of its rankings the usage of the whole call.
    pub usage: Usage,
}

/// One pair of `score`, in input order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Scored {
    /// Position in the input.
    pub index: usize,
    /// One raw output per label; NaN unless `status` is [`Status::Scored`].
    pub logits: Vec<f32>,
    /// The logits through the model's own activation; NaN unless `status` is [`Status::Scored`].
    pub scores: Vec<f64>,
    /// Tokens the model read for this pair, special tokens included.
    pub tokens: usize,
    /// What was cut to fit the window.
    pub truncated: TruncatedTokens,
    /// Bytes of the document that the scores stand for: those of the best window. `None` unless
    /// [`RerankOptions::windows`] is set and the pair was scored.
    pub window: Option<Range<usize>>,
    /// Whether the pair was scored.
    pub status: PairStatus,
}

/// What `score_with` returns.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Scores {
    /// In input order.
    pub results: Vec<Scored>,
    /// What the call cost.
    pub usage: Usage,
}

/// What one call cost and what ran.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens the model read, special tokens included.
    pub tokens: usize,
    /// Tokens cut to fit the window.
    pub truncated_tokens: usize,
    /// Groups of whole pairs that were computed together.
    pub groups: usize,
    /// Milliseconds turning text into token ids.
    pub tokenize_ms: f64,
    /// Milliseconds computing logits.
    pub compute_ms: f64,
    /// Milliseconds of the whole call.
    pub total_ms: f64,
    /// The backend that ran: [`Backend::Auto`] only where no backend of ours did. [`Backend::Cpu`] where a GPU failed and
    /// any part was computed on the CPU instead.
    pub backend: Backend,
    /// The instruction set that ran; `None` for the reference backend and the GPU.
    pub isa: Option<Isa>,
    /// Why the GPU did not compute all of it, where it should have.
    pub gpu_failure: Option<Error>,
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
        results.retain(|r| r.status != PairStatus::Scored || threshold.is_none_or(|least| r.score >= least));
        results.truncate(top_k.unwrap_or(usize::MAX));
        Self { results, usage }
    }
}

/// Best first by logit, ties by index; what has no logit (NaN) comes last, in input order.
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
