//! The public calls of a loaded model: rank documents, score pairs, tokenize one.

use super::call::{Request, TextPair, score_pairs, tokenize_pairs};
use super::{Document, Reranker};
use crate::cpu::simd::in_default_float_mode;
use crate::error::{Error, Result};
use crate::model::score::LabelScoring;
use crate::model::spec::ScoreActivation;
use crate::ranking::{PairStatus, Ranked, Ranking, Scored, Scores, TokenizedPair, Usage};
use crate::rerank_options::{Label, RerankOptions, Truncation};
use crate::text::batch::Pair;

impl Reranker {
    /// Ranks documents by relevance to a query, best first. An empty list of documents gives an empty ranking.
    ///
    /// ```no_run
    /// use crossrank::{Reranker, RerankOptions};
    ///
    /// let reranker = Reranker::load("cross-encoder/ms-marco-MiniLM-L6-v2")?;
    /// let documents = ["The Moon orbits the Earth.", "Mars is called the red planet."];
    /// let ranking = reranker.rerank("red planet", &documents, &RerankOptions::new().top_k(1))?;
    /// let best = &ranking.results[0];
    /// println!("{} with score {}", documents[best.index], best.score);
    /// # Ok::<(), crossrank::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::SeveralLabels`]: the model has several labels and [`RerankOptions::label`] names none.
    /// - [`Error::InvalidOption`]: a label or a prompt's name that the model does not have, a threshold of NaN, a window
    ///   without room for a token of each text beside the special tokens, or no windows.
    /// - [`Error::TooLong`]: a pair is longer than the window under [`Truncation::Error`].
    /// - [`Error::Cancelled`]: through [`RerankOptions::cancel`].
    /// - [`Error::Internal`]: a panic below crossrank, or one of [`RerankOptions::on_progress`].
    ///
    /// A pair that fails alone is no error: its [`Ranked::status`] says why, and it comes last. Neither is a deadline:
    /// pairs that it leaves unscored are [`PairStatus::NotScored`].
    pub fn rerank<D: Document>(
        &self,
        query: &str,
        documents: &[D],
        options: &RerankOptions,
    ) -> Result<Ranking> {
        let mut rankings = self.rerank_many(&[(query, documents)], options)?;
        rankings.pop().ok_or_else(|| Error::Internal { message: "no ranking for a set".into() })
    }

    /// Ranks several (query, documents) sets in one call, whose pairs are batched together. Returns one ranking per set,
    /// in order; each has the [`Usage`] of the whole call.
    ///
    /// # Errors
    ///
    /// Those of [`rerank`](Self::rerank). The index of [`Error::TooLong`] counts over the documents of all sets.
    pub fn rerank_many<D: Document>(
        &self,
        sets: &[(&str, &[D])],
        options: &RerankOptions,
    ) -> Result<Vec<Ranking>> {
        let label_scoring = Some(self.label_scoring(options.label.as_ref())?);
        if options.threshold.is_some_and(f64::is_nan) {
            let message = "NaN is no threshold: every comparison with it fails".to_owned();
            return Err(Error::InvalidOption { option: "threshold", message });
        }
        let request = Request {
            queries: sets.iter().map(|(query, _)| *query).collect(),
            pairs: sets
                .iter()
                .enumerate()
                .flat_map(|(query, (_, documents))| {
                    documents.iter().map(move |document| TextPair { query, document: document.text() })
                })
                .collect(),
            options,
            default_truncation: Truncation::DocumentOnly,
            label_scoring,
        };
        // Scores are made of logits, and compared with the threshold, on this thread.
        in_default_float_mode(|| {
            let (scored, usage) = score_pairs(self, &request)?;
            let mut scored = scored.into_iter();
            Ok(sets.iter().map(|(_, documents)| rank(documents, &mut scored, &usage, options)).collect())
        })
    }

    /// The label that gives each pair its one score: the label of the options, else the model's only one. A model with two
    /// labels without names and without an activation classifies pairs as not relevant and relevant: its default is the
    /// second label, through a softmax.
    fn label_scoring(&self, label: Option<&Label>) -> Result<LabelScoring> {
        let (labels, activation) = (&self.info.labels, self.spec.score);
        let found = match label {
            Some(Label::Name(name)) => labels.iter().position(|label| label == name),
            Some(Label::Index(index)) => Some(*index).filter(|index| *index < labels.len()),
            None if labels.len() == 1 => Some(0),
            None if *labels == ["LABEL_0", "LABEL_1"] && activation == ScoreActivation::Identity => {
                return Ok(LabelScoring { label: 1, activation: ScoreActivation::Softmax });
            }
            None => return Err(Error::SeveralLabels { labels: labels.len() }),
        };
        let unknown = || {
            let message =
                format!("the model has no such label: it has {} ({})", labels.len(), labels.join(", "));
            Error::InvalidOption { option: "label", message }
        };
        Ok(LabelScoring { label: found.ok_or_else(unknown)?, activation })
    }

