//! The shaders without a GPU: each file is valid, translates to every driver's language, keeps to WebGPU's default limits,
//! and is what the host believes it to be.

use std::collections::BTreeMap;
use std::mem::offset_of;

use crossrank::gpu::params::{QUERIES, Sequence, TokenRows, Work};
use crossrank::gpu::pipelines::{Access, LANES, SHADERS, Shader};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Module, StorageAccess, TypeInner, proc};

/// WebGPU's default limits.
const WORKGROUP_BYTES: u32 = 16 << 10;
const WORKGROUP_INVOCATIONS: u32 = 256;
/// Of the eight that WebGPU has, so that two remain.
const STORAGE_BUFFERS: usize = 6;

fn is_cooperative(shader: &Shader) -> bool {
    shader.name.starts_with("linear_coop")
}

fn parsed(shader: &Shader) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(shader.source)
        .unwrap_or_else(|error| panic!("{}: {}", shader.name, error.emit_to_string(shader.source)));
    // Nothing beyond WebGPU, which has f16 as bits of u32, but for the shaders that are about it.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let cooperative = Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
    capabilities.set(cooperative, is_cooperative(shader));
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}: {}", shader.name, error.emit_to_string(shader.source)));
    (module, info)
}

/// The module with its overrides set, as a driver gets it. 2 is valid for each: a width, a number of heads.
fn specialised<'a>(
    shader: &Shader,
    module: &'a Module,
    info: &'a ModuleInfo,
) -> (std::borrow::Cow<'a, Module>, std::borrow::Cow<'a, ModuleInfo>) {
    let constants = shader.overrides.iter().map(|name| ((*name).to_owned(), 2.0)).collect();
    naga::back::pipeline_constants::process_overrides(module, info, None, &constants).unwrap()
}

#[test]
fn every_file_of_the_folder_is_known_to_the_host() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut known: Vec<_> = SHADERS.iter().map(|s| format!("{}.wgsl", s.name)).collect();
    files.sort();
    known.sort();
    assert_eq!(files, known);
}

#[test]
fn every_shader_has_one_entry_point_with_the_host_s_workgroup() {
    for shader in &SHADERS {
        let (module, _) = parsed(shader);
        let [entry] = &module.entry_points[..] else { panic!("{}: not one entry point", shader.name) };
        assert_eq!(entry.name, "main", "{}", shader.name);
        if shader.workgroup == LANES {
            let [Some(size), None, None] = entry.workgroup_size_overrides.unwrap() else {
                panic!("{}: not a row of LANES", shader.name)
            };
            let Expression::Override(size) = module.global_expressions[size] else {
                panic!("{}", shader.name)
            };
            assert_eq!(module.overrides[size].name.as_deref(), Some("LANES"), "{}", shader.name);
            continue;
        }
        assert_eq!(entry.workgroup_size, [shader.workgroup, 1, 1], "{}", shader.name);
        assert!(shader.workgroup <= WORKGROUP_INVOCATIONS, "{}", shader.name);
    }
}

#[test]
fn every_binding_is_what_the_host_binds() {
    for shader in &SHADERS {
        let (module, _) = parsed(shader);
        let mut found = BTreeMap::new();
        for (_, variable) in module.global_variables.iter() {
            let Some(binding) = variable.binding else { continue };
            let AddressSpace::Storage { access } = variable.space else {
                panic!("{}: {:?} is no storage buffer", shader.name, variable.name)
            };
            let write = access.contains(StorageAccess::STORE);
            let access = if write { Access::Write } else { Access::Read };
            found.insert((binding.group, binding.binding), access);
        }
        let group = |index: u32, buffers: &'static [Access]| {
            (0..).zip(buffers).map(move |(binding, access)| ((index, binding), *access))
        };
        let expected: BTreeMap<_, _> = group(0, shader.arena).chain(group(1, shader.weights)).collect();
        assert_eq!(found, expected, "{}", shader.name);
        assert!(found.len() <= STORAGE_BUFFERS, "{}: {} buffers", shader.name, found.len());
    }
}

#[test]
fn every_override_is_set_by_the_host() {
    for shader in &SHADERS {
        let (module, _) = parsed(shader);
        let names: Vec<_> = module.overrides.iter().map(|(_, o)| o.name.clone().unwrap()).collect();
        assert_eq!(names, shader.overrides, "{}", shader.name);
        assert!(module.overrides.iter().all(|(_, o)| o.init.is_none()), "{}: a default", shader.name);
    }
}

#[test]
fn workgroup_memory_keeps_to_the_limit() {
    for shader in &SHADERS {
        let (module, _) = parsed(shader);
        let mut layouter = proc::Layouter::default();
        layouter.update(module.to_ctx()).unwrap();
        let bytes: u32 = module
            .global_variables
            .iter()
            .filter(|(_, v)| v.space == AddressSpace::WorkGroup)
            .map(|(_, v)| layouter[v.ty].size)
            .sum();
        assert!(bytes <= WORKGROUP_BYTES, "{}: {bytes} bytes", shader.name);
    }
}

