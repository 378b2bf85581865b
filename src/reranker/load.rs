//! Files -> [`Reranker`]: what is loaded into which engine, and the memory it takes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::engine::{self, Engine};
#[cfg(feature = "gpu")]
use super::gpu;
use super::profile::Counters;
use super::run::{GPU_GROUP_TOKENS, GROUP_TOKENS};
use super::{ModelInfo, Reranker};
use crate::cpu::isa;
use crate::cpu::simd::in_default_float_mode;
use crate::cpu::threads::{Pool, physical_cores};
use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::config;
use crate::model::files::ModelFiles;
use crate::model::hash::hash_model;
use crate::model::spec::Spec;
use crate::model::weights::{ParallelFor, serial};
use crate::options::{Backend, Isa, LoadOptions, Precision};
use crate::text::tokenizer::Tokenizer;

/// The memory that a model would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// Bytes of the weights in memory.
    pub weight_bytes: u64,
    /// Bytes of work space when every thread has met the longest input.
    pub work_bytes: u64,
}

/// The memory that a model would take, from its headers alone.
pub fn memory_plan(options: &LoadOptions, files: &ModelFiles) -> Result<MemoryPlan> {
    let loader = Loader { options };
    let (mut spec, checkpoint) = (config::read(files)?, Checkpoint::open(files)?);
    spec.precision = loader.resolve_precision(&spec, &checkpoint)?;
    loader.planned(&spec, &checkpoint)
}

/// Loads a model.
pub fn load_reranker(options: &LoadOptions, files: &ModelFiles) -> Result<Reranker> {
    let loader = Loader { options };
    let pool = Arc::new(match &options.executor {
        Some(host) => Pool::with_executor(Arc::clone(host)),
        None => Pool::new(loader.thread_count()?),
    });
    let build = || loader.build(&pool, files);
    // On the pool, for its stack; a host's threads are there for calls alone. On this thread, where there is no other,
    // the floating-point mode is the host's.
    in_default_float_mode(|| if pool.supports_nesting() { pool.call_on_worker(build) } else { Ok(build()) })?
}

/// Everything that loading asks of the options.
struct Loader<'a> {
    options: &'a LoadOptions,
}

impl Loader<'_> {
    fn build(&self, pool: &Arc<Pool>, files: &ModelFiles) -> Result<Reranker> {
        let start = Instant::now();
        let spec = config::read(files)?;
        let (vocabulary, segments) = (spec.vocabulary, spec.token_types);
        let counters = self.options.profile.then(Arc::<Counters>::default);
        // A host's threads are there for calls alone.
        let spread = |count: usize, task: &(dyn Fn(usize) + Sync)| match pool.supports_nesting() {
            true => pool.parallel_for(count, task, || ()),
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
        let hash = hash_model(files, &checkpoint)?;
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
            return gpu::load_faster(spec, checkpoint, self.options, load);
        }
        match backend {
            #[cfg(feature = "gpu")]
            Backend::Gpu => gpu::load(spec, checkpoint, self.options, load),
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

/// Keeps the result of a task.
fn put<T>(slot: &Mutex<Option<T>>, value: T) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
}

/// The result of a task that has ended.
fn take<T>(slot: Mutex<Option<Result<T>>>) -> Result<T> {
    let value = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
    value.unwrap_or_else(|| Err(Error::Internal { message: "a part of loading did not run".into() }))
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
