//! The opened weight files of a model: which tensors they hold, and where. Headers are parsed in header.rs, tensors are
//! read in reader.rs.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::model::files::ModelFiles;
use crate::model::header::{StoredTensor, read_header};
use crate::model::source::TensorSource;

/// Stands between a module's folder and the names of its tensors, and in no other tensor's name.
pub(super) const MODULE_SEPARATOR: char = '/';

/// Opened weight files whose headers are parsed and checked.
pub struct Checkpoint<'a> {
    sources: Vec<TensorSource<'a>>,
    tensors: BTreeMap<String, StoredTensor>,
    /// XXH3 of each file's header.
    header_hashes: Vec<u64>,
    total_bytes: u64,
}

impl<'a> Checkpoint<'a> {
    /// Opens the weight files and checks their headers. No tensor is read.
    pub fn open(files: &'a ModelFiles) -> Result<Self> {
        if files.weights.is_empty() {
            let hint = "it has no weight files: give it the bytes of a model.safetensors";
            return Err(Error::NotFound { name: files.name.clone(), hint: hint.into() });
        }
        let mut checkpoint =
            Self { sources: vec![], tensors: BTreeMap::new(), header_hashes: vec![], total_bytes: 0 };
        // A module's folder is the prefix of its tensors' names, which tells the tensors of several modules apart.
        let modules = files
            .modules
            .iter()
            .filter_map(|m| Some((format!("{}{MODULE_SEPARATOR}", m.path), m.weights.as_ref()?)));
        let all = files.weights.iter().map(|file| (String::new(), file)).chain(modules);
        for (index, (prefix, file)) in all.enumerate() {
            let (source, length) = TensorSource::open(file)?;
            let (header, hash) = read_header(&source, index, length)?;
            for (name, stored) in header {
                let name = prefix.clone() + &name;
                if checkpoint.tensors.contains_key(&name) {
                    return Err(source.format_error(format!("tensor `{name}` is in another shard too")));
                }
                checkpoint.tensors.insert(name, stored);
            }
            checkpoint.sources.push(source);
            checkpoint.header_hashes.push(hash);
            checkpoint.total_bytes += length;
        }
        Ok(checkpoint)
    }

    /// The tensors' names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.tensors.keys().map(String::as_str)
    }

    /// All tensors in the order of their names.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &StoredTensor)> {
        self.tensors.iter().map(|(name, stored)| (name.as_str(), stored))
    }

    /// A tensor, with its name as the checkpoint owns it.
    pub(super) fn tensor(&self, name: &str) -> Option<(&str, &StoredTensor)> {
        let (name, stored) = self.tensors.get_key_value(name)?;
        #[cfg(test)]
        lookups::record(name);
        Some((name, stored))
    }

    /// The file that holds a tensor.
    pub(super) fn source(&self, stored: &StoredTensor) -> &TensorSource<'a> {
        &self.sources[stored.file]
    }

    /// The error for a tensor that no file holds.
    pub(super) fn missing_tensor(&self, tensor: String) -> Error {
        let first = self.sources[0].name();
        let file = match self.sources.len() {
            1 => first.to_owned(),
            count => format!("{first} and {} more", count - 1),
        };
        Error::MissingTensor { file, tensor }
    }

    /// XXH3 of each file's header, in the order of the files.
    pub(super) fn header_hashes(&self) -> &[u64] {
        &self.header_hashes
    }

    /// Bytes of all weight files.
    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }
}

/// The tensors that this thread has found by name, for the test that each is located once per load.
#[cfg(test)]
pub(crate) mod lookups {
    use std::cell::RefCell;

    thread_local! {
        static NAMES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn record(name: &str) {
        NAMES.with_borrow_mut(|names| names.push(name.to_owned()));
    }

    /// The names since the last call.
    pub(crate) fn take() -> Vec<String> {
        NAMES.take()
    }
}
