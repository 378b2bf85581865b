//! The pipelines that the driver compiles from the shaders, and the file that keeps what it compiled.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::shaders::{Access, Kernel, Shader};
use crate::error::{Error, Result};

/// The token that wgpu asks for when a device with cooperative matrices is opened.
pub fn experimental_features() -> wgpu::ExperimentalFeatures {
    // SAFETY: wgpu requires that its users know of the bugs in the features that it calls experimental. Only the shaders
    // composed with shaders/linear/coop.wgsl use one. They hold no arrays of matrices, load matrices from buffers that are
    // not written in the same dispatch, and are used only after the self-test found the right numbers on the device.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}

/// A shader as the driver compiled it, with the layouts of its bindings.
struct Module {
    module: wgpu::ShaderModule,
    layout: wgpu::PipelineLayout,
    groups: [wgpu::BindGroupLayout; 2],
}

/// What the driver compiled, kept in a file from run to run.
pub struct PipelineCache {
    cache: wgpu::PipelineCache,
    file: PathBuf,
}

/// Bytes of the checksum that a cache file starts with.
const CHECKSUM_BYTES: usize = 8;

impl PipelineCache {
    /// Opens this adapter's file in a folder, or starts a new one; `None` where the driver offers no cache.
    pub fn open(device: &wgpu::Device, folder: &Path, adapter: &wgpu::AdapterInfo) -> Option<Self> {
        let file = folder.join(wgpu::util::pipeline_cache_key(adapter)?);
        // A file that cannot be read or is damaged counts as empty, and `save` replaces it.
        let bytes = fs::read(&file).unwrap_or_default();
        let data = bytes.split_first_chunk::<CHECKSUM_BYTES>();
        let data =
            data.filter(|(sum, data)| u64::from_le_bytes(**sum) == xxh3_64(data)).map(|(_, data)| data);
        let label = Some("crossrank");
        let descriptor = wgpu::PipelineCacheDescriptor { label, data, fallback: true };
        // SAFETY: the data must come from `get_data`, and `save` wrote it from there. The checksum finds damage. That no other
        // program writes to the folder is the duty of the caller of `RerankerBuilder::gpu_cache`.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { cache, file })
    }

    /// Replaces the file.
    pub fn save(&self) -> Result<()> {
        let Some(data) = self.cache.get_data() else { return Ok(()) };
        let bytes = [&xxh3_64(&data).to_le_bytes()[..], &data].concat();
        replace_file(&self.file, &bytes)
    }
}

/// Writes a file of the cache folder under another name and renames it, so that no run ever reads half of it.
pub fn replace_file(file: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = file.with_extension(std::process::id().to_string());
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, file));
    written.map_err(|error| Error::InvalidOption {
        option: "gpu_cache",
        message: format!("cannot write `{}`: {error}", file.display()),
    })
}

/// Pipelines, compiled when they are first needed.
pub struct Pipelines {
    checked: bool,
    cache: Option<PipelineCache>,
    modules: HashMap<Kernel, Module>,
    compiled: HashMap<(Kernel, Vec<u64>), wgpu::ComputePipeline>,
}

impl Pipelines {
    /// No pipelines yet. `checked` keeps the driver's guards against indexes out of bounds and endless loops.
    pub fn new(checked: bool, cache: Option<PipelineCache>) -> Self {
        Self { checked, cache, modules: HashMap::new(), compiled: HashMap::new() }
    }

    /// Saves what the driver compiled, where there is a file for it.
    pub fn save(&self) -> Result<()> {
        self.cache.as_ref().map_or(Ok(()), PipelineCache::save)
    }

    /// The layout of group 0 (activations) or 1 (weights).
    pub fn layout(&mut self, device: &wgpu::Device, kernel: Kernel, group: usize) -> &wgpu::BindGroupLayout {
        &self.module(device, kernel).groups[group]
    }

    /// The pipeline of a shader with these values of its overrides.
    pub fn get(&mut self, device: &wgpu::Device, kernel: Kernel, values: &[f64]) -> wgpu::ComputePipeline {
        let key = (kernel, values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        if let Some(pipeline) = self.compiled.get(&key) {
            return pipeline.clone();
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
        self.compiled.insert(key, pipeline.clone());
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
            // SAFETY: the shader must not index out of bounds, loop for ever, or divide by zero. Shaders are composed of our
            // own files at build time. Every index is below the padded size of its buffer, which the backend allocates
            // (whole tiles of rows, columns padded to a multiple of `pack::COLUMN_TILE`), or below a length from the lists
            // that it makes of a checked batch. tests/gpu.rs runs each shader with the checks as well, and with poisoned
            // padding.
            unsafe { device.create_shader_module_trusted(source, checks) }
        };
        let group_layout = |buffers: &[Access]| {
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
        let groups = [group_layout(shader.activations), group_layout(shader.weights)];
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(shader.name),
            bind_group_layouts: &[Some(&groups[0]), Some(&groups[1])],
            immediate_size: 0,
        });
        Self { module, layout, groups }
    }
}
