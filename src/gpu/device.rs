//! The open device: binds recorded dispatches, submits them, waits, and reads results back.
//!
//! Each call of the driver can fail in three ways: it returns an error, it reports one to a callback, or the device is
//! lost. All of them end in the device's `Fault`, which is checked after every step.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::adapter::{Adapter, COOPERATIVE_FEATURES, MAX_WORKGROUPS, Tier, best_adapter};
use super::buffer_store::BufferStore;
use super::command::{Command, Dispatch};
use super::fault::{Fault, gpu_error};
use super::handle::BufferHandle;
use super::pipelines::{PipelineCache, Pipelines, experimental_features};
use super::shaders::Kernel;
use crate::error::Result;

/// How a device is opened.
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    /// Whether a software adapter may be used. Default: no.
    pub allow_software: bool,
    /// Keeps the driver's checks of indexes and loops. Default: no.
    pub checked: bool,
    /// The highest tier to use. Default: F32.
    pub tier: Tier,
    /// Folder for compiled pipelines and measured tiles. Default: none.
    pub cache: Option<PathBuf>,
    /// How long one submission may take before the device counts as lost. Default: 60 s.
    pub timeout: Duration,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        let timeout = Duration::from_secs(60);
        Self { allow_software: false, checked: false, tier: Tier::F32, cache: None, timeout }
    }
}

/// A dispatch as the driver takes it.
struct BoundDispatch {
    pipeline: wgpu::ComputePipeline,
    groups: [wgpu::BindGroup; 2],
    grid: [u32; 3],
}

/// A copy of a buffer's first bytes into the mappable buffer.
struct ReadbackCopy {
    from: wgpu::Buffer,
    to: wgpu::Buffer,
    bytes: u64,
}

/// Receives the result of mapping a buffer, once the driver reports it.
type Mapped = mpsc::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>;

/// An open device. It stays on the thread that opened it.
pub struct Device {
    device: wgpu::Device,
    queue: wgpu::Queue,
    adapter: Adapter,
    timeout: Duration,
    pipelines: Pipelines,
    buffers: BufferStore,
    /// By shader, number of the group and numbers of the buffers.
    bind_groups: HashMap<(Kernel, usize, Vec<u64>), wgpu::BindGroup>,
    /// The first fault: nothing runs after it.
    fault: Fault,
}

impl Device {
    /// Opens the best adapter that the options allow.
    pub fn open(options: &DeviceOptions) -> Result<Self> {
        let (wgpu_adapter, mut adapter) = best_adapter(options.allow_software)?;
        adapter.tier = adapter.tier.min(options.tier);
        let keeps_pipelines = wgpu_adapter.features().contains(wgpu::Features::PIPELINE_CACHE);
        let folder = options.cache.as_ref().filter(|_| keeps_pipelines);
        let (device, queue) = request_device(&wgpu_adapter, &adapter, folder.is_some())?;
        let fault = Fault::default();
        report_faults(&device, &fault);
        let cache = folder.and_then(|folder| PipelineCache::open(&device, folder, &wgpu_adapter.get_info()));
        Ok(Self {
            buffers: BufferStore::new(device.clone(), adapter.max_buffer_bytes),
            device,
            queue,
            adapter,
            timeout: options.timeout,
            pipelines: Pipelines::new(options.checked, cache),
            bind_groups: HashMap::new(),
            fault,
        })
    }

    /// The adapter, with the tier that was opened.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The first fault as an error.
    pub fn check_health(&self) -> Result<()> {
        self.fault.check()
    }

    /// Sets how long one submission may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Marks the device as lost, for this reason: nothing runs on it any more.
    pub fn mark_lost(&self, reason: &str) {
        self.fault.record(reason.to_owned());
    }

    /// Destroys the device, as the reset of a driver does.
    pub fn destroy(&self) {
        self.device.destroy();
        // The answer does not matter: polling calls the device-lost callback.
        let _ = self.device.poll(wgpu::PollType::Poll);
    }

    /// Saves the compiled pipelines, where the options name a folder.
    pub fn save_cache(&self) -> Result<()> {
        self.pipelines.save()
    }

