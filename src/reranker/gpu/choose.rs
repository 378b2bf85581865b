//! Loading onto the GPU that the options ask for, or onto the faster of GPU and CPU.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

use super::cancellable::CancellableMutex;
use super::check::PROBE_LENGTHS;
use super::engine::{GpuEngine, group_tokens, max_group_tokens};
use crate::error::{Error, Result};
use crate::gpu::adapter::{Adapter, AdapterKind, Tier};
use crate::gpu::device::DeviceOptions;
use crate::gpu::{Gpu, GpuOptions, MAX_HEAD_DIM, adapters, may_have_gpu};
use crate::model::plan::LoadPlan;
use crate::model::weights::{load_weights, serial};
use crate::options::{GpuPrecision, LoadOptions};
use crate::reranker::engine::{Engine, Run};

/// Loads a plan onto the GPU, and into the CPU by `load_cpu`.
pub fn load(
    plan: &LoadPlan<'_>,
    options: &LoadOptions,
    load_cpu: impl FnOnce() -> Result<Box<dyn Engine>>,
) -> Result<Box<dyn Engine>> {
    let gpu = gpu_options(options, options.allow_software_gpu);
    Ok(Box::new(GpuEngine::load(plan, gpu, load_cpu)?))
}

/// Loads a plan onto the faster of GPU and CPU, but never onto a software adapter.
pub fn load_faster(
    plan: &LoadPlan<'_>,
    options: &LoadOptions,
    load_cpu: impl Fn() -> Result<Box<dyn Engine>>,
) -> Result<Box<dyn Engine>> {
    let is_hardware = |a: &Adapter| a.kind != AdapterKind::Software && a.tier != Tier::None;
    // A GPU that fails in any way is not the faster one, so its errors end here. Drivers are not asked where there is none.
    if may_have_gpu()
        && adapters().is_ok_and(|all| all.iter().any(is_hardware))
        && let Ok(mut engine) = GpuEngine::load(plan, gpu_options(options, false), &load_cpu)
        && engine.warmup().is_ok()
        && let Ok(Some(min_gpu_tokens)) = engine.measure_break_even()
    {
        engine.min_gpu_tokens = min_gpu_tokens;
        return Ok(Box::new(engine));
    }
    load_cpu()
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
                what: format!("attention with head_dim {head_dim} on the GPU"),
                hint: format!("the most is {MAX_HEAD_DIM}; choose the CPU with the option `backend`"),
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
}
