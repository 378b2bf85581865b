//! Loading onto the GPU that the options ask for, or onto the faster of GPU and CPU.

use super::engine::GpuEngine;
use crate::error::Result;
use crate::gpu::adapter::{Adapter, AdapterKind, Tier};
use crate::gpu::device::DeviceOptions;
use crate::gpu::{GpuOptions, adapters};
use crate::model::plan::LoadPlan;
use crate::options::{GpuPrecision, LoadOptions};
use crate::reranker::engine::Engine;

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
    // A GPU that fails in any way is not the faster one, so its errors end here.
    if adapters().is_ok_and(|all| all.iter().any(is_hardware))
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