    /// Makes a buffer of zeros and returns its number.
    pub fn allocate(&mut self, label: &str, bytes: u64) -> Result<u64> {
        self.buffers.allocate(label, bytes)
    }

    /// Makes a buffer of these bytes and returns its number.
    pub fn upload(&mut self, label: &str, bytes: &[u8]) -> Result<u64> {
        self.buffers.upload(label, bytes)
    }

    /// Frees a buffer and the bind groups that hold it.
    pub fn free(&mut self, id: u64) {
        self.buffers.free(id);
        self.bind_groups.retain(|(_, _, ids), _| !ids.contains(&id));
    }

    /// Reads every buffer back, by its number.
    pub fn read_all_buffers(&mut self) -> Result<HashMap<u64, Vec<u8>>> {
        let sizes = self.buffers.sizes();
        sizes.into_iter().map(|(id, bytes)| Ok((id, self.execute(&[], Some((id, bytes)))?.0))).collect()
    }

    /// Makes the buffers that another device had, under the same numbers.
    pub fn restore(&mut self, contents: &HashMap<u64, Vec<u8>>) -> Result<()> {
        self.buffers.restore(contents)?;
        self.check_health()
    }

    /// Executes commands in order and waits for them. `read` is the number of a buffer to read back, and how many of its
    /// first bytes: they are returned, with the time of submitting and waiting. All dispatches between two uploads are one
    /// submission of one pass.
    pub fn execute(&mut self, commands: &[Command], read: Option<(u64, u64)>) -> Result<(Vec<u8>, Duration)> {
        let bound = self.bind_all(commands)?;
        // A shader that the driver refused is known by now; submitting it would only hide the reason.
        self.check_health()?;
        let copy = match read {
            Some((id, bytes)) => Some(ReadbackCopy {
                from: self.buffers.get(id)?.clone(),
                to: self.buffers.readback(bytes)?,
                bytes,
            }),
            None => None,
        };
        // All pipelines are compiled by now, so this is the time of execution alone.
        let start = Instant::now();
        let submission = self.submit(&bound, copy.as_ref())?;
        let mapped = copy.as_ref().map(map_readback);
        self.wait(submission)?;
        let bytes = match (&copy, mapped) {
            (Some(copy), Some(mapped)) => read_mapped(copy, &mapped)?,
            _ => Vec::new(),
        };
        Ok((bytes, start.elapsed()))
    }

    /// Performs the uploads and binds the dispatches. Returns the dispatches after the last upload; those before an upload
    /// are submitted here.
    fn bind_all(&mut self, commands: &[Command]) -> Result<Vec<BoundDispatch>> {
        let mut bound = Vec::new();
        for command in commands {
            match command {
                Command::Upload(buffer, bytes) => {
                    // Dispatches recorded before the upload must read the old contents.
                    if !bound.is_empty() {
                        self.submit(&std::mem::take(&mut bound), None)?;
                    }
                    self.queue.write_buffer(self.buffers.get(buffer.id())?, 0, bytes);
                }
                Command::Dispatch(dispatch) => bound.push(self.bind(dispatch)?),
                Command::Fail(error) => return Err(error.clone()),
            }
        }
        Ok(bound)
    }

    fn bind(&mut self, dispatch: &Dispatch) -> Result<BoundDispatch> {
        let Dispatch { kernel, overrides, activations, weights, grid } = dispatch;
        let grid = grid.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        if grid.iter().any(|n| *n as usize > MAX_WORKGROUPS) {
            return Err(gpu_error(format!("{}: a grid of {grid:?} workgroups", kernel.shader().name)));
        }
        let pipeline = self.pipelines.get(&self.device, *kernel, overrides);
        let groups = [self.bind_group(*kernel, 0, activations)?, self.bind_group(*kernel, 1, weights)?];
        Ok(BoundDispatch { pipeline, groups, grid })
    }

