//! A loaded model on the GPU, with the CPU standing by.
//!
//! The CPU's weights are loaded as well and not when they are needed: by then the files may have changed, and a device
//! that was lost for want of memory is no moment to ask for more. A third of the file are its tests, which plant faults behind
//! the interface that callers see.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::engine::{Engine, Executed, Run};
use super::recovery::WeightSource;
use super::run::{GPU_GROUP_TOKENS, GROUP_TOKENS};
use crate::cpu::threads::Pool;
use crate::error::{Error, Result};
use crate::gpu::adapter::{Adapter, AdapterKind, Tier};
use crate::gpu::device::DeviceOptions;
use crate::gpu::{Gpu, GpuOptions, MAX_HEAD_DIM, adapters};
use crate::model::files::ModelFiles;
use crate::model::forward::{Activations, Weights, forward};
use crate::model::plan::LoadPlan;
use crate::model::spec::{FeedForward, Spec};
use crate::model::weights::{load_weights, serial};
use crate::options::{Backend, GpuPrecision, LoadOptions, Precision};
use crate::text::batch::{PackedBatch, Pair};

/// How often a call that waits for another call's group looks whether it is cancelled.
const GLANCE: Duration = Duration::from_millis(1);

/// Greatest difference of a logit from the CPU's, per unit of it beyond 1: ten times what is promised, so that no rounding
/// of a sound driver is taken for a fault.
fn max_difference(tier: Tier) -> f32 {
    if tier >= Tier::F16 { 5e-2 } else { 1e-3 }
}

/// What a new device is tried with: lengths around the edges of attention's blocks, in the smallest tile.
const PROBE_LENGTHS: [usize; 4] = [33, 17, 3, 1];

/// Both backends' weights.
struct GpuEngine {
    spec: Spec,
    precision: Precision,
    adapter: String,
    tier: Tier,
    warnings: Vec<String>,
    /// Most tokens of a group that this adapter's buffers hold.
    max_group_tokens: usize,
    /// Tokens of a group that go through a layer within one submission, at the speed that was measured.
    group_tokens: AtomicUsize,
    weights: Mutex<Arc<Weights<Gpu>>>,
    options: GpuOptions,
    /// How a lost device is made anew, where that can be.
    weight_source: Mutex<Option<WeightSource>>,
    suspended: AtomicBool,
    /// One at a time: the device has one queue, and every run an arena.
    run: Mutex<Run<Gpu>>,
    cpu: Box<dyn Engine>,
    /// Groups of fewer tokens are computed on the CPU, which is done with them sooner.
    min_gpu_tokens: usize,
}

/// Loads a plan onto the GPU, and into the CPU by `load_cpu`.
pub fn load(
    plan: &LoadPlan<'_>,
    options: &LoadOptions,
    load_cpu: impl FnOnce() -> Result<Box<dyn Engine>>,
) -> Result<Box<dyn Engine>> {
    let gpu = gpu_options(options, options.allow_software_gpu);
    Ok(Box::new(GpuEngine::load(plan, gpu, load_cpu)?))
}

fn gpu_options(options: &LoadOptions, allow_software: bool) -> GpuOptions {
    let cache = options.gpu_cache.clone();
    let tier = match options.gpu_precision {
        GpuPrecision::F32 => Tier::F32,
        GpuPrecision::F16 => Tier::Cooperative,
    };
    GpuOptions {
        device: DeviceOptions { allow_software, cache, tier, ..DeviceOptions::default() },
        ..GpuOptions::default()
    }
}

/// Loads a plan into the faster of GPU and CPU; never a GPU in software.
pub fn load_faster(
    plan: &LoadPlan<'_>,
    options: &LoadOptions,
    load_cpu: impl Fn() -> Result<Box<dyn Engine>>,
) -> Result<Box<dyn Engine>> {
    let hardware = |a: &Adapter| a.kind != AdapterKind::Software && a.tier != Tier::None;
    // Whatever is wrong with the GPU, here it only means that it is not the faster one.
    if adapters().is_ok_and(|all| all.iter().any(hardware))
        && let Ok(mut model) = GpuEngine::load(plan, gpu_options(options, false), &load_cpu)
        && model.warmup().is_ok()
        && let Ok(Some(least_tokens)) = model.measure_break_even()
    {
        model.min_gpu_tokens = least_tokens;
        return Ok(Box::new(model));
    }
    load_cpu()
}

