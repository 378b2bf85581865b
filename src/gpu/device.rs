//! Adapters as plain data, and the device that runs what has been recorded. The file is long because each call of the
//! driver can fail in three ways, and none of them may get past it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::pipelines::{PipelineCache, Pipelines, experimental_features};
use super::shaders::Kernel;
use super::thread::BufferHandle;
use crate::error::{Error, Result};

/// What kind of processor an adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU behind a virtual machine.
    Virtual,
    /// The processor posing as a GPU: never chosen unless allowed.
    Software,
    /// The driver does not say.
    Other,
}

/// Which set of shaders an adapter gets. Each includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Tier {
    /// Less than WebGPU guarantees: not used.
    None,
    /// float32 throughout.
    #[default]
    F32,
    /// Linear layers read float16, and everything is computed in float32.
    F16,
    /// As F16, with the products of linear layers by cooperative matrices.
    Cooperative,
}

impl Tier {
    /// For people and for [`ModelInfo::tier`](crate::ModelInfo::tier).
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Cooperative => "cooperative",
        }
    }

    /// The one before, down to F32.
    pub fn lower(self) -> Self {
        if self == Self::Cooperative { Self::F16 } else { Self::F32 }
    }
}

/// One adapter of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adapter {
    /// For example `NVIDIA H100`.
    pub name: String,
    /// The driver's name and version.
    pub driver: String,
    /// What it is.
    pub kind: AdapterKind,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: &'static str,
    /// The most bytes that one buffer may have in a shader.
    pub max_buffer_bytes: u64,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub workgroup_invocations: u32,
    /// Numbers of 16 bits in shaders.
    pub f16: bool,
    /// Subgroup operations, and the sizes that subgroups have.
    pub subgroups: Option<(u32, u32)>,
    /// Rows and columns of the cooperative matrices that multiply float16 and sum in float32.
    pub cooperative: Option<u32>,
    /// The shaders that it gets; of an adapter that is not open, the highest that it offers.
    pub tier: Tier,
}

/// How a device is opened.
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    /// Whether a processor that poses as a GPU will do. Default: no.
    pub allow_software: bool,
    /// Keeps the driver's checks of indexes and loops. Default: no.
    pub checked: bool,
    /// The highest tier to use. Default: F32.
    pub tier: Tier,
    /// Folder for what the driver compiles and for what was measured. Default: none.
    pub cache: Option<PathBuf>,
    /// How long one submission may take before the device counts as lost. Default: 60 s.
    pub timeout: Duration,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        let patience = Duration::from_secs(60);
        Self { allow_software: false, checked: false, tier: Tier::F32, cache: None, timeout: patience }
    }
}

/// WebGPU's guarantees as far as the shaders need them.
const STORAGE_BUFFERS: u32 = 6;
const WORKGROUP_BYTES: u32 = 16 << 10;
const WORKGROUP_INVOCATIONS: u32 = 256;
/// Workgroups along each dimension of a dispatch, on every adapter.
pub const MAX_WORKGROUPS: usize = 65_535;

/// All adapters, the most capable kind first.
pub fn adapters() -> Result<Vec<Adapter>> {
    super::thread::run_on_new_thread(|| Ok(enumerate_adapters().iter().map(describe).collect()))
}

fn enumerate_adapters() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
        // No validation layers, whatever is installed: they print.
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    adapters.sort_by_key(|a| match kind(&a.get_info()) {
        AdapterKind::Discrete => 0,
        AdapterKind::Integrated => 1,
        AdapterKind::Virtual => 2,
        AdapterKind::Other => 3,
        AdapterKind::Software => 4,
    });
    adapters
}

fn kind(info: &wgpu::AdapterInfo) -> AdapterKind {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
        wgpu::DeviceType::Cpu => AdapterKind::Software,
        wgpu::DeviceType::Other => AdapterKind::Other,
    }
}

fn describe(adapter: &wgpu::Adapter) -> Adapter {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let enough = limits.max_storage_buffers_per_shader_stage >= STORAGE_BUFFERS
        && limits.max_compute_workgroup_storage_size >= WORKGROUP_BYTES
        && limits.max_compute_invocations_per_workgroup >= WORKGROUP_INVOCATIONS
        && limits.max_compute_workgroups_per_dimension as usize >= MAX_WORKGROUPS;
    let halves = adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::SHADER_F16_IN_F32);
    let cooperative = cooperative_matrix_side(adapter);
    Adapter {
        driver: [info.driver.as_str(), &info.driver_info].join(" ").trim().to_owned(),
        kind: kind(&info),
        backend: info.backend.to_str(),
        max_buffer_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        f16: features.contains(wgpu::Features::SHADER_F16),
        subgroups: features
            .contains(wgpu::Features::SUBGROUP)
            .then_some((info.subgroup_min_size, info.subgroup_max_size)),
        cooperative,
        tier: match (enough, halves, cooperative) {
            (false, ..) => Tier::None,
            (true, false, _) => Tier::F32,
            (true, true, None) => Tier::F16,
            (true, true, Some(_)) => Tier::Cooperative,
        },
        name: info.name,
    }
}

