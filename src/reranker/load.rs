//! Files -> [`Reranker`]: what is loaded into which engine, and the memory it takes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::engine::{self, Engine, GPU_GROUP_TOKENS, GROUP_TOKENS};
#[cfg(feature = "gpu")]
use super::gpu;
use super::profile::Counters;
use super::{ModelInfo, Reranker};
use crate::cpu::isa;
use crate::cpu::simd::in_default_float_mode;
use crate::cpu::threads::{Pool, physical_cores};
use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::config;
use crate::model::files::{MAKE_TOKENIZER, ModelFiles};
use crate::model::hash::hash_model;
use crate::model::network::Network;
use crate::model::plan::LoadPlan;
use crate::model::prompts::Prompts;
use crate::model::spec::Spec;
use crate::model::weights::{ParallelFor, serial};
use crate::options::{Backend, Isa, LoadOptions, Precision};
use crate::text::settings::SettingsFiles;
use crate::text::tokenizer::Tokenizer;
use crate::text::vocabulary::{VocabularyFiles, make_tokenizer};

/// The memory that a model would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// Bytes of the weights in memory.
    pub weight_bytes: u64,
    /// Bytes of work space once every thread has computed the longest input.
    pub work_bytes: u64,
}

/// The memory that a model would take, from its headers alone.
pub fn memory_plan(options: &LoadOptions, files: &ModelFiles) -> Result<MemoryPlan> {
    let spec = config::read_spec(files)?;
    let checkpoint = Checkpoint::open(files)?;
    let loader = Loader { options, files, spec: &spec };
    loader.memory_plan(&loader.load_plan(&checkpoint)?)
}

/// Loads a model.
pub fn load_reranker(options: &LoadOptions, files: &ModelFiles) -> Result<Reranker> {
    let pool = Arc::new(match &options.executor {
        Some(host) => Pool::with_executor(Arc::clone(host)),
        None => Pool::new(thread_count(options)?),
    });
    let load = || {
        let start = Instant::now();
        let spec = config::read_spec(files)?;
        Loader { options, files, spec: &spec }.load(&pool, start)
    };
    // Loading runs on the pool, whose threads have enough stack. The threads of a host are there for calls alone: then loading
    // runs on this thread, in the default floating-point mode and not in the host's.
    in_default_float_mode(|| if pool.supports_nesting() { pool.call_on_worker(load) } else { Ok(load()) })?
}

/// One load: its options, the files, and the model that their configuration describes.
struct Loader<'a> {
    options: &'a LoadOptions,
    files: &'a ModelFiles,
    spec: &'a Spec,
}

/// What loading the weight files results in.
struct LoadedWeights {
    engine: Box<dyn Engine>,
    precision: Precision,
    weight_bytes: u64,
    hash: u64,
    warnings: Vec<String>,
}

