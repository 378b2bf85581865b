//! A loaded model on one backend, and its runs that are idle.

use std::sync::{Arc, Mutex, PoisonError};

use super::profile::{Counters, TimedKernels};
use crate::cpu::Cpu;
use crate::cpu::simd::{self, Simd};
use crate::cpu::threads::Pool;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::model::files::ModelFiles;
use crate::model::forward::{Activations, Weights, forward};
use crate::model::plan::LoadPlan;
use crate::model::spec::{FeedForward, Spec};
use crate::model::weights::{ParallelFor, load_weights};
use crate::options::{Backend, Isa};
use crate::reference::Reference;
use crate::text::batch::PackedBatch;

/// The most tokens of a group: its activations then stay in a core's caches, while each weight panel that is streamed in
/// serves all of its rows.
pub const GROUP_TOKENS: usize = 256;

/// The most tokens of a group on a GPU: enough work for all of its cores, in activations that fit the smallest buffers of any
/// adapter.
pub const GPU_GROUP_TOKENS: usize = 8192;

/// What computed a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Executed {
    /// The backend.
    pub backend: Backend,
    /// Its instruction set, where it has one.
    pub isa: Option<Isa>,
    /// Why it was not the GPU, where it should have been.
    pub gpu_failure: Option<Error>,
}

/// Computes logits, from any number of threads at once.
pub trait Engine: Send + Sync {
    /// What a call reports that the GPU did not fail: the backend that this engine computes on.
    fn executed(&self) -> Executed;

    /// The adapter that computes, where it is a GPU.
    fn adapter(&self) -> Option<String> {
        None
    }

    /// The tier of its shaders, where it is a GPU.
    fn tier(&self) -> Option<&'static str> {
        None
    }

    /// What differs from what the options asked for, as sentences for people.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Tokens of a group, where groups run one after another; `None` where threads take groups of their own.
    fn sequential_group_tokens(&self) -> Option<usize> {
        None
    }

    /// Computes the logits `[S, labels]` of one batch into `out`, row after row. `stop` is called between the layers; its
    /// error ends the call. With a pool, the products of this one batch are divided among its threads.
    fn logits(
        &self,
        batch: &PackedBatch,
        pool: Option<&Arc<Pool>>,
        stop: &dyn Fn() -> Result<()>,
        out: &mut [f32],
    ) -> Result<Executed>;

    /// Remembers which files the weights were loaded from, and their hash, so that they can be loaded again.
    fn loaded_from(&mut self, _files: &ModelFiles, _hash: u64) {}

    /// Does ahead of time what the first call would wait for.
    fn warmup(&self) -> Result<()> {
        Ok(())
    }

    /// Frees the work space of idle runs.
    fn trim(&self);

    /// Releases devices that the host may not use for a while; until [`resume`](Self::resume), calls run without them.
    fn suspend(&self) -> Result<()> {
        self.trim();
        Ok(())
    }

    /// Takes the devices back.
    fn resume(&self) -> Result<()> {
        Ok(())
    }
}

/// Weights in a backend that computes on the host, with the runs that no call uses at the moment.
struct HostEngine<K: Kernels> {
    isa: Option<Isa>,
    spec: Spec,
    weights: Weights<K>,
    make: Make<K>,
    serial_runs: Mutex<Vec<Run<K>>>,
    pooled_runs: Mutex<Vec<Run<K>>>,
}

/// Makes a backend that computes on one thread, or on those of a pool.
type Make<K> = Box<dyn Fn(Option<&Arc<Pool>>) -> K + Send + Sync>;

/// A backend with its work space, and the activations: everything that one call writes to.
pub(super) struct Run<K: Kernels> {
    pub kernels: K,
    pub activations: Activations<K>,
}

impl<K: Kernels> Run<K> {
    /// No activations yet.
    pub fn new(kernels: K) -> Self {
        let activations = Activations::new(&kernels);
        Self { kernels, activations }
    }
}

impl<K: Kernels + Send> Engine for HostEngine<K> {
    fn executed(&self) -> Executed {
        let backend = if self.isa.is_some() { Backend::Cpu } else { Backend::Reference };
        Executed { backend, isa: self.isa, gpu_failure: None }
    }