/// Rows and columns of the largest cooperative matrices that there is a shader for.
fn cooperative_matrix_side(adapter: &wgpu::Adapter) -> Option<u32> {
    // A workgroup is one subgroup, so its size must be known.
    if !adapter.features().contains(COOPERATIVE_FEATURES.union(wgpu::Features::SUBGROUP)) {
        return None;
    }
    let offered = adapter.cooperative_matrix_properties();
    [16, 8].into_iter().find(|side| {
        offered.iter().any(|p| {
            [p.m_size, p.n_size, p.k_size] == [*side; 3]
                && p.ab_type == wgpu::CooperativeScalarType::F16
                && p.cr_type == wgpu::CooperativeScalarType::F32
        })
    })
}

/// What a device needs for cooperative matrices of float16.
const COOPERATIVE_FEATURES: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16);

/// One recorded step.
pub enum Command {
    /// Bytes into the beginning of a buffer.
    Upload(Arc<BufferHandle>, Vec<u8>),
    /// One shader.
    Dispatch(Dispatch),
    /// Recording went wrong where a word has no way to say so.
    Fail(Error),
}

/// One shader over a grid of workgroups.
pub struct Dispatch {
    /// Which.
    pub kernel: Kernel,
    /// Values of its overrides.
    pub overrides: Vec<f64>,
    /// Group 0.
    pub activations: Vec<Arc<BufferHandle>>,
    /// Group 1.
    pub weights: Vec<Arc<BufferHandle>>,
    /// Workgroups.
    pub grid: [usize; 3],
}

/// A dispatch with everything that the driver needs.
struct BoundDispatch {
    pipeline: wgpu::ComputePipeline,
    groups: [wgpu::BindGroup; 2],
    grid: [u32; 3],
}

/// An open device. Lives on its thread and nowhere else.
pub struct Device {
    device: wgpu::Device,
    queue: wgpu::Queue,
    adapter: Adapter,
    timeout: Duration,
    pipelines: Pipelines,
    buffers: HashMap<u64, wgpu::Buffer>,
    next_id: u64,
    bind_groups: HashMap<(Kernel, usize, Vec<u64>), wgpu::BindGroup>,
    /// Where results land to be read.
    readback: Option<wgpu::Buffer>,
    /// The first thing that went wrong; nothing runs after it.
    fault: Arc<Mutex<Option<String>>>,
}

