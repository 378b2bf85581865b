//! A loaded model on one backend, and the runs that are idle.

use std::sync::{Arc, Mutex, PoisonError};

use super::profile::{Counters, TimedKernels};
use crate::cpu::Cpu;
use crate::cpu::simd::{self, Simd};
use crate::cpu::threads::Pool;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::model::checkpoint::Checkpoint;
use crate::model::files::ModelFiles;
use crate::model::forward::{Activations, Weights, forward};
use crate::model::spec::{FeedForward, Spec};
use crate::model::weights::ParallelFor;
use crate::options::{Backend, Isa};
use crate::reference::Reference;
use crate::text::batch::PackedBatch;

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
    /// What computes, unless it fails.
    fn runs(&self) -> Executed;

    /// The adapter that computes, where it is a GPU.
    fn adapter(&self) -> Option<String> {
        None
    }

    /// What it computes with, where it is a GPU.
    fn tier(&self) -> Option<&'static str> {
        None
    }

    /// What did not go as the options asked, for people.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Tokens of a group, where groups run one after another; `None` where threads take groups of their own.
    fn sequential_group_tokens(&self) -> Option<usize> {
        None
    }

    /// Logits `[S, labels]` of one batch, row after row. `stop` is asked between the layers; its error ends the run.
    /// With a team, the products of this one batch are shared out over its threads.
    fn logits(
        &self,
        batch: &PackedBatch,
        team: Option<&Arc<Pool>>,
        stop: &dyn Fn() -> Result<()>,
        out: &mut [f32],
    ) -> Result<Executed>;

    /// Where its weights can be had again, and the hash of all files.
    fn loaded_from(&mut self, _files: &ModelFiles, _hash: u64) {}

    /// Does ahead of the first call what it would wait for.
    fn warmup(&self) -> Result<()> {
        Ok(())
    }

    /// Gives back the work space of idle runs.
    fn trim(&self);

    /// Lets go of devices that the host may not use for a while; what runs meanwhile runs without them.
    fn suspend(&self) -> Result<()> {
        self.trim();
        Ok(())
    }

    /// Takes them back.
    fn resume(&self) -> Result<()> {
        Ok(())
    }
}

/// One backend's weights, and the runs that nobody uses at the moment.
struct Loaded<K: Kernels> {
    isa: Option<Isa>,
    spec: Spec,
    weights: Weights<K>,
    make: Make<K>,
    alone: Mutex<Vec<Run<K>>>,
    in_team: Mutex<Vec<Run<K>>>,
}

/// Makes a backend that computes alone or in a team.
type Make<K> = Box<dyn Fn(Option<&Arc<Pool>>) -> K + Send + Sync>;

/// A backend with its work space, and the activations: everything a run writes to.
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

impl<K: Kernels + Send> Engine for Loaded<K> {
    fn runs(&self) -> Executed {
        let backend = if self.isa.is_some() { Backend::Cpu } else { Backend::Reference };
        Executed { backend, isa: self.isa, gpu_failure: None }
    }

    fn logits(
        &self,
        batch: &PackedBatch,
        team: Option<&Arc<Pool>>,
        stop: &dyn Fn() -> Result<()>,
        out: &mut [f32],
    ) -> Result<Executed> {
        let idle = if team.is_some() { &self.in_team } else { &self.alone };
        let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = lock().pop();
        let mut run = taken.unwrap_or_else(|| Run::new((self.make)(team)));
        let Run { kernels, activations } = &mut run;
        let between = &mut |_: &mut K, _, _: &K::Buf| stop();
        let result = forward(kernels, &self.spec, &self.weights, activations, batch, between, out);
        lock().push(run);
        result.map(|()| self.runs())
    }

    fn trim(&self) {
        for idle in [&self.alone, &self.in_team] {
            *idle.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
        }
    }
}

fn load_into<K>(
    spec: &Spec,
    checkpoint: &Checkpoint<'_>,
    spread: &ParallelFor<'_>,
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
    let make = move |team: Option<&Arc<Pool>>| {
        TimedKernels::new(make(team), counters.clone(), team.map_or(1, |pool| pool.threads()))
    };
    let weights = checkpoint.load_on(&make(None), spec, spread)?;
    let (alone, in_team) = (Mutex::default(), Mutex::default());
    Ok(Box::new(Loaded { isa, spec: spec.clone(), weights, make: Box::new(make), alone, in_team }))
}

/// Loads a checkpoint into the CPU backend with an instruction set that runs here, or into the reference backend; on the
/// threads of `spread`. The time of its words is added to the counters, if there are any.
pub fn load(
    spec: &Spec,
    checkpoint: &Checkpoint<'_>,
    isa: Option<Isa>,
    spread: &ParallelFor<'_>,
    counters: Option<&Arc<Counters>>,
) -> Result<Box<dyn Engine>> {
    fn with<S: Simd>(
        simd: S,
        spec: &Spec,
        checkpoint: &Checkpoint<'_>,
        spread: &ParallelFor<'_>,
        counters: Option<&Arc<Counters>>,
    ) -> Result<Box<dyn Engine>> {
        load_into(spec, checkpoint, spread, Some(S::ISA), counters, move |team| {
            let mut cpu = Cpu::new(simd);
            cpu.set_pool(team.cloned());
            cpu
        })
    }
    let Some(isa) = isa else { return load_into(spec, checkpoint, spread, None, counters, |_| Reference) };
    #[cfg(target_arch = "x86_64")]
    match (isa, simd::Avx512::detect(), simd::Avx2::detect()) {
        (Isa::Avx512, Some(simd), _) => return with(simd, spec, checkpoint, spread, counters),
        (Isa::Avx2, _, Some(simd)) => return with(simd, spec, checkpoint, spread, counters),
        _ => {}
    }
    #[cfg(target_arch = "aarch64")]
    if let (Isa::Neon, Some(simd)) = (isa, simd::Neon::detect()) {
        return with(simd, spec, checkpoint, spread, counters);
    }
    let _ = isa;
    with(simd::Scalar, spec, checkpoint, spread, counters)
}

/// Floats of work space that one run needs for a batch of that many tokens: see [`Activations`] and the CPU's scratch.
pub fn work_floats(spec: &Spec, tokens: usize) -> u64 {
    let feed_forward = match spec.feed_forward {
        FeedForward::Plain => spec.intermediate,
        FeedForward::Gated => 3 * spec.intermediate,
    };
    let per_token = 6 * spec.hidden + feed_forward + crate::cpu::linear::scratch_floats(1);
    per_token as u64 * tokens as u64
}
