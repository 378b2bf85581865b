//! Where the weights of a lost device are loaded from again, and when the device is opened again.

use std::time::{Duration, Instant};

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

/// How long after each loss the device is opened again: soon, for a driver that was reset, and then once more. After a third
/// loss it is not tried again.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// Where the weights of a lost device are loaded from again, and when.
pub(super) struct WeightSource {
    files: ModelFiles,
    hash: u64,
    options: GpuOptions,
    losses: usize,
    /// When to try; `None` while the device works, and after the last try.
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
    pub(super) fn note_loss(&mut self) {
        if self.retry_at.is_none() {
            self.retry_at = RETRY_DELAYS.get(self.losses).map(|delay| Instant::now() + *delay);
            self.losses += 1;
        }
    }

    /// Whether it is time to try again: true once for each loss.
    pub(super) fn take_retry(&mut self) -> bool {
        let due = self.retry_at.is_some_and(|at| Instant::now() >= at);
        if due {
            self.retry_at = None;
        }
        due
    }

    /// A new device with the same weights.
    pub(super) fn reopen(&self, spec: &Spec, precision: Precision) -> Result<(Gpu, Weights<Gpu>)> {
        // With files that have changed since the load, scores would differ.
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
