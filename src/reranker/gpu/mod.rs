//! A loaded model on the GPU, with its weights on the CPU as well: what the GPU does not finish is computed there.
//!
//! The CPU's weights are loaded at once and not when they are needed: by then the files may have changed, and where a
//! device was lost because memory ran out, no more of it should be allocated.

mod break_even;
mod cancellable;
mod check;
mod choose;
mod engine;
mod fallback;
mod recovery;
mod weight_source;

pub use choose::{load, load_faster};

#[cfg(test)]
mod tests {
    //! Faults planted behind the interface that callers see, and what `warmup` measures.
    //!
    //! They run on any adapter, a software one included; without one they print that they are skipped.

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::cancellable::lock_unpoisoned;
    use super::engine::GpuEngine;
    use crate::RerankOptions;
    use crate::cpu::threads::Pool;
    use crate::error::{Error, Result};
    use crate::gpu::adapter::Tier;
    use crate::gpu::shaders::Tile;
    use crate::gpu::{Gpu, GpuOptions};
    use crate::model::checkpoint::Checkpoint;
    use crate::model::config;
    use crate::model::files::ModelFiles;
    use crate::model::network::Network;
    use crate::model::plan::LoadPlan;
    use crate::model::weights::serial;
    use crate::options::{Backend, Precision};
    use crate::reranker::Reranker;
    use crate::reranker::engine::{self, Engine, Executed};
    use crate::text::batch::{PackedBatch, Pair};

    const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/bert");