impl Device {
    /// Opens the best adapter that the options allow.
    pub fn open(options: &DeviceOptions) -> Result<Self> {
        let option = |message: &str| Error::InvalidOption { option: "backend", message: message.to_owned() };
        let found = enumerate_adapters();
        let usable: Vec<_> =
            found.iter().map(|a| (a, describe(a))).filter(|(_, a)| a.tier != Tier::None).collect();
        let Some((adapter, facts)) =
            usable.iter().find(|(_, a)| options.allow_software || a.kind != AdapterKind::Software)
        else {
            return Err(option(match (usable.is_empty(), found.is_empty()) {
                (false, _) => {
                    "the only GPU adapter is software, slower than the CPU backend: pass allow_software_gpu to use it"
                }
                (true, false) => "no GPU adapter offers what WebGPU guarantees: use the CPU backend",
                (true, true) => {
                    "no GPU adapter: install a Vulkan, Metal or Direct3D 12 driver, or use the CPU backend"
                }
            }));
        };
        let own = adapter.limits();
        let limits = wgpu::Limits {
            max_storage_buffer_binding_size: own.max_storage_buffer_binding_size,
            max_buffer_size: own.max_buffer_size,
            ..wgpu::Limits::default().or_worse_values_from(&own)
        };
        let folder =
            options.cache.as_ref().filter(|_| adapter.features().contains(wgpu::Features::PIPELINE_CACHE));
        let facts = Adapter { tier: facts.tier.min(options.tier), ..facts.clone() };
        let mut features = wgpu::Features::empty();
        features.set(wgpu::Features::PIPELINE_CACHE, folder.is_some());
        features.set(COOPERATIVE_FEATURES, facts.tier == Tier::Cooperative);
        let opening = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("crossrank"),
            required_features: features,
            experimental_features: match facts.tier {
                Tier::Cooperative => experimental_features(),
                _ => wgpu::ExperimentalFeatures::disabled(),
            },
            required_limits: limits,
            ..Default::default()
        });
        let (device, queue) = pollster::block_on(opening)
            .map_err(|error| gpu_error(format!("{} cannot be opened: {error}", facts.name)))?;
        let fault = Arc::new(Mutex::new(None));
        let first = |fault: &Arc<Mutex<Option<String>>>| {
            let fault = Arc::clone(fault);
            move |message: String| {
                fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
            }
        };
        let uncaptured = first(&fault);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| uncaptured(error.to_string())));
        let lost = first(&fault);
        device.set_device_lost_callback(move |reason, message| {
            lost(format!("the device was lost ({reason:?}): {message}"));
        });
        let cache = folder.and_then(|folder| PipelineCache::open(&device, folder, &adapter.get_info()));
        Ok(Self {
            device,
            queue,
            adapter: facts,
            timeout: options.timeout,
            pipelines: Pipelines::new(options.checked, cache),
            buffers: HashMap::new(),
            next_id: 0,
            bind_groups: HashMap::new(),
            readback: None,
            fault,
        })
    }

    /// What it runs on.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The first thing that went wrong, if anything did.
    pub fn check_health(&self) -> Result<()> {
        match &*self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(message) => Err(gpu_error(message.clone())),
            None => Ok(()),
        }
    }

    /// How long one submission may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Nothing runs from here on.
    pub fn mark_lost(&self, message: &str) {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message.to_owned());
    }

    /// Destroys the device, as a driver that was reset does.
    pub fn destroy(&self) {
        self.device.destroy();
        // Whether it answers or not, it says that it is lost.
        let _ = self.device.poll(wgpu::PollType::Poll);
    }

    /// Saves what the driver has compiled, where the options name a folder.
    pub fn save_cache(&self) -> Result<()> {
        self.pipelines.save()
    }

    /// What every buffer holds.
    pub fn read_all_buffers(&mut self) -> Result<HashMap<u64, Vec<u8>>> {
        let sizes: Vec<_> = self.buffers.iter().map(|(id, buffer)| (*id, buffer.size())).collect();
        sizes.into_iter().map(|(id, bytes)| Ok((id, self.execute(&[], Some((id, bytes)))?.0))).collect()
    }

    /// Makes the buffers that another device had, under their numbers.
    pub fn restore(&mut self, contents: &HashMap<u64, Vec<u8>>) -> Result<()> {
        for (id, bytes) in contents {
            let buffer = self.create_with("restored", bytes)?;
            self.buffers.insert(*id, buffer);
            self.next_id = self.next_id.max(*id);
        }
        self.check_health()
    }

    /// A buffer of zeros.
    pub fn allocate(&mut self, label: &str, bytes: u64) -> Result<u64> {
        let buffer = self.create(label, bytes, wgpu::BufferUsages::STORAGE, false)?;
        Ok(self.insert(buffer))
    }

    /// A buffer of these bytes.
    pub fn upload(&mut self, label: &str, bytes: &[u8]) -> Result<u64> {
        let buffer = self.create_with(label, bytes)?;
        Ok(self.insert(buffer))
    }

    fn create_with(&self, label: &str, bytes: &[u8]) -> Result<wgpu::Buffer> {
        let buffer = self.create(label, bytes.len() as u64, wgpu::BufferUsages::STORAGE, true)?;
        buffer.get_mapped_range_mut(..).map_err(|error| gpu_error(error.to_string()))?.copy_from_slice(bytes);
        buffer.unmap();
        Ok(buffer)
    }

    fn insert(&mut self, buffer: wgpu::Buffer) -> u64 {
        self.next_id += 1;
        self.buffers.insert(self.next_id, buffer);
        self.next_id
    }

    /// Forgets a buffer and what binds it.
    pub fn free(&mut self, id: u64) {
        self.buffers.remove(&id);
        self.bind_groups.retain(|(_, _, ids), _| !ids.contains(&id));
    }

    fn create(
        &self,
        label: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
        mapped_at_creation: bool,
    ) -> Result<wgpu::Buffer> {
        let limit = self.adapter.max_buffer_bytes;
        if bytes > limit {
            return Err(gpu_error(format!(
                "`{label}` needs {bytes} bytes, more than the {limit} that a buffer may have here"
            )));
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage: usage | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation,
        });
        match pollster::block_on(scope.pop()) {
            Some(_) => Err(Error::OutOfMemory { bytes }),
            None => Ok(buffer),
        }
    }

    /// Runs commands in order, waits, and returns the first `bytes` of a buffer, with the time that took.
    /// Everything between two uploads is one submission of one pass.
    pub fn execute(&mut self, commands: &[Command], read: Option<(u64, u64)>) -> Result<(Vec<u8>, Duration)> {
        let mut ready = Vec::new();
        for command in commands {
            match command {
                Command::Upload(slot, bytes) => {
                    // What was recorded before must still see the old contents.
                    if !ready.is_empty() {
                        self.submit(&std::mem::take(&mut ready), None)?;
                    }
                    self.queue.write_buffer(self.buffer(slot.id())?, 0, bytes);
                }
                Command::Dispatch(dispatch) => ready.push(self.bind(dispatch)?),
                Command::Fail(error) => return Err(error.clone()),
            }
        }
        // A shader that the driver refused has said so by now; submitting it would only bury the reason.
        self.check_health()?;
        let landing = match read {
            Some((id, bytes)) => Some((self.buffer(id)?.clone(), self.readback_buffer(bytes)?, bytes)),
            None => None,
        };
        // Pipelines are made by now.
        let start = Instant::now();
        let index = self.submit(&ready, landing.as_ref())?;
        let (mapped, done) = mpsc::sync_channel(1);
        if let Some((_, landing, bytes)) = &landing {
            landing.map_async(wgpu::MapMode::Read, ..*bytes, move |result| {
                // Nobody listens any more once the wait below has given up.
                let _ = mapped.send(result);
            });
        }
        let waiting = wgpu::PollType::Wait { submission_index: Some(index), timeout: Some(self.timeout) };
        if let Err(error) = self.device.poll(waiting) {
            let message = format!("no answer within {} ms: {error}", self.timeout.as_millis());
            self.mark_lost(&message);
        }
        self.check_health()?;
        let Some((_, landing, bytes)) = landing else { return Ok((Vec::new(), start.elapsed())) };
        match done.try_recv() {
            Ok(Ok(())) => {}
            _ => return Err(gpu_error("the result could not be mapped".into())),
        }
        let view = landing.get_mapped_range(..bytes).map_err(|error| gpu_error(error.to_string()))?;
        let result = view.to_vec();
        drop(view);
        landing.unmap();
        Ok((result, start.elapsed()))
    }

    fn submit(
        &self,
        ready: &[BoundDispatch],
        read: Option<&(wgpu::Buffer, wgpu::Buffer, u64)>,
    ) -> Result<wgpu::SubmissionIndex> {
        let label = Some("crossrank");
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
        let mut pass =
            encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label, timestamp_writes: None });
        for BoundDispatch { pipeline, groups, grid } in ready {
            pass.set_pipeline(pipeline);
            for (index, group) in (0..).zip(groups) {
                pass.set_bind_group(index, group, &[]);
            }
            pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
        }
        drop(pass);
        if let Some((from, to, bytes)) = read {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, *bytes);
        }
        let index = self.queue.submit([encoder.finish()]);
        self.check_health()?;
        Ok(index)
    }

    fn bind(&mut self, dispatch: &Dispatch) -> Result<BoundDispatch> {
        let Dispatch { kernel, overrides: values, activations: arena, weights, grid } = dispatch;
        let grid = grid.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        if grid.iter().any(|n| *n as usize > MAX_WORKGROUPS) {
            return Err(gpu_error(format!("{}: a grid of {grid:?} workgroups", kernel.shader().name)));
        }
        let pipeline = self.pipelines.get(&self.device, *kernel, values);
        let groups = [self.bind_group(*kernel, 0, arena)?, self.bind_group(*kernel, 1, weights)?];
        Ok(BoundDispatch { pipeline, groups, grid })
    }

    fn bind_group(
        &mut self,
        kernel: Kernel,
        index: usize,
        slots: &[Arc<BufferHandle>],
    ) -> Result<wgpu::BindGroup> {
        let key = (kernel, index, slots.iter().map(|s| s.id()).collect::<Vec<_>>());
        if let Some(group) = self.bind_groups.get(&key) {
            return Ok(group.clone());
        }
        let buffers = slots.iter().map(|s| self.buffer(s.id()).cloned()).collect::<Result<Vec<_>>>()?;
        let entries: Vec<_> = (0..)
            .zip(&buffers)
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

    fn buffer(&self, id: u64) -> Result<&wgpu::Buffer> {
        self.buffers.get(&id).ok_or_else(|| gpu_error("a buffer of another device".into()))
    }

    /// A buffer to map, of at least `bytes`.
    fn readback_buffer(&mut self, bytes: u64) -> Result<wgpu::Buffer> {
        if let Some(landing) = self.readback.as_ref().filter(|l| l.size() >= bytes) {
            return Ok(landing.clone());
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let landing = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("landing"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        if pollster::block_on(scope.pop()).is_some() {
            return Err(Error::OutOfMemory { bytes });
        }
        self.readback = Some(landing.clone());
        Ok(landing)
    }
}

/// The error of everything that goes wrong between us and the driver.
pub fn gpu_error(message: String) -> Error {
    Error::Gpu { message }
}