impl Loader<'_> {
    fn load(&self, pool: &Arc<Pool>, start: Instant) -> Result<Reranker> {
        let spec = self.spec;
        let prompts = Prompts::read(self.files)?;
        let counters = self.options.profile.then(Arc::<Counters>::default);
        // The threads of a host are there for calls alone.
        let parallel_for = |count: usize, task: &(dyn Fn(usize) + Sync)| match pool.supports_nesting() {
            true => pool.parallel_for(count, task, || ()),
            false => serial(count, task),
        };
        // Both run at once. Loading the weights is divided into more tasks, which any free thread takes.
        let (weights, tokenizer) = (Mutex::new(None), Mutex::new(None));
        let load_part = |index: usize| match index {
            0 => put(&weights, self.load_weights(&parallel_for, counters.as_ref())),
            _ => put(&tokenizer, self.load_tokenizer()),
        };
        parallel_for(2, &load_part)?;
        let LoadedWeights { engine, precision, weight_bytes, hash, warnings } = take(weights)?;
        let (tokenizer, tokenizer_warnings) = take(tokenizer)?;
        let max_tokens = self.window();
        tokenizer.template().check_window(max_tokens)?;
        let info = ModelInfo {
            name: self.files.name.clone(),
            architecture: spec.architecture.clone(),
            layers: spec.layers,
            hidden: spec.hidden,
            heads: spec.heads,
            intermediate: spec.intermediate,
            vocabulary: spec.vocabulary,
            labels: spec.labels.clone(),
            activation: spec.score.name(),
            max_tokens,
            prompt_names: prompts.names().map(str::to_owned).collect(),
            default_prompt_name: prompts.default_name().map(str::to_owned),
            weight_bytes,
            precision,
            hash,
            warnings: [spec.warnings.clone(), warnings, tokenizer_warnings, engine.warnings()].concat(),
            backend: engine.executed().backend,
            isa: engine.executed().isa,
            adapter: engine.adapter(),
            tier: engine.tier(),
            threads: pool.threads(),
            load_ms: start.elapsed().as_secs_f64() * 1e3,
        };
        let pool = Arc::clone(pool);
        Ok(Reranker { info, spec: spec.clone(), tokenizer, prompts, engine, pool, counters })
    }

    /// The tokenizer, and warnings about how it was made.
    fn load_tokenizer(&self) -> Result<(Tokenizer, Vec<String>)> {
        let files = self.files;
        let (vocabulary, token_types) = (self.spec.vocabulary, self.spec.token_types);
        let settings = SettingsFiles {
            config: &files.config,
            tokenizer_config: files.tokenizer_config.as_deref(),
            special_tokens_map: files.special_tokens_map.as_deref(),
            added_tokens: files.added_tokens.as_deref(),
        };
        let read = |file: &str, json: &[u8]| {
            Tokenizer::with_settings(file, json, &settings, vocabulary, token_types)
        };
        if files.vocabulary.is_empty() {
            return read("tokenizer.json", &files.tokenizer);
        }
        let made = make_tokenizer(&VocabularyFiles {
            files: &files.vocabulary,
            config: &files.config,
            tokenizer_config: files.tokenizer_config.as_deref(),
            special_tokens_map: files.special_tokens_map.as_deref(),
            rows: vocabulary,
            added_tokens: files.added_tokens.is_some(),
            advice: MAKE_TOKENIZER,
        })?;
        let (tokenizer, warnings) = read(&made.file, &made.json)?;
        Ok((tokenizer, [vec![made.warning], warnings].concat()))
    }

    /// Everything that the weight files are needed for.
    fn load_weights(
        &self,
        parallel_for: &ParallelFor<'_>,
        counters: Option<&Arc<Counters>>,
    ) -> Result<LoadedWeights> {
        let checkpoint = Checkpoint::open(self.files)?;
        let plan = self.load_plan(&checkpoint)?;
        let memory = self.memory_plan(&plan)?;
        let needed = memory.weight_bytes.saturating_add(memory.work_bytes);
        if let Some(limit) = self.options.memory_limit.filter(|limit| needed > *limit) {
            return Err(Error::MemoryLimit { needed, limit });
        }
        let mut engine = self.load_engine(&plan, parallel_for, counters)?;
        let hash = hash_model(self.files, &checkpoint)?;
        engine.loaded_from(self.files, hash);
        let weight_bytes = weight_bytes(&plan, engine.executed().backend);
        let (precision, warnings) = (plan.precision(), plan.warnings());
        Ok(LoadedWeights { engine, precision, weight_bytes, hash, warnings })
    }

    /// Locates the tensors, and decides in which precision they are loaded.
    fn load_plan<'c>(&'c self, checkpoint: &'c Checkpoint<'c>) -> Result<LoadPlan<'c>> {
        let network = Network::locate(checkpoint, self.spec)?;
        let precision = match (self.options.backend, self.options.precision) {
            (Backend::Gpu, Precision::Auto) if network.stored_precision() == Precision::Int8 => {
                Precision::F32
            }
            (Backend::Gpu, Precision::Int8) => {
                let message =
                    "the GPU does not multiply integers: choose f32, or the CPU with the option `backend`";
                return Err(Error::InvalidOption { option: "precision", message: message.to_owned() });
            }
            (_, precision) => precision,
        };
        Ok(LoadPlan::new(network, precision))
    }

    fn memory_plan(&self, plan: &LoadPlan<'_>) -> Result<MemoryPlan> {
        let weight_bytes = weight_bytes(plan, self.backend_and_isa().0);
        // One run per thread, on the largest group that can occur.
        let floats = engine::work_floats(self.spec, self.window().max(GROUP_TOKENS));
        let mut work_bytes = floats.saturating_mul(4).saturating_mul(thread_count(self.options)? as u64);
        if self.options.backend == Backend::Gpu {
            work_bytes = work_bytes.saturating_add(4 * engine::work_floats(self.spec, GPU_GROUP_TOKENS));
        }
        Ok(MemoryPlan { weight_bytes, work_bytes })
    }

    /// The window in tokens that a call may use.
    fn window(&self) -> usize {
        self.options.max_tokens.unwrap_or(usize::MAX).min(self.spec.max_tokens)
    }

    /// The backend that the options name, and the instruction set of what computes on the CPU.
    fn backend_and_isa(&self) -> (Backend, Option<Isa>) {
        match self.options.backend {
            Backend::Reference => (Backend::Reference, None),
            Backend::Auto | Backend::Cpu => (Backend::Cpu, Some(isa::best(self.options.isa))),
            // The CPU is the fallback.
            Backend::Gpu => (Backend::Gpu, Some(isa::best(self.options.isa))),
        }
    }

    fn load_engine(
        &self,
        plan: &LoadPlan<'_>,
        parallel_for: &ParallelFor<'_>,
        counters: Option<&Arc<Counters>>,
    ) -> Result<Box<dyn Engine>> {
        let (backend, isa) = self.backend_and_isa();
        let load_cpu = || engine::load_engine(plan, isa, parallel_for, counters);
        // A host that brings its own threads or limits memory gets the CPU, so that no measurement decides what it gets.
        #[cfg(feature = "gpu")]
        if self.options.backend == Backend::Auto
            && self.options.executor.is_none()
            && self.options.memory_limit.is_none()
            && plan.precision() != Precision::Int8
        {
            return gpu::load_faster(plan, self.options, load_cpu);
        }
        match backend {
            #[cfg(feature = "gpu")]
            Backend::Gpu => gpu::load(plan, self.options, load_cpu),
            #[cfg(not(feature = "gpu"))]
            Backend::Gpu => {
                let message =
                    "this build has no GPU backend: build with the feature `gpu`, or choose the CPU"
                        .to_owned();
                Err(Error::InvalidOption { option: "backend", message })
            }
            Backend::Auto | Backend::Cpu | Backend::Reference => load_cpu(),
        }
    }
}

