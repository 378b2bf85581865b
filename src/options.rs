//! What a caller can choose: at load and per call.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::ranking::Scored;

/// Which implementation computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// The faster of GPU and CPU, measured at load; never a GPU in software, and the CPU wherever the options hold an
    /// executor or a memory limit. Calls that are too small for the GPU are computed on the CPU. The default.
    #[default]
    Auto,
    /// Hand-written SIMD on the host processor.
    Cpu,
    /// Naive loops with float64 sums: slow, and the yardstick for the others.
    Reference,
    /// Shaders on a GPU, in builds with the feature `gpu`. Loading fails where there is none; a call whose GPU fails is
    /// finished on the CPU, and its [`Usage`](crate::Usage) says so.
    Gpu,
}

/// Instruction sets of the CPU backend. All of them compute the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Portable Rust, no intrinsics.
    Scalar,
    /// 64-bit Arm, 128-bit vectors.
    Neon,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, VL, BW and DQ.
    Avx512,
}

/// What the CPU keeps weights as, and whether it multiplies floats or integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// What the model's files hold: `F32` for float32, `F16Weights` for float16 and bfloat16, `Int8` for the files that
    /// `crossrank quantize` writes. The GPU computes in floats whatever they hold. The default.
    #[default]
    Auto,
    /// float32: 4 bytes per weight. Logits within 1e-5 of float64.
    F32,
    /// float16, or bfloat16 where the files hold that, widened as they are read: 2 bytes per weight. The same bits as `F32`
    /// for files of 16 bits; float32 files are rounded, which moves logits by about 1e-3. Widening costs time, the more the
    /// fewer tokens a call has: 3 % of a hundred passages, a tenth of one short pair.
    F16Weights,
    /// Signed bytes with a float32 scale per output feature or row of a table: 1 byte per weight. Encoder layers round each
    /// token's inputs to 8 bits and multiply integers, two to three times as fast as floats; attention, norms and the head
    /// compute in float32. Logits move by a twentieth of their spread on average: see the README. The same bits on every
    /// CPU. Not for the GPU: [`Backend::Auto`] stays on the CPU.
    Int8,
}

/// What the GPU stores weights and the inputs of linear layers as. Sums, softmax, norms and activations are of float32
/// either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GpuPrecision {
    /// As float32: logits within 1e-4 of the CPU's. The default.
    #[default]
    F32,
    /// As float16, with cooperative matrices where the GPU has them: faster, and half the memory for weights. Logits within
    /// 5e-3 of the CPU's, so documents whose logits are closer than that may change places.
    F16,
}

/// What to do with a pair that is longer than the window. The final separator always survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Truncation {
    /// Cut the longer side first, as Hugging Face's `longest_first` does.
    LongestFirst,
    /// Keep the whole query and cut the document.
    DocumentOnly,
    /// Refuse the call with [`Error::TooLong`](crate::Error::TooLong), which names the first such pair, before anything
    /// is computed.
    Error,
}

/// One of a model's labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// By its name in [`ModelInfo::labels`](crate::ModelInfo::labels).
    Name(String),
    /// By its position there.
    Index(usize),
}

impl From<&str> for Label {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for Label {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<usize> for Label {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// A host's own threads, for example the job system of a game engine: see [`Builder::executor`](crate::Builder::executor).
pub trait Executor: Send + Sync {
    /// How many tasks can run at once, at least 1.
    fn threads(&self) -> usize;

    /// Calls `task(0)` to `task(count - 1)`, each once, in any order and on any thread, and returns when all of them have
    /// returned. A task never calls back into the executor, and needs about 256 KiB of stack.
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync));
}

/// How a model is loaded.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Which implementation computes. Default: [`Backend::Auto`].
    pub backend: Backend,
    /// The highest instruction set the CPU backend may use. Default: the best this machine has.
    pub isa: Option<Isa>,
    /// Worker threads. Default: one per physical core this process may use.
    pub threads: Option<usize>,
    /// Window in tokens, special tokens included; never more than the model's own. Default: the model's own.
    pub max_tokens: Option<usize>,
    /// The most bytes that weights and work space together may take. Default: no limit.
    pub memory_limit: Option<u64>,
    /// Whether [`Backend::Gpu`] may use a processor that poses as a GPU, which is slower than the CPU backend. Default: no.
    pub allow_software_gpu: bool,
    /// What the CPU keeps weights as. Default: [`Precision::Auto`].
    pub precision: Precision,
    /// What the GPU stores weights and the inputs of linear layers as. Default: [`GpuPrecision::F32`].
    pub gpu_precision: GpuPrecision,
    /// Folder in which compiled shaders, and which are the fastest, are kept from run to run: see
    /// [`Builder::gpu_cache`](crate::Builder::gpu_cache). Default: none.
    pub gpu_cache: Option<PathBuf>,
    /// Threads of the host to compute on, in place of our own. Default: none.
    pub executor: Option<Arc<dyn Executor>>,
    /// Whether the time of each stage is counted: see [`Builder::profile`](crate::Builder::profile). Default: no.
    pub profile: bool,
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("backend", &self.backend)
            .field("isa", &self.isa)
            .field("threads", &self.threads)
            .field("max_tokens", &self.max_tokens)
            .field("memory_limit", &self.memory_limit)
            .field("allow_software_gpu", &self.allow_software_gpu)
            .field("precision", &self.precision)
            .field("gpu_precision", &self.gpu_precision)
            .field("gpu_cache", &self.gpu_cache)
            .field("executor", &self.executor.is_some())
            .field("profile", &self.profile)
            .finish()
    }
}