impl GpuEngine {
    fn load(
        plan: &LoadPlan<'_>,
        options: GpuOptions,
        load_cpu: impl FnOnce() -> Result<Box<dyn Engine>>,
    ) -> Result<Self> {
        let spec = plan.spec();
        let width = spec.hidden / spec.heads;
        if width > MAX_HEAD_DIM {
            return Err(Error::Unsupported {
                what: format!("attention with heads of width {width} on the GPU"),
                hint: format!("the most is {MAX_HEAD_DIM}; use the CPU backend"),
            });
        }
        let gpu = Gpu::open(options.clone())?;
        let weights = Mutex::new(Arc::new(load_weights(&gpu, plan, &serial)?));
        // The widest activations, and for first tokens N rows of H per sequence, which has three special tokens.
        let widest = (3 * spec.hidden).max(up_projection_cols(spec));
        let spread = gpu.max_rows(spec.heads * spec.hidden).saturating_mul(3);
        let capacity = GPU_GROUP_TOKENS.min(gpu.max_rows(widest)).min(spread);
        let (adapter, tier) = (gpu.adapter().name.clone(), gpu.adapter().tier);
        let warnings = gpu.downgrades().to_vec();
        let group_tokens = AtomicUsize::new(group_tokens(&gpu, spec, capacity));
        let run = Mutex::new(Run::new(gpu));
        let cpu = load_cpu()?;
        let (spec, precision) = (spec.clone(), plan.precision());
        let model = Self {
            spec,
            precision,
            adapter,
            tier,
            warnings,
            max_group_tokens: capacity,
            group_tokens,
            weights,
            options,
            weight_source: Mutex::new(None),
            suspended: AtomicBool::new(false),
            run,
            cpu,
            min_gpu_tokens: 0,
        };
        model.check_against_cpu(&model.probe_batch(&PROBE_LENGTHS))?;
        Ok(model)
    }

    /// Made-up sequences of these lengths, or of the model's longest.
    fn probe_batch(&self, lengths: &[usize]) -> PackedBatch {
        let spec = &self.spec;
        let pair = |&len: &usize| {
            let count = |limit: usize| (0..).map(move |i: u32| i * 7 % limit.min(1 << 20) as u32);
            let len = len.min(spec.max_tokens);
            let ids = count(spec.vocabulary).take(len).collect();
            Pair { ids, token_types: count(spec.token_types.max(1)).take(len).collect(), ..Pair::default() }
        };
        spec.pack(&lengths.iter().map(pair).collect::<Vec<_>>())
    }

    /// Computes a batch on both; a GPU that computes other numbers is not used any more.
    fn check_against_cpu(&self, batch: &PackedBatch) -> Result<()> {
        self.check_run_against_cpu(&mut *self.lock(&|| Ok(()))?, batch)
    }

    fn check_run_against_cpu(&self, run: &mut Run<Gpu>, batch: &PackedBatch) -> Result<()> {
        let (go, mut ours, mut theirs) = (|| Ok(()), self.logits_buffer(batch), self.logits_buffer(batch));
        self.compute_on_gpu(run, batch, &go, &mut ours)?;
        self.compute_on_cpu(batch, None, &go, &mut theirs)?;
        let differs = |(a, b): (&f32, &f32)| {
            a.is_finite() != b.is_finite() || (a - b).abs() > max_difference(self.tier) * b.abs().max(1.0)
        };
        if let Some(i) = ours.iter().zip(&theirs).position(differs) {
            let message = format!("{} computed {} where the CPU has {}", self.adapter, ours[i], theirs[i]);
            run.kernels.mark_lost(message.clone());
            *lock_unpoisoned(&self.weight_source) = None;
            return Err(Error::Gpu { message });
        }
        Ok(())
    }

    fn logits_buffer(&self, batch: &PackedBatch) -> Vec<f32> {
        vec![f32::NAN; batch.sequences() * self.spec.labels.len()]
    }

