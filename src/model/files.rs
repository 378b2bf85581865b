//! Where a model's files come from: a directory, a name, or memory.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::error::Result;

/// The files of one model in Hugging Face layout.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// The name or path the user gave.
    pub name: String,
    /// config.json.
    pub config: Vec<u8>,
    /// tokenizer.json.
    pub tokenizer: Vec<u8>,
    /// tokenizer_config.json, where there is one.
    pub tokenizer_config: Option<Vec<u8>>,
    /// model.safetensors, or its shards.
    pub weights: Vec<WeightFile>,
}

/// A safetensors file.
#[derive(Clone, Debug)]
pub enum WeightFile {
    /// On disk; read tensor by tensor while loading, closed afterwards.
    Path(PathBuf),
    /// In memory, with a name for messages.
    Bytes(String, Cow<'static, [u8]>),
}

impl ModelFiles {
    /// A directory, or a name looked up in the models folder and in the Hugging Face cache on disk.
    pub fn find(path_or_name: &Path) -> Result<Self> {
        let _ = path_or_name;
        unimplemented!()
    }

    /// The model embedded in the library.
    #[cfg(feature = "bundled-model")]
    pub fn bundled() -> Self {
        unimplemented!()
    }
}
