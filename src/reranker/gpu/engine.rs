//! The engine's state: a model's weights on the GPU and on the CPU, and a batch computed by either.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::cancellable::{CancellableMutex, lock_unpoisoned};
use super::weight_source::WeightSource;
use crate::cpu::threads::Pool;
use crate::error::Result;
use crate::gpu::adapter::Tier;
use crate::gpu::{Gpu, GpuOptions};
use crate::model::forward::{Weights, forward};
use crate::model::spec::{FeedForward, Spec};
use crate::options::Precision;
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
    pub(super) group_tokens: AtomicUsize,
    pub(super) weights: Mutex<Arc<Weights<Gpu>>>,
    pub(super) options: GpuOptions,
    /// Where the weights of a lost device are loaded from again; `None` if it is not opened again.
    pub(super) weight_source: Mutex<Option<WeightSource>>,
    pub(super) suspended: AtomicBool,
    /// One at a time: the device has one queue, and each run its own activations.
    pub(super) run: CancellableMutex<Run<Gpu>>,
    pub(super) cpu: Box<dyn Engine>,
    /// Groups of fewer tokens are computed on the CPU, which is faster for them.
    pub(super) min_gpu_tokens: usize,
}

impl GpuEngine {
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

    /// Computes a batch on the CPU, in groups of the CPU's size.
    pub(super) fn compute_on_cpu(
        &self,
        batch: &PackedBatch,
        pool: Option<&Arc<Pool>>,
        stop: &dyn Fn() -> Result<()>,
        out: &mut [f32],
    ) -> Result<Executed> {
        let labels = self.spec.labels.len();
        let mut start = 0;
        while start < batch.sequences() {
            let fits = |end: &usize| batch.starts[*end] - batch.starts[start] <= GROUP_TOKENS;
            let end = (start + 1..=batch.sequences()).take_while(fits).last().unwrap_or(start + 1);
            let part = batch.slice(start..end);
            self.cpu.logits(&part, pool, stop, &mut out[start * labels..end * labels])?;
            start = end;
        }
        Ok(self.cpu.executed())
    }
}

/// The most tokens of a group whose widest activations, and whose N rows of H per sequence for first tokens, fit into
/// buffers of this adapter. A sequence has at least three tokens, its special ones.
pub(super) fn max_group_tokens(gpu: &Gpu, spec: &Spec) -> usize {
    let widest = (3 * spec.hidden).max(up_projection_cols(spec));
    let first_token_rows = gpu.max_rows(spec.heads * spec.hidden).saturating_mul(3);
    let head_rows = gpu.max_rows(spec.head_width()).saturating_mul(3);
    GPU_GROUP_TOKENS.min(gpu.max_rows(widest)).min(first_token_rows).min(head_rows)
}

/// Tokens that pass through a layer within one submission, but not fewer than a group of the CPU has.
pub(super) fn group_tokens(gpu: &Gpu, spec: &Spec, max_group_tokens: usize) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config;
    use crate::model::files::ModelFiles;

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