    /// From how many tokens on the GPU is faster; `None` if it never is. The GPU's time is a part that is always the
    /// same and a part per token, the CPU's is per token.
    fn measure_break_even(&self) -> Result<Option<usize>> {
        let go = || Ok(());
        let time = |compute: &mut dyn FnMut() -> Result<()>| {
            // The better of two: the first may have to make room.
            let mut best = Duration::MAX;
            for _ in 0..2 {
                let start = Instant::now();
                compute()?;
                best = best.min(start.elapsed());
            }
            Ok(best.as_secs_f64())
        };
        let (few, many) = (self.probe_batch(&[16]), self.probe_batch(&[16; 64]));
        let mut out = self.logits_buffer(&many);
        let mut run = self.lock(&go)?;
        let gpu_few = time(&mut || self.compute_on_gpu(&mut run, &few, &go, &mut out))?;
        let gpu_many = time(&mut || self.compute_on_gpu(&mut run, &many, &go, &mut out))?;
        let cpu_many = time(&mut || self.compute_on_cpu(&many, None, &go, &mut out).map(drop))?;
        let threads = crate::cpu::threads::physical_cores() as f64;
        Ok(break_even([few.tokens(), many.tokens()], [gpu_few, gpu_many], cpu_many / threads))
    }

    /// The run, once no other call has it.
    fn lock(&self, stop: &dyn Fn() -> Result<()>) -> Result<MutexGuard<'_, Run<Gpu>>> {
        loop {
            match self.run.try_lock() {
                Ok(run) => return Ok(run),
                Err(TryLockError::Poisoned(run)) => return Ok(run.into_inner()),
                Err(TryLockError::WouldBlock) => stop()?,
            }
            std::thread::sleep(GLANCE);
        }
    }

    fn compute_on_gpu(
        &self,
        run: &mut Run<Gpu>,
        batch: &PackedBatch,
        stop: &dyn Fn() -> Result<()>,
        out: &mut [f32],
    ) -> Result<()> {
        let Run { kernels, activations } = run;
        let weights = Arc::clone(&*lock_unpoisoned(&self.weights));
        let mut between = |gpu: &mut Gpu, _: usize, _: &_| {
            if gpu.submission_is_full() {
                gpu.flush()?;
            }
            stop()
        };
        let result = forward(kernels, &self.spec, &weights, activations, batch, &mut between, out);
        // What an ended call has recorded is nobody's.
        kernels.discard_recorded();
        self.group_tokens.store(group_tokens(kernels, &self.spec, self.max_group_tokens), Ordering::Relaxed);
        result
    }

    /// Notes that the device is lost, if it is.
    fn note_device_loss(&self, run: &Run<Gpu>) {
        if !self.suspended.load(Ordering::Relaxed)
            && run.kernels.check_health().is_err()
            && let Some(source) = lock_unpoisoned(&self.weight_source).as_mut()
        {
            source.note_loss();
        }
    }

    /// Makes a lost device anew, if the time has come. What goes wrong counts as one more loss, and the call that has met it
    /// is computed on the CPU.
    fn recover_lost_device(&self, run: &mut Run<Gpu>) {
        if self.suspended.load(Ordering::Relaxed) {
            return;
        }
        let make = |source: &mut WeightSource| {
            source.take_retry().then(|| source.reopen(&self.spec, self.precision))
        };
        let made = lock_unpoisoned(&self.weight_source).as_mut().and_then(make);
        if let Some(Ok((mut gpu, weights))) = made {
            gpu.take_tiles(&mut run.kernels);
            *run = Run::new(gpu);
            *lock_unpoisoned(&self.weights) = Arc::new(weights);
            // If it fails here, so it does in the call that follows.
            let _ = self.check_run_against_cpu(run, &self.probe_batch(&PROBE_LENGTHS));
        }
    }

    /// The same on the CPU, in groups of its own size.
    fn compute_on_cpu(
        &self,
        batch: &PackedBatch,
        team: Option<&Arc<Pool>>,
        stop: &dyn Fn() -> Result<()>,
        out: &mut [f32],
    ) -> Result<Executed> {
        let labels = self.spec.labels.len();
        let mut start = 0;
        while start < batch.sequences() {
            let fits = |end: &usize| batch.starts[*end] - batch.starts[start] <= GROUP_TOKENS;
            let end = (start + 1..=batch.sequences()).take_while(fits).last().unwrap_or(start + 1);
            let part = batch.slice(start..end);
            self.cpu.logits(&part, team, stop, &mut out[start * labels..end * labels])?;
            start = end;
        }
        Ok(self.cpu.runs())
    }
}

