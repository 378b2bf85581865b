//! The adapters of this machine as plain data, and which tier of shaders each of them can run.

use crate::error::{Error, Result};

/// What kind of processor an adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the CPU's memory.
    Integrated,
    /// A GPU behind a virtual machine.
    Virtual,
    /// A software adapter: shaders run on the CPU. Never chosen unless allowed.
    Software,
    /// The driver does not say.
    Other,
}

/// Which set of shaders an adapter runs. Each includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Tier {
    /// Less than WebGPU guarantees: the adapter is not used.
    None,
    /// float32 throughout.
    #[default]
    F32,
    /// Linear layers read float16; all arithmetic is float32.
    F16,
    /// As F16, with the products of linear layers computed by cooperative matrices.
    Cooperative,
}

impl Tier {
    /// The name that users see, also in [`ModelInfo::tier`](crate::ModelInfo::tier).
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Cooperative => "cooperative",
        }
    }

    /// The next lower tier, never below F32.
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
    /// What kind of processor it is.
    pub kind: AdapterKind,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: &'static str,
    /// The most bytes that a shader can bind as one buffer.
    pub max_buffer_bytes: u64,
    /// The most bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// The most invocations of a workgroup.
    pub workgroup_invocations: u32,
    /// Whether shaders may use the type f16.
    pub f16: bool,
    /// The smallest and largest subgroup size, where shaders may use subgroup operations.
    pub subgroups: Option<(u32, u32)>,
    /// Rows and columns of the cooperative matrices that multiply float16 and accumulate in float32.
    pub cooperative: Option<u32>,
    /// The tier of an open device; the highest tier of an adapter that is not open.
    pub tier: Tier,
}

/// What the shaders need of WebGPU's guaranteed limits.
const STORAGE_BUFFERS: u32 = 6;
const WORKGROUP_BYTES: u32 = 16 << 10;
const WORKGROUP_INVOCATIONS: u32 = 256;
/// Workgroups along each dimension of a dispatch, on every adapter.
pub const MAX_WORKGROUPS: usize = 65_535;

/// The features that a device needs for cooperative matrices of float16.
pub(super) const COOPERATIVE_FEATURES: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16);

/// All adapters, the most capable kind first.
pub(super) fn enumerate_adapters() -> Vec<(wgpu::Adapter, Adapter)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
        // No validation layers, even where they are installed: they print.
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let mut adapters: Vec<_> = adapters
        .into_iter()
        .map(|adapter| {
            let facts = describe(&adapter);
            (adapter, facts)
        })
        .collect();
    adapters.sort_by_key(|(_, facts)| match facts.kind {
        AdapterKind::Discrete => 0,
        AdapterKind::Integrated => 1,
        AdapterKind::Virtual => 2,
        AdapterKind::Other => 3,
        AdapterKind::Software => 4,
    });
    adapters
}

/// The most capable adapter that can run the shaders. A software adapter only if it is allowed.
pub(super) fn best_adapter(allow_software: bool) -> Result<(wgpu::Adapter, Adapter)> {
    let mut found = enumerate_adapters();
    let none = found.is_empty();
    found.retain(|(_, facts)| facts.tier != Tier::None);
    let message = match (found.is_empty(), none) {
        (false, _) => {
            "the only GPU adapter is software, slower than the CPU backend: the option `allow_software_gpu` allows it"
        }
        (true, false) => {
            "no GPU adapter offers what WebGPU guarantees: choose the CPU with the option `backend`"
        }
        (true, true) => {
            "no GPU adapter: install a Vulkan, Metal or Direct3D 12 driver, or choose the CPU with the option `backend`"
        }
    };
    let mut allowed =
        found.into_iter().filter(|(_, facts)| allow_software || facts.kind != AdapterKind::Software);
    allowed.next().ok_or_else(|| Error::InvalidOption { option: "backend", message: message.to_owned() })
}

fn describe(adapter: &wgpu::Adapter) -> Adapter {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let meets_limits = limits.max_storage_buffers_per_shader_stage >= STORAGE_BUFFERS
        && limits.max_compute_workgroup_storage_size >= WORKGROUP_BYTES
        && limits.max_compute_invocations_per_workgroup >= WORKGROUP_INVOCATIONS
        && limits.max_compute_workgroups_per_dimension as usize >= MAX_WORKGROUPS;
    let unpacks_f16 =
        adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::SHADER_F16_IN_F32);
    let cooperative = cooperative_matrix_side(adapter);
    Adapter {
        driver: [info.driver.as_str(), &info.driver_info].join(" ").trim().to_owned(),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
            wgpu::DeviceType::Other => AdapterKind::Other,
        },
        backend: info.backend.to_str(),
        max_buffer_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        f16: features.contains(wgpu::Features::SHADER_F16),
        subgroups: features
            .contains(wgpu::Features::SUBGROUP)
            .then_some((info.subgroup_min_size, info.subgroup_max_size)),
        cooperative,
        tier: match (meets_limits, unpacks_f16, cooperative) {
            (false, ..) => Tier::None,
            (true, false, _) => Tier::F32,
            (true, true, None) => Tier::F16,
            (true, true, Some(_)) => Tier::Cooperative,
        },
        name: info.name,
    }
}

/// Rows and columns of the largest cooperative matrices for which there is a shader.
fn cooperative_matrix_side(adapter: &wgpu::Adapter) -> Option<u32> {
    // A workgroup of these shaders is one subgroup, so the subgroup size must be known.
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
