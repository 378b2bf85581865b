//! A lost device made anew: what that takes, and when it is tried.

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

/// How long after a loss a device is tried again: soon, for a driver that was reset, and then once more. A device that is
/// lost a third time is left alone.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// Where the weights of a lost device can be had again.
pub struct WeightSource {
    files: ModelFiles,
    hash: u64,
    options: GpuOptions,
    losses: usize,
    /// When to try; `None` while nothing is lost.
    retry_at: Option<Instant>,
}

impl WeightSource {
    /// From the files that a model was loaded from; `None` where they were in the caller's memory, which is the caller's
    /// again.
    pub fn new(files: &ModelFiles, hash: u64, options: GpuOptions) -> Option<Self> {
        let files = files.reopenable()?;
        Some(Self { files, hash, options, losses: 0, retry_at: None })
    }

    /// The device was lost.
    pub fn note_loss(&mut self) {
        if self.retry_at.is_none() {
            self.retry_at = RETRY_DELAYS.get(self.losses).map(|wait| Instant::now() + *wait);
            self.losses += 1;
        }
    }

    /// Whether the time has come to try again; only once for each loss.
    pub fn take_retry(&mut self) -> bool {
        let due = self.retry_at.is_some_and(|at| Instant::now() >= at);
        if due {
            self.retry_at = None;
        }
        due
    }

    /// A new device with the same weights.
    pub fn reopen(&self, spec: &Spec, precision: Precision) -> Result<(Gpu, Weights<Gpu>)> {
        // No change of the files after load may matter.
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
    pub fn retry_now(&mut self) {
        self.retry_at = self.retry_at.map(|_| Instant::now());
    }
}
