//! Builds models from the `bert` fixture: valid ones, and ones with a single error.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crossrank::model::forward::Weights;
use crossrank::model::{config, weights};
use crossrank::reference::Reference;
use crossrank::{Error, ModelFiles, Result};
use serde_json::{Map, Value, json};

pub fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family)
}

pub fn read(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

pub fn read_json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&read(path)).unwrap()
}

/// The `bert` fixture's config.json after `edit`.
pub fn config(edit: impl FnOnce(&mut Map<String, Value>)) -> Vec<u8> {
    config_of("bert", edit)
}

/// A fixture's config.json after `edit`.
pub fn config_of(family: &str, edit: impl FnOnce(&mut Map<String, Value>)) -> Vec<u8> {
    let mut config = read_json(fixture(family).join("config.json"));
    edit(config.as_object_mut().unwrap());
    serde_json::to_vec(&config).unwrap()
}

/// A tensor as a safetensors file stores it.
#[derive(Clone)]
pub struct TestTensor {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// Splits a safetensors file into its header, without the length field, and its data.
pub fn split(file: &[u8]) -> (&[u8], &[u8]) {
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    (&file[8..8 + header], &file[8 + header..])
}

/// Joins a header and data into a safetensors file.
pub fn join(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// The tensors of the `bert` fixture, in file order.
pub fn tensors() -> Vec<TestTensor> {
    tensors_of("bert")
}

/// The tensors of a fixture, in file order.
pub fn tensors_of(family: &str) -> Vec<TestTensor> {
    tensors_in(&fixture(family).join("model.safetensors"))
}

/// The tensors of a safetensors file, in its order.
pub fn tensors_in(path: &Path) -> Vec<TestTensor> {
    let file = read(path);
    let (header, data) = split(&file);
    let header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    let mut tensors: Vec<_> = header.iter().filter(|(name, _)| *name != "__metadata__").collect();
    tensors.sort_by_key(|(_, info)| info["data_offsets"][0].as_u64());
    tensors
        .into_iter()
        .map(|(name, info)| {
            let at = |i: usize| info["data_offsets"][i].as_u64().unwrap() as usize;
            TestTensor {
                name: name.clone(),
                dtype: info["dtype"].as_str().unwrap().into(),
                shape: info["shape"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|n| n.as_u64().unwrap() as usize)
                    .collect(),
                bytes: data[at(0)..at(1)].to_vec(),
            }
        })
        .collect()
}

/// A safetensors file with these tensors, in this order, and a valid header.
pub fn file_of(tensors: &[TestTensor]) -> Vec<u8> {
    let mut header = Map::new();
    let mut data = Vec::new();
    for t in tensors {
        let end = data.len() + t.bytes.len();
        let info = json!({"dtype": t.dtype, "shape": t.shape, "data_offsets": [data.len(), end]});
        header.insert(t.name.clone(), info);
        data.extend(&t.bytes);
    }
    join(&serde_json::to_vec(&header).unwrap(), &data)
}

/// The `bert` fixture's tensors after `edit`, as a file.
pub fn edited(edit: impl FnOnce(&mut Vec<TestTensor>)) -> Vec<u8> {
    let mut tensors = tensors();
    edit(&mut tensors);
    file_of(&tensors)
}

/// The `bert` fixture with another config.json and other weights, in memory.
pub fn model(config: Vec<u8>, weights: Vec<u8>) -> ModelFiles {
    let tokenizer = read(fixture("bert").join("tokenizer.json"));
    let mut files = ModelFiles::from_bytes("crafted", config, tokenizer, [Cow::Owned(weights)]);
    files.tokenizer_config = Some(read(fixture("bert").join("tokenizer_config.json")));
    files
}

/// The `bert` fixture with other weights.
pub fn with_weights(weights: Vec<u8>) -> ModelFiles {
    model(config(|_| {}), weights)
}

/// Loads a model on the reference backend.
pub fn load(files: &ModelFiles) -> Result<Weights<Reference>> {
    weights::load_f32(&Reference, &config::read_spec(files)?, files)
}

/// The error of loading a model.
pub fn load_error(files: &ModelFiles) -> Error {
    load(files).err().expect("the model must not load")
}

/// [`Error::Format`].
pub fn format(file: impl Into<String>, message: impl Into<String>) -> Error {
    Error::Format { file: file.into(), message: message.into() }
}

/// A directory with the files of the `bert` fixture, weights included.
pub fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_into(dir.path());
    dir
}

/// Copies the files of the `bert` fixture.
pub fn copy_into(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        std::fs::copy(fixture("bert").join(file), dir.join(file)).unwrap();
    }
}