/// How documents longer than the window are read: in overlapping windows, of which the best one scores the document. Needs
/// a model with one label.
///
/// The query stands in every window; one that takes more than half of it is cut to half
/// ([`Truncation::Error`] refuses the call then). All windows of a document are equally long; the last one ends with the
/// document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Windows {
    /// Tokens that neighbouring windows share, at most half of the room that a window has for the document. Default: 64.
    pub overlap: usize,
    /// Most windows of a document; what is beyond is cut. At least 1. Default: 16.
    pub max_windows: usize,
}

impl Default for Windows {
    fn default() -> Self {
        Self { overlap: 64, max_windows: 16 }
    }
}

/// How one call runs. Build it with the chained setters:
///
/// ```
/// # use crossrank::RerankOptions;
/// let options = RerankOptions::new().top_k(5).threshold(0.5);
/// # assert_eq!(options.top_k, Some(5));
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct RerankOptions {
    /// Return at most this many results. Default: all. Does not apply to `score`.
    pub top_k: Option<usize>,
    /// Drop results whose score (not logit) is below this. Default: none. Does not apply to `score`.
    pub threshold: Option<f64>,
    /// The label to rank by. Default: the only one; of two that have no names (`LABEL_0` and `LABEL_1`) and no activation,
    /// the second, through a softmax. Does not apply to `score`.
    pub label: Option<Label>,
    /// What to do with pairs longer than the window. Default: `DocumentOnly` in `rerank` where the query alone fits,
    /// else `LongestFirst`; `LongestFirst` in `score`.
    pub truncation: Option<Truncation>,
    /// Window in tokens for this call; never more than the model was loaded with. Default: that.
    pub max_tokens: Option<usize>,
    /// Reads documents longer than the window in several windows, instead of cutting them. Default: none.
    pub windows: Option<Windows>,
    /// Cancels the call from another thread. Default: none.
    pub cancel: Option<CancelToken>,
    /// When to stop: pairs not scored by then come back as [`Status::NotScored`](crate::Status::NotScored). Default: never.
    pub deadline: Option<Instant>,
    /// Called on the calling thread as each group of pairs ends, in the default floating-point mode. It may call the
    /// model again; if it panics, the call returns [`Error::Internal`](crate::Error::Internal). Default: none.
    pub on_progress: Option<ProgressFn>,
}

/// The type of [`RerankOptions::on_progress`].
pub type ProgressFn = Arc<dyn Fn(&Progress<'_>) + Send + Sync>;

/// What [`RerankOptions::on_progress`] is told.
#[derive(Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// Pairs finished so far.
    pub done: usize,
    /// Pairs of the whole call.
    pub total: usize,
    /// The pairs that finished since the last call, in no particular order. `index` counts over the whole call.
    pub finished: &'a [Scored],
}

impl RerankOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`top_k`](Self::top_k).
    pub fn top_k(mut self, count: usize) -> Self {
        self.top_k = Some(count);
        self
    }

    /// Sets [`threshold`](Self::threshold).
    pub fn threshold(mut self, score: f64) -> Self {
        self.threshold = Some(score);
        self
    }

    /// Sets [`label`](Self::label), by name or by index.
    pub fn label(mut self, label: impl Into<Label>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets [`truncation`](Self::truncation).
    pub fn truncation(mut self, policy: Truncation) -> Self {
        self.truncation = Some(policy);
        self
    }

    /// Sets [`max_tokens`](Self::max_tokens).
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets [`windows`](Self::windows).
    pub fn windows(mut self, windows: Windows) -> Self {
        self.windows = Some(windows);
        self
    }

    /// Sets [`cancel`](Self::cancel).
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }

    /// Sets [`deadline`](Self::deadline) to a point in time.
    pub fn deadline(mut self, at: Instant) -> Self {
        self.deadline = Some(at);
        self
    }

    /// Sets [`deadline`](Self::deadline) to a time from now.
    pub fn time_limit(self, limit: Duration) -> Self {
        // A limit past the end of the clock is no limit.
        match Instant::now().checked_add(limit) {
            Some(at) => self.deadline(at),
            None => self,
        }
    }

    /// Sets [`on_progress`](Self::on_progress).
    pub fn on_progress(mut self, f: impl Fn(&Progress<'_>) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(f));
        self
    }
}

impl fmt::Debug for RerankOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RerankOptions")
            .field("top_k", &self.top_k)
            .field("threshold", &self.threshold)
            .field("label", &self.label)
            .field("truncation", &self.truncation)
            .field("max_tokens", &self.max_tokens)
            .field("windows", &self.windows)
            .field("cancel", &self.cancel)
            .field("deadline", &self.deadline)
            .field("on_progress", &self.on_progress.is_some())
            .finish()
    }
}
