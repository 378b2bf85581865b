//! The public API of a loaded model: score pairs, rerank documents. Loading is in load.rs, its options in builder.rs.

pub mod builder;
pub mod cached;
mod engine;
#[cfg(feature = "gpu")]
mod gpu;
pub mod load;
pub mod model;
pub mod profile;
mod run;

use std::sync::Arc;

use crate::cpu::simd::in_default_float_mode;
use crate::cpu::threads::Pool;
use crate::error::{Error, Result};
use crate::model::score::LabelScoring;
use crate::model::spec::{ScoreActivation, Spec};
use crate::options::{Backend, Isa, Precision};
use crate::ranking::{PairStatus, Ranked, Ranking, Scored, Scores, Usage};
use crate::rerank_options::{Label, RerankOptions, Truncation};
use crate::text::tokenizer::Tokenizer;
use engine::Engine;
use profile::{Counters, StageTime};
use run::{Kind, Work, run};

/// A document as [`Reranker::rerank`] takes it: anything that is text, or a [`Item`] whose id passes through.
pub trait Document {
    /// The text to rank.
    fn text(&self) -> &str;

    /// Comes back in [`Ranked::id`](crate::Ranked::id).
    fn id(&self) -> Option<&str> {
        None
    }
}

impl<T: AsRef<str> + ?Sized> Document for T {
    fn text(&self) -> &str {
        self.as_ref()
    }
}

/// A document with an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Comes back in [`Ranked::id`](crate::Ranked::id).
    pub id: String,
    /// The text to rank.
    pub text: String,
}

impl Document for Item {
    fn text(&self) -> &str {
        &self.text
    }

    fn id(&self) -> Option<&str> {
        Some(&self.id)
    }
}

/// A loaded cross-encoder. Immutable: share it between threads by reference or in an `Arc`; calls run side by side.
pub struct Reranker {
    info: ModelInfo,
    spec: Spec,
    tokenizer: Tokenizer,
    engine: Box<dyn Engine>,
    pool: Arc<Pool>,
    counters: Option<Arc<Counters>>,
}

/// Facts about a loaded model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The name or path it was loaded by.
    pub name: String,
    /// The architecture as config.json names it.
    pub architecture: String,
    /// Encoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward layers.
    pub intermediate: usize,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Names of the outputs, in order.
    pub labels: Vec<String>,
    /// What turns logits into scores: `identity`, `sigmoid`, `tanh` or `softmax`.
    pub activation: &'static str,
    /// The longest input in tokens that a call may use, special tokens included.
    pub max_tokens: usize,
    /// Bytes of the weights in memory.
    pub weight_bytes: u64,
    /// What weights are kept as: never [`Precision::Auto`].
    pub precision: Precision,
    /// Hash of every file the model was made of.
    pub hash: u64,
    /// What is odd without being an error, for people: about the model's files, or a GPU that did not pass the test of what
    /// it was to run.
    pub warnings: Vec<String>,
    /// The backend that computes: never [`Backend::Auto`].
    pub backend: Backend,
    /// The instruction set that computes; `None` for the reference backend and the GPU.
    pub isa: Option<Isa>,
    /// The GPU that computes; `None` for every other backend.
    pub adapter: Option<String>,
    /// The shaders that compute there: `f32`, `f16` or `cooperative` (f16 by cooperative matrices); `None` for every other
    /// backend.
    pub tier: Option<&'static str>,
    /// Worker threads.
    pub threads: usize,
    /// Milliseconds that loading took.
    pub load_ms: f64,
}

impl Reranker {
    /// Facts about the model.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// What every stage took since the model was loaded or this was last called, over all calls, those that still run
    /// included. Empty unless the model was loaded with [`RerankerBuilder::profile`](crate::RerankerBuilder::profile). Of
    /// what a GPU computes nothing is counted but
    /// [`Stage::Tokenize`](crate::Stage::Tokenize).
    pub fn take_profile(&self) -> Vec<StageTime> {
        self.counters.as_ref().map_or_else(Vec::new, |counters| counters.take())
    }

    /// Gives back work space that no call uses at the moment, for example on a memory warning. The next calls allocate it
    /// again.
    pub fn trim(&self) {
        self.engine.trim();
    }

    /// Lets go of the GPU, as an app must that goes to the background: its weights are moved to the host's memory. Calls are
    /// computed on the CPU until [`resume`](Self::resume). Only [`trim`](Self::trim) on the CPU.
    ///
    /// # Errors
    ///
    /// [`Error::Gpu`] where the GPU had failed before; calls are computed on the CPU then anyway.
    pub fn suspend(&self) -> Result<()> {
        self.engine.suspend()
    }

