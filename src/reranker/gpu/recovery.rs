//! Opening a lost device again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cancellable::lock_unpoisoned;
use super::check::PROBE_LENGTHS;
use super::engine::GpuEngine;
use super::weight_source::WeightSource;
use crate::gpu::Gpu;
use crate::reranker::engine::Run;

impl GpuEngine {
    /// Schedules a retry if the device is lost.
    pub(super) fn note_device_loss(&self, run: &Run<Gpu>) {
        if !self.suspended.load(Ordering::Relaxed)
            && run.kernels.check_health().is_err()
            && let Some(source) = lock_unpoisoned(&self.weight_source).as_mut()
        {
            source.note_loss();
        }
    }

    /// Opens a lost device again, if a retry is due. A failure counts as one more loss, and the call that meets it is
    /// computed on the CPU.
    pub(super) fn recover_lost_device(&self, run: &mut Run<Gpu>) {
        if self.suspended.load(Ordering::Relaxed) {
            return;
        }
        let reopen = |source: &mut WeightSource| {
            source.take_retry().then(|| source.reopen(&self.spec, self.precision))
        };
        let reopened = lock_unpoisoned(&self.weight_source).as_mut().and_then(reopen);
        if let Some(Ok((mut gpu, weights))) = reopened {
            gpu.take_tiles(&mut run.kernels);
            *run = Run::new(gpu);
            *lock_unpoisoned(&self.weights) = Arc::new(weights);
            // If the check fails, so does the call that follows it.
            let _ = self.check_run_against_cpu(run, &self.probe_batch(&PROBE_LENGTHS));
        }
    }
}