/// From how many tokens on the GPU is faster, given its seconds for `few` and `many` tokens and the CPU's for `many`.
fn break_even([few, many]: [usize; 2], [gpu_few, gpu_many]: [f64; 2], cpu_many: f64) -> Option<usize> {
    let per_token = (gpu_many - gpu_few).max(0.0) / (many - few) as f64;
    let fixed = (gpu_few - per_token * few as f64).max(0.0);
    let gain = cpu_many / many as f64 - per_token;
    (gain > 0.0).then(|| (fixed / gain).ceil() as usize)
}

/// Columns of what the first feed-forward layer writes.
fn up_projection_cols(spec: &Spec) -> usize {
    match spec.feed_forward {
        FeedForward::Plain => spec.intermediate,
        FeedForward::Gated => 2 * spec.intermediate,
    }
}

/// Tokens that go through a layer within one submission, but not fewer than the CPU takes at once.
fn group_tokens(gpu: &Gpu, spec: &Spec, capacity: usize) -> usize {
    let per_token = 2 * spec.hidden * (4 * spec.hidden + up_projection_cols(spec) + spec.intermediate);
    let tokens = (gpu.flop_per_submission() / per_token as f64) as usize;
    tokens.max(GROUP_TOKENS).min(capacity)
}

impl Engine for GpuEngine {
    fn runs(&self) -> Executed {
        Executed { backend: Backend::Gpu, isa: None, gpu_failure: None }
    }

    fn adapter(&self) -> Option<String> {
        Some(self.adapter.clone())
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
        let mut run = self.lock(stop)?;
        self.recover_lost_device(&mut run);
        let result = self.compute_on_gpu(&mut run, batch, stop, out);
        if result.is_err() {
            self.note_device_loss(&run);
        }
        drop(run);
        match result {
            Ok(()) => Ok(self.runs()),
            Err(error @ (Error::Gpu { .. } | Error::OutOfMemory { .. })) => {
                let ran = self.compute_on_cpu(batch, team, stop, out)?;
                Ok(Executed { gpu_failure: Some(error), ..ran })
            }
            Err(error) => Err(error),
        }
    }

    fn loaded_from(&mut self, files: &ModelFiles, hash: u64) {
        *lock_unpoisoned(&self.weight_source) = WeightSource::new(files, hash, self.options.clone());
    }

    /// Measures the tiles of the layers, all of which have run by now; then the tile of each number of rows in turn. The
    /// largest runs twice: the first time its pipelines are made.
    fn warmup(&self) -> Result<()> {
        self.lock(&|| Ok(()))?.kernels.tune(self.max_group_tokens)?;
        for sequences in [4, 16, 64, 64] {
            self.check_against_cpu(&self.probe_batch(&vec![16; sequences]))?;
        }
        self.run.lock().unwrap_or_else(PoisonError::into_inner).kernels.save_cache()
    }

    fn trim(&self) {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        free_work_space(&mut run);
        drop(run);
        self.cpu.trim();
    }

    fn suspend(&self) -> Result<()> {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        free_work_space(&mut run);
        self.suspended.store(true, Ordering::Relaxed);
        run.kernels.suspend()
    }

    fn resume(&self) -> Result<()> {
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        run.kernels.resume()?;
        self.suspended.store(false, Ordering::Relaxed);
        Ok(())
    }
}

