//! The public options of loading, each with its unit, default and errors.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Reranker;
use super::load::{self, MemoryPlan};
use crate::error::Result;
use crate::model::files::ModelFiles;
use crate::options::{Backend, Executor, GpuPrecision, Isa, LoadOptions, Precision};

/// Loads a [`Reranker`] with other options than the defaults.
///
/// ```no_run
/// use crossrank::{Precision, Reranker};
///
/// let builder = Reranker::builder().precision(Precision::Int8).threads(2).memory_limit(512 << 20);
/// let reranker = builder.load("my-model")?;
/// # Ok::<(), crossrank::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct RerankerBuilder {
    options: LoadOptions,
}

impl RerankerBuilder {
    /// Which implementation computes. Default: [`Backend::Auto`].
    pub fn backend(mut self, backend: Backend) -> Self {
        self.options.backend = backend;
        self
    }

    /// The highest instruction set the CPU backend may use. Default: the best this machine has.
    pub fn isa(mut self, isa: impl Into<Option<Isa>>) -> Self {
        self.options.isa = isa.into();
        self
    }

    /// Worker threads, at least 1. Default: one per physical core this process may use.
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

    /// Whether [`Backend::Gpu`] may use a software adapter: for tests, because it is slower than the CPU backend.
    /// Default: no.
    pub fn allow_software_gpu(mut self, allow: bool) -> Self {
        self.options.allow_software_gpu = allow;
        self
    }

    /// The type in which the CPU keeps weights, and whether it multiplies floats or integers. Default: [`Precision::Auto`],
    /// the type that the files hold.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.options.precision = precision;
        self
    }

    /// The type in which the GPU stores weights and the inputs of linear layers. Default: [`GpuPrecision::F32`]. A GPU that
    /// computes wrong numbers in float16 runs in float32; [`ModelInfo::tier`](crate::ModelInfo::tier) and
    /// [`ModelInfo::warnings`](crate::ModelInfo::warnings) say so.
    pub fn gpu_precision(mut self, precision: GpuPrecision) -> Self {
        self.options.gpu_precision = precision;
        self
    }

    /// An existing folder in which compiled shaders are cached, and the measurements of which are fastest. The cache is read
    /// at load and written by [`warmup`](Reranker::warmup). Give a folder that no other user can write to, because drivers
    /// trust its contents. Measurements are valid until the driver or this library changes; delete the file to measure
    /// again. Default: none. Without effect on the CPU; Metal and Direct3D 12 cache compiled shaders themselves.
    pub fn gpu_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options.gpu_cache = Some(folder.into());
        self
    }

    /// Computes on the host's threads: the library starts none, and [`threads`](Self::threads) does not apply.
    /// A single pair then computes on one thread, and progress is reported at the end of a call.
    pub fn executor(mut self, executor: impl Into<Option<Arc<dyn Executor>>>) -> Self {
        self.options.executor = executor.into();
        self
    }

    /// Measures the time of each stage of the computation: see [`Reranker::take_profile`]. Default: no.
    pub fn profile(mut self, profile: bool) -> Self {
        self.options.profile = profile;
        self
    }

    /// The memory that a model would take with these options, from the headers of its files alone. The argument is that of
    /// [`load`](Self::load).
    pub fn plan(&self, path_or_name: impl AsRef<Path>) -> Result<MemoryPlan> {
        self.plan_files(&ModelFiles::find(path_or_name.as_ref())?)
    }

    /// [`plan`](Self::plan) for files in memory.
    pub fn plan_files(&self, files: &ModelFiles) -> Result<MemoryPlan> {
        load::memory_plan(&self.options, files).map_err(|error| files.with_folder(error))
    }

    /// Loads from a directory, or by a name that is looked up in the models folder and in the Hugging Face cache.
    pub fn load(self, path_or_name: impl AsRef<Path>) -> Result<Reranker> {
        self.load_files(ModelFiles::find(path_or_name.as_ref())?)
    }

    /// Loads from files in memory.
    pub fn load_files(self, files: ModelFiles) -> Result<Reranker> {
        load::load_reranker(&self.options, &files).map_err(|error| files.with_folder(error))
    }

    /// Loads the model embedded in the library.
    #[cfg(feature = "bundled-model")]
    pub fn bundled(self) -> Result<Reranker> {
        self.load_files(ModelFiles::bundled())
    }
}

impl Reranker {
    /// Loads with other options than the defaults.
    pub fn builder() -> RerankerBuilder {
        RerankerBuilder::default()
    }

    /// Loads from a directory or by name, with default options. See [`RerankerBuilder::load`].
    pub fn load(path_or_name: impl AsRef<Path>) -> Result<Self> {
        Self::builder().load(path_or_name)
    }

    /// Loads the model embedded in the library, with default options.
    #[cfg(feature = "bundled-model")]
    pub fn bundled() -> Result<Self> {
        Self::builder().bundled()
    }
}
