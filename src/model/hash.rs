//! XXH3 (64 bits) of a model: equal for equal models wherever they lie, and on any number of threads.

use xxhash_rust::xxh3::Xxh3;

use crate::error::Result;
use crate::model::checkpoint::Checkpoint;
use crate::model::files::{ADDED_TOKENS, ModelFiles, SENTENCE_BERT_CONFIG, SPECIAL_TOKENS_MAP};
use crate::model::header::StoredTensor;

impl ModelFiles {
    /// XXH3 (64 bits) of the length and bytes of every other file, and of the XXH3 of each header and tensor of the weight
    /// files, in order: equal for equal models wherever they lie. The weight files are read through once.
    ///
    /// Errors: those of a file that cannot be read, or that is not a weight file.
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
    // With their names, and only where they are there: the hash of a model without them is what it was before they were read.
    for (name, bytes) in [
        (SPECIAL_TOKENS_MAP, &files.special_tokens_map),
        (ADDED_TOKENS, &files.added_tokens),
        (SENTENCE_BERT_CONFIG, &files.sentence_bert_config),
    ] {
        if let Some(bytes) = bytes {
            add(name.as_bytes());
            add(bytes);
        }
    }
    for (name, bytes) in &files.vocabulary {
        add(name.as_bytes());
        add(bytes);
    }
    for module in &files.modules {
        add(module.path.as_bytes());
        add(module.class.as_bytes());
        add(&module.config);
    }
    hash.update(&hash_weights(weights)?.to_le_bytes());
    Ok(hash.digest())
}

/// XXH3 of the weight files: of each header's and each tensor's hash, in the order of the files. Tensors that have not been
/// read as a whole are read here.
pub fn hash_weights(checkpoint: &Checkpoint<'_>) -> Result<u64> {
    let mut tensors: Vec<&StoredTensor> = checkpoint.tensors().map(|(_, stored)| stored).collect();
    tensors.sort_by_key(|stored| (stored.file, stored.start));
    let mut hash = Xxh3::new();
    for (file, header_hash) in checkpoint.header_hashes().iter().enumerate() {
        hash.update(&header_hash.to_le_bytes());
        for stored in tensors.iter().filter(|stored| stored.file == file) {
            hash.update(&hash_tensor(checkpoint, stored)?.to_le_bytes());
        }
    }
    Ok(hash.digest())
}

fn hash_tensor(checkpoint: &Checkpoint<'_>, stored: &StoredTensor) -> Result<u64> {
    if let Some(hash) = stored.hash.get() {
        return Ok(*hash);
    }
    let mut hash = Xxh3::new();
    let source = checkpoint.source(stored);
    source.visit(stored.start, stored.bytes, &mut |block| hash.update(block))?;
    Ok(*stored.hash.get_or_init(|| hash.digest()))
}
