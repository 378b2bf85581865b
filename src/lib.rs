// The README's example needs the bundled model.
#![cfg_attr(feature = "bundled-model", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "bundled-model"),
    doc = "Rerank documents by relevance to a query with a cross-encoder."
)]

// The hidden modules are public for tests, benches and the curious; no stability is promised there.
mod cancel;
#[cfg(feature = "capi")]
#[doc(hidden)]
pub mod capi;
#[doc(hidden)]
pub mod cpu;
mod error;
#[cfg(feature = "gpu")]
#[doc(hidden)]
pub mod gpu;
#[doc(hidden)]
pub mod kernels;
#[doc(hidden)]
pub mod model;
mod options;
mod ranking;
#[doc(hidden)]
pub mod reference;
mod rerank_options;
mod reranker;
#[doc(hidden)]
pub mod tensor;
#[doc(hidden)]
pub mod text;

pub use cancel::CancelToken;
pub use error::{Error, Result};
pub use model::files::{ModelFiles, ModuleFiles, WeightFile};
pub use model::quantize::quantize;
pub use options::{Backend, Executor, GpuPrecision, Isa, Precision};
pub use ranking::{PairStatus, Ranked, Ranking, Scored, Scores, TruncatedTokens, Usage};
pub use rerank_options::{Label, Progress, ProgressFn, RerankOptions, Truncation, Windows};
pub use reranker::builder::RerankerBuilder;
pub use reranker::cached::CachedReranker;
pub use reranker::load::MemoryPlan;
pub use reranker::model::RerankerModel;
pub use reranker::profile::{Stage, StageTime};
pub use reranker::{Document, Item, ModelInfo, Reranker};
