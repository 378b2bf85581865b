//! Reranks documents by relevance to a query with a cross-encoder, on the device the program runs on.
//!
//! A search finds candidates; a cross-encoder reads the query together with each of them and gives every pair a score.
//! [`Reranker`] is such a model, loaded from a folder in Hugging Face layout (`config.json`, `tokenizer.json`,
//! `model.safetensors`) or by its name in the Hugging Face cache:
//!
//! ```no_run
//! use crossrank::{RerankOptions, Reranker};
//!
//! let reranker = Reranker::load("cross-encoder/ms-marco-MiniLM-L6-v2")?;
//! let documents = ["Bananas are yellow.", "Paris is the capital of France.", "France borders Spain."];
//! let ranking = reranker.rerank("capital of France", &documents, &RerankOptions::new().top_k(2))?;
//! for result in &ranking.results {
//!     println!("{:.4}  {}", result.score, documents[result.index]);
//! }
//! # Ok::<(), crossrank::Error>(())
//! ```
//!
//! - [`Reranker::builder`] sets what a model is loaded with: backend, precision, threads, limits of memory.
//! - [`RerankOptions`] sets what one call does: how many results, a threshold, truncation, windows over long documents, a
//!   prompt, cancellation, a deadline, progress.
//! - [`Reranker::score`] returns the scores of every label of every pair, in input order.
//! - [`CachedReranker`] remembers scores, and [`RerankerModel`] is the trait that other rerankers can implement too.
//!
//! Every failure is an [`Error`]. The library prints nothing and never uses the network. On the CPU a pair's score has the same
//! bits in every batch and order, with any number of threads and on every instruction set.
//!
//! # In async programs
//!
//! Calls block the thread that makes them, and compute on the model's own threads. An async runtime has threads for calls that
//! block; a [`CancelToken`] stops the call when nobody waits for it any more:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use crossrank::{CancelToken, RerankOptions, Reranker, Ranking, Result};
//!
//! /// Cancels the call when the future that waits for it is dropped, for example by a timeout.
//! struct CancelOnDrop(CancelToken);
//!
//! impl Drop for CancelOnDrop {
//!     fn drop(&mut self) {
//!         self.0.cancel();
//!     }
//! }
//!
//! async fn rerank(
//!     model: Arc<Reranker>,
//!     query: String,
//!     documents: Vec<String>,
//!     options: RerankOptions,
//! ) -> Result<Ranking> {
//!     let token = CancelToken::new();
//!     let _cancel_on_drop = CancelOnDrop(token.clone());
//!     let call = move || model.rerank(&query, &documents, &options.cancel(token));
//!     // A panic of a call is an error of the call: what is left is a runtime that shuts down.
//!     tokio::task::spawn_blocking(call).await.unwrap_or(Err(crossrank::Error::Cancelled))
//! }
//! ```
//!
//! Load a model in the same way: that reads its files. A server shares one model in an `Arc`, and limits the calls under way with
//! a semaphore: one call with enough documents uses every core already.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `gpu`: the GPU backend over Vulkan, Metal or Direct3D 12 ([`Backend::Gpu`], [`Backend::Auto`]).
//! - `bundled-model`: embeds a small English model of 23 MB (`Reranker::bundled`). Needs the repository: the package holds no
//!   model.
//! - `capi`: the C interface of `include/crossrank.h`. `packaging/build.sh` in the repository builds its libraries.
//! - `serde`: `Serialize` and `Deserialize` for results, [`ModelInfo`], [`Error`] and options. The names are those of the fields
//!   and, in lower case with `_` between words, of the variants; they change only as the Rust names do. What is not a number in
//!   Rust, a score that there is none of, is null. serde_json reads every bit of a score with its feature `float_roundtrip`.
//!   Of [`RerankOptions`] `cancel`, `deadline` and `on_progress` are left out, of [`RerankerBuilder`] `executor`; an option
//!   that there is not is an error.
//! - `cli`, `pull`: the command line, and its download of models. Of no use to a Rust program; `cli` needs the repository.

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
#[cfg(feature = "serde")]
mod serde_fields;
#[doc(hidden)]
pub mod tensor;
#[doc(hidden)]
pub mod text;

pub use cancel::CancelToken;
pub use error::{Error, IoSource, Result};
pub use model::files::{ModelFiles, ModuleFiles, WeightFile};
pub use model::quantize::quantize;
pub use options::{Backend, Executor, GpuPrecision, Isa, Precision};
pub use ranking::{PairStatus, Ranked, Ranking, Scored, Scores, TokenizedPair, TruncatedTokens, Usage};
pub use rerank_options::{Label, Progress, ProgressFn, RerankOptions, Truncation, Windows};
pub use reranker::builder::RerankerBuilder;
pub use reranker::cached::CachedReranker;
pub use reranker::load::MemoryPlan;
pub use reranker::model::RerankerModel;
pub use reranker::profile::{Stage, StageTime};
pub use reranker::{Document, Item, ModelInfo, Reranker};

/// The README's Rust example, tested as documentation. It needs the bundled model.
#[cfg(all(doctest, feature = "bundled-model"))]
#[doc = include_str!("../README.md")]
struct Readme;
