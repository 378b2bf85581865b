//! The check that the GPU computes the logits that the CPU computes.

use super::cancellable::lock_unpoisoned;
use super::engine::GpuEngine;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::gpu::adapter::Tier;
use crate::reranker::engine::Run;
use crate::text::batch::{PackedBatch, Pair};

/// Lengths of the sequences that a new device is tried with: around the edges of attention's blocks, in the smallest tile.
pub(super) const PROBE_LENGTHS: [usize; 4] = [33, 17, 3, 1];

/// Greatest difference of a logit from the CPU's, per unit of it beyond 1: ten times what is promised, so that no rounding
/// of a sound driver is taken for a fault.
fn max_difference(tier: Tier) -> f32 {
    if tier >= Tier::F16 { 5e-2 } else { 1e-3 }
}

impl GpuEngine {
    /// Made-up sequences of these lengths, or of the longest that the model takes.
    pub(super) fn probe_batch(&self, lengths: &[usize]) -> PackedBatch {
        let spec = &self.spec;
        let pair = |&len: &usize| {
            let count = |limit: usize| (0..).map(move |i: u32| i * 7 % limit.min(1 << 20) as u32);
            let len = len.min(spec.max_tokens);
            let ids = count(spec.vocabulary).take(len).collect();
            Pair { ids, token_types: count(spec.token_types.max(1)).take(len).collect(), ..Pair::default() }
        };
        spec.pack(&lengths.iter().map(pair).collect::<Vec<_>>())
    }

    /// Room for the logits of a batch.
    pub(super) fn logits_buffer(&self, batch: &PackedBatch) -> Vec<f32> {
        vec![f32::NAN; batch.sequences() * self.spec.labels.len()]
    }

    /// Computes a batch on both backends. A GPU that computes other numbers counts as lost, and is not opened again.
    pub(super) fn check_against_cpu(&self, batch: &PackedBatch) -> Result<()> {
        self.check_run_against_cpu(&mut self.run.lock_uncancellable(), batch)
    }

    /// [`check_against_cpu`](Self::check_against_cpu) for a caller that holds the run.
    pub(super) fn check_run_against_cpu(&self, run: &mut Run<Gpu>, batch: &PackedBatch) -> Result<()> {
        let never = || Ok(());
        let (mut from_gpu, mut from_cpu) = (self.logits_buffer(batch), self.logits_buffer(batch));
        self.compute_on_gpu(run, batch, &never, &mut from_gpu)?;
        self.compute_on_cpu(batch, None, &never, &mut from_cpu)?;
        let differs = |(gpu, cpu): (&f32, &f32)| {
            gpu.is_finite() != cpu.is_finite()
                || (gpu - cpu).abs() > max_difference(self.tier) * cpu.abs().max(1.0)
        };
        if let Some(i) = from_gpu.iter().zip(&from_cpu).position(differs) {
            let message =
                format!("{} computed {} where the CPU has {}", self.adapter_name, from_gpu[i], from_cpu[i]);
            run.kernels.mark_lost(message.clone());
            *lock_unpoisoned(&self.weight_source) = None;
            return Err(Error::Gpu { message });
        }
        Ok(())
    }
}
