//! The shaders as the host knows them, and the pipelines made of them.

use std::collections::HashMap;

/// How a shader uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
}

use Access::{Read, Write};

/// One shader of shaders/; tests/shaders.rs holds each of these facts against the file.
pub struct Shader {
    /// The file's name without its ending.
    pub name: &'static str,
    /// The file.
    pub source: &'static str,
    /// Invocations of a workgroup.
    pub workgroup: u32,
    /// Constants that are set when a pipeline is made, in the order in which a dispatch gives their values.
    pub overrides: &'static [&'static str],
    /// Group 0: activations and lists.
    pub arena: &'static [Access],
    /// Group 1: weights.
    pub weights: &'static [Access],
}

/// Index into [`SHADERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// embed_norm.wgsl.
    EmbedNorm,
    /// linear_small.wgsl: 32 x 32 tiles.
    LinearSmall,
    /// linear_medium.wgsl: 64 x 64 tiles.
    LinearMedium,
    /// linear_large.wgsl: 128 x 128 tiles.
    LinearLarge,
    /// norm.wgsl.
    Norm,
    /// attention_32.wgsl: heads of width 32.
    Attention32,
    /// attention_64.wgsl: heads of width 64.
    Attention64,
    /// attention_any.wgsl: heads of any width up to 128.
    AttentionAny,
    /// attention_distance.wgsl: as AttentionAny, with what attention knows about distances.
    AttentionDistance,
    /// rotate.wgsl.
    Rotate,
    /// gate.wgsl.
    Gate,
    /// mean_tokens.wgsl.
    MeanTokens,
    /// first_tokens.wgsl.
    FirstTokens,
    /// first_back.wgsl.
    FirstBack,
    /// first_scores.wgsl.
    FirstScores,
    /// first_mix.wgsl.
    FirstMix,
    /// first_out.wgsl.
    FirstOut,
}

macro_rules! shader {
    ($name:literal, $workgroup:literal, $overrides:expr, $arena:expr, $weights:expr) => {
        Shader {
            name: $name,
            source: include_str!(concat!("../../shaders/", $name, ".wgsl")),
            workgroup: $workgroup,
            overrides: &$overrides,
            arena: &$arena,
            weights: &$weights,
        }
    };
}

/// In the order of [`Kernel`].
pub const SHADERS: [Shader; 17] = [
    shader!("embed_norm", 64, ["HIDDEN", "ROW4", "EPSILON"], [Read, Read, Write], [Read, Read]),
    shader!("linear_small", 64, ["K", "N", "ACTIVATION", "ADD"], [Read, Read, Write], [Read, Read]),
    shader!("linear_medium", 128, ["K", "N", "ACTIVATION", "ADD"], [Read, Read, Write], [Read, Read]),
    shader!("linear_large", 256, ["K", "N", "ACTIVATION", "ADD"], [Read, Read, Write], [Read, Read]),
    shader!("norm", 64, ["HIDDEN", "ROW4", "EPSILON"], [Read, Write], [Read, Read]),
    shader!("attention_32", 64, ["HIDDEN4"], [Read, Read, Write], []),
    shader!("attention_64", 64, ["HIDDEN4"], [Read, Read, Write], []),
    shader!("attention_any", 64, ["WIDTH", "HIDDEN", "ROW", "OUT"], [Read, Read, Write], []),
    shader!(
        "attention_distance",
        64,
        ["WIDTH", "HIDDEN", "ROW", "OUT", "MIDDLE", "REACH", "TERMS"],
        [Read, Read, Write],
        [Read, Read, Read]
    ),
    shader!("rotate", 64, ["HALF", "HEADS", "ROW"], [Write, Read], [Read]),
    shader!("gate", 64, ["WIDTH", "IN", "OUT", "ACTIVATION"], [Read, Write], []),
    shader!("mean_tokens", 64, ["ROW4"], [Read, Read, Write], []),
    shader!("first_tokens", 64, ["ROW4"], [Read, Read, Write], []),
    shader!("first_back", 64, ["WIDTH", "HEADS", "ROW4"], [Read, Write], [Read]),
    shader!("first_scores", 64, ["HEADS", "ROW4"], [Read, Read, Read, Write], []),
    shader!("first_mix", 64, ["HEADS", "ROW4"], [Read, Read, Read, Write], []),
    shader!("first_out", 64, ["WIDTH", "HEADS", "ROW4"], [Read, Write], [Read, Read]),
];

impl Kernel {
    /// The shader.
    pub fn shader(self) -> &'static Shader {
        &SHADERS[self as usize]
    }
}

/// A shader that has met the driver.
struct Module {
    module: wgpu::ShaderModule,
    layout: wgpu::PipelineLayout,
    groups: [wgpu::BindGroupLayout; 2],
}

/// Pipelines, made when they are first needed.
pub struct Pipelines {
    checked: bool,
    modules: HashMap<Kernel, Module>,
    made: HashMap<(Kernel, Vec<u64>), wgpu::ComputePipeline>,
}

impl Pipelines {
    /// No pipelines yet. `checked` keeps the driver's guards against indexes out of bounds and endless loops.
    pub fn new(checked: bool) -> Self {
        Self { checked, modules: HashMap::new(), made: HashMap::new() }
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
            cache: None,
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
            source: wgpu::ShaderSource::Wgsl(shader.source.into()),
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
                        ty: wgpu::BufferBindingType::Storage { read_only: *access == Read },
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
        let groups = [group(shader.arena), group(shader.weights)];
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(shader.name),
            bind_group_layouts: &[Some(&groups[0]), Some(&groups[1])],
            immediate_size: 0,
        });
        Self { module, layout, groups }
    }
}
