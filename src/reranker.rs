//! The public API: load a model, score pairs, rerank documents. The only file that knows every layer. Half of it is what a
//! caller reads: every option with its unit, default and errors.

pub mod cached;
mod engine;
#[cfg(feature = "gpu")]
mod gpu;
pub mod model;
pub mod profile;
#[cfg(feature = "gpu")]
mod recovery;
mod run;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::cpu::isa;
use crate::cpu::simd::in_default_float_mode;
use crate::cpu::threads::{Pool, physical_cores};
use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::config;
use crate::model::files::ModelFiles;
use crate::model::score::Choice;
use crate::model::spec::{ScoreActivation, Spec};
use crate::model::weights::{ParallelFor, serial};
use crate::options::{
    Backend, Executor, GpuPrecision, Isa, Label, LoadOptions, Precision, RerankOptions, Truncation,
};
use crate::ranking::{PairStatus, Ranked, Ranking, Scored, Scores, Usage};
use crate::text::tokenizer::Tokenizer;
use engine::Engine;
use profile::{Counters, StageTime};
use run::{GPU_GROUP_TOKENS, GROUP_TOKENS, Kind, Work, run};

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

/// The memory that a model would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// Bytes of the weights in memory.
    pub weight_bytes: u64,
    /// Bytes of work space when every thread has met the longest input.
    pub work_bytes: u64,
}