fn lock_unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn free_work_space(run: &mut Run<Gpu>) {
    run.kernels.trim();
    run.activations = Activations::new(&run.kernels);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::shaders::Tile;
    use crate::model::checkpoint::Checkpoint;
    use crate::model::config;
    use crate::model::network::Network;
    use crate::rerank_options::RerankOptions;
    use crate::reranker::Reranker;

    const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/bert");

    /// The fixture on whatever adapter there is; `None`, printed, where there is none.
    fn model() -> Option<GpuEngine> {
        model_with(GpuOptions::default())
    }

    fn model_with(mut options: GpuOptions) -> Option<GpuEngine> {
        if crate::gpu::adapters().unwrap().is_empty() {
            println!("SKIP: no GPU adapter, not even a software one");
            return None;
        }
        let files = ModelFiles::find(FIXTURE.as_ref()).unwrap();
        let (spec, checkpoint) = (config::read_spec(&files).unwrap(), Checkpoint::open(&files).unwrap());
        let plan = LoadPlan::new(Network::locate(&checkpoint, &spec).unwrap(), Precision::F32);
        options.device.allow_software = true;
        let isa = Some(crate::cpu::isa::best(None));
        let cpu = || super::super::engine::load_engine(&plan, isa, &serial, None);
        Some(GpuEngine::load(&plan, options, cpu).unwrap())
    }

    #[test]
    fn a_model_whose_f16_fails_the_self_test_runs_in_f32_and_warns() {
        let mut options = GpuOptions { fail_self_test_from: Some(Tier::F16), ..GpuOptions::default() };
        options.device.tier = Tier::Cooperative;
        let (Some(fallen), Some(plain)) = (model_with(options), model()) else { return };
        assert_eq!((fallen.tier(), plain.tier()), (Some("f32"), Some("f32")));
        assert!(
            fallen.warnings().iter().any(|w| w.contains("f16 tier is not used")),
            "{:?}",
            fallen.warnings
        );
        assert_eq!(plain.warnings(), Vec::<String>::new());
        let batch = batch(3, 9);
        assert_eq!(logits(&fallen, &batch), logits(&plain, &batch));
    }

    #[test]
    fn weights_in_f16_come_back_from_suspension() {
        let mut options = GpuOptions::default();
        options.device.tier = Tier::F16;
        let Some(model) = model_with(options) else { return };
        assert_eq!(model.tier(), Some("f16"));
        let batch = batch(3, 9);
        let before = logits(&model, &batch);
        model.suspend().unwrap();
        model.resume().unwrap();
        assert_eq!(logits(&model, &batch), before);
        model.warmup().unwrap();
    }

    fn batch(sequences: usize, len: usize) -> PackedBatch {
        let pair = Pair { ids: vec![5; len], token_types: vec![0; len], ..Pair::default() };
        PackedBatch::new(std::iter::repeat_n(&pair, sequences), 0)
    }

    fn logits(model: &GpuEngine, batch: &PackedBatch) -> (Executed, Vec<f32>) {
        let mut out = vec![f32::NAN; batch.sequences()];
        (model.logits(batch, None, &|| Ok(()), &mut out).unwrap(), out)
    }

    /// What the CPU computes, whatever became of the GPU.
    fn assert_fell_back(model: &GpuEngine, batch: &PackedBatch, why: &str) {
        let (ran, out) = logits(model, batch);
        let Some(Error::Gpu { message }) = &ran.gpu_failure else { panic!("{ran:?}") };
        assert!(message.contains(why), "{message}");
        assert_eq!(ran.backend, Backend::Cpu);
        let mut expected = vec![f32::NAN; batch.sequences()];
        model.cpu.logits(batch, None, &|| Ok(()), &mut expected).unwrap();
        assert_eq!(out, expected);
    }

    #[test]
    fn a_destroyed_device_leaves_the_work_to_the_cpu() {
        let Some(model) = model() else { return };
        assert_eq!(logits(&model, &batch(3, 9)).0, model.runs());
        model.run.lock().unwrap().kernels.destroy_device().ok();
        // More than one of the CPU's groups.
        assert_fell_back(&model, &batch(70, 9), "the device was lost");
        assert_fell_back(&model, &batch(1, 1), "the device was lost");
        model.trim();
    }

    #[test]
    fn a_lost_device_is_made_anew_twice_and_not_a_third_time() {
        let Some(mut model) = model() else { return };
        let files = ModelFiles::find(FIXTURE.as_ref()).unwrap();
        model.loaded_from(&files, files.hash().unwrap());
        let batch = batch(3, 9);
        let before = logits(&model, &batch);
        model.warmup().unwrap();
        let tiles = model.run.lock().unwrap().kernels.tiles().clone();
        for loss in 0..3 {
            model.run.lock().unwrap().kernels.destroy_device().ok();
            // Not at once.
            assert_fell_back(&model, &batch, "the device was lost");
            assert_fell_back(&model, &batch, "the device was lost");
            if let Some(source) = lock_unpoisoned(&model.weight_source).as_mut() {
                source.retry_now();
            }
            if loss < 2 {
                assert_eq!(logits(&model, &batch), before, "loss {loss}");
                assert_eq!(*model.run.lock().unwrap().kernels.tiles(), tiles, "loss {loss}");
            } else {
                assert_fell_back(&model, &batch, "the device was lost");
            }
        }
    }

    #[test]
    fn a_device_that_was_lost_before_it_was_suspended_comes_back_after_it_was_resumed() {
        let Some(mut model) = model() else { return };
        let files = ModelFiles::find(FIXTURE.as_ref()).unwrap();
        model.loaded_from(&files, files.hash().unwrap());
        let batch = batch(3, 9);
        let before = logits(&model, &batch);
        let hurry = || lock_unpoisoned(&model.weight_source).as_mut().unwrap().retry_now();
        model.run.lock().unwrap().kernels.destroy_device().ok();
        assert_fell_back(&model, &batch, "the device was lost");
        model.suspend().ok();
        hurry();
        // Due, but the GPU is not this application's now.
        assert_eq!(logits(&model, &batch).0.backend, Backend::Cpu);
        model.resume().ok();
        hurry();
        assert_eq!(logits(&model, &batch), before);
    }

    #[test]
    fn a_gated_feed_forward_counts_twice() {
        let fixture = std::path::Path::new(FIXTURE).with_file_name("modernbert");
        let spec = config::read_spec(&ModelFiles::from_dir(&fixture).unwrap()).unwrap();
        assert_eq!(
            (spec.feed_forward, up_projection_cols(&spec)),
            (FeedForward::Gated, 2 * spec.intermediate)
        );
    }

    #[test]
    fn a_device_is_not_made_anew_from_other_files() {
        let Some(mut model) = model() else { return };
        let files = ModelFiles::find(FIXTURE.as_ref()).unwrap();
        model.loaded_from(&files, files.hash().unwrap() + 1);
        let batch = batch(3, 9);
        model.run.lock().unwrap().kernels.destroy_device().ok();
        assert_fell_back(&model, &batch, "the device was lost");
        lock_unpoisoned(&model.weight_source).as_mut().unwrap().retry_now();
        assert_fell_back(&model, &batch, "the device was lost");
    }

    #[test]
    fn a_suspended_model_computes_on_the_cpu_and_comes_back_with_its_weights() {
        let Some(model) = model() else { return };
        let batch = batch(3, 9);
        let before = logits(&model, &batch);
        model.suspend().unwrap();
        model.suspend().unwrap();
        assert_fell_back(&model, &batch, "it is suspended");
        model.trim();
        model.resume().unwrap();
        model.resume().unwrap();
        assert_eq!(logits(&model, &batch), before);
    }

    #[test]
    fn a_submission_that_takes_too_long_leaves_the_work_to_the_cpu() {
        let Some(model) = model() else { return };
        model.run.lock().unwrap().kernels.set_timeout(Duration::ZERO).unwrap();
        assert_fell_back(&model, &batch(40, 30), "no answer within 0 ms");
    }

    #[test]
    fn more_tokens_than_any_adapter_takes_are_left_to_the_cpu() {
        let Some(model) = model() else { return };
        assert_fell_back(&model, &batch(13_200, 5), "66000 tokens");
        // The device is as good as before.
        assert_eq!(logits(&model, &batch(2, 3)).0, model.runs());
    }

    /// A CPU that computes something else: to `compare`, the same as a GPU that does.
    struct Wrong(Box<dyn Engine>);

    impl Engine for Wrong {
        fn runs(&self) -> Executed {
            self.0.runs()
        }

        fn logits(
            &self,
            batch: &PackedBatch,
            team: Option<&Arc<Pool>>,
            stop: &dyn Fn() -> Result<()>,
            out: &mut [f32],
        ) -> Result<Executed> {
            let ran = self.0.logits(batch, team, stop, out)?;
            *out.last_mut().unwrap() += 0.01;
            Ok(ran)
        }

        fn trim(&self) {}
    }

    #[test]
    fn a_gpu_that_computes_other_numbers_is_not_used() {
        let Some(mut model) = model() else { return };
        model.warmup().unwrap();
        model.cpu = Box::new(Wrong(model.cpu));
        let error = model.warmup().unwrap_err();
        assert!(error.to_string().contains("where the CPU has"), "{error}");
        assert_fell_back(&model, &batch(3, 9), "where the CPU has");
    }

    #[test]
    fn warmup_measures_every_layer_and_no_tile_changes_a_bit() {
        let Some(model) = model() else { return };
        let batches = [batch(3, 9), batch(7, 9)];
        let all = || batches.each_ref().map(|batch| logits(&model, batch));
        let before = all();
        model.warmup().unwrap();
        let measured = model.run.lock().unwrap().kernels.tiles().clone();
        for shape in
            [(model.spec.hidden, 3 * model.spec.hidden), (model.spec.hidden, model.spec.intermediate)]
        {
            assert!(measured.get(shape, 27).is_some(), "{shape:?} {measured:?}");
        }
        assert_eq!(all(), before);
        for fastest in Tile::ALL {
            let time =
                |_: &mut Gpu, _, _, tile| Ok(Some(Duration::from_millis(1 + u64::from(tile != fastest))));
            let mut run = model.run.lock().unwrap();
            run.kernels.forget_tiles();
            run.kernels.tune_by(model.max_group_tokens, time).unwrap();
            let shape = (model.spec.hidden, model.spec.intermediate);
            assert_eq!(run.kernels.tiles().get(shape, 27), Some(fastest));
            drop(run);
            assert_eq!(all(), before, "{fastest:?}");
        }
    }

    #[test]
    fn what_was_measured_is_known_to_the_next_load_of_the_same_tier() {
        let folder = tempfile::tempdir().unwrap();
        let load = |tier| {
            let mut options = GpuOptions::default();
            (options.device.cache, options.device.tier) = (Some(folder.path().to_owned()), tier);
            model_with(options)
        };
        let tiles = |model: &GpuEngine| model.run.lock().unwrap().kernels.tiles().clone();
        let Some(first) = load(Tier::F32) else { return };
        assert_eq!(tiles(&first), Default::default());
        first.warmup().unwrap();
        assert_ne!(tiles(&first), Default::default());
        assert_eq!(tiles(&load(Tier::F32).unwrap()), tiles(&first));
        assert_eq!(tiles(&load(Tier::F16).unwrap()), Default::default());
    }

    #[test]
    fn small_groups_are_computed_where_they_are_done_first() {
        let Some(mut model) = model() else { return };
        // A processor that poses as a GPU never catches up with itself.
        assert_eq!(model.measure_break_even().unwrap(), None);
        model.min_gpu_tokens = 20;
        assert_eq!(logits(&model, &batch(2, 9)).0, model.cpu.runs());
        assert_eq!(logits(&model, &batch(2, 10)).0, model.runs());
    }

    #[test]
    fn the_break_even_is_where_the_fixed_costs_are_earned() {
        // 1 ms and 1 us per token, against 6 us per token on the CPU.
        let tokens = break_even([16, 1024], [1.016e-3, 2.024e-3], 6.144e-3).unwrap();
        assert!((200..=201).contains(&tokens), "{tokens}");
        assert_eq!(break_even([16, 1024], [1e-3, 7e-3], 6e-3), None);
    }

    #[test]
    fn a_cancelled_call_leaves_nothing_behind() {
        let Some(model) = model() else { return };
        let batch = batch(2, 9);
        let (_, expected) = logits(&model, &batch);
        for allowed in 0..3 {
            let asked = AtomicUsize::new(0);
            let stop = || match asked.fetch_add(1, Ordering::Relaxed) {
                n if n < allowed => Ok(()),
                _ => Err(Error::Cancelled),
            };
            let result = model.logits(&batch, None, &stop, &mut [0.0; 2]);
            // The fixture has fewer layers than that is asked for; every one of them is reached.
            assert_eq!(result.err(), (allowed < 2).then_some(Error::Cancelled), "{allowed}");
            assert_eq!(logits(&model, &batch), (model.runs(), expected.clone()));
        }
    }

    #[test]
    fn a_call_that_was_finished_on_the_cpu_says_so() {
        let Some(broken) = model() else { return };
        broken.run.lock().unwrap().kernels.destroy_device().ok();
        let builder = Reranker::builder().backend(Backend::Gpu).allow_software_gpu(true);
        let mut model = builder.load(FIXTURE).unwrap();
        let ranking = |model: &Reranker| model.rerank("a", &["b", "a"], &RerankOptions::new()).unwrap();
        let before = ranking(&model);
        assert_eq!((before.usage.backend, before.usage.gpu_failure), (Backend::Gpu, None));
        model.engine = Box::new(broken);
        let after = ranking(&model);
        assert_eq!(after.usage.backend, Backend::Cpu);
        assert!(matches!(after.usage.gpu_failure, Some(Error::Gpu { .. })), "{:?}", after.usage.gpu_failure);
        let order = |results: &[crate::ranking::Ranked]| results.iter().map(|r| r.index).collect::<Vec<_>>();
        assert_eq!(order(&before.results), order(&after.results));
    }
}
