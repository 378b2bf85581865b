//! Options of loading. Options of a call are in rerank_options.rs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The implementation that computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Backend {
    /// The faster of GPU and CPU, measured at load; never a software adapter, and the CPU wherever the options hold an
    /// executor or a memory limit. Calls that are too small for the GPU are computed on the CPU. Drivers, some of which print,
    /// are only asked where there may be a GPU: see docs/gpu.md. The default.
    #[default]
    Auto,
    /// Hand-written SIMD on the host processor.
    Cpu,
    /// The reference implementation: naive loops with float64 sums. Slow; the other backends are tested against it.
    Reference,
    /// Shaders on a GPU, in builds with the feature `gpu`. Loading fails where there is no GPU. A call whose GPU fails is
    /// finished on the CPU, and its [`Usage`](crate::Usage) says so.
    Gpu,
}

/// An instruction set of the CPU backend. All of them compute the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
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

/// The numbers in which the CPU keeps weights, and whether it multiplies floats or integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Precision {
    /// The precision of the model's files: `F32` for float32, `F16Weights` for float16 and bfloat16, `Int8` for the files
    /// that `crossrank quantize` writes. The GPU computes in floats in each case. The default.
    #[default]
    Auto,
    /// float32: 4 bytes per weight. Logits within 1e-5 of float64.
    F32,
    /// float16, or bfloat16 where the files hold that, widened to float32 while they are multiplied: 2 bytes per weight.
    /// The same bits as `F32` for files of 16 bits. float32 files are rounded at load, which changes logits by about 1e-3.
    /// Widening takes a larger part of the time the fewer tokens a call has: 3 % for a hundred passages, 10 % for one
    /// short pair.
    F16Weights,
    /// int8 with a float32 scale per output feature or row of a table: 1 byte per weight. Encoder layers quantize each
    /// token's inputs to 8 bits and multiply integers, two to three times as fast as floats. Attention, norms and the head
    /// compute in float32. Logits change by a twentieth of their spread on average: see docs/measured.md. The same bits
    /// on every CPU. The GPU does not support it: [`Backend::Auto`] stays on the CPU.
    Int8,
}

/// The numbers in which the GPU stores weights and the inputs of linear layers. Sums, softmax, norms and activations are
/// float32 in both cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum GpuPrecision {
    /// float32: logits within 1e-4 of float64. The default.
    #[default]
    F32,
    /// float16, with cooperative matrices where the GPU has them: faster, and half the memory for weights. Logits are within
    /// 5e-3 of float64, so documents whose logits differ by less than twice that may swap places.
    F16,
}

/// A host's own threads, for example the job system of a game engine: see
/// [`RerankerBuilder::executor`](crate::RerankerBuilder::executor).
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct LoadOptions {
    /// The implementation that computes. Default: [`Backend::Auto`].
    pub backend: Backend,
    /// The highest instruction set the CPU backend may use. Default: the best this machine has.
    pub isa: Option<Isa>,
    /// Worker threads. Default: one per physical core this process may use.
    pub threads: Option<usize>,
    /// Window in tokens, special tokens included; never more than the model's own. Default: the model's own.
    pub max_tokens: Option<usize>,
    /// Maximum bytes of weights and work space together. Default: no limit.
    pub memory_limit: Option<u64>,
    /// Whether [`Backend::Gpu`] may use a software adapter, which is slower than the CPU backend. Default: no.
    pub allow_software_gpu: bool,
    /// The numbers in which the CPU keeps weights. Default: [`Precision::Auto`].
    pub precision: Precision,
    /// The numbers in which the GPU stores weights and the inputs of linear layers. Default: [`GpuPrecision::F32`].
    pub gpu_precision: GpuPrecision,
    /// Folder that keeps compiled shaders and the measured choice among them between runs: see
    /// [`RerankerBuilder::gpu_cache`](crate::RerankerBuilder::gpu_cache). Default: none.
    pub gpu_cache: Option<PathBuf>,
    /// Threads of the host to compute on instead of worker threads of crossrank. Default: none.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub executor: Option<Arc<dyn Executor>>,
    /// Whether the time of each stage is measured: see [`RerankerBuilder::profile`](crate::RerankerBuilder::profile).
    /// Default: no.
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
