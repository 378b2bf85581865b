//! Loading models from memory and from open files.

use std::borrow::Cow;
use std::ffi::c_char;

use super::caller::{bytes, c_string, crossrank_str, out, slice};
use super::guard::guard;
use super::model::{crossrank_model, load};
use super::options::{self, crossrank_options};
use super::status::{Failure, crossrank_status};
use crate::model::files::{ModelFiles, WeightFile};

/// A part of an open file, for example of an Android asset or a game archive. The file is read during the load and stays open.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_region {
    /// File descriptor; -1 for no file.
    pub fd: i32,
    /// Offset of the first byte.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// Loads a model from memory. The library copies what it needs: the caller's memory may be freed after the call.
///
/// - `name`: NUL-terminated UTF-8; the model's name in messages.
/// - `config`: contents of config.json.
/// - `tokenizer`: contents of tokenizer.json.
/// - `tokenizer_config`: contents of tokenizer_config.json; {NULL, 0} for none.
/// - `weights`: contents of model.safetensors, or of its shards.
/// - `weight_count`: number of elements of `weights`.
/// - `options`: options for loading, or CROSSRANK_DEFAULTS.
/// - `model`: receives the handle. Free it with crossrank_model_free.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_model_load_memory(
    name: *const c_char,
    config: crossrank_str,
    tokenizer: crossrank_str,
    tokenizer_config: crossrank_str,
    weights: *const crossrank_str,
    weight_count: usize,
    options: crossrank_options,
    model: *mut crossrank_model,
) -> crossrank_status {
    guard(|| {
        // SAFETY: the header asks for valid strings and memory, or NULL.
        let (name, model) = unsafe { (c_string(name, "name")?, out(model, "model")?) };
        // SAFETY: as above.
        let (config, tokenizer) = unsafe { (bytes(config, "config")?, bytes(tokenizer, "tokenizer")?) };
        // SAFETY: as above.
        let (extra, weights) = unsafe {
            (bytes(tokenizer_config, "tokenizer_config")?, slice(weights, weight_count, "weights")?)
        };
        let options = options::read(options)?;
        let mut shards = Vec::new();
        for shard in weights {
            // SAFETY: as above.
            let shard = unsafe { bytes(*shard, "weights") }?;
            // Copied: a model refers to borrowed weights as long as it lives, and the caller may free these after the call.
            let mut own = Vec::new();
            own.try_reserve_exact(shard.len())
                .map_err(|_| Failure::from(crate::error::Error::OutOfMemory { bytes: shard.len() as u64 }))?;
            own.extend_from_slice(shard);
            shards.push(Cow::Owned(own));
        }
        let mut files = ModelFiles::from_bytes(name, config, tokenizer, shards);
        files.tokenizer_config = (!extra.is_empty()).then(|| extra.to_vec());
        load(|| Ok(files), &options, model)
    })
}

/// Loads a model from parts of open files. The descriptors stay open; their file positions change. Returns
/// CROSSRANK_ERR_UNSUPPORTED on Windows.
///
/// - `name`: NUL-terminated UTF-8; the model's name in messages.
/// - `config`: config.json.
/// - `tokenizer`: tokenizer.json.
/// - `tokenizer_config`: tokenizer_config.json; fd -1 for none.
/// - `weights`: model.safetensors, or its shards.
/// - `weight_count`: number of elements of `weights`.
/// - `options`: options for loading, or CROSSRANK_DEFAULTS.
/// - `model`: receives the handle. Free it with crossrank_model_free.
///
/// Any thread, if no other thread uses the descriptors meanwhile. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_model_load_fd(
    name: *const c_char,
    config: crossrank_region,
    tokenizer: crossrank_region,
    tokenizer_config: crossrank_region,
    weights: *const crossrank_region,
    weight_count: usize,
    options: crossrank_options,
    model: *mut crossrank_model,
) -> crossrank_status {
    guard(|| {
        // SAFETY: the header asks for valid strings and memory, or NULL.
        let (name, model) = unsafe { (c_string(name, "name")?, out(model, "model")?) };
        // SAFETY: as above.
        let weights = unsafe { slice(weights, weight_count, "weights") }?;
        let options = options::read(options)?;
        let config = read(config, "config.json")?;
        let tokenizer = read(tokenizer, "tokenizer.json")?;
        let extra = if tokenizer_config.fd == -1 {
            None
        } else {
            Some(read(tokenizer_config, "tokenizer_config.json")?)
        };
        let mut files = ModelFiles::from_bytes(name, config, tokenizer, []);
        files.tokenizer_config = extra;
        for (i, region) in weights.iter().enumerate() {
            let bytes = read(*region, "model.safetensors")?;
            files.weights.push(WeightFile::Bytes(format!("model-{i}.safetensors"), Cow::Owned(bytes)));
        }
        load(|| Ok(files), &options, model)
    })
}

/// Reads the bytes of a region.
#[cfg(unix)]
fn read(region: crossrank_region, name: &str) -> Result<Vec<u8>, Failure> {
    use std::fs::File;
    use std::io::{Read, Seek, SeekFrom};
    use std::mem::ManuallyDrop;
    use std::os::fd::FromRawFd;

    let io = |error: std::io::Error| {
        let message = format!("cannot read {name} from descriptor {}: {error}", region.fd);
        Failure::new(crossrank_status::CROSSRANK_ERR_IO, message)
    };
    if region.fd < 0 {
        return Err(Failure::argument(format!("{name} has no file descriptor")));
    }
    // SAFETY: borrowed for this call and never closed; a wrong number is an error of the system.
    let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(region.fd) });
    let metadata = file.metadata().map_err(io)?;
    let end = region.offset.checked_add(region.length);
    if !metadata.is_file() || end.is_none_or(|end| end > metadata.len()) {
        let message =
            format!("{name}: descriptor {} is not a regular file, or is shorter than the region", region.fd);
        return Err(Failure::new(crossrank_status::CROSSRANK_ERR_IO, message));
    }
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(region.length as usize)
        .map_err(|_| Failure::from(crate::error::Error::OutOfMemory { bytes: region.length }))?;
    file.seek(SeekFrom::Start(region.offset)).map_err(io)?;
    (&*file).take(region.length).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 != region.length {
        return Err(io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

#[cfg(not(unix))]
fn read(_: crossrank_region, _: &str) -> Result<Vec<u8>, Failure> {
    let message = "file descriptors are not supported here: load from memory";
    Err(Failure::new(crossrank_status::CROSSRANK_ERR_UNSUPPORTED, message))
}
