//! A loaded model. Loading is in load.rs, its options in builder.rs, scoring and ranking in rerank.rs.

pub mod builder;
pub mod cached;
mod call;
mod engine;
#[cfg(feature = "gpu")]
mod gpu;
mod groups;
pub mod load;
pub mod model;
pub mod profile;
mod rerank;
mod results;
mod tokenize;

use std::sync::Arc;

use crate::cpu::simd::in_default_float_mode;
use crate::cpu::threads::Pool;
use crate::error::Result;
use crate::model::spec::Spec;
use crate::options::{Backend, Isa, Precision};
use crate::text::tokenizer::Tokenizer;
use engine::Engine;
use profile::{Counters, StageTime};

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
    /// [`Error::Gpu`](crate::Error::Gpu) where the GPU had failed before; calls are computed on the CPU then anyway.
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
    /// [`Error::Gpu`](crate::Error::Gpu) where the GPU fails or computes other numbers than the CPU: the model's calls are finished on the CPU
    /// then. [`Error::InvalidOption`](crate::Error::InvalidOption) where the folder of [`RerankerBuilder::gpu_cache`](crate::RerankerBuilder::gpu_cache)
    /// cannot be written to.
    pub fn warmup(&self) -> Result<()> {
        let warm_up = || self.engine.warmup();
        in_default_float_mode(|| {
            if self.pool.supports_nesting() { self.pool.call_on_worker(warm_up)? } else { warm_up() }
        })
    }
}
