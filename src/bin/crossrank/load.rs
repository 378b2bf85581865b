//! The flags of every command that loads a model.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use crossrank::{
    Backend, Isa, ModelFiles, Precision, RerankOptions, Reranker, RerankerBuilder, Truncation, Windows,
};

#[cfg(feature = "gpu")]
use crossrank::GpuPrecision;

use crate::failure::Failure;

/// The model, and how it is run.
#[derive(Args)]
pub struct ModelArgs {
    /// Directory of a model, or its name in the models folder or the Hugging Face cache [default: the bundled model]
    #[arg(short, long, value_name = "DIR|NAME")]
    pub model: Option<PathBuf>,

    /// The implementation that computes
    #[arg(long, value_enum, default_value_t)]
    backend: BackendArg,

    /// The highest instruction set the CPU backend may use
    #[arg(long, value_enum, default_value_t)]
    isa: IsaArg,

    /// Worker threads [default: one per physical core this process may use]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<NonZeroUsize>,

    /// Numbers in which the CPU keeps weights and multiplies: auto is the precision of the files
    #[arg(long, value_enum, default_value_t)]
    precision: PrecisionArg,

    /// Let `--backend gpu` use a software adapter: for tests
    #[cfg(feature = "gpu")]
    #[arg(long)]
    allow_software_gpu: bool,

    /// Numbers in which the GPU stores weights and the inputs of linear layers: f16 is faster, with logits within 5e-3
    #[cfg(feature = "gpu")]
    #[arg(long, value_enum, default_value_t)]
    gpu_precision: GpuPrecisionArg,

    /// Keep compiled shaders in this folder
    #[cfg(feature = "gpu")]
    #[arg(long, value_name = "DIR")]
    gpu_cache: Option<PathBuf>,

    /// Window in tokens, special tokens included [default: the model's own]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    max_tokens: Option<NonZeroUsize>,
}

/// What to do with pairs that are longer than the window.
#[derive(Args)]
pub struct TruncationArgs {
    /// What to do with pairs longer than the window [default: longest-first; rerank: document-only where the query fits]
    #[arg(long, value_enum, value_name = "POLICY")]
    truncation: Option<TruncationArg>,

    /// Read documents longer than the window in at most N overlapping windows; the best one gives the score
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    windows: Option<NonZeroUsize>,

    /// Tokens that neighbouring windows share
    #[arg(long, value_name = "TOKENS", requires = "windows", default_value_t = Windows::default().overlap)]
    overlap: usize,
}

/// What is read before the query.
#[derive(Args)]
pub struct PromptArgs {
    /// Read this text before the query; an empty one switches off the model's default prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_name")]
    prompt: Option<String>,

    /// Read the model's prompt of this name before the query: `crossrank info` lists them [default: the model's own default]
    #[arg(long, value_name = "NAME")]
    prompt_name: Option<String>,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum BackendArg {
    #[default]
    Auto,
    Cpu,
    #[cfg(feature = "gpu")]
    Gpu,
    Reference,
}

#[cfg(feature = "gpu")]
#[derive(Clone, Copy, Default, ValueEnum)]
enum GpuPrecisionArg {
    #[default]
    F32,
    F16,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum PrecisionArg {
    #[default]
    Auto,
    F32,
    F16,
    Int8,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum IsaArg {
    #[default]
    Auto,
    Scalar,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

#[derive(Clone, Copy, ValueEnum)]
enum TruncationArg {
    LongestFirst,
    DocumentOnly,
    Error,
}

impl ModelArgs {
    /// Finds the files of the model.
    pub fn files(&self) -> Result<ModelFiles, Failure> {
        Ok(match &self.model {
            Some(model) => ModelFiles::find(model)?,
            None => ModelFiles::bundled(),
        })
    }

    /// Loads the model.
    pub fn load(&self) -> Result<Reranker, Failure> {
        self.load_files(self.files()?)
    }

    /// Loads the model, with the time of each stage measured if `profile`.
    pub fn load_profiled(&self, profile: bool) -> Result<Reranker, Failure> {
        Ok(self.builder().profile(profile).load_files(self.files()?)?)
    }

    /// Loads a model from its [`files`](Self::files).
    pub fn load_files(&self, files: ModelFiles) -> Result<Reranker, Failure> {
        Ok(self.builder().load_files(files)?)
    }

    fn builder(&self) -> RerankerBuilder {
        let mut builder = Reranker::builder().backend(match self.backend {
            BackendArg::Auto => Backend::Auto,
            BackendArg::Cpu => Backend::Cpu,
            #[cfg(feature = "gpu")]
            BackendArg::Gpu => Backend::Gpu,
            BackendArg::Reference => Backend::Reference,
        });
        builder = builder.precision(match self.precision {
            PrecisionArg::Auto => Precision::Auto,
            PrecisionArg::F32 => Precision::F32,
            PrecisionArg::F16 => Precision::F16Weights,
            PrecisionArg::Int8 => Precision::Int8,
        });
        let isa = match self.isa {
            IsaArg::Auto => None,
            IsaArg::Scalar => Some(Isa::Scalar),
            #[cfg(target_arch = "aarch64")]
            IsaArg::Neon => Some(Isa::Neon),
            #[cfg(target_arch = "x86_64")]
            IsaArg::Avx2 => Some(Isa::Avx2),
            #[cfg(target_arch = "x86_64")]
            IsaArg::Avx512 => Some(Isa::Avx512),
        };
        if let Some(isa) = isa {
            builder = builder.isa(isa);
        }
        #[cfg(feature = "gpu")]
        {
            builder =
                builder.allow_software_gpu(self.allow_software_gpu).gpu_precision(match self.gpu_precision {
                    GpuPrecisionArg::F32 => GpuPrecision::F32,
                    GpuPrecisionArg::F16 => GpuPrecision::F16,
                });
            if let Some(folder) = &self.gpu_cache {
                builder = builder.gpu_cache(folder);
            }
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads.get());
        }
        if let Some(tokens) = self.max_tokens {
            builder = builder.max_tokens(tokens.get());
        }
        builder
    }
}

impl TruncationArgs {
    /// Default options, except for truncation and windows.
    pub fn options(&self) -> RerankOptions {
        let mut options = RerankOptions::new();
        options.windows = self.windows.map(|max| Windows { overlap: self.overlap, max_windows: max.get() });
        match self.truncation {
            None => options,
            Some(TruncationArg::LongestFirst) => options.truncation(Truncation::LongestFirst),
            Some(TruncationArg::DocumentOnly) => options.truncation(Truncation::DocumentOnly),
            Some(TruncationArg::Error) => options.truncation(Truncation::Error),
        }
    }
}

impl PromptArgs {
    /// `options` with the prompt.
    pub fn add_to(&self, mut options: RerankOptions) -> RerankOptions {
        options.prompt.clone_from(&self.prompt);
        options.prompt_name.clone_from(&self.prompt_name);
        options
    }
}

/// A count for which 0 has no meaning.
fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    let count: usize = text.parse().map_err(|_| "expected a whole number, 1 or more".to_owned())?;
    NonZeroUsize::new(count).ok_or_else(|| "give 1 or more, or leave the flag out for the default".to_owned())
}

/// The name of a precision in flags and output.
pub fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::F16Weights => "f16",
        Precision::Int8 => "int8",
        _ => "unknown",
    }
}

/// The name of a backend in flags and output.
pub fn backend_name(backend: Backend) -> &'static str {
    match backend {
        Backend::Auto => "auto",
        Backend::Cpu => "cpu",
        Backend::Gpu => "gpu",
        Backend::Reference => "reference",
        _ => "unknown",
    }
}
