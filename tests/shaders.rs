//! The shaders without a GPU: each composed text is valid, translates to every driver's language, keeps to WebGPU's default
//! limits, and is what the host believes it to be. The texts are written to target/shaders/ for editors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::mem::offset_of;
use std::path::Path;

use crossrank::gpu::MAX_HEAD_DIM;
use crossrank::gpu::pack::{COLUMN_TILE, PANEL_COLS};
use crossrank::gpu::params::{QUERIES, QueryBlock, Sequence, TokenRows};
use crossrank::gpu::shaders::{Access, LANES, SHADERS, Shader, Tile};
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
    let module = naga::front::wgsl::parse_str(shader.source.text)
        .unwrap_or_else(|error| panic!("{}: {}", shader.name, error.emit_to_string(shader.source.text)));
    // Nothing beyond WebGPU, which has f16 as bits of u32, but for the shaders that are about it.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let cooperative = Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
    capabilities.set(cooperative, is_cooperative(shader));
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}: {}", shader.name, error.emit_to_string(shader.source.text)));
    (module, info)
}

/// The module with its overrides set, as a driver gets it. 2 is valid for each: a number of columns, a number of heads.
fn specialised<'a>(
    shader: &Shader,
    module: &'a Module,
    info: &'a ModuleInfo,
) -> (std::borrow::Cow<'a, Module>, std::borrow::Cow<'a, ModuleInfo>) {
    let constants = shader.overrides.iter().map(|name| ((*name).to_owned(), 2.0)).collect();
    naga::back::pipeline_constants::process_overrides(module, info, None, &constants).unwrap()
}

/// Names of the files below `folder`, without their ending.
fn pieces_below(folder: &Path, prefix: &str, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            pieces_below(&entry.path(), &format!("{prefix}{name}/"), names);
        } else {
            let name = name.strip_suffix(".wgsl").unwrap_or_else(|| panic!("{name} is no shader"));
            assert!(names.insert(format!("{prefix}{name}")));
        }
    }
}

#[test]
fn every_file_of_the_folder_is_a_piece_of_some_shader() {
    let mut files = BTreeSet::new();
    pieces_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders"), "", &mut files);
    let used: BTreeSet<_> =
        SHADERS.iter().flat_map(|s| s.source.pieces).map(|piece| (*piece).to_owned()).collect();
    assert_eq!(files, used);
}

/// target/shaders/NAME.wgsl: what naga and the driver's compiler read, as one file.
#[test]
fn every_composed_text_can_be_read_in_an_editor() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("shaders");
    fs::create_dir_all(&folder).unwrap();
    for shader in &SHADERS {
        let file = folder.join(format!("{}.wgsl", shader.name));
        fs::write(&file, shader.source.text).unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), shader.source.text, "{}", shader.name);
    }
}

#[test]
fn every_twin_in_rust_that_a_piece_names_exists() {
    for shader in &SHADERS {
        for (at, twin) in shader.source.text.match_indices("twin: ") {
            let line = shader.source.text[at + twin.len()..].lines().next().unwrap();
            let path = &line[line.find("src/").unwrap_or_else(|| panic!("{}: {line}", shader.name))..];
            let path = path.split([' ', ',']).next().unwrap().trim_end_matches('.');
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            let text = fs::read_to_string(&file).unwrap_or_else(|_| panic!("{}: {line}", shader.name));
            // `Type::function`, or one name.
            for name in line.split('`').skip(1).step_by(2).flat_map(|path| path.split("::")) {
                assert!(text.contains(name), "{}: {path} has no `{name}`", shader.name);
            }
        }
    }
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
        let expected: BTreeMap<_, _> = group(0, shader.activations).chain(group(1, shader.weights)).collect();
        assert_eq!(found, expected, "{}", shader.name);
        assert!(found.len() <= STORAGE_BUFFERS, "{}: {} buffers", shader.name, found.len());
    }
}

#[test]
fn every_override_is_set_by_the_host() {
    for shader in &SHADERS {
        let (module, _) = parsed(shader);
        let names: BTreeSet<_> = module.overrides.iter().map(|(_, o)| o.name.as_deref().unwrap()).collect();
        assert_eq!(names, shader.overrides.iter().copied().collect(), "{}", shader.name);
        assert_eq!(names.len(), shader.overrides.len(), "{}: one twice", shader.name);
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
            "QueryBlock",
            &[
                ("start", offset_of!(QueryBlock, start)),
                ("len", offset_of!(QueryBlock, len)),
                ("first", offset_of!(QueryBlock, first)),
            ],
            size_of::<QueryBlock>(),
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
fn a_query_block_has_a_query_for_every_invocation() {
    for shader in SHADERS.iter().filter(|s| s.name.starts_with("attention_")) {
        assert_eq!(shader.workgroup as usize, QUERIES, "{}", shader.name);
    }
}

/// A constant of a composed text.
fn constant(module: &Module, name: &str) -> Option<usize> {
    let (_, constant) = module.constants.iter().find(|(_, c)| c.name.as_deref() == Some(name))?;
    match module.global_expressions[constant.init] {
        Expression::Literal(naga::Literal::U32(value)) => Some(value as usize),
        _ => panic!("{name} is no u32"),
    }
}

#[test]
fn every_constant_that_the_host_shares_is_equal() {
    for shader in &SHADERS {
        let (module, _) = parsed(shader);
        let tile = Tile::ALL.into_iter().find(|tile| {
            [false, true].map(|reads_f16| tile.kernel(reads_f16).shader().name).contains(&shader.name)
        });
        // Of cooperative matrices a tile has four by four.
        let tile = tile.map(Tile::side).or_else(|| constant(&module, "SIDE").map(|side| 4 * side));
        assert_eq!(constant(&module, "TILE"), tile, "{}", shader.name);
        let shared = [("KC", COLUMN_TILE), ("PANEL_COLS", PANEL_COLS), ("MAX_HEAD_DIM", MAX_HEAD_DIM)];
        for (name, expected) in shared {
            assert_eq!(constant(&module, name).unwrap_or(expected), expected, "{}: {name}", shader.name);
        }
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
