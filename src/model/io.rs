//! Reads small files and JSON, with limits on their size and with errors that name the file.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The most bytes of config.json, tokenizer_config.json and a checkpoint's index. The index of the largest checkpoint that
/// is accepted takes half of it.
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// How much of a file shows what it is. The longest path that Linux accepts has as many bytes; links of the hub's cache have
/// 76, and Git LFS pointers about 130.
pub const PROBE_BYTES: u64 = 4096;
/// What helps where a copy of the hub's cache has lost its links or what they lead to.
const DOWNLOAD_AGAIN: &str =
    "copy the whole folder of the repository with its links, or download the model again";
const COPY_AGAIN: &str = "copy or download the model again";
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
        Err(e) if e.kind() == ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => {
                let message = format!(
                    "it is a link to `{}`, which is not there: {DOWNLOAD_AGAIN}",
                    path.with_file_name(target).display()
                );
                Err(io_error(path, io::Error::new(ErrorKind::NotFound, message)))
            }
            Err(_) => Ok(false),
        },
        Err(e) => Err(io_error(path, e)),
    }
}

/// Refuses a file with something else in the place of its contents, as copies, checkouts and downloads leave it. `start` is
/// the whole of a file of [`PROBE_BYTES`] or less, else more of it than that.
pub fn check_contents(file: &str, start: &[u8]) -> Result<()> {
    let begins = |tag: &str| {
        let text = start.trim_ascii_start();
        text.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag.as_bytes()))
    };
    let message = if start.is_empty() {
        format!("is empty: {COPY_AGAIN}")
    } else if start.iter().take(PROBE_BYTES as usize).all(|byte| *byte == 0) {
        // The length is written before the contents, and the machine or the download stopped between.
        format!("begins with zeros alone: {COPY_AGAIN}")
    } else if start.starts_with(b"version https://git-lfs") {
        "is a Git LFS pointer, not the file itself: run `git lfs pull`".to_owned()
    } else if begins("<!doctype html") || begins("<html") {
        format!("is a web page, which a server sent in its place: {COPY_AGAIN}")
    } else if let Some(target) = link_target(start) {
        // An archive or a copy that does not know links makes such files of them.
        format!("is a text file with the target of a link, `{target}`: {DOWNLOAD_AGAIN}")
    } else {
        return Ok(());
    };
    Err(Error::Format { file: file.to_owned(), message })
}

/// The path that a file holds and nothing else. Weights may begin with its first character, but then hold zeros.
fn link_target(contents: &[u8]) -> Option<&str> {
    let target = std::str::from_utf8(contents).ok()?.trim_end();
    let is_path = ["../", "./", "/"].iter().any(|root| target.starts_with(root));
    (is_path && contents.len() as u64 <= PROBE_BYTES && !target.contains(char::is_control)).then_some(target)
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

/// A whole file of at most `limit` bytes, whose contents are its own ([`check_contents`]); `None` where there is none.
pub fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let bytes = read_limited(path, limit)?;
    bytes.iter().try_for_each(|bytes| check_contents(&path.display().to_string(), bytes))?;
    Ok(bytes)
}

/// A whole file of at most `limit` bytes; `None` where there is none.
pub fn read_limited(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
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
    // Some editors write it, and transformers refuses it too.
    if bytes.starts_with(b"\xef\xbb\xbf") {
        let message = "starts with a byte order mark: save it as UTF-8 without one".into();
        return Err(Error::Format { file: file.into(), message });
    }
    serde_json::from_slice(bytes).map_err(|e| {
        let message = e.to_string();
        let mut shown: String = message.chars().take(MAX_MESSAGE_CHARS).collect();
        if shown.len() < message.len() {
            shown.push_str("...");
        }
        Error::Format { file: file.into(), message: shown }
    })
}