fn thread_count(options: &LoadOptions) -> Result<usize> {
    if let Some(host) = &options.executor {
        return Ok(host.threads().max(1));
    }
    match options.threads {
        Some(0) => {
            let message = "0 threads cannot compute: give 1 or more".to_owned();
            Err(Error::InvalidOption { option: "threads", message })
        }
        Some(count) => Ok(count),
        None => Ok(physical_cores()),
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

/// Bytes of the weights in memory.
fn weight_bytes(plan: &LoadPlan<'_>, backend: Backend) -> u64 {
    match backend {
        Backend::Reference => plan.weight_bytes_f64(),
        Backend::Auto | Backend::Cpu => plan.weight_bytes(),
        // Once on the GPU, and once on the CPU as its fallback.
        Backend::Gpu => 2 * plan.weight_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::checkpoint::lookups;
    use crate::options::Executor;

    /// Computes on the calling thread, so that all of loading happens there.
    struct OneThread;

    impl Executor for OneThread {
        fn threads(&self) -> usize {
            1
        }

        fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
            (0..count).for_each(task);
        }
    }

    #[test]
    fn every_tensor_is_located_once_per_load() {
        for (family, precision) in [
            ("bert", Precision::Auto),
            ("bert", Precision::Int8),
            ("modernbert", Precision::F16Weights),
            ("deberta-v2", Precision::F32),
            ("electra", Precision::Auto),
        ] {
            let files = ModelFiles::find(format!("tests/fixtures/{family}").as_ref()).unwrap();
            let options = LoadOptions {
                backend: Backend::Cpu,
                precision,
                executor: Some(Arc::new(OneThread)),
                memory_limit: Some(u64::MAX),
                ..LoadOptions::default()
            };
            lookups::take();
            load_reranker(&options, &files).unwrap();
            let located = lookups::take();
            let distinct: BTreeSet<&String> = located.iter().collect();
            assert!(distinct.len() > 20, "{family}: {} tensors were located", distinct.len());
            assert_eq!(distinct.len(), located.len(), "{family} in {precision:?}: {located:?}");
        }
    }
}
