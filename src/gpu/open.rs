//! Opening a device with the highest tier that computes correct results on it.

use std::sync::Arc;

use super::adapter::Tier;
use super::recorder::{Gpu, GpuOptions};
use super::thread::DeviceThread;
use super::tiles::TileTable;
use crate::error::{Error, Result};

impl Gpu {
    /// Opens the best adapter that the options allow, with the highest tier that options and adapter allow and that passes
    /// its self-test.
    pub fn open(mut options: GpuOptions) -> Result<Self> {
        let mut downgrades = Vec::new();
        loop {
            let tier = options.device.tier;
            match Self::open_tier(options.clone()) {
                Ok(mut gpu) => {
                    if let Some(folder) = &gpu.options.device.cache {
                        gpu.tiles = TileTable::read(folder, gpu.adapter());
                    }
                    gpu.downgrades = downgrades;
                    // The self-test's layer is none of a model's, so its shape is not tuned.
                    gpu.linear_shapes.clear();
                    return Ok(gpu);
                }
                Err(Error::Gpu { message }) if tier > Tier::F32 => {
                    downgrades.push(format!("the GPU's {} tier is not used: {message}", tier.name()));
                    options.device.tier = tier.lower();
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn open_tier(options: GpuOptions) -> Result<Self> {
        let thread = DeviceThread::start(options.device.clone())?;
        let mut gpu = Self::with_thread(Arc::new(thread), options);
        gpu.self_test()?;
        Ok(gpu)
    }
}
