//! Located tensors -> their bytes: read, hashed as they are read, and converted to the precision of the load.

use std::borrow::Cow;
use std::ops::Deref;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::convert::RowConverter;
use crate::model::matrix::{StoredMatrix, scales_name};
use crate::model::staging::{StagingBuf, StagingPool};
use crate::options::Precision;
use crate::tensor::{Dtype, OwnedTensor, Tensor};

/// Bytes of a table that are read at a time to be converted: as many rows as fit, at least one.
const CONVERSION_BYTES: usize = 1 << 20;

/// Reads the tensors of a checkpoint, from any number of threads.
pub(super) struct TensorReader<'c> {
    checkpoint: &'c Checkpoint<'c>,
    staging: StagingPool,
}

impl<'c> TensorReader<'c> {
    pub fn new(checkpoint: &'c Checkpoint<'c>) -> Self {
        Self { checkpoint, staging: StagingPool::new(checkpoint.total_bytes()) }
    }

    /// Tensors that are read in order to be packed: borrowed from memory, or read from the files into staging buffers.
    /// Matrices are converted to `precision`. Waits while other threads hold too much of the staging pool: a thread that
    /// holds tensors must not read more.
    pub fn read_staged<'m>(
        &self,
        matrices: impl Iterator<Item = StoredMatrix<'m>> + Clone,
        precision: Precision,
    ) -> Result<Vec<LoadedTensor<'_>>> {
        let on_disk = matrices.clone().filter(|m| self.checkpoint.source(m.stored()).bytes().is_none());
        let mut buffers = self.staging.lend(on_disk.map(|matrix| matrix.bytes())).into_iter();
        let read = |matrix: StoredMatrix<'_>| {
            let loaded = self.read_as_stored(matrix, &mut buffers)?;
            Ok(match matrix.converted_to(precision) {
                None => loaded,
                Some(dtype) => {
                    let mut converter = RowConverter::new(dtype, matrix.rows(), matrix.cols())?;
                    converter
                        .append(loaded.tensor())
                        .map_err(|message| self.tensor_error(matrix, &message))?;
                    let (bytes, scales) = converter.into_parts();
                    let bytes = TensorBytes::Kept(Cow::Owned(bytes));
                    LoadedTensor { bytes, scales, dtype, ..loaded }
                }
            })
        };
        matrices.map(read).collect()
    }

    fn read_as_stored<'r>(
        &'r self,
        matrix: StoredMatrix<'_>,
        buffers: &mut impl Iterator<Item = StagingBuf<'r>>,
    ) -> Result<LoadedTensor<'r>> {
        let (start, count, stored) = (matrix.start(), matrix.file_bytes(), matrix.stored());
        let source = self.checkpoint.source(stored);
        let bytes = match source.bytes() {
            Some(all) if !matrix.is_rounded() => {
                let bytes = &all[start as usize..][..count];
                if count == stored.bytes {
                    stored.hash.get_or_init(|| xxh3_64(bytes));
                }
                TensorBytes::Kept(Cow::Borrowed(bytes))
            }
            Some(_) => {
                let mut bytes = Vec::new();
                self.append(matrix, &mut bytes)?;
                TensorBytes::Kept(Cow::Owned(bytes))
            }
            None => {
                let mut buffer = buffers.next().expect("one for each matrix on disk");
                self.append(matrix, &mut buffer.bytes)?;
                TensorBytes::Staged(buffer)
            }
        };
        let scales = self.read_scales(matrix)?;
        Ok(LoadedTensor { bytes, scales, rows: matrix.rows(), cols: matrix.cols(), dtype: matrix.dtype() })
    }

    /// Appends a matrix as it is in memory: as it is stored, or rounded from float64. Hashes it on the way if it is the whole
    /// tensor.
    fn append(&self, matrix: StoredMatrix<'_>, to: &mut Vec<u8>) -> Result<()> {
        let (start, count, stored) = (matrix.start(), matrix.file_bytes(), matrix.stored());
        let source = self.checkpoint.source(stored);
        let mut hash = (count == stored.bytes).then(Xxh3::new);
        let mut update = |block: &[u8]| hash.as_mut().map_or((), |hash| hash.update(block));
        if matrix.is_rounded() {
            let bytes = matrix.bytes();
            to.try_reserve_exact(bytes).map_err(|_| Error::OutOfMemory { bytes: bytes as u64 })?;
            source.visit(start, count, &mut |block| {
                update(block);
                to.extend(
                    block.as_chunks().0.iter().flat_map(|x| (f64::from_le_bytes(*x) as f32).to_le_bytes()),
                );
            })?;
        } else {
            source.append(start, count, to, &mut update)?;
        }
        if let Some(hash) = hash {
            stored.hash.get_or_init(|| hash.digest());
        }
        Ok(())
    }

    /// The scales of the rows of an I8 matrix, else nothing.
    fn read_scales(&self, matrix: StoredMatrix<'_>) -> Result<Vec<f32>> {
        let Some((stored, first)) = matrix.scales() else { return Ok(vec![]) };
        let source = self.checkpoint.source(stored);
        let (start, count) =
            (stored.start + (first * size_of::<f32>()) as u64, matrix.rows() * size_of::<f32>());
        let mut bytes = Vec::new();
        source.append(start, count, &mut bytes, &mut |_| ())?;
        let scales: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let invalid = |scale: &f32| !scale.is_finite() || *scale < 0.0;
        match scales.iter().position(invalid) {
            None => Ok(scales),
            Some(row) => {
                let (tensor, row) = (scales_name(matrix.name()), first + row);
                let message = format!("tensor `{tensor}`: the scale of row {row} is no positive number");
                Err(source.format_error(message))
            }
        }
    }

    /// A tensor that stays in memory, converted to `precision`. Bytes that are `'static` already are borrowed, not copied.
    pub fn read_owned(&self, matrix: StoredMatrix<'_>, precision: Precision) -> Result<OwnedTensor> {
        if let Some(dtype) = matrix.converted_to(precision) {
            return self.read_converted(matrix, dtype);
        }
        let (start, count, stored) = (matrix.start(), matrix.file_bytes(), matrix.stored());
        let source = self.checkpoint.source(stored);
        let bytes = match source.static_bytes() {
            Some(all) if !matrix.is_rounded() => {
                let bytes = &all[start as usize..][..count];
                if count == stored.bytes {
                    stored.hash.get_or_init(|| xxh3_64(bytes));
                }
                Cow::Borrowed(bytes)
            }
            _ => {
                let mut bytes = Vec::new();
                self.append(matrix, &mut bytes)?;
                Cow::Owned(bytes)
            }
        };
        let scales = self.read_scales(matrix)?;
        Ok(OwnedTensor { rows: matrix.rows(), cols: matrix.cols(), dtype: matrix.dtype(), bytes, scales })
    }

    /// Reads and converts some rows at a time, so that the matrix is never in memory in both types.
    fn read_converted(&self, matrix: StoredMatrix<'_>, dtype: Dtype) -> Result<OwnedTensor> {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let mut converter = RowConverter::new(dtype, rows, cols)?;
        let rows_at_a_time = (CONVERSION_BYTES / (matrix.bytes() / rows)).max(1);
        for first in (0..rows).step_by(rows_at_a_time) {
            let block = matrix.slice(first..(first + rows_at_a_time).min(rows));
            for loaded in self.read_staged(std::iter::once(block), Precision::F32)? {
                converter.append(loaded.tensor()).map_err(|message| self.tensor_error(matrix, &message))?;
            }
        }
        let (bytes, scales) = converter.into_parts();
        Ok(OwnedTensor { rows, cols, dtype, bytes: Cow::Owned(bytes), scales })
    }

    fn tensor_error(&self, matrix: StoredMatrix<'_>, message: &str) -> Error {
        let source = self.checkpoint.source(matrix.stored());
        source.format_error(format!("tensor `{}` {message}", matrix.name()))
    }
}

/// A tensor in memory for as long as it takes to pack it.
pub(super) struct LoadedTensor<'r> {
    bytes: TensorBytes<'r>,
    /// One per row for I8, else empty.
    scales: Vec<f32>,
    rows: usize,
    cols: usize,
    dtype: Dtype,
}

enum TensorBytes<'r> {
    Kept(Cow<'r, [u8]>),
    Staged(StagingBuf<'r>),
}

impl Deref for TensorBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Kept(bytes) => bytes,
            Self::Staged(buffer) => &buffer.bytes,
        }
    }
}

impl LoadedTensor<'_> {
    /// `[rows, cols]` of values that were computed and not read.
    pub fn from_values(rows: usize, cols: usize, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let bytes = TensorBytes::Kept(Cow::Owned(bytes));
        Self { bytes, scales: vec![], rows, cols, dtype: Dtype::F32 }
    }

    /// One row of zeros.
    pub fn zeros(cols: usize) -> Self {
        Self::from_values(1, cols, &vec![0.0; cols])
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn tensor(&self) -> Tensor<'_> {
        let Self { rows, cols, dtype, .. } = *self;
        Tensor { rows, cols, dtype, bytes: &self.bytes, scales: &self.scales }
    }
}
