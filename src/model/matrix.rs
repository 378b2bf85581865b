//! One tensor of the network, located in the checkpoint and checked, but not read.

use std::ops::Range;

use safetensors::tensor::Dtype as StoredType;

use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::header::StoredTensor;
use crate::options::Precision;
use crate::tensor::Dtype;

/// A matrix or a vector of the checkpoint, or some of its rows, whose type and shape have been checked. A vector is one row.
#[derive(Clone, Copy)]
pub(super) struct StoredMatrix<'c> {
    name: &'c str,
    stored: &'c StoredTensor,
    /// Where the rows start, in bytes from the start of the tensor.
    offset: usize,
    rows: usize,
    cols: usize,
    /// As it is in memory: what is stored in float64 is rounded to float32 as it is read.
    dtype: Dtype,
    /// For an I8 matrix: the scales of all its rows, and the index of the scale of the first row here.
    scales: Option<(&'c StoredTensor, usize)>,
}

impl<'c> StoredMatrix<'c> {
    /// The first of `names` that the checkpoint holds after `wrapper`, with or without `prefix`, after a check of its type and
    /// shape.
    pub fn locate(
        checkpoint: &'c Checkpoint<'_>,
        names: &[String],
        prefix: &str,
        wrapper: &str,
        shape: &[usize],
    ) -> Result<Self> {
        let without_prefix = |name| str::strip_prefix(name, prefix);
        let spellings = names.iter().flat_map(|name| [Some(name.as_str()), without_prefix(name)]).flatten();
        let wrapped = |name: &str| format!("{wrapper}{name}");
        let Some((name, stored)) = spellings.filter_map(|name| checkpoint.tensor(&wrapped(name))).next()
        else {
            return Err(checkpoint.missing_tensor(wrapped(&names[0])));
        };
        let dtype = match stored.dtype {
            StoredType::F32 | StoredType::F64 => Dtype::F32,
            StoredType::F16 => Dtype::F16,
            StoredType::BF16 => Dtype::Bf16,
            StoredType::I8 if shape.len() == 2 => Dtype::I8,
            other => return Err(Error::TensorType { tensor: name.to_owned(), found: other.to_string() }),
        };
        if stored.shape != shape {
            return Err(Error::TensorShape {
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: stored.shape.clone(),
            });
        }
        let (rows, cols) = match *shape {
            [rows, cols] => (rows, cols),
            _ => (1, stored.shape.iter().product()),
        };
        let scales = match dtype {
            Dtype::I8 => Some((locate_scales(checkpoint, name, rows)?, 0)),
            _ => None,
        };
        Ok(Self { name, stored, offset: 0, rows, cols, dtype, scales })
    }

    /// Some of the rows, or of the values of a vector.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let (rows, cols, stride) =
            if self.is_vector() { (1, range.len(), 1) } else { (range.len(), self.cols, self.cols) };
        let offset = self.offset + range.start * stride * self.file_elem_bytes();
        let scales = self.scales.map(|(stored, first)| (stored, first + range.start));
        Self { offset, rows, cols, scales, ..*self }
    }

    /// The whole tensor of which this may be a part.
    pub fn whole_tensor(&self) -> Self {
        let rows = self.stored.shape[0];
        let scales = self.scales.map(|(stored, _)| (stored, 0));
        Self { offset: 0, rows, scales, ..*self }
    }

    /// The tensor's name in the checkpoint.
    pub fn name(&self) -> &'c str {
        self.name
    }

    pub fn stored(&self) -> &'c StoredTensor {
        self.stored
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    pub fn scales(&self) -> Option<(&'c StoredTensor, usize)> {
        self.scales
    }

    pub fn is_vector(&self) -> bool {
        self.stored.shape.len() == 1
    }

    /// Offset of the first byte, from the start of the file.
    pub fn start(&self) -> u64 {
        self.stored.start + self.offset as u64
    }

    pub fn elements(&self) -> u64 {
        (self.rows * self.cols) as u64
    }

    /// Whether the numbers are stored in float64, and rounded as they are read.
    pub fn is_rounded(&self) -> bool {
        self.stored.dtype == StoredType::F64
    }

    fn file_elem_bytes(&self) -> usize {
        if self.is_rounded() { size_of::<f64>() } else { self.dtype.elem_bytes() }
    }

    /// Bytes in the file, without those of the scales.
    pub fn file_bytes(&self) -> usize {
        self.rows * self.cols * self.file_elem_bytes()
    }

    /// Bytes in memory as it is read, without those of the scales.
    pub fn bytes(&self) -> usize {
        self.rows * self.cols * self.dtype.elem_bytes()
    }

    /// Bytes in memory as it is read, those of the scales included.
    pub fn bytes_with_scales(&self) -> u64 {
        (self.bytes() + self.scales.map_or(0, |_| self.rows * size_of::<f32>())) as u64
    }

    /// The type that loading in `precision` converts it to; `None` where it stays as it is stored. Vectors are never
    /// converted.
    pub fn converted_to(&self, precision: Precision) -> Option<Dtype> {
        match (precision, self.dtype) {
            _ if self.is_vector() => None,
            (Precision::Int8, Dtype::F32 | Dtype::F16 | Dtype::Bf16) => Some(Dtype::I8),
            (Precision::F16Weights, Dtype::F32 | Dtype::I8) => Some(Dtype::F16),
            _ => None,
        }
    }
}

/// The name of the tensor that holds the scales of an I8 matrix's rows.
pub(super) fn scales_name(matrix: &str) -> String {
    format!("{matrix}_scale")
}

fn locate_scales<'c>(checkpoint: &'c Checkpoint<'_>, matrix: &str, rows: usize) -> Result<&'c StoredTensor> {
    let tensor = scales_name(matrix);
    let Some((_, stored)) = checkpoint.tensor(&tensor) else { return Err(checkpoint.missing_tensor(tensor)) };
    if stored.dtype != StoredType::F32 {
        return Err(Error::TensorType { tensor, found: stored.dtype.to_string() });
    }
    if stored.shape != [rows] {
        return Err(Error::TensorShape { tensor, expected: vec![rows], found: stored.shape.clone() });
    }
    Ok(stored)
}
