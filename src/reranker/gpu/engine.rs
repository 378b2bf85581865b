//! The engine: a model's weights on the GPU and on the CPU, and a call's way through them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::cancellable::{CancellableMutex, lock_unpoisoned};
use super::fallback::PROBE_LENGTHS;
use super::recovery::WeightSource;
use crate::cpu::threads::Pool;
use crate::error::{Error, Result};
use crate::gpu::adapter::Tier;
use crate::gpu::{Gpu, GpuOptions, MAX_HEAD_DIM};
use crate::model::files::ModelFiles;
use crate::model::forward::{Activations, Weights, forward};
use crate::model::plan::LoadPlan;
use crate::model::spec::{FeedForward, Spec};
use crate::model::weights::{load_weights, serial};
use crate::options::{Backend, Precision};
use crate::reranker::engine::{Engine, Executed, GPU_GROUP_TOKENS, GROUP_TOKENS, Run};
use crate::text::batch::PackedBatch;

/// A model on the GPU and on the CPU.
pub(super) struct GpuEngine {
    pub(super) spec: Spec,
    pub(super) precision: Precision,
    pub(super) adapter_name: String,
    pub(super) tier: Tier,
    pub(super) warnings: Vec<String>,
    /// The most tokens of a group that this adapter's buffers hold.
    pub(super) max_group_tokens: usize,
    /// Tokens of a group that pass through a layer within one submission, at the measured speed.
    group_tokens: AtomicUsize,
    pub(super) weights: Mutex<Arc<Weights<Gpu>>>,
    options: GpuOptions,
    /// From where a lost device gets its weights again; `None` if it gets none.
    pub(super) weight_source: Mutex<Option<WeightSource>>,
    pub(super) suspended: AtomicBool,
    /// One at a time: the device has one queue, and each run its own activations.
    pub(super) run: CancellableMutex<Run<Gpu>>,
    pub(super) cpu: Box<dyn Engine>,
    /// Groups of fewer tokens are computed on the CPU, which is faster for them.
    pub(super) min_gpu_tokens: usize,
}

impl GpuEngine {
    pub(super) fn load(
        plan: &LoadPlan<'_>,
        options: GpuOptions,
        load_cpu: impl FnOnce() -> Result<Box<dyn Engine>>,
    ) -> Result<Self> {
        let spec = plan.spec();
        let head_dim = spec.hidden / spec.heads;
        if head_dim > MAX_HEAD_DIM {
            return Err(Error::Unsupported {
                what: format!("attention with heads of width {head_dim} on the GPU"),
                hint: format!("the most is {MAX_HEAD_DIM}; use the CPU backend"),
            });
        }
        let gpu = Gpu::open(options.clone())?;
        let weights = Mutex::new(Arc::new(load_weights(&gpu, plan, &serial)?));
        let max_group_tokens = max_group_tokens(&gpu, spec);
        let engine = Self {
            spec: spec.clone(),
            precision: plan.precision(),
            adapter_name: gpu.adapter().name.clone(),
            tier: gpu.adapter().tier,
            warnings: gpu.downgrades().to_vec(),
            max_group_tokens,
            group_tokens: AtomicUsize::new(group_tokens(&gpu, spec, max_group_tokens)),
            weights,
            options,
            weight_source: Mutex::new(None),
            suspended: AtomicBool::new(false),
            run: CancellableMutex::new(Run::new(gpu)),
            cpu: load_cpu()?,
            min_gpu_tokens: 0,
        };
        engine.check_against_cpu(&engine.probe_batch(&PROBE_LENGTHS))?;
        Ok(engine)
    }

    pub(super) fn compute_on_gpu(
        &self,
        run: &mut Run<Gpu>,
        batch: &PackedBatch,
        stop: &dyn Fn() -> Result<()>,
        out: &mut [f32],
    ) -> Result<()> {
        let Run { kernels, activations } = run;
        let weights = Arc::clone(&*lock_unpoisoned(&self.weights));
        let mut between_layers = |gpu: &mut Gpu, _: usize, _: &_| {
            if gpu.submission_is_full() {
                gpu.flush()?;
            }
            stop()
        };
        let result = forward(kernels, &self.spec, &weights, activations, batch, &mut between_layers, out);
        // A call that ends early leaves recorded commands.
        kernels.discard_recorded();
        let group_tokens = group_tokens(kernels, &self.spec, self.max_group_tokens);
        self.group_tokens.store(group_tokens, Ordering::Relaxed);
        result
    }
}

