//! XXH3 (64 bits) of a model: equal for equal models wherever they lie, and on any number of threads.

use xxhash_rust::xxh3::Xxh3;

use crate::error::Result;
use crate::model::checkpoint::Checkpoint;
use crate::model::files::ModelFiles;

impl ModelFiles {
    /// XXH3 (64 bits) of the length and bytes of every other file, and of the XXH3 of each header and tensor of the weight
    /// files, in order: equal for equal models wherever they lie. The weight files are read through once.
    ///
    /// Errors: those of a weight file that cannot be read, or is none.
    pub fn hash(&self) -> Result<u64> {
        hash_model(self, &Checkpoint::open(self)?)
    }
}

/// [`ModelFiles::hash`], where the weight files are open: what has been read of them is not read again.
pub fn hash_model(files: &ModelFiles, weights: &Checkpoint<'_>) -> Result<u64> {
    let mut hash = Xxh3::new();
    let mut add = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(&files.config);
    add(&files.tokenizer);
    add(files.tokenizer_config.as_deref().unwrap_or_default());
    add(files.sentence_transformers.as_deref().unwrap_or_default());
    for module in &files.modules {
        add(module.path.as_bytes());
        add(module.kind.as_bytes());
        add(&module.config);
    }
    hash.update(&weights.hash()?.to_le_bytes());
    Ok(hash.digest())
}