/// Loads a [`Reranker`] with options other than the defaults.
#[derive(Clone, Debug, Default)]
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

    /// Whether [`Backend::Gpu`] may use a processor that poses as a GPU: for tests, being slower than the CPU backend.
    /// Default: no.
    pub fn allow_software_gpu(mut self, allow: bool) -> Self {
        self.options.allow_software_gpu = allow;
        self
    }

    /// What the CPU keeps weights as, and whether it multiplies floats or integers. Default: [`Precision::Auto`], which is
    /// what the files hold.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.options.precision = precision;
        self
    }

    /// What the GPU stores weights and the inputs of linear layers as. Default: [`GpuPrecision::F32`]. A GPU that computes
    /// wrong numbers in float16 runs in float32; [`ModelInfo::tier`] and [`ModelInfo::warnings`] say so.
    pub fn gpu_precision(mut self, precision: GpuPrecision) -> Self {
        self.options.gpu_precision = precision;
        self
    }

    /// Keeps compiled shaders, and which of them are the fastest, in this folder, which exists: read at load, written by
    /// [`warmup`](Reranker::warmup). Give one that nobody else can write to, for drivers trust what they find there. What
    /// was measured is kept until the driver or this library changes; delete the file to measure again. Default: none.
    /// Without effect on the CPU; Metal and Direct3D 12 keep compiled shaders themselves.
    pub fn gpu_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options.gpu_cache = Some(folder.into());
        self
    }

    /// Computes on the host's threads in place of our own: none are started, and [`threads`](Self::threads) does not apply.
    /// A single pair then computes on one thread, and progress is reported at the end of a call.
    pub fn executor(mut self, executor: impl Into<Option<Arc<dyn Executor>>>) -> Self {
        self.options.executor = executor.into();
        self
    }

    /// Counts the time of each stage of the computation: see [`Reranker::take_profile`]. Default: no.
    pub fn profile(mut self, profile: bool) -> Self {
        self.options.profile = profile;
        self
    }

    /// The memory that a model would take with these options, from its headers alone. Takes what [`load`](Self::load) takes.
    pub fn plan(&self, path_or_name: impl AsRef<Path>) -> Result<MemoryPlan> {
        self.plan_files(&ModelFiles::find(path_or_name.as_ref())?)
    }

    /// [`plan`](Self::plan) for files in memory.
    pub fn plan_files(&self, files: &ModelFiles) -> Result<MemoryPlan> {
        let plan = || {
            let (mut spec, checkpoint) = (config::read(files)?, Checkpoint::open(files)?);
            spec.precision = self.resolve_precision(&spec, &checkpoint)?;
            self.planned(&spec, &checkpoint)
        };
        plan().map_err(|error| files.locate(error))
    }

    fn planned(&self, spec: &Spec, checkpoint: &Checkpoint<'_>) -> Result<MemoryPlan> {
        let weight_bytes = weight_bytes(spec, checkpoint, self.ran_by().0)?;
        // One run per thread, on the largest group that can come.
        let floats = engine::work_floats(spec, self.window(spec).max(GROUP_TOKENS));
        let mut work_bytes = floats.saturating_mul(4).saturating_mul(self.thread_count()? as u64);
        if self.options.backend == Backend::Gpu {
            work_bytes = work_bytes.saturating_add(4 * engine::work_floats(spec, GPU_GROUP_TOKENS));
        }
        Ok(MemoryPlan { weight_bytes, work_bytes })
    }

    /// The backend that runs, and its instruction set.
    fn ran_by(&self) -> (Backend, Option<Isa>) {
        match self.options.backend {
            Backend::Reference => (Backend::Reference, None),
            Backend::Auto | Backend::Cpu => (Backend::Cpu, Some(isa::best(self.options.isa))),
            // The CPU stands by.
            Backend::Gpu => (Backend::Gpu, Some(isa::best(self.options.isa))),
        }
    }

    /// What weights are kept as, where it is not for the files to say.
    fn resolve_precision(&self, spec: &Spec, checkpoint: &Checkpoint<'_>) -> Result<Precision> {
        let stored = checkpoint.precision(spec, self.options.precision)?;
        match (self.options.backend, self.options.precision, stored) {
            (Backend::Gpu, Precision::Auto, Precision::Int8) => Ok(Precision::F32),
            (Backend::Gpu, Precision::Int8, _) => {
                let message = "the GPU does not multiply integers: use the CPU, or precision f32".to_owned();
                Err(Error::InvalidOption { option: "precision", message })
            }
            _ => Ok(stored),
        }
    }

    fn window(&self, spec: &Spec) -> usize {
        self.options.max_tokens.unwrap_or(usize::MAX).min(spec.max_tokens)
    }

    /// Loads from a directory, or by a name that is looked up in the models folder and in the Hugging Face cache.
    pub fn load(self, path_or_name: impl AsRef<Path>) -> Result<Reranker> {
        self.load_files(ModelFiles::find(path_or_name.as_ref())?)
    }

    /// Loads from files in memory.
    pub fn load_files(self, files: ModelFiles) -> Result<Reranker> {
        let pool = Arc::new(match &self.options.executor {
            Some(host) => Pool::on(Arc::clone(host)),
            None => Pool::new(self.thread_count()?),
        });
        let build = || self.build(&pool, &files);
        // On the pool, for its stack; a host's threads are there for calls alone. On this thread, where there is no other,
        // the floating-point mode is the host's.
        in_default_float_mode(|| if pool.nests() { pool.call(build) } else { Ok(build()) })?
            .map_err(|error| files.locate(error))
    }

    fn build(&self, pool: &Arc<Pool>, files: &ModelFiles) -> Result<Reranker> {
        let start = Instant::now();
        let spec = config::read(files)?;
        let (vocabulary, segments) = (spec.vocabulary, spec.token_types);
        let counters = self.options.profile.then(Arc::<Counters>::default);
        // A host's threads are there for calls alone.
        let spread = |count: usize, task: &(dyn Fn(usize) + Sync)| match pool.nests() {
            true => pool.run(count, task, || ()),
            false => serial(count, task),
        };
        // Side by side; the tasks of the first are taken by whoever is free.
        let (weights, tokenizer) = (Mutex::new(None), Mutex::new(None));
        let part = |index: usize| match index {
            0 => put(&weights, self.weights(spec.clone(), files, &spread, counters.as_ref())),
            _ => put(&tokenizer, Tokenizer::new("tokenizer.json", &files.tokenizer, vocabulary, segments)),
        };
        spread(2, &part)?;
        let LoadedWeights { spec, engine, weight_bytes, hash, warnings } = take(weights)?;
        let (tokenizer, max_tokens) = (take(tokenizer)?, self.window(&spec));
        if max_tokens < tokenizer.special_tokens() {
            let least = tokenizer.special_tokens();
            let message = format!("{max_tokens} leaves no room for the {least} special tokens of every pair");
            return Err(Error::InvalidOption { option: "max_tokens", message });
        }
        let info = ModelInfo {
            name: files.name.clone(),
            architecture: spec.architecture.clone(),
            layers: spec.layers,
            hidden: spec.hidden,
            heads: spec.heads,
            intermediate: spec.intermediate,
            vocabulary: spec.vocabulary,
            labels: spec.labels.clone(),
            activation: spec.score.name(),
            max_tokens,
            weight_bytes,
            precision: spec.precision,
            hash,
            warnings: [warnings, engine.warnings()].concat(),
            backend: engine.runs().backend,
            isa: engine.runs().isa,
            adapter: engine.adapter(),
            tier: engine.tier(),
            threads: pool.threads(),
            load_ms: start.elapsed().as_secs_f64() * 1e3,
        };
        Ok(Reranker { info, spec, tokenizer, engine, pool: Arc::clone(pool), counters })
    }

    /// Everything that the weight files are asked for.
    fn weights(
        &self,
        mut spec: Spec,
        files: &ModelFiles,
        spread: &ParallelFor<'_>,
        counters: Option<&Arc<Counters>>,
    ) -> Result<LoadedWeights> {
        let checkpoint = Checkpoint::open(files)?;
        spec.precision = self.resolve_precision(&spec, &checkpoint)?;
        let plan = self.planned(&spec, &checkpoint)?;
        let needed = plan.weight_bytes.saturating_add(plan.work_bytes);
        if let Some(limit) = self.options.memory_limit.filter(|limit| needed > *limit) {
            return Err(Error::MemoryLimit { needed, limit });
        }
        let mut engine = self.engine(&spec, &checkpoint, spread, counters)?;
        let hash = files.hash_with(&checkpoint)?;
        engine.loaded_from(files, hash);
        let weight_bytes = weight_bytes(&spec, &checkpoint, engine.runs().backend)?;
        let warnings = checkpoint.warnings(&spec)?;
        Ok(LoadedWeights { spec, engine, weight_bytes, hash, warnings })
    }

    fn engine(
        &self,
        spec: &Spec,
        checkpoint: &Checkpoint<'_>,
        spread: &ParallelFor<'_>,
        counters: Option<&Arc<Counters>>,
    ) -> Result<Box<dyn Engine>> {
        let (backend, isa) = self.ran_by();
        let load = || engine::load(spec, checkpoint, isa, spread, counters);
        // A host that brings its own threads or counts bytes gets what it knows.
        #[cfg(feature = "gpu")]
        if self.options.backend == Backend::Auto
            && self.options.executor.is_none()
            && self.options.memory_limit.is_none()
            && spec.precision != Precision::Int8
        {
            return gpu::faster(spec, checkpoint, &self.options, load);
        }
        match backend {
            #[cfg(feature = "gpu")]
            Backend::Gpu => gpu::load(spec, checkpoint, &self.options, load),
            #[cfg(not(feature = "gpu"))]
            Backend::Gpu => {
                let message =
                    "this build has no GPU backend: build with the feature `gpu`, or use the CPU".to_owned();
                Err(Error::InvalidOption { option: "backend", message })
            }
            Backend::Auto | Backend::Cpu | Backend::Reference => load(),
        }
    }

    fn thread_count(&self) -> Result<usize> {
        if let Some(host) = &self.options.executor {
            return Ok(host.threads().max(1));
        }
        match self.options.threads {
            Some(0) => {
                let message = "0 threads cannot compute: give 1 or more".to_owned();
                Err(Error::InvalidOption { option: "threads", message })
            }
            Some(count) => Ok(count),
            None => Ok(physical_cores()),
        }
    }

    /// Loads the model embedded in the library.
    #[cfg(feature = "bundled-model")]
    pub fn bundled(self) -> Result<Reranker> {
        self.load_files(ModelFiles::bundled())
    }
}

