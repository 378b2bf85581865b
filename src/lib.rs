#![doc = include_str!("../README.md")]

mod cancel;
mod error;
mod kernels;
mod model;
mod options;
mod ranking;
mod reference;
mod reranker;
mod text;

pub use cancel::CancelToken;
pub use error::{Error, Result};
pub use model::files::{ModelFiles, WeightFile};
pub use options::{Backend, Isa, LoadOptions, Progress, ProgressFn, RerankOptions, Truncation};
pub use ranking::{Cut, Ranked, Ranking, Scored, Scores, Status, Usage};
pub use reranker::{Builder, Document, Item, ModelInfo, Reranker};

/// The layers below [`Reranker`], for tests, benches and the curious. No stability is promised here.
#[doc(hidden)]
pub mod internals {
    pub use crate::{kernels, model, reference, text};
}