    fn logits(
        &self,
        batch: &PackedBatch,
        pool: Option<&Arc<Pool>>,
        stop: &dyn Fn() -> Result<()>,
        out: &mut [f32],
    ) -> Result<Executed> {
        let idle = if pool.is_some() { &self.pooled_runs } else { &self.serial_runs };
        let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = lock().pop();
        let mut run = taken.unwrap_or_else(|| Run::new((self.make)(pool)));
        let Run { kernels, activations } = &mut run;
        let after_layer = &mut |_: &mut K, _, _: &K::Buf| stop();
        let result = forward(kernels, &self.spec, &self.weights, activations, batch, after_layer, out);
        lock().push(run);
        result.map(|()| self.executed())
    }

    fn trim(&self) {
        for idle in [&self.serial_runs, &self.pooled_runs] {
            *idle.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
        }
    }
}

fn load_with<K>(
    plan: &LoadPlan<'_>,
    parallel_for: &ParallelFor<'_>,
    isa: Option<Isa>,
    counters: Option<&Arc<Counters>>,
    make: impl Fn(Option<&Arc<Pool>>) -> K + Send + Sync + 'static,
) -> Result<Box<dyn Engine>>
where
    K: Kernels<
            Linear: 'static,
            Table: 'static,
            Norm: 'static,
            KeyValue: 'static,
            Bias: 'static,
            Rotary: 'static,
            Relative: 'static,
            Buf: 'static,
        > + Send
        + Sync
        + 'static,
{
    let counters = counters.cloned();
    let make = move |pool: Option<&Arc<Pool>>| {
        TimedKernels::new(make(pool), counters.clone(), pool.map_or(1, |pool| pool.threads()))
    };
    let weights = load_weights(&make(None), plan, parallel_for)?;
    let (serial_runs, pooled_runs) = (Mutex::default(), Mutex::default());
    let spec = plan.spec().clone();
    Ok(Box::new(HostEngine { isa, spec, weights, make: Box::new(make), serial_runs, pooled_runs }))
}

/// Loads a plan into the CPU backend with an instruction set that this machine has, or into the reference backend where
/// `isa` is `None`. Loading runs on the threads of `parallel_for`. The time of the backend's ops is added to the counters,
/// if there are any.
pub fn load_engine(
    plan: &LoadPlan<'_>,
    isa: Option<Isa>,
    parallel_for: &ParallelFor<'_>,
    counters: Option<&Arc<Counters>>,
) -> Result<Box<dyn Engine>> {
    fn load_cpu<S: Simd>(
        simd: S,
        plan: &LoadPlan<'_>,
        parallel_for: &ParallelFor<'_>,
        counters: Option<&Arc<Counters>>,
    ) -> Result<Box<dyn Engine>> {
        load_with(plan, parallel_for, Some(S::ISA), counters, move |pool| {
            let mut cpu = Cpu::new(simd);
            cpu.set_pool(pool.cloned());
            cpu
        })
    }
    let Some(isa) = isa else { return load_with(plan, parallel_for, None, counters, |_| Reference) };
    #[cfg(target_arch = "x86_64")]
    match (isa, simd::Avx512::detect(), simd::Avx2::detect()) {
        (Isa::Avx512, Some(simd), _) => return load_cpu(simd, plan, parallel_for, counters),
        (Isa::Avx2, _, Some(simd)) => return load_cpu(simd, plan, parallel_for, counters),
        _ => {}
    }
    #[cfg(target_arch = "aarch64")]
    if let (Isa::Neon, Some(simd)) = (isa, simd::Neon::detect()) {
        return load_cpu(simd, plan, parallel_for, counters);
    }
    let _ = isa;
    load_cpu(simd::Scalar, plan, parallel_for, counters)
}

/// Floats of work space that one run needs for a batch of that many tokens: those of [`Activations`] and of the CPU's
/// scratch.
pub fn work_floats(spec: &Spec, tokens: usize) -> u64 {
    let feed_forward = match spec.feed_forward {
        FeedForward::Plain => spec.intermediate,
        FeedForward::Gated => 3 * spec.intermediate,
    };
    // A head that is wider than the encoder has three buffers with a row for each sequence, of three tokens or more.
    let head = spec.head_width().saturating_sub(spec.hidden);
    let per_token = 6 * spec.hidden + feed_forward + head + crate::cpu::linear::scratch_floats(1);
    per_token as u64 * tokens as u64
}
