//! An opened weight file, or its bytes in memory: read at any offset by any number of threads.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::model::files::WeightFile;
use crate::model::io::{io_error, open_file};

/// Bytes that are read at a time: few system calls, and the block is still in the core's L2 cache when it is visited.
const BLOCK: usize = 256 << 10;

/// A weight file from which tensors are read.
pub(super) struct TensorSource<'a> {
    name: String,
    data: Data<'a>,
}

enum Data<'a> {
    File(File, PathBuf),
    Bytes(&'a Cow<'static, [u8]>),
}

impl<'a> TensorSource<'a> {
    /// Opens a file and returns its length in bytes too.
    pub fn open(file: &'a WeightFile) -> Result<(Self, u64)> {
        match file {
            WeightFile::Path(path) => {
                let (file, length) = open_file(path)?;
                Ok((Self { name: path.display().to_string(), data: Data::File(file, path.clone()) }, length))
            }
            WeightFile::Bytes(name, bytes) => {
                Ok((Self { name: name.clone(), data: Data::Bytes(bytes) }, bytes.len() as u64))
            }
        }
    }

    /// The name in error messages: the path, where it is on disk.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// [`Error::Format`] about this file.
    pub fn format_error(&self, message: impl Into<String>) -> Error {
        Error::Format { file: self.name.clone(), message: message.into() }
    }

    /// All bytes; `None` for a file on disk.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match &self.data {
            Data::File(..) => None,
            Data::Bytes(bytes) => Some(bytes),
        }
    }

    /// All bytes; `None` unless they stay in memory as long as the program runs.
    pub fn static_bytes(&self) -> Option<&'static [u8]> {
        match &self.data {
            Data::Bytes(Cow::Borrowed(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// The first `count` bytes of the file, which has at least that many.
    pub fn first_bytes(&self, count: u64) -> Result<Cow<'a, [u8]>> {
        if let Some(bytes) = self.bytes() {
            return Ok(Cow::Borrowed(&bytes[..count as usize]));
        }
        let mut bytes = Vec::new();
        self.append(0, count as usize, &mut bytes, &mut |_| ())?;
        Ok(Cow::Owned(bytes))
    }

    /// Appends `count` bytes from byte `start` on, which the file had when it was opened, to `to`, and calls `visit` with
    /// each block. `to` grows block by block, so that its pages are written while they are in the cache.
    pub fn append(
        &self,
        start: u64,
        count: usize,
        to: &mut Vec<u8>,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        to.try_reserve_exact(count).map_err(|_| Error::OutOfMemory { bytes: count as u64 })?;
        for (at, length) in blocks(count) {
            let filled = to.len();
            to.resize(filled + length, 0);
            self.read_exact(start + at as u64, &mut to[filled..])?;
            visit(&to[filled..]);
        }
        Ok(())
    }

    /// Calls `visit` with `count` bytes from byte `start` on, block by block.
    pub fn visit(&self, start: u64, count: usize, visit: &mut dyn FnMut(&[u8])) -> Result<()> {
        if let Some(bytes) = self.bytes() {
            visit(&bytes[start as usize..][..count]);
            return Ok(());
        }
        let mut block = vec![0; count.min(BLOCK)];
        for (at, length) in blocks(count) {
            self.read_exact(start + at as u64, &mut block[..length])?;
            visit(&block[..length]);
        }
        Ok(())
    }

    fn read_exact(&self, start: u64, to: &mut [u8]) -> Result<()> {
        match &self.data {
            Data::File(file, path) => read_exact_at(file, start, to).map_err(|e| io_error(path, e)),
            Data::Bytes(bytes) => {
                to.copy_from_slice(&bytes[start as usize..][..to.len()]);
                Ok(())
            }
        }
    }
}

/// Offset and length of each block of `count` bytes.
fn blocks(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).step_by(BLOCK).map(move |at| (at, BLOCK.min(count - at)))
}

#[cfg(unix)]
fn read_exact_at(file: &File, start: u64, to: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, to, start)
}

/// `seek_read` moves the file's position, which nothing else uses.
#[cfg(windows)]
fn read_exact_at(file: &File, mut start: u64, mut to: &mut [u8]) -> io::Result<()> {
    while !to.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, to, start) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => (start, to) = (start + count as u64, &mut to[count..]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// All threads share the file's position, so only one reads at a time.
#[cfg(not(any(unix, windows)))]
fn read_exact_at(mut file: &File, start: u64, to: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Seek};
    static POSITION: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _position = POSITION.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    file.seek(io::SeekFrom::Start(start))?;
    file.read_exact(to)
}
