//! Keeps the layer diagram true: who may import whom, and which file is the only door of which dependency.
//! Unit tests inside a module are free: comparing a backend with the reference is their work.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "layers/cycles.rs"]
mod cycles;
#[path = "layers/sizes.rs"]
mod sizes;

const LEAVES: &[&str] = &["cancel", "error", "options", "ranking", "rerank_options", "serde_fields"];
const BACKEND: &[&str] = &["error", "kernels", "options::Executor", "options::Isa", "tensor", "text::batch"];

/// What each top-level module may import from this crate, besides itself. An empty name stands for everything.
const IMPORTS: &[(&str, &[&str])] = &[
    ("cancel", LEAVES),
    ("error", LEAVES),
    ("options", LEAVES),
    ("ranking", LEAVES),
    ("rerank_options", LEAVES),
    ("serde_fields", &[]),
    ("text", LEAVES),
    ("tensor", &[]),
    ("kernels", &["error", "tensor", "text::batch"]),
    ("model", &["cancel", "error", "options", "ranking", "kernels", "tensor", "text::batch"]),
    ("reference", BACKEND),
    ("cpu", BACKEND),
    ("gpu", BACKEND),
    ("reranker", &[""]),
    ("capi", &["cancel", "error", "options", "ranking", "rerank_options", "reranker", "model::files"]),
    ("lib", &[""]),
    // A program of its own, which sees the library as every user does: its `crate::` is not ours.
    ("bin", &[""]),
];

/// Texts of the code and the files they may stand in. `name::` is a crate; a dependency without a row belongs to bin/.
const DOORS: &[(&str, &[&str])] = &[
    ("tokenizers::", &["text/hf_tokenizer.rs"]),
    ("safetensors::", &["model/header.rs", "model/matrix.rs", "model/quantize.rs"]),
    (
        "serde::",
        &[
            "error.rs",
            "options.rs",
            "ranking.rs",
            "rerank_options.rs",
            "reranker.rs",
            "reranker/builder.rs",
            "serde_fields.rs",
            "model/",
            "text/",
            "bin/",
        ],
    ),
    ("serde_json::", &["model/", "text/", "bin/"]),
    ("base64::", &["text/definition/checks.rs", "text/vocabulary/sentencepiece.rs"]),
    ("prost::", &["text/vocabulary/sentencepiece.rs"]),
    (
        "xxhash_rust::",
        &[
            "gpu/pipelines.rs",
            "gpu/tiles.rs",
            "model/hash.rs",
            "model/header.rs",
            "model/reader.rs",
            "reranker/model.rs",
            "text/wordpiece.rs",
        ],
    ),
    ("hashbrown::", &["text/wordpiece.rs"]),
    ("wgpu::", &["gpu/"]),
    ("bytemuck::", &["cpu/alloc.rs", "cpu/pack.rs", "gpu/"]),
    ("half::", &["gpu/"]),
    ("pollster::", &["gpu/"]),
    ("core::arch", &["cpu/simd/"]),
    ("std::arch", &["cpu/simd/"]),
    ("unsafe ", &["cpu/simd/", "cpu/threads.rs", "capi/", "gpu/pipelines.rs"]),
    ("extern \"C\"", &["capi/"]),
    // The library prints nothing and reads no environment variable, but for the place of the hub's cache.
    ("println!", &["bin/"]),
    ("print!", &["bin/"]),
    ("eprintln!", &["bin/"]),
    ("eprint!", &["bin/"]),
    ("dbg!", &[]),
    ("env::var", &["model/hub_cache.rs", "bin/"]),
];

/// What `code`, the text of `src/{path}`, does against the tables; `dependencies` are the crates of Cargo.toml.
fn violations(path: &str, code: &str, dependencies: &[String]) -> Vec<String> {
    let code = without_comments_and_tests(code);
    let module = path.split('/').next().unwrap().trim_end_matches(".rs");
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
        return vec![format!("src/{path}: the module `{module}` has no row in IMPORTS")];
    };

    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let mut imports = Vec::new();
        expand("", &code[at + "crate::".len()..], &mut imports);
        for import in imports {
            let within =
                |layer: &&str| layer.is_empty() || (import.clone() + "::").starts_with(&format!("{layer}::"));
            if !within(&module) && !allowed.iter().any(within) {
                found.push(format!("src/{path}: `{module}` may not import crate::{import}"));
            }
        }
    }
    // src/x.rs and src/x/mod.rs lie one level below the root, src/x/y.rs two.
    let depth = path.trim_end_matches("/mod.rs").split('/').count();
    if !allowed.contains(&"") && code.contains(&"super::".repeat(depth)) {
        found.push(format!("src/{path}: reaches the crate root through super::; write crate::"));
    }

    let inner = |c: char| c.is_alphanumeric() || c == '_';
    let mut crates: Vec<String> = dependencies.iter().map(|name| format!("{name}::")).collect();
    crates.retain(|name| DOORS.iter().all(|(text, _)| text != name));
    let bin_only = crates.iter().map(|name| (name.as_str(), &["bin/"][..]));
    for (text, doors) in DOORS.iter().copied().chain(bin_only) {
        let used = code.match_indices(text).any(|(at, _)| !code[..at].ends_with(inner));
        if used && !doors.iter().any(|door| path.starts_with(door)) {
            found.push(format!("src/{path}: `{}` belongs in {doors:?}", text.trim()));
        }
    }
    found
}