    /// The fixture on the best adapter of this machine. Without an adapter it says so and returns `None`.
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
        options.device.allow_software = true;
        let plan = LoadPlan::new(Network::locate(&checkpoint, &spec).unwrap(), Precision::F32);
        let isa = Some(crate::cpu::isa::best(None));
        let cpu = || engine::load_engine(&plan, isa, &serial, None);
        Some(GpuEngine::load(&plan, options, cpu).unwrap())
    }

    #[test]
    fn a_model_whose_f16_fails_the_self_test_runs_in_f32_and_warns() {
        let mut options = GpuOptions { fail_self_test_from: Some(Tier::F16), ..GpuOptions::default() };
        options.device.tier = Tier::Cooperative;
        let (Some(downgraded), Some(plain)) = (model_with(options), model()) else { return };
        assert_eq!((downgraded.tier(), plain.tier()), (Some("f32"), Some("f32")));
        assert!(
            downgraded.warnings().iter().any(|w| w.contains("f16 tier is not used")),
            "{:?}",
            downgraded.warnings
        );
        assert_eq!(plain.warnings(), Vec::<String>::new());
        let batch = batch(3, 9);
        assert_eq!(logits(&downgraded, &batch), logits(&plain, &batch));
    }

    #[test]
    fn f16_weights_survive_suspension() {
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

    /// The call reports that the GPU failed for that reason, and returns the CPU's logits.
    fn assert_fell_back(model: &GpuEngine, batch: &PackedBatch, why: &str) {
        let (executed, out) = logits(model, batch);
        let Some(Error::Gpu { message }) = &executed.gpu_failure else { panic!("{executed:?}") };
        assert!(message.contains(why), "{message}");
        assert_eq!(executed.backend, Backend::Cpu);
        let mut expected = vec![f32::NAN; batch.sequences()];
        model.cpu.logits(batch, None, &|| Ok(()), &mut expected).unwrap();
        assert_eq!(out, expected);
    }

    #[test]
    fn calls_after_a_destroyed_device_are_computed_on_the_cpu() {
        let Some(model) = model() else { return };
        assert_eq!(logits(&model, &batch(3, 9)).0, model.executed());
        model.run.lock_uncancellable().kernels.destroy_device().ok();
        // The first batch is more than one group on the CPU.
        assert_fell_back(&model, &batch(70, 9), "the device was lost");
        assert_fell_back(&model, &batch(1, 1), "the device was lost");
        model.trim();
    }

    #[test]
    fn a_lost_device_is_opened_again_twice_and_not_a_third_time() {
        let Some(mut model) = model() else { return };
        let files = ModelFiles::find(FIXTURE.as_ref()).unwrap();
        model.loaded_from(&files, files.hash().unwrap());
        let batch = batch(3, 9);
        let before = logits(&model, &batch);
        model.warmup().unwrap();
        let tiles = model.run.lock_uncancellable().kernels.tiles().clone();
        for loss in 0..3 {
            model.run.lock_uncancellable().kernels.destroy_device().ok();
            // The retry is not due yet.
            assert_fell_back(&model, &batch, "the device was lost");
            assert_fell_back(&model, &batch, "the device was lost");
            if let Some(source) = lock_unpoisoned(&model.weight_source).as_mut() {
                source.retry_now();
            }
            if loss < 2 {
                assert_eq!(logits(&model, &batch), before, "loss {loss}");
                assert_eq!(*model.run.lock_uncancellable().kernels.tiles(), tiles, "loss {loss}");
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
        let retry_now = || lock_unpoisoned(&model.weight_source).as_mut().unwrap().retry_now();
        model.run.lock_uncancellable().kernels.destroy_device().ok();
        assert_fell_back(&model, &batch, "the device was lost");
        model.suspend().ok();
        retry_now();
        // The retry is due, but a suspended application must not use the GPU.
        assert_eq!(logits(&model, &batch).0.backend, Backend::Cpu);
        model.resume().ok();
        retry_now();
        assert_eq!(logits(&model, &batch), before);
    }

    #[test]
    fn a_device_is_not_opened_again_with_weights_of_other_files() {
        let Some(mut model) = model() else { return };
        let files = ModelFiles::find(FIXTURE.as_ref()).unwrap();
        model.loaded_from(&files, files.hash().unwrap() + 1);
        let batch = batch(3, 9);
        model.run.lock_uncancellable().kernels.destroy_device().ok();
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
    fn a_call_whose_submission_times_out_is_computed_on_the_cpu() {
        let Some(model) = model() else { return };
        model.run.lock_uncancellable().kernels.set_timeout(Duration::ZERO).unwrap();
        assert_fell_back(&model, &batch(40, 30), "no answer within 0 ms");
    }

    #[test]
    fn more_tokens_than_any_adapter_takes_are_computed_on_the_cpu() {
        let Some(model) = model() else { return };
        assert_fell_back(&model, &batch(13_200, 5), "66000 tokens");
        // The device still works.
        assert_eq!(logits(&model, &batch(2, 3)).0, model.executed());
    }

    /// A CPU whose last logit is off by 0.01. A comparison cannot tell it from a GPU that computes other numbers.
    struct WrongEngine(Box<dyn Engine>);

    impl Engine for WrongEngine {
        fn executed(&self) -> Executed {
            self.0.executed()
        }

        fn logits(
            &self,
            batch: &PackedBatch,
            pool: Option<&Arc<Pool>>,
            stop: &dyn Fn() -> Result<()>,
            out: &mut [f32],
        ) -> Result<Executed> {
            let executed = self.0.logits(batch, pool, stop, out)?;
            *out.last_mut().unwrap() += 0.01;
            Ok(executed)
        }

        fn trim(&self) {}
    }

    #[test]
    fn a_gpu_that_computes_other_numbers_is_not_used() {
        let Some(mut model) = model() else { return };
        model.warmup().unwrap();
        model.cpu = Box::new(WrongEngine(model.cpu));
        let error = model.warmup().unwrap_err();
        assert!(error.to_string().contains("where the CPU has"), "{error}");
        assert_fell_back(&model, &batch(3, 9), "where the CPU has");
    }

    #[test]
    fn tuning_measures_every_layer_and_no_tile_changes_a_bit() {
        let Some(model) = model() else { return };
        let batches = [batch(3, 9), batch(7, 9)];
        let all = || batches.each_ref().map(|batch| logits(&model, batch));
        let before = all();
        model.warmup().unwrap();
        // On a slow machine the time for measurements ends before every layer is measured.
        assert_ne!(*model.run.lock_uncancellable().kernels.tiles(), Default::default());
        assert_eq!(all(), before);
        for fastest in Tile::ALL {
            let time =
                |_: &mut Gpu, _, _, tile| Ok(Some(Duration::from_millis(1 + u64::from(tile != fastest))));
            let mut run = model.run.lock_uncancellable();
            run.kernels.forget_tiles();
            run.kernels.tune_by(model.max_group_tokens, time).unwrap();
            let (hidden, intermediate) = (model.spec.hidden, model.spec.intermediate);
            for shape in [(hidden, 3 * hidden), (hidden, intermediate)] {
                assert_eq!(run.kernels.tiles().get(shape, 27), Some(fastest), "{shape:?}");
            }
            drop(run);
            assert_eq!(all(), before, "{fastest:?}");
        }
    }

    #[test]
    fn measured_tiles_are_read_by_the_next_load_of_the_same_tier() {
        let folder = tempfile::tempdir().unwrap();
        let load = |tier| {
            let mut options = GpuOptions::default();
            (options.device.cache, options.device.tier) = (Some(folder.path().to_owned()), tier);
            model_with(options)
        };
        let tiles = |model: &GpuEngine| model.run.lock_uncancellable().kernels.tiles().clone();
        let Some(first) = load(Tier::F32) else { return };
        assert_eq!(tiles(&first), Default::default());
        first.warmup().unwrap();
        assert_ne!(tiles(&first), Default::default());
        assert_eq!(tiles(&load(Tier::F32).unwrap()), tiles(&first));
        assert_eq!(tiles(&load(Tier::F16).unwrap()), Default::default());
    }

    #[test]
    fn groups_below_the_break_even_are_computed_on_the_cpu() {
        let Some(mut model) = model() else { return };
        // A software adapter is never faster than the CPU that it runs on.
        assert_eq!(model.measure_break_even().unwrap(), None);
        model.min_gpu_tokens = 20;
        assert_eq!(logits(&model, &batch(2, 9)).0, model.cpu.executed());
        assert_eq!(logits(&model, &batch(2, 10)).0, model.executed());
    }

    #[test]
    fn a_cancelled_call_leaves_no_recorded_commands() {
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
            // `stop` is asked once per layer, and the fixture has two.
            assert_eq!(result.err(), (allowed < 2).then_some(Error::Cancelled), "{allowed}");
            assert_eq!(logits(&model, &batch), (model.executed(), expected.clone()));
        }
    }

    #[test]
    fn a_call_that_was_finished_on_the_cpu_says_so() {
        let Some(broken) = model() else { return };
        broken.run.lock_uncancellable().kernels.destroy_device().ok();
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