/// What the weight files gave.
struct LoadedWeights {
    /// With the precision that the weights are kept in.
    spec: Spec,
    engine: Box<dyn Engine>,
    weight_bytes: u64,
    hash: u64,
    warnings: Vec<String>,
}

impl Reranker {
    /// Loads with other options than the defaults.
    pub fn builder() -> RerankerBuilder {
        RerankerBuilder::default()
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
        &self.info
    }

    /// What every stage took since the model was loaded or this was last called, over all calls, those that still run
    /// included. Empty unless the model was loaded with [`Builder::profile`]. Of what a GPU computes nothing is counted but
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
    /// [`Error::Gpu`] where the GPU had failed before; calls are computed on the CPU then anyway.
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
    /// [`Error::Gpu`] where the GPU fails or computes other numbers than the CPU: the model's calls are finished on the CPU
    /// then. [`Error::InvalidOption`] where the folder of [`Builder::gpu_cache`] cannot be written to.
    pub fn warmup(&self) -> Result<()> {
        let warm_up = || self.engine.warmup();
        in_default_float_mode(|| if self.pool.nests() { self.pool.call(warm_up)? } else { warm_up() })
    }

    /// Ranks documents by relevance to a query. A model with several labels needs [`RerankOptions::label`].
    ///
    /// An empty list of documents gives an empty ranking.
    pub fn rerank<D: Document>(
        &self,
        query: &str,
        documents: &[D],
        options: &RerankOptions,
    ) -> Result<Ranking> {
        let mut rankings = self.rerank_many(&[(query, documents)], options)?;
        rankings.pop().ok_or_else(|| Error::Internal { message: "no ranking for a set".into() })
    }