/// The code of a file without comments and unit tests.
fn without_comments_and_tests(code: &str) -> String {
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect()
}

/// The paths of a use tree: `a::{b, c::d}` is `a::b` and `a::c::d`. Returns what follows the tree.
fn expand<'a>(prefix: &str, tree: &'a str, paths: &mut Vec<String>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut rest) = tree.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches([',', ' ', '\n']);
            if rest.is_empty() || rest.starts_with('}') {
                return rest.get(1..).unwrap_or_default();
            }
            rest = expand(prefix, rest, paths);
        }
    }
    let end = tree.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*')).unwrap_or(tree.len());
    let (path, rest) = (format!("{prefix}{}", &tree[..end]), &tree[end..]);
    if let Some(rest) = rest.strip_prefix("::") {
        return expand(&format!("{path}::"), rest, paths);
    }
    paths.push(path);
    // Skips ` as name`, and one character of anything unexpected, so that the loop above always moves on.
    let next = rest.find([',', '}', ';']).unwrap_or(rest.len());
    &rest[next..]
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn every_file_keeps_to_its_layer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names =
        section.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    let dependencies: Vec<String> = names.map(|(name, _)| name.replace('-', "_")).collect();
    assert!(dependencies.iter().any(|name| name == "tokenizers"), "Cargo.toml was not understood");

    let found: Vec<String> =
        sources().iter().flat_map(|(path, code)| violations(path, code, &dependencies)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Every file of src/ by its path below it, with its text.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 10, "only {} files were read", files.len());
    let path = |file: &PathBuf| file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
    files.iter().map(|file| (path(file), fs::read_to_string(file).unwrap())).collect()
}

#[test]
fn no_files_import_each_other() {
    let files = sources();
    // The program is a crate of its own.
    let library = files.iter().filter(|(path, _)| !path.starts_with("bin/"));
    let cycles = cycles::Files::new(library.map(|(path, code)| (path.as_str(), code.as_str()))).cycles();
    let cycles: Vec<String> = cycles.iter().map(|imports| imports.join("\n")).collect();
    assert!(cycles.is_empty(), "files that import each other:\n{}", cycles.join("\n\n"));
}

#[test]
fn no_file_and_no_function_is_too_long() {
    let found: Vec<String> = sources().iter().flat_map(|(path, code)| sizes::too_long(path, code)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_kind_of_violation_is_found() {
    let cases = [
        ("kernels.rs", "use crate::model::spec::Spec;"),
        ("kernels.rs", "use crate::{error::Error, text::{batch::PackedBatch, tokenizer}};"),
        ("model/forward.rs", "fn f(b: &crate::cpu::Cpu) {}"),
        ("model/config.rs", "use crate::{\n    error::Result as R,\n    reference::Reference,\n};"),
        ("cpu/gemm.rs", "use crate::options::LoadOptions;"),
        ("cpu/gemm.rs", "use super::super::reference::Reference;"),
        ("cpu/mod.rs", "use super::model::spec::Spec;"),
        ("cpu/mod.rs", "use crate::Reranker;"),
        ("reference.rs", "fn f() { unsafe { core::hint::unreachable_unchecked() } }"),
        ("cpu/gemm.rs", "use core::arch::x86_64::*;"),
        ("text/batch.rs", "use tokenizers::Tokenizer;"),
        ("reranker.rs", "fn f(device: &wgpu::Device) {}"),
        ("gpu/mod.rs", "use crate::model::spec::Spec;"),
        ("gpu/mod.rs", "use crate::cpu::Cpu;"),
        ("gpu/device.rs", "fn f() { unsafe { core::hint::unreachable_unchecked() } }"),
        ("model/config.rs", "fn f() { ::safetensors::tensor::Dtype::F32; }"),
        ("reranker.rs", "pub extern \"C\" fn f() {}"),
        ("reranker.rs", "fn f() { println!(); }"),
        ("reranker.rs", "use some_crate::Thing;"),
        ("surprise.rs", ""),
    ];
    let dependencies = ["some_crate".to_owned()];
    for (path, code) in cases {
        assert_eq!(
            violations(path, code, &dependencies).len(),
            1,
            "src/{path}: {code}: {:?}",
            violations(path, code, &dependencies)
        );
    }
}