/// A struct's name, its fields with their offsets, and its size.
type Twin = (&'static str, &'static [(&'static str, usize)], usize);

#[test]
fn every_struct_lies_in_memory_as_the_host_writes_it() {
    let twins: [Twin; 3] = [
        (
            "Work",
            &[
                ("start", offset_of!(Work, start)),
                ("len", offset_of!(Work, len)),
                ("first", offset_of!(Work, first)),
            ],
            size_of::<Work>(),
        ),
        (
            "Sequence",
            &[("start", offset_of!(Sequence, start)), ("len", offset_of!(Sequence, len))],
            size_of::<Sequence>(),
        ),
        (
            "TokenRows",
            &[
                ("word", offset_of!(TokenRows, word)),
                ("position", offset_of!(TokenRows, position)),
                ("token_type", offset_of!(TokenRows, token_type)),
            ],
            size_of::<TokenRows>(),
        ),
    ];
    let mut seen = Vec::new();
    for shader in &SHADERS {
        let (module, _) = parsed(shader);
        for (_, variable) in module.global_variables.iter().filter(|(_, v)| v.binding.is_some()) {
            let TypeInner::Array { base, stride, .. } = module.types[variable.ty].inner else {
                panic!("{}: a binding that is no array", shader.name)
            };
            let TypeInner::Struct { members, span } = &module.types[base].inner else { continue };
            let name = module.types[base].name.as_deref().unwrap();
            let (_, fields, size) = twins.iter().find(|(twin, ..)| *twin == name).unwrap();
            let found: Vec<_> =
                members.iter().map(|m| (m.name.as_deref().unwrap(), m.offset as usize)).collect();
            assert_eq!((&found[..], *span as usize), (*fields, *size), "{}: {name}", shader.name);
            assert_eq!(stride as usize, *size, "{}: {name}", shader.name);
            seen.push(name.to_owned());
        }
    }
    assert!(twins.iter().all(|(twin, ..)| seen.iter().any(|name| name == twin)), "{seen:?}");
}

#[test]
fn a_work_item_has_a_query_for_every_invocation() {
    for shader in SHADERS.iter().filter(|s| s.name.starts_with("attention_")) {
        assert_eq!(shader.workgroup as usize, QUERIES, "{}", shader.name);
    }
}

#[test]
fn every_shader_translates_to_metal_hlsl_and_spirv() {
    for shader in &SHADERS {
        let (module, info) = parsed(shader);
        let (module, info) = specialised(shader, &module, &info);

        // Cooperative matrices came with version 2.3.
        let lang_version = if is_cooperative(shader) { (2, 3) } else { (1, 0) };
        let options =
            naga::back::msl::Options { fake_missing_bindings: true, lang_version, ..Default::default() };
        let (metal, _) =
            naga::back::msl::write_string(&module, &info, &options, &Default::default()).unwrap();
        assert!(metal.contains("kernel void"), "{}", shader.name);

        let words = naga::back::spv::write_vec(&module, &info, &Default::default(), None).unwrap();
        // SPIR-V's magic number.
        assert_eq!(words[0], 0x0723_0203, "{}", shader.name);

        // HLSL has no cooperative matrices, and no Direct3D adapter offers them.
        if is_cooperative(shader) {
            continue;
        }
        let mut hlsl = String::new();
        let options = naga::back::hlsl::Options { fake_missing_bindings: true, ..Default::default() };
        let pipeline = naga::back::hlsl::PipelineOptions::default();
        naga::back::hlsl::Writer::new(&mut hlsl, &options, &pipeline).write(&module, &info, None).unwrap();
        assert!(hlsl.contains(&format!("numthreads({}, 1, 1)", shader.workgroup)), "{}", shader.name);
    }
}

#[test]
fn the_linear_shaders_differ_in_nothing_but_their_tile() {
    let epilogue = |name: &str| {
        let shader = SHADERS.iter().find(|s| s.name == name).unwrap();
        shader.source.split_once("// Epilogue:").unwrap().1
    };
    assert_eq!(epilogue("linear_small"), epilogue("linear_medium"));
    assert_eq!(epilogue("linear_small"), epilogue("linear_large"));
    for name in ["linear_medium_f16", "linear_large_f16", "linear_coop_8", "linear_coop_16"] {
        assert_eq!(epilogue("linear_small_f16"), epilogue(name), "{name}");
    }
    // The gate has its activations.
    let activations = |name: &str| {
        let text = epilogue(name).split_once("// The error function").unwrap().1;
        let ends = ["// Stores four", "// Four numbers as f16"];
        let end = ends.iter().filter_map(|end| text.find(end)).min();
        text[..end.unwrap_or(text.len())].trim().to_owned()
    };
    assert_eq!(activations("linear_small"), activations("gate"));
    assert_eq!(activations("linear_small"), activations("linear_small_f16"));
    // What is rounded is rounded alike.
    let rounding = |name: &str| {
        let shader = SHADERS.iter().find(|s| s.name == name).unwrap();
        let text = shader.source.split_once("// Four numbers as f16").unwrap().1;
        text.split("// Stores four").next().unwrap().trim().to_owned()
    };
    assert_eq!(rounding("linear_small_f16"), rounding("round_f16"));
}
