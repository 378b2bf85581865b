//! What several test files share.
#![allow(dead_code, reason = "each test file uses its own part")]

use crossrank::cpu::isa;
use crossrank::{Backend, Builder, Reranker};

/// One case of a golden.json.
#[derive(serde::Deserialize)]
pub struct Case {
    pub query: String,
    pub document: String,
    pub input_ids: Vec<u32>,
    pub logits: Vec<f64>,
}

#[derive(serde::Deserialize)]
pub struct Golden {
    pub max_length: usize,
    pub cases: Vec<Case>,
}

/// The golden.json of a model folder below the crate's root.
pub fn golden(folder: &str) -> Golden {
    let path = format!("{}/{folder}/golden.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A model folder below the crate's root.
pub fn load(folder: &str, builder: Builder) -> Reranker {
    builder.load(format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The reference backend and the CPU backend at every instruction set of this machine, with names.
pub fn backends() -> Vec<(String, Builder)> {
    let cpu = isa::available()
        .into_iter()
        .map(|isa| (format!("cpu {}", isa.name()), Reranker::builder().backend(Backend::Cpu).isa(isa)));
    let reference = ("reference".to_owned(), Reranker::builder().backend(Backend::Reference));
    std::iter::once(reference).chain(cpu).collect()
}

/// Asserts that what was asked for is what runs: no test compares a backend with itself.
pub fn assert_runs(name: &str, model: &Reranker) {
    let info = model.info();
    let ran = match info.isa {
        Some(isa) => format!("cpu {}", isa.name()),
        None => "reference".to_owned(),
    };
    assert_eq!(ran, name);
}
