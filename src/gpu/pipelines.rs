//! The pipelines that the driver compiles from the shaders, and the file in which it keeps them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::shaders::{Access, Kernel, Shader};
use crate::error::{Error, Result};

/// What opening a device with cooperative matrices takes.
pub fn experimental() -> wgpu::ExperimentalFeatures {
    // SAFETY: wgpu asks that its users know of the bugs in what it calls experimental. Of that, only shaders/linear_coop_8.wgsl
    // and linear_coop_16.wgsl use anything: they hold no arrays of matrices, read them from buffers that nobody writes in the
    // same pass of a shader, and have to compute the right numbers on the device before they are used.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}

/// A shader that has met the driver.
struct Module {
    module: wgpu::ShaderModule,
    layout: wgpu::PipelineLayout,
    groups: [wgpu::BindGroupLayout; 2],
}

/// What the driver compiled, kept in a file from run to run.
pub struct Cache {
    cache: wgpu::PipelineCache,
    file: PathBuf,
}

/// Bytes of the checksum that a cache file starts with.
const CHECKSUM_BYTES: usize = 8;

impl Cache {
    /// Opens this adapter's file in a folder, or starts one; `None` where the driver keeps no such files.
    pub fn open(device: &wgpu::Device, folder: &Path, adapter: &wgpu::AdapterInfo) -> Option<Self> {
        let file = folder.join(wgpu::util::pipeline_cache_key(adapter)?);
        // A file that cannot be read or is damaged is written anew.
        let bytes = fs::read(&file).unwrap_or_default();
        let data = bytes.split_first_chunk::<CHECKSUM_BYTES>();
        let data =
            data.filter(|(sum, data)| u64::from_le_bytes(**sum) == xxh3_64(data)).map(|(_, data)| data);
        let label = Some("crossrank");
        let descriptor = wgpu::PipelineCacheDescriptor { label, data, fallback: true };
        // SAFETY: the data is what `save` got from a cache. The checksum finds damage; that nobody else writes to the folder
        // is what `Builder::gpu_cache` asks of its caller.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { cache, file })
    }

    /// Writes the file anew.
    pub fn save(&self) -> Result<()> {
        let Some(data) = self.cache.get_data() else { return Ok(()) };
        let bytes = [&xxh3_64(&data).to_le_bytes()[..], &data].concat();
        replace_file(&self.file, &bytes)
    }
}

/// Writes a file of the cache to another name first, so that no run ever finds half of it.
pub fn replace_file(file: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = file.with_extension(std::process::id().to_string());
    let written = fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, file));
    written.map_err(|error| Error::InvalidOption {
        option: "gpu_cache",
        message: format!("cannot write `{}`: {error}", file.display()),
    })
}

/// Pipelines, made when they are first needed.
pub struct Pipelines {
    checked: bool,
    cache: Option<Cache>,
    modules: HashMap<Kernel, Module>,
    made: HashMap<(Kernel, Vec<u64>), wgpu::ComputePipeline>,
}

impl Pipelines {
    /// No pipelines yet. `checked` keeps the driver's guards against indexes out of bounds and endless loops.
    pub fn new(checked: bool, cache: Option<Cache>) -> Self {
        Self { checked, cache, modules: HashMap::new(), made: HashMap::new() }
    }

    /// Saves what has been compiled, where there is a file for it.
    pub fn save(&self) -> Result<()> {
        self.cache.as_ref().map_or(Ok(()), Cache::save)
    }

    /// The layout of group 0 (activations) or 1 (weights).
    pub fn layout(&mut self, device: &wgpu::Device, kernel: Kernel, group: usize) -> &wgpu::BindGroupLayout {
        &self.module(device, kernel).groups[group]
    }

    /// The pipeline of a shader with these values of its overrides.
    pub fn get(&mut self, device: &wgpu::Device, kernel: Kernel, values: &[f64]) -> wgpu::ComputePipeline {
        let key = (kernel, values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        if let Some(made) = self.made.get(&key) {
            return made.clone();
        }
        let shader = kernel.shader();
        let constants: Vec<_> = shader.overrides.iter().copied().zip(values.iter().copied()).collect();
        let cache = self.cache.as_ref().map(|c| c.cache.clone());
        let Module { module, layout, .. } = self.module(device, kernel);
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(shader.name),
            layout: Some(layout),
            module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                // Every shader writes its workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: cache.as_ref(),
        });
        self.made.insert(key, pipeline.clone());
        pipeline
    }

    fn module(&mut self, device: &wgpu::Device, kernel: Kernel) -> &Module {
        let checked = self.checked;
        self.modules.entry(kernel).or_insert_with(|| Module::new(device, kernel.shader(), checked))
    }
}

impl Module {
    fn new(device: &wgpu::Device, shader: &Shader, checked: bool) -> Self {
        let source = wgpu::ShaderModuleDescriptor {
            label: Some(shader.name),
            source: wgpu::ShaderSource::Wgsl(shader.source.text.into()),
        };
        let module = if checked {
            device.create_shader_module(source)
        } else {
            let checks = wgpu::ShaderRuntimeChecks::unchecked();
            // SAFETY: no shader indexes out of bounds, loops for ever, or divides by zero. They are our own files, fixed at
            // build time; every index is below the padded size of the buffer, which gpu/mod.rs allocates (whole tiles of
            // rows, whole steps of columns), or below a length from the lists that gpu/mod.rs makes of a checked batch.
            // tests/gpu.rs runs each of them with the checks as well, and with poisoned padding.
            unsafe { device.create_shader_module_trusted(source, checks) }
        };
        let group = |buffers: &[Access]| {
            let entries: Vec<_> = (0..)
                .zip(buffers)
                .map(|(binding, access)| wgpu::BindGroupLayoutEntry {
                    binding,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::Buffer {
                        ty: wgpu::BufferBindingType::Storage { read_only: *access == Access::Read },
                        has_dynamic_offset: false,
                        min_binding_size: None,
                    },
                    count: None,
                })
                .collect();
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(shader.name),
                entries: &entries,
            })
        };
        let groups = [group(shader.activations), group(shader.weights)];
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(shader.name),
            bind_group_layouts: &[Some(&groups[0]), Some(&groups[1])],
            immediate_size: 0,
        });
        Self { module, layout, groups }
    }
}