    fn bind_group(
        &mut self,
        kernel: Kernel,
        index: usize,
        handles: &[Arc<BufferHandle>],
    ) -> Result<wgpu::BindGroup> {
        let key = (kernel, index, handles.iter().map(|handle| handle.id()).collect::<Vec<_>>());
        if let Some(group) = self.bind_groups.get(&key) {
            return Ok(group.clone());
        }
        let buffers = key.2.iter().map(|id| self.buffers.get(*id)).collect::<Result<Vec<_>>>()?;
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.shader().name),
            layout: self.pipelines.layout(&self.device, kernel, index),
            entries: &entries,
        });
        self.bind_groups.insert(key, group.clone());
        Ok(group)
    }

    /// Submits one pass of these dispatches and the copy after it.
    fn submit(
        &self,
        dispatches: &[BoundDispatch],
        copy: Option<&ReadbackCopy>,
    ) -> Result<wgpu::SubmissionIndex> {
        let label = Some("crossrank");
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
        let mut pass =
            encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label, timestamp_writes: None });
        for BoundDispatch { pipeline, groups, grid } in dispatches {
            pass.set_pipeline(pipeline);
            for (index, group) in (0..).zip(groups) {
                pass.set_bind_group(index, group, &[]);
            }
            pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
        }
        drop(pass);
        if let Some(ReadbackCopy { from, to, bytes }) = copy {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, *bytes);
        }
        let submission = self.queue.submit([encoder.finish()]);
        self.check_health()?;
        Ok(submission)
    }

    /// Waits for a submission. A device that does not answer within the time-out counts as lost.
    fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let waiting =
            wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(self.timeout) };
        if let Err(error) = self.device.poll(waiting) {
            self.mark_lost(&format!("no answer within {} ms: {error}", self.timeout.as_millis()));
        }
        self.check_health()
    }
}

/// Opens an adapter with the features of its tier, and with limits no higher than WebGPU's, except for the sizes of buffers.
fn request_device(
    wgpu_adapter: &wgpu::Adapter,
    adapter: &Adapter,
    pipeline_cache: bool,
) -> Result<(wgpu::Device, wgpu::Queue)> {
    let offered = wgpu_adapter.limits();
    let required_limits = wgpu::Limits {
        max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
        max_buffer_size: offered.max_buffer_size,
        ..wgpu::Limits::default().or_worse_values_from(&offered)
    };
    let mut required_features = wgpu::Features::empty();
    required_features.set(wgpu::Features::PIPELINE_CACHE, pipeline_cache);
    required_features.set(COOPERATIVE_FEATURES, adapter.tier == Tier::Cooperative);
    let opening = wgpu_adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("crossrank"),
        required_features,
        experimental_features: match adapter.tier {
            Tier::Cooperative => experimental_features(),
            _ => wgpu::ExperimentalFeatures::disabled(),
        },
        required_limits,
        ..Default::default()
    });
    pollster::block_on(opening)
        .map_err(|error| gpu_error(format!("{} cannot be opened: {error}", adapter.name)))
}

/// Records what the driver reports: errors that no error scope captured, and the loss of the device.
fn report_faults(device: &wgpu::Device, fault: &Fault) {
    let uncaptured = fault.clone();
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| uncaptured.record(error.to_string())));
    let lost = fault.clone();
    device.set_device_lost_callback(move |reason, message| {
        lost.record(format!("the device was lost ({reason:?}): {message}"));
    });
}

/// Starts mapping the copied bytes.
fn map_readback(copy: &ReadbackCopy) -> Mapped {
    let (mapped, result) = mpsc::sync_channel(1);
    copy.to.map_async(wgpu::MapMode::Read, ..copy.bytes, move |outcome| {
        // The receiver is gone where the wait has timed out.
        let _ = mapped.send(outcome);
    });
    result
}

/// The copied bytes, after the wait for their submission.
fn read_mapped(copy: &ReadbackCopy, mapped: &Mapped) -> Result<Vec<u8>> {
    match mapped.try_recv() {
        Ok(Ok(())) => {}
        _ => return Err(gpu_error("the result could not be mapped".into())),
    }
    let view = copy.to.get_mapped_range(..copy.bytes).map_err(|error| gpu_error(error.to_string()))?;
    let bytes = view.to_vec();
    drop(view);
    copy.to.unmap();
    Ok(bytes)
}
