//! The public API: load a model, score pairs, rerank documents. The only file that knows every layer.

use std::path::Path;

use crate::error::Result;
use crate::model::files::ModelFiles;
use crate::options::{Backend, Isa, LoadOptions, RerankOptions};
use crate::ranking::{Ranking, Scored, Scores};

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
pub struct Reranker {}

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
    /// Hash of every file the model was made of.
    pub hash: u64,
    /// The backend that computes: never [`Backend::Auto`].
    pub backend: Backend,
    /// The instruction set that computes; `None` for the reference backend.
    pub isa: Option<Isa>,
    /// Worker threads.
    pub threads: usize,
    /// Milliseconds that loading took.
    pub load_ms: f64,
}

/// Loads a [`Reranker`] with options other than the defaults.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    options: LoadOptions,
}

impl Builder {
    /// Which implementation computes. Default: [`Backend::Auto`].
    pub fn backend(mut self, backend: Backend) -> Self {
        self.options.backend = backend;
        self
    }

    /// The highest instruction set the CPU backend may use. Default: the best this machine has.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.options.isa = Some(isa);
        self
    }

    /// Worker threads, at least 1. Default: one per core this process may use.
    pub fn threads(mut self, count: usize) -> Self {
        self.options.threads = Some(count);
        self
    }

    /// Window in tokens, special tokens included. Default and upper limit: the model's own.
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.options.max_tokens = Some(tokens);
        self
    }

    /// The most bytes that weights and work space together may take. Default: no limit.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.options.memory_limit = Some(bytes);
        self
    }

    /// Loads from a directory, or by a name that is looked up in the models folder and in the Hugging Face cache.
    pub fn load(self, path_or_name: impl AsRef<Path>) -> Result<Reranker> {
        self.load_files(ModelFiles::find(path_or_name.as_ref())?)
    }

    /// Loads from files in memory.
    pub fn load_files(self, files: ModelFiles) -> Result<Reranker> {
        let _ = (files, self.options);
        unimplemented!()
    }

    /// Loads the model embedded in the library.
    #[cfg(feature = "bundled-model")]
    pub fn bundled(self) -> Result<Reranker> {
        self.load_files(ModelFiles::bundled())
    }
}

impl Reranker {
    /// Starts with default [`LoadOptions`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Loads from a directory or by name, with default options. See [`Builder::load`].
    pub fn load(path_or_name: impl AsRef<Path>) -> Result<Self> {
        Self::builder().load(path_or_name)
    }

    /// Loads the model embedded in the library, with default options.
    #[cfg(feature = "bundled-model")]
    pub fn bundled() -> Result<Self> {
        Self::builder().bundled()
    }

    /// Facts about the model.
    pub fn info(&self) -> &ModelInfo {
        unimplemented!()
    }

    /// Ranks documents by relevance to a query. Needs a model with one label.
    pub fn rerank<D: Document>(
        &self,
        query: &str,
        documents: &[D],
        options: &RerankOptions,
    ) -> Result<Ranking> {
        let _ = (query, documents, options);
        unimplemented!()
    }

    /// Several (query, documents) sets in one packed run: one ranking per set, in order.
    pub fn rerank_many<D: Document>(
        &self,
        sets: &[(&str, &[D])],
        options: &RerankOptions,
    ) -> Result<Vec<Ranking>> {
        let _ = (sets, options);
        unimplemented!()
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
        let _ = (pairs, options);
        unimplemented!()
    }
}