    /// Scores (query, document) pairs: one result per pair, in input order, with every label.
    ///
    /// ```no_run
    /// use crossrank::Reranker;
    ///
    /// let reranker = Reranker::load("cross-encoder/ms-marco-MiniLM-L6-v2")?;
    /// let scored = reranker.score(&[("red planet", "Mars is called the red planet.")])?;
    /// println!("logit {}, score {}", scored[0].logits[0], scored[0].scores[0]);
    /// # Ok::<(), crossrank::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Internal`]; a pair that fails alone says so in its [`Scored::status`].
    pub fn score<Q: AsRef<str>, D: AsRef<str>>(&self, pairs: &[(Q, D)]) -> Result<Vec<Scored>> {
        Ok(self.score_with(pairs, &RerankOptions::default())?.results)
    }

    /// [`score`](Self::score) with options, of which `top_k`, `threshold` and `label` do not apply.
    ///
    /// # Errors
    ///
    /// Those of [`rerank`](Self::rerank), but for the ones about a label and a threshold. With [`RerankOptions::windows`],
    /// [`Error::SeveralLabels`] where the model has more than one label.
    pub fn score_with<Q: AsRef<str>, D: AsRef<str>>(
        &self,
        pairs: &[(Q, D)],
        options: &RerankOptions,
    ) -> Result<Scores> {
        let request = Request {
            queries: pairs.iter().map(|(query, _)| query.as_ref()).collect(),
            pairs: pairs
                .iter()
                .enumerate()
                .map(|(query, (_, document))| TextPair { query, document: document.as_ref() })
                .collect(),
            options,
            default_truncation: Truncation::LongestFirst,
            label_scoring: None,
        };
        let (results, usage) = in_default_float_mode(|| score_pairs(self, &request))?;
        Ok(Scores { results, usage })
    }

    /// The token ids and token type ids that the model reads for a pair. Nothing is computed: use it to compare with another
    /// tokenizer, to count tokens, or to see what truncation leaves.
    ///
    /// Of the options, [`truncation`](RerankOptions::truncation) (default: `LongestFirst`, as in [`score`](Self::score)),
    /// [`max_tokens`](RerankOptions::max_tokens) and [`cancel`](RerankOptions::cancel) apply.
    ///
    /// ```no_run
    /// use crossrank::{RerankOptions, Reranker};
    ///
    /// let reranker = Reranker::load("cross-encoder/ms-marco-MiniLM-L6-v2")?;
    /// let pair = reranker.tokenize("red planet", "Mars is red.", &RerankOptions::new())?;
    /// assert_eq!(pair.ids, [101, 2417, 4774, 102, 7733, 2003, 2417, 1012, 102]);
    /// assert_eq!(pair.token_types, [0, 0, 0, 0, 1, 1, 1, 1, 1]);
    /// assert!(!pair.truncated.any());
    /// # Ok::<(), crossrank::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::InvalidOption`]: a window without room for the special tokens, or [`RerankOptions::windows`], which make
    ///   several sequences of one pair.
    /// - [`Error::TooLong`]: the pair is longer than the window under [`Truncation::Error`].
    /// - [`Error::Cancelled`] and [`Error::Internal`], as in [`rerank`](Self::rerank).
    pub fn tokenize(&self, query: &str, document: &str, options: &RerankOptions) -> Result<TokenizedPair> {
        if options.windows.is_some() {
            let message = "one pair has one sequence of tokens here: tokenize without windows".to_owned();
            return Err(Error::InvalidOption { option: "windows", message });
        }
        let request = Request {
            queries: vec![query],
            pairs: vec![TextPair { query: 0, document }],
            options: &RerankOptions { deadline: None, ..options.clone() },
            default_truncation: Truncation::LongestFirst,
            label_scoring: None,
        };
        let documents = tokenize_pairs(self, &request)?;
        let window = documents.into_iter().flatten().flat_map(|document| document.windows).next();
        let Pair { ids, token_types, truncated } =
            window.ok_or_else(|| Error::Internal { message: "a pair was not tokenized".into() })?.pair;
        Ok(TokenizedPair { ids, token_types, truncated })
    }
}

/// Takes the results of one set's documents from `scored` and orders them.
fn rank<D: Document>(
    documents: &[D],
    scored: &mut impl Iterator<Item = Scored>,
    usage: &Usage,
    options: &RerankOptions,
) -> Ranking {
    let results = documents
        .iter()
        .zip(scored)
        .enumerate()
        .map(|(index, (document, scored))| Ranked {
            index,
            id: document.id().map(str::to_owned),
            logit: scored.logits[0],
            score: scored.scores[0],
            tokens: scored.tokens,
            truncated: scored.truncated,
            window: scored.window,
            status: match scored.status {
                PairStatus::Failed(Error::NonFinite { .. }) => PairStatus::Failed(Error::NonFinite { index }),
                status => status,
            },
        })
        .collect();
    Ranking::select(results, usage.clone(), options.top_k, options.threshold)
}
