//! Reads small files and JSON, with limits on their size and with errors that name the file.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The most bytes of config.json, tokenizer_config.json and a checkpoint's index. The index of the largest checkpoint that
/// is accepted takes half of it.
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// Characters of a JSON parser's message that are kept: the message may quote any amount of the file.
const MAX_MESSAGE_CHARS: usize = 300;

/// Whether a name that a model's file contains is a file or folder beside it: nothing in a model may point elsewhere on the
/// disk.
pub fn is_plain_name(name: &str) -> bool {
    let plain = !name.is_empty() && name != "." && !name.contains(['/', '\\', ':', '\0']);
    plain && !name.contains("..")
}

/// Whether there is a file at a path. Anything else at that path is an error: reading from a pipe would block for ever.
pub fn is_file(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(true),
        Ok(found) if found.is_dir() => {
            let error = io::Error::new(ErrorKind::IsADirectory, "it is a directory, not a file");
            Err(io_error(path, error))
        }
        Ok(_) => Err(io_error(path, io::Error::other("it is not a regular file"))),
        // A dangling link is a damaged download rather than an absent file.
        Err(e) if e.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => Ok(false),
        Err(e) => Err(io_error(path, e)),
    }
}

/// Opens a regular file and returns its length in bytes too.
pub fn open_file(path: &Path) -> Result<(File, u64)> {
    if !is_file(path)? {
        return Err(io_error(path, io::Error::new(ErrorKind::NotFound, "it is not there any more")));
    }
    let file = File::open(path).map_err(|e| io_error(path, e))?;
    let bytes = file.metadata().map_err(|e| io_error(path, e))?.len();
    Ok((file, bytes))
}

/// A whole file of at most `limit` bytes; `None` where there is none.
pub fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    if !is_file(path)? {
        return Ok(None);
    }
    let (file, length) = open_file(path)?;
    // One byte more than the file has, so that its end is found without growing. The reported length is not trusted beyond
    // the limit.
    let capacity = length.min(limit) + 1;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(capacity as usize).map_err(|_| Error::OutOfMemory { bytes: capacity })?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| io_error(path, e))?;
    if bytes.len() as u64 > limit {
        let message = format!("is longer than {limit} bytes, the most that is read of such a file");
        return Err(Error::Format { file: path.display().to_string(), message });
    }
    Ok(Some(bytes))
}

pub fn io_error(path: &Path, error: io::Error) -> Error {
    Error::Io { path: path.display().to_string(), source: error.into() }
}

/// Parses JSON; the error names the file, and its length is limited.
pub fn parse_json<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| {
        let message = e.to_string();
        let mut shown: String = message.chars().take(MAX_MESSAGE_CHARS).collect();
        if shown.len() < message.len() {
            shown.push_str("...");
        }
        Error::Format { file: file.into(), message: shown }
    })
}
