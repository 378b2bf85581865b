//! A loaded model. Loading is in load.rs, its options in builder.rs, scoring and ranking in rerank.rs.

pub mod builder;
pub mod cached;
mod call;
mod deadline;
mod engine;
#[cfg(feature = "gpu")]
mod gpu;
mod groups;
pub mod load;
pub mod model;
mod pace;
pub mod profile;
mod rerank;
mod results;
mod tokenize;

use std::fmt;
use std::sync::Arc;

use crate::cpu::simd::in_default_float_mode;
use crate::cpu::threads::Pool;
use crate::error::Result;
use crate::model::prompts::Prompts;
#[cfg(feature = "serde")]
use crate::model::spec::ScoreActivation;
use crate::model::spec::Spec;
use crate::options::{Backend, Isa, Precision};
use crate::text::tokenizer::Tokenizer;
use engine::Engine;
use profile::{Counters, StageTime};

/// A document of [`Reranker::rerank`]: any string type, an [`Item`] with an id, or a type of your own.
///
/// ```
/// use crossrank::Document;
///
/// struct Page {
///     title: String,
///     body: String,
/// }
///
/// impl Document for Page {
///     fn text(&self) -> &str {
///         &self.body
///     }
///
///     fn id(&self) -> Option<&str> {
///         Some(&self.title)
///     }
/// }
/// ```
pub trait Document {
    /// The text to rank.
    fn text(&self) -> &str;

    /// The id that [`Ranked::id`](crate::Ranked::id) returns.
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Item {
    /// The id that [`Ranked::id`](crate::Ranked::id) returns.
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

/// A loaded cross-encoder. Immutable: share it between threads by reference or in an `Arc`. Calls from several threads run
/// at the same time.
pub struct Reranker {
    info: ModelInfo,
    spec: Spec,
    tokenizer: Tokenizer,
    prompts: Prompts,
    engine: Box<dyn Engine>,
    pool: Arc<Pool>,
    counters: Option<Arc<Counters>>,
}

/// Shows the model's [`ModelInfo`]: neither weights nor texts.
impl fmt::Debug for Reranker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reranker").field("info", &self.info).finish_non_exhaustive()
    }
}

/// By this name, because serde takes a `&'static str` for a part of what it reads.
type StaticStr = &'static str;

#[cfg(feature = "serde")]
fn read_activation<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<StaticStr, D::Error> {
    crate::serde_fields::one_of(deserializer, &ScoreActivation::NAMES)
}

#[cfg(feature = "serde")]
fn read_tier<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<StaticStr>, D::Error> {
    let tier = <Option<String> as serde::Deserialize>::deserialize(deserializer)?;
    let name = |tier: String| {
        let names = &["f32", "f16", "cooperative"];
        crate::serde_fields::one_of(serde::de::value::StringDeserializer::new(tier), names)
    };
    tier.map(name).transpose()
}

/// Facts about a loaded model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ModelInfo {
    /// The name or path by which it was loaded.
    pub name: String,
    /// The architecture in config.json.
    pub architecture: String,
    /// Encoder layers.
    pub layers: usize,
    /// Features of the residual stream.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Features of the feed-forward layers.
    pub intermediate: usize,
    /// Rows of the word embedding table: tokens in the vocabulary.
    pub vocabulary: usize,
    /// The names of the outputs, in order.
    pub labels: Vec<String>,
    /// The activation that turns logits into scores: `identity`, `sigmoid`, `tanh` or `softmax`.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "read_activation"))]
    pub activation: StaticStr,
    /// Maximum tokens of a pair, special tokens included.
    pub max_tokens: usize,
    /// The names of the model's prompts, which config_sentence_transformers.json holds, in alphabetical order: for
    /// [`RerankOptions::prompt_name`](crate::RerankOptions::prompt_name).
    pub prompt_names: Vec<String>,
    /// The name of the prompt that is read before the queries of every call whose options name none. `None`: no prompt.
    pub default_prompt_name: Option<String>,
    /// Bytes of the weights in memory.
    pub weight_bytes: u64,
    /// The precision of the weights in memory: never [`Precision::Auto`].
    pub precision: Precision,
    /// A hash of every file of the model.
    pub hash: u64,
    /// Sentences for people about what is unusual without being an error: in the model's files, or a GPU that failed the
    /// self-test of a tier.
    pub warnings: Vec<String>,
    /// The backend that computes: never [`Backend::Auto`].
    pub backend: Backend,
    /// The instruction set that computes; `None` for the reference backend and the GPU.
    pub isa: Option<Isa>,
    /// The GPU that computes; `None` for every other backend.
    pub adapter: Option<String>,
    /// The tier of shaders on the GPU: `f32`, `f16` or `cooperative` (f16 with cooperative matrices); `None` for every other
    /// backend.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "read_tier"))]
    pub tier: Option<StaticStr>,
    /// Worker threads.
    pub threads: usize,
    /// Milliseconds of loading.
    pub load_ms: f64,
}

impl Reranker {
    /// Facts about the model.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The time of every stage since the model was loaded or this was last called, over all calls, including those still
    /// running. Empty unless the model was loaded with [`RerankerBuilder::profile`](crate::RerankerBuilder::profile). On a
    /// GPU only [`Stage::Tokenize`](crate::Stage::Tokenize) is measured.
    pub fn take_profile(&self) -> Vec<StageTime> {
        self.counters.as_ref().map_or_else(Vec::new, |counters| counters.take())
    }

    /// Frees work space that no call is using, for example on a memory warning. The next calls allocate it again.
    pub fn trim(&self) {
        self.engine.trim();
    }

    /// Releases the GPU, as an app must do before it goes to the background: its weights are moved to the host's memory.
    /// Until [`resume`](Self::resume), calls are computed on the CPU. Without a GPU this only does [`trim`](Self::trim).
    ///
    /// # Errors
    ///
    /// [`Error::Gpu`](crate::Error::Gpu) where the GPU has failed before; calls are then computed on the CPU anyway.
    pub fn suspend(&self) -> Result<()> {
        self.engine.suspend()
    }

    /// Uses the GPU again after [`suspend`](Self::suspend).
    ///
    /// # Errors
    ///
    /// An error where the GPU cannot be opened again. Calls are then computed on the CPU, and `resume` may be tried again.
    pub fn resume(&self) -> Result<()> {
        self.engine.resume()
    }

    /// Prepares for the first call, so that it does not have to wait. On a GPU, the fastest shaders are found and compiled,
    /// their results are compared with the CPU's, and the speed is measured, which takes up to a few seconds. On the CPU
    /// there is nothing to prepare. No score depends on which shaders are found.
    ///
    /// # Errors
    ///
    /// [`Error::Gpu`](crate::Error::Gpu) where the GPU fails or computes other numbers than the CPU: the model's calls are
    /// then finished on the CPU. [`Error::InvalidOption`](crate::Error::InvalidOption) where the folder of
    /// [`RerankerBuilder::gpu_cache`](crate::RerankerBuilder::gpu_cache) cannot be written to.
    pub fn warmup(&self) -> Result<()> {
        let warm_up = || self.engine.warmup();
        in_default_float_mode(|| {
            if self.pool.supports_nesting() { self.pool.call_on_worker(warm_up)? } else { warm_up() }
        })
    }
}
