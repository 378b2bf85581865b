//! Opening a lost device again: from where its weights come, and when it is tried.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::cancellable::lock_unpoisoned;
use super::engine::GpuEngine;
use super::fallback::PROBE_LENGTHS;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuOptions};
use crate::model::checkpoint::Checkpoint;
use crate::model::files::ModelFiles;
use crate::model::forward::Weights;
use crate::model::network::Network;
use crate::model::plan::LoadPlan;
use crate::model::spec::Spec;
use crate::model::weights::{load_weights, serial};
use crate::options::Precision;
use crate::reranker::engine::Run;

/// How long after each loss the device is opened again: soon, for a driver that was reset, and then once more. After a third
/// loss it is not tried again.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// From where a lost device gets its weights again, and when.
pub(super) struct WeightSource {
    files: ModelFiles,
    hash: u64,
    options: GpuOptions,
    losses: usize,
    /// When to try; `None` while the device works, and once it is tried no more.
    retry_at: Option<Instant>,
}

impl WeightSource {
    /// The files that a model was loaded from; `None` where they were in the caller's memory, which the caller may have
    /// freed by now.
    pub(super) fn new(files: &ModelFiles, hash: u64, options: GpuOptions) -> Option<Self> {
        let files = files.reopenable()?;
        Some(Self { files, hash, options, losses: 0, retry_at: None })
    }

    /// Schedules the next try, unless one is scheduled.
    fn note_loss(&mut self) {
        if self.retry_at.is_none() {
            self.retry_at = RETRY_DELAYS.get(self.losses).map(|delay| Instant::now() + *delay);
            self.losses += 1;
        }
    }

    /// Whether it is time to try again: true once for each loss.
    fn take_retry(&mut self) -> bool {
        let due = self.retry_at.is_some_and(|at| Instant::now() >= at);
        if due {
            self.retry_at = None;
        }
        due
    }

    /// A new device with the same weights.
    fn reopen(&self, spec: &Spec, precision: Precision) -> Result<(Gpu, Weights<Gpu>)> {
        // Files that have changed since the load would give other scores.
        if self.files.hash()? != self.hash {
            return Err(Error::Gpu { message: "the model's files have changed since it was loaded".into() });
        }
        let gpu = Gpu::open(self.options.clone())?;
        let checkpoint = Checkpoint::open(&self.files)?;
        let plan = LoadPlan::new(Network::locate(&checkpoint, spec)?, precision);
        let weights = load_weights(&gpu, &plan, &serial)?;
        Ok((gpu, weights))
    }

    #[cfg(test)]
    pub(super) fn retry_now(&mut self) {
        self.retry_at = self.retry_at.map(|_| Instant::now());
    }
}

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