    /// Several (query, documents) sets in one packed run: one ranking per set, in order. A model with several labels needs
    /// [`RerankOptions::label`]. An [`Error::TooLong`] counts over the documents of all sets.
    pub fn rerank_many<D: Document>(
        &self,
        sets: &[(&str, &[D])],
        options: &RerankOptions,
    ) -> Result<Vec<Ranking>> {
        let choice = Some(self.choice(options.label.as_ref())?);
        if options.threshold.is_some_and(f64::is_nan) {
            let message = "NaN is no threshold: every comparison with it fails".to_owned();
            return Err(Error::InvalidOption { option: "threshold", message });
        }
        let queries: Vec<&str> = sets.iter().map(|(query, _)| *query).collect();
        let work: Vec<Work<'_>> = sets
            .iter()
            .enumerate()
            .flat_map(|(query, (_, documents))| {
                documents.iter().map(move |d| Work { query, document: d.text() })
            })
            .collect();
        // Scores are made of logits, and compared with the threshold, on this thread.
        in_default_float_mode(|| {
            let (scored, usage) =
                run(self, &queries, &work, options, Kind { truncation: Truncation::DocumentOnly, choice })?;
            let mut scored = scored.into_iter();
            Ok(sets.iter().map(|(_, documents)| rank(documents, &mut scored, &usage, options)).collect())
        })
    }

    /// The one score of every pair: the label that was asked for, else the only one, else the second of two without names
    /// and without an activation of their own, which classify as not relevant and relevant, through a softmax.
    fn choice(&self, label: Option<&Label>) -> Result<Choice> {
        let (labels, activation) = (&self.info.labels, self.spec.score);
        let found = match label {
            Some(Label::Name(name)) => labels.iter().position(|label| label == name),
            Some(Label::Index(index)) => Some(*index).filter(|index| *index < labels.len()),
            None if labels.len() == 1 => Some(0),
            None if *labels == ["LABEL_0", "LABEL_1"] && activation == ScoreActivation::Identity => {
                return Ok(Choice { label: 1, activation: ScoreActivation::Softmax });
            }
            None => return Err(Error::SeveralLabels { labels: labels.len() }),
        };
        let unknown = || {
            let message =
                format!("the model has no such label: it has {} ({})", labels.len(), labels.join(", "));
            Error::InvalidOption { option: "label", message }
        };
        Ok(Choice { label: found.ok_or_else(unknown)?, activation })
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
        let queries: Vec<&str> = pairs.iter().map(|(query, _)| query.as_ref()).collect();
        let work: Vec<Work<'_>> = pairs
            .iter()
            .enumerate()
            .map(|(query, (_, document))| Work { query, document: document.as_ref() })
            .collect();
        let kind = Kind { truncation: Truncation::LongestFirst, choice: None };
        let (results, usage) = in_default_float_mode(|| run(self, &queries, &work, options, kind))?;
        Ok(Scores { results, usage })
    }
}

/// Keeps the result of a task.
fn put<T>(slot: &Mutex<Option<T>>, value: T) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
}

/// The result of a task that has ended.
fn take<T>(slot: Mutex<Option<Result<T>>>) -> Result<T> {
    let value = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
    value.unwrap_or_else(|| Err(Error::Internal { message: "a part of loading did not run".into() }))
}

/// Takes one set's results off `scored` and orders them.
fn rank<D: Document>(
    documents: &[D],
    scored: &mut impl Iterator<Item = Scored>,
    usage: &Usage,
    options: &RerankOptions,
) -> Ranking {
    let results = documents
        .iter()
        .zip(scored)
        .enumerate()
        .map(|(index, (document, scored))| Ranked {
            index,
            id: document.id().map(str::to_owned),
            logit: scored.logits[0],
            score: scored.scores[0],
            tokens: scored.tokens,
            cut: scored.cut,
            window: scored.window,
            status: match scored.status {
                PairStatus::Failed(Error::NonFinite { .. }) => PairStatus::Failed(Error::NonFinite { index }),
                status => status,
            },
        })
        .collect();
    Ranking::select(results, usage.clone(), options)
}

/// Bytes of the weights in memory: tables as they are stored, everything else widened to the backend's numbers.
fn weight_bytes(spec: &Spec, checkpoint: &Checkpoint<'_>, backend: Backend) -> Result<u64> {
    match backend {
        Backend::Reference => checkpoint.bytes_in_memory(spec, Some(size_of::<f64>()), size_of::<f64>()),
        Backend::Auto | Backend::Cpu => checkpoint.bytes_in_memory(spec, None, size_of::<f32>()),
        // Once on the GPU and once on the CPU, which stands by.
        Backend::Gpu => Ok(2 * checkpoint.bytes_in_memory(spec, None, size_of::<f32>())?),
    }
}
