//! The engine's calls: the GPU computes, and the CPU computes what the GPU does not finish.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cancellable::lock_unpoisoned;
use super::engine::GpuEngine;
use super::weight_source::WeightSource;
use crate::cpu::threads::Pool;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::model::files::ModelFiles;
use crate::model::forward::Activations;
use crate::options::Backend;
use crate::reranker::engine::{Engine, Executed, Run};
use crate::text::batch::PackedBatch;

impl Engine for GpuEngine {
    fn executed(&self) -> Executed {
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
        pool: Option<&Arc<Pool>>,
        stop: &dyn Fn() -> Result<()>,
        out: &mut [f32],
    ) -> Result<Executed> {
        if batch.tokens() < self.min_gpu_tokens {
            return self.compute_on_cpu(batch, pool, stop, out);
        }
        let mut run = self.run.lock(stop)?;
        self.recover_lost_device(&mut run);
        let result = self.compute_on_gpu(&mut run, batch, stop, out);
        if result.is_err() {
            self.note_device_loss(&run);
        }
        drop(run);
        match result {
            Ok(()) => Ok(self.executed()),
            Err(error @ (Error::Gpu { .. } | Error::OutOfMemory { .. })) => {
                let executed = self.compute_on_cpu(batch, pool, stop, out)?;
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

fn free_work_space(run: &mut Run<Gpu>) {
    run.kernels.trim();
    run.activations = Activations::new(&run.kernels);
}