    /// Takes the GPU back after [`suspend`](Self::suspend).
    ///
    /// # Errors
    ///
    /// Where the GPU cannot be opened any more; calls are computed on the CPU then, and `resume` may be tried again.
    pub fn resume(&self) -> Result<()> {
        self.engine.resume()
    }

    /// Does ahead of the first call what it would wait for: on a GPU, the fastest shaders are found and compiled, their
    /// results are compared with the CPU's, and the speed is measured. Takes up to a few seconds there, and nothing on the
    /// CPU. No score depends on which shaders are found.
    ///
    /// # Errors
    ///
    /// [`Error::Gpu`] where the GPU fails or computes other numbers than the CPU: the model's calls are finished on the CPU
    /// then. [`Error::InvalidOption`] where the folder of [`RerankerBuilder::gpu_cache`](crate::RerankerBuilder::gpu_cache)
    /// cannot be written to.
    pub fn warmup(&self) -> Result<()> {
        let warm_up = || self.engine.warmup();
        in_default_float_mode(|| {
            if self.pool.supports_nesting() { self.pool.call_on_worker(warm_up)? } else { warm_up() }
        })
    }

    /// Ranks documents by relevance to a query. A model with several labels needs [`RerankOptions::label`].
    ///
    /// An empty list of documents gives an empty ranking.
    pub fn rerank<D: Document>(
        &self,
        query: &str,
        documents: &[D],
        options: &RerankOptions,
    ) -> Result<Ranking> {
        let mut rankings = self.rerank_many(&[(query, documents)], options)?;
        rankings.pop().ok_or_else(|| Error::Internal { message: "no ranking for a set".into() })
    }

    /// Several (query, documents) sets in one packed run: one ranking per set, in order. A model with several labels needs
    /// [`RerankOptions::label`]. An [`Error::TooLong`] counts over the documents of all sets.
    pub fn rerank_many<D: Document>(
        &self,
        sets: &[(&str, &[D])],
        options: &RerankOptions,
    ) -> Result<Vec<Ranking>> {
        let choice = Some(self.choice(options.label.as_ref())?);
        if options.threshold.is_some_and(f64::is_nan) {
            let message = "NaN is no threshold: every comparison with it fails".to_owned();
            return Err(Error::InvalidOption { option: "threshold", message });
        }
        let queries: Vec<&str> = sets.iter().map(|(query, _)| *query).collect();
        let work: Vec<Work<'_>> = sets
            .iter()
            .enumerate()
            .flat_map(|(query, (_, documents))| {
                documents.iter().map(move |d| Work { query, document: d.text() })
            })
            .collect();
        // Scores are made of logits, and compared with the threshold, on this thread.
        in_default_float_mode(|| {
            let (scored, usage) =
                run(self, &queries, &work, options, Kind { truncation: Truncation::DocumentOnly, choice })?;
            let mut scored = scored.into_iter();
            Ok(sets.iter().map(|(_, documents)| rank(documents, &mut scored, &usage, options)).collect())
        })
    }

    /// The one score of every pair: the label that was asked for, else the only one, else the second of two without names
    /// and without an activation of their own, which classify as not relevant and relevant, through a softmax.
    fn choice(&self, label: Option<&Label>) -> Result<LabelScoring> {
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

    /// Scores (query, document) pairs: one entry per pair, in input order, with every label.
    pub fn score<Q: AsRef<str>, D: AsRef<str>>(&self, pairs: &[(Q, D)]) -> Result<Vec<Scored>> {
        Ok(self.score_with(pairs, &RerankOptions::default())?.results)
    }

    /// [`score`](Self::score) with options; `top_k` and `threshold` do not apply.
    pub fn score_with<Q: AsRef<str>, D: AsRef<str>>(
        &self,
        pairs: &[(Q, D)],
        options: &RerankOptions,
    ) -> Result<Scores> {
        let queries: Vec<&str> = pairs.iter().map(|(query, _)| query.as_ref()).collect();
        let work: Vec<Work<'_>> = pairs
            .iter()
            .enumerate()
            .map(|(query, (_, document))| Work { query, document: document.as_ref() })
            .collect();
        let kind = Kind { truncation: Truncation::LongestFirst, choice: None };
        let (results, usage) = in_default_float_mode(|| run(self, &queries, &work, options, kind))?;
        Ok(Scores { results, usage })
    }
}

/// Takes one set's results off `scored` and orders them.
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