impl Engine for GpuEngine {
    fn runs(&self) -> Executed {
        Executed { backend: Backend::Gpu, isa: None, gpu_failure: None }
    }

    fn adapter(&self) -> Option<String> {
        Some(self.adapter_name.clone())
    }

    fn tier(&self) -> Option<&'static str> {
        Some(self.tier.name())
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn sequential_group_tokens(&self) -> Option<usize> {
        Some(self.group_tokens.load(Ordering::Relaxed))
    }

    fn logits(
        &self,
        batch: &PackedBatch,
        team: Option<&Arc<Pool>>,
        stop: &dyn Fn() -> Result<()>,
        out: &mut [f32],
    ) -> Result<Executed> {
        if batch.tokens() < self.min_gpu_tokens {
            return self.compute_on_cpu(batch, team, stop, out);
        }
        let mut run = self.run.lock(stop)?;
        self.recover_lost_device(&mut run);
        let result = self.compute_on_gpu(&mut run, batch, stop, out);
        if result.is_err() {
            self.note_device_loss(&run);
        }
        drop(run);
        match result {
            Ok(()) => Ok(self.runs()),
            Err(error @ (Error::Gpu { .. } | Error::OutOfMemory { .. })) => {
                let executed = self.compute_on_cpu(batch, team, stop, out)?;
                Ok(Executed { gpu_failure: Some(error), ..executed })
            }
            Err(error) => Err(error),
        }
    }

    fn loaded_from(&mut self, files: &ModelFiles, hash: u64) {
        *lock_unpoisoned(&self.weight_source) = WeightSource::new(files, hash, self.options.clone());
    }

    /// Measures the tiles of the layers, all of which have run by now, and then computes batches with the tile of each
    /// number of rows. The largest batch runs twice: in its first run its pipelines are compiled.
    fn warmup(&self) -> Result<()> {
        self.run.lock_uncancellable().kernels.tune(self.max_group_tokens)?;
        for sequences in [4, 16, 64, 64] {
            self.check_against_cpu(&self.probe_batch(&vec![16; sequences]))?;
        }
        self.run.lock_uncancellable().kernels.save_cache()
    }

    fn trim(&self) {
        free_work_space(&mut self.run.lock_uncancellable());
        self.cpu.trim();
    }

    fn suspend(&self) -> Result<()> {
        let mut run = self.run.lock_uncancellable();
        free_work_space(&mut run);
        self.suspended.store(true, Ordering::Relaxed);
        run.kernels.suspend()
    }

    fn resume(&self) -> Result<()> {
        let run = self.run.lock_uncancellable();
        run.kernels.resume()?;
        self.suspended.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// The most tokens of a group whose widest activations, and whose N rows of H per sequence for first tokens, fit into
/// buffers of this adapter. A sequence has at least three tokens, its special ones.
fn max_group_tokens(gpu: &Gpu, spec: &Spec) -> usize {
    let widest = (3 * spec.hidden).max(up_projection_cols(spec));
    let first_token_rows = gpu.max_rows(spec.heads * spec.hidden).saturating_mul(3);
    GPU_GROUP_TOKENS.min(gpu.max_rows(widest)).min(first_token_rows)
}

/// Tokens that pass through a layer within one submission, but not fewer than a group of the CPU has.
fn group_tokens(gpu: &Gpu, spec: &Spec, max_group_tokens: usize) -> usize {
    let flop_per_token = 2 * spec.hidden * (4 * spec.hidden + up_projection_cols(spec) + spec.intermediate);
    let tokens = (gpu.flop_per_submission() / flop_per_token as f64) as usize;
    tokens.max(GROUP_TOKENS).min(max_group_tokens)
}

/// Output columns of the first linear layer of the feed-forward.
fn up_projection_cols(spec: &Spec) -> usize {
    match spec.feed_forward {
        FeedForward::Plain => spec.intermediate,
        FeedForward::Gated => 2 * spec.intermediate,
    }
}

fn free_work_space(run: &mut Run<Gpu>) {
    run.kernels.trim();
    run.activations = Activations::new(&run.kernels);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config;

    #[test]
    fn a_gated_feed_forward_counts_twice() {
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/modernbert");
        let spec = config::read_spec(&ModelFiles::from_dir(fixture.as_ref()).unwrap()).unwrap();
        assert_eq!(
            (spec.feed_forward, up_projection_cols(&spec)),
            (FeedForward::Gated, 2 * spec.intermediate)
        );
    }
}
