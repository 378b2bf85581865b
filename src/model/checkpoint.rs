//! safetensors files -> tensors, checked, read and hashed. Headers are read in header.rs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, Range};

use safetensors::tensor::Dtype as StoredType;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::{Error, Result};
use crate::kernels::{Dtype, Kernels, OwnedTensor, Tensor};
use crate::model::files::ModelFiles;
use crate::model::forward::Weights;
use crate::model::header::{Stored, read_header};
use crate::model::network::Network;
use crate::model::rounded::Rounded;
use crate::model::source::Source;
use crate::model::spec::Spec;
use crate::model::staging::{StagingBuf, StagingPool};
use crate::model::weights;
use crate::options::Precision;

/// Reads the checkpoint of a model. Every tensor's presence, shape and type is checked before the first is read.
pub fn load<K: Kernels + Sync>(k: &K, spec: &Spec, files: &ModelFiles) -> Result<Weights<K>> {
    Checkpoint::open(files)?.load(k, spec)
}

/// Opened weight files: headers parsed and checked, tensors read one at a time, by any number of threads.
pub struct Checkpoint<'a> {
    files: Vec<Source<'a>>,
    tensors: BTreeMap<String, Stored>,
    /// XXH3 of the headers.
    headers: Vec<u64>,
    staging: StagingPool,
}

/// A tensor, or some of its rows, that has passed the checks of shape and type.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'c> {
    name: &'c str,
    stored: &'c Stored,
    /// Where the rows start, in bytes from the start of the tensor.
    offset: usize,
    rows: usize,
    cols: usize,
    dtype: Dtype,
    /// The scales of an I8 matrix's rows, and the first of them that counts.
    scales: Option<(&'c Stored, usize)>,
}

impl<'c> Matrix<'c> {
    /// Some of the rows, or of the values of a vector.
    pub fn part(&self, range: Range<usize>) -> Self {
        let (rows, cols, stride) =
            if self.is_vector() { (1, range.len(), 1) } else { (range.len(), self.cols, self.cols) };
        let offset = self.offset + range.start * stride * self.dtype.elem_bytes();
        let scales = self.scales.map(|(stored, first)| (stored, first + range.start));
        Self { offset, rows, cols, scales, ..*self }
    }

    /// The whole tensor.
    pub fn whole(&self) -> Self {
        let rows = self.stored.shape[0];
        let scales = self.scales.map(|(stored, _)| (stored, 0));
        Self { offset: 0, rows, scales, ..*self }
    }

    /// Its name.
    pub fn name(&self) -> &'c str {
        self.name
    }

    pub fn is_vector(&self) -> bool {
        self.stored.shape.len() == 1
    }

    pub fn bytes(&self) -> usize {
        self.rows * self.cols * self.dtype.elem_bytes()
    }

    /// Its bytes and its scales'.
    fn bytes_as_stored(&self) -> u64 {
        (self.bytes() + self.scales.map_or(0, |_| self.rows * size_of::<f32>())) as u64
    }

    /// What it is rounded to, if it is: vectors never are, nor what is stored so.
    fn rounded_to(&self, precision: Precision) -> Option<Dtype> {
        match (precision, self.dtype) {
            _ if self.is_vector() => None,
            (Precision::Int8, Dtype::F32 | Dtype::F16 | Dtype::Bf16) => Some(Dtype::I8),
            (Precision::F16Weights, Dtype::F32 | Dtype::I8) => Some(Dtype::F16),
            _ => None,
        }
    }
}

impl<'a> Checkpoint<'a> {
    /// Opens the weight files and checks their headers. No tensor is read.
    pub fn open(files: &'a ModelFiles) -> Result<Self> {
        if files.weights.is_empty() {
            let hint = "it has no weight files: give it the bytes of a model.safetensors";
            return Err(Error::NotFound { name: files.name.clone(), hint: hint.into() });
        }
        let mut checkpoint = Self {
            files: vec![],
            tensors: BTreeMap::new(),
            headers: vec![],
            staging: StagingPool::default(),
        };
        let mut total = 0;
        // The tensors of a module are told apart by its folder, as on disk.
        let modules =
            files.modules.iter().filter_map(|m| Some((format!("{}/", m.path), m.weights.as_ref()?)));
        let all = files.weights.iter().map(|file| (String::new(), file)).chain(modules);
        for (index, (folder, file)) in all.enumerate() {
            let (source, length) = Source::open(file)?;
            let (header, hash) = read_header(&source, index, length)?;
            for (name, stored) in header {
                let name = folder.clone() + &name;
                if checkpoint.tensors.contains_key(&name) {
                    return Err(source.broken(format!("tensor `{name}` is in another shard too")));
                }
                checkpoint.tensors.insert(name, stored);
            }
            checkpoint.files.push(source);
            checkpoint.headers.push(hash);
            total += length;
        }
        checkpoint.staging = StagingPool::new(total);
        Ok(checkpoint)
    }

    /// The tensors' names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Name, type and shape of every tensor in the first `files` files.
    pub(super) fn stored(&self, files: usize) -> impl Iterator<Item = (&str, StoredType, &[usize])> {
        let of_files = self.tensors.iter().filter(move |(_, stored)| stored.file < files);
        of_files.map(|(name, stored)| (name.as_str(), stored.dtype, &stored.shape[..]))
    }

    /// The bytes of any tensor.
    pub(super) fn copy(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Some(stored) = self.tensors.get(name) {
            let source = &self.files[stored.file];
            source.append(stored.start, stored.bytes, &mut bytes, &mut |_| ())?;
        }
        Ok(bytes)
    }

    /// Bytes on disk of the tensors that `spec` asks for, but for scales. Checks like [`load`](Self::load), reads nothing.
    pub fn bytes(&self, spec: &Spec) -> Result<u64> {
        let network = Network::locate(self, spec)?;
        Ok(network.tables().chain(network.widened()).map(|matrix| matrix.bytes() as u64).sum())
    }

    /// Bytes in memory of the tensors that `spec` asks for and of what is made of them, in numbers of `width` bytes but
    /// for what `spec.precision` keeps otherwise; tables as they are stored where `table_width` is `None`. Checks like
    /// [`load`](Self::load), reads nothing.
    pub fn bytes_in_memory(&self, spec: &Spec, table_width: Option<usize>, width: usize) -> Result<u64> {
        let network = Network::locate(self, spec)?;
        let numbers = |matrix: Matrix<'_>| (matrix.rows * matrix.cols) as u64;
        // Of integers, a row has its scale besides, and of a linear layer the sum of its weights too.
        let kept = |m: Matrix<'_>, wide: u64, per_row: usize| match spec.precision {
            Precision::Int8 => numbers(m) + (m.rows * per_row) as u64,
            Precision::F16Weights => 2 * numbers(m),
            Precision::F32 | Precision::Auto => wide,
        };
        let table = |m: Matrix<'_>| match table_width {
            None => kept(m, m.bytes_as_stored(), 4),
            Some(width) => numbers(m) * width as u64,
        };
        let tables: u64 = network.tables().map(table).sum();
        let mut rest: u64 = network.widened().map(numbers).sum();
        rest = (rest + weights::numbers_made(spec)) * width as u64;
        if width == Dtype::F32.elem_bytes() {
            for matrix in network.kept(spec) {
                let wide = numbers(matrix) * width as u64;
                rest = rest - wide + kept(matrix, wide, 8);
            }
        }
        Ok(tables + rest)
    }

    /// One sentence for every tensor that `spec` has no use for. Heads of pre-training and position buffers are
    /// expected and not mentioned.
    pub fn warnings(&self, spec: &Spec) -> Result<Vec<String>> {
        let network = Network::locate(self, spec)?;
        let used: BTreeSet<&str> =
            network.tables().chain(network.widened()).map(|matrix| matrix.name).collect();
        let expected = |name: &str| {
            name.starts_with("cls.")
                || name.ends_with("embeddings.position_ids")
                || name.ends_with("embeddings.token_type_ids")
        };
        let scales: BTreeSet<String> = used.iter().map(|name| scales_of(name)).collect();
        let unknown = self
            .tensors
            .iter()
            .filter(|(name, _)| !used.contains(name.as_str()) && !scales.contains(*name) && !expected(name));
        let sentence = |(name, stored): (&String, &Stored)| {
            format!(
                "`{}`: tensor `{name}` is not part of {}",
                self.files[stored.file].name(),
                spec.architecture
            )
        };
        Ok(unknown.map(sentence).collect())
    }

    /// The first of `names` that is there, with or without the family's prefix.
    pub(super) fn find(&self, names: &[String], shape: &[usize], spec: &Spec) -> Result<Matrix<'_>> {
        let bare = |name| str::strip_prefix(name, spec.names.prefix);
        let spellings = names.iter().flat_map(|name| [Some(name.as_str()), bare(name)]).flatten();
        let found = spellings.filter_map(|name| self.tensors.get_key_value(name)).next();
        let Some((name, stored)) = found else {
            let first = self.files[0].name();
            let file = match self.files.len() {
                1 => first.to_owned(),
                count => format!("{first} and {} more", count - 1),
            };
            return Err(Error::MissingTensor { file, tensor: names[0].clone() });
        };
        let dtype = match stored.dtype {
            StoredType::F32 => Dtype::F32,
            StoredType::F16 => Dtype::F16,
            StoredType::BF16 => Dtype::Bf16,
            StoredType::I8 if shape.len() == 2 => Dtype::I8,
            other => return Err(Error::TensorType { tensor: name.clone(), found: other.to_string() }),
        };
        if stored.shape != shape {
            return Err(Error::TensorShape {
                tensor: name.clone(),
                expected: shape.to_vec(),
                found: stored.shape.clone(),
            });
        }
        let (rows, cols) = match *shape {
            [rows, cols] => (rows, cols),
            _ => (1, stored.shape.iter().product()),
        };
        let scales = match dtype {
            Dtype::I8 => Some((self.scales(name, rows)?, 0)),
            _ => None,
        };
        Ok(Matrix { name, stored, offset: 0, rows, cols, dtype, scales })
    }

    /// The scales of an I8 matrix.
    fn scales(&self, matrix: &str, rows: usize) -> Result<&Stored> {
        let tensor = scales_of(matrix);
        let Some(stored) = self.tensors.get(&tensor) else {
            return Err(Error::MissingTensor { file: self.files[0].name().to_owned(), tensor });
        };
        if stored.dtype != StoredType::F32 {
            return Err(Error::TensorType { tensor, found: stored.dtype.to_string() });
        }
        if stored.shape != [rows] {
            return Err(Error::TensorShape { tensor, expected: vec![rows], found: stored.shape.clone() });
        }
        Ok(stored)
    }

    /// The tensors' bytes: borrowed from memory, or read from the files into memory that is used again; matrices rounded to
    /// `precision`. Waits while others have too much of that: whoever holds some must not ask for more.
    pub(super) fn read<'m>(
        &self,
        matrices: impl Iterator<Item = Matrix<'m>> + Clone,
        precision: Precision,
    ) -> Result<Vec<Loaded<'_>>> {
        let on_disk = matrices.clone().filter(|m| self.files[m.stored.file].bytes().is_none());
        let mut lent = self.staging.lend(on_disk.map(|matrix| matrix.bytes())).into_iter();
        let read = |matrix: Matrix<'_>| {
            let loaded = self.read_into(matrix, &mut lent)?;
            Ok(match matrix.rounded_to(precision) {
                None => loaded,
                Some(dtype) => {
                    let mut rounded = Rounded::new(dtype, matrix.rows, matrix.cols)?;
                    rounded.append(loaded.tensor()).map_err(|message| self.broken(matrix, &message))?;
                    let (bytes, scales) = rounded.take();
                    let bytes = Bytes::Kept(Cow::Owned(bytes));
                    Loaded { bytes, scales, dtype, ..loaded }
                }
            })
        };
        matrices.map(read).collect()
    }

    fn read_into<'c>(
        &'c self,
        matrix: Matrix<'_>,
        lent: &mut impl Iterator<Item = StagingBuf<'c>>,
    ) -> Result<Loaded<'c>> {
        let stored = matrix.stored;
        let (start, count) = (stored.start + matrix.offset as u64, matrix.bytes());
        let source = &self.files[stored.file];
        let bytes = match source.bytes() {
            Some(all) => Bytes::Kept(Cow::Borrowed(&all[start as usize..][..count])),
            None => {
                let mut lent = lent.next().expect("one for each matrix on disk");
                source.append(start, count, &mut lent.bytes, &mut |_| ())?;
                Bytes::Lent(lent)
            }
        };
        if count == stored.bytes {
            stored.hash.get_or_init(|| xxh3_64(&bytes));
        }
        let scales = self.read_scales(matrix)?;
        Ok(Loaded { bytes, scales, rows: matrix.rows, cols: matrix.cols, dtype: matrix.dtype })
    }

    /// The scales of the rows of an I8 matrix, else nothing.
    fn read_scales(&self, matrix: Matrix<'_>) -> Result<Vec<f32>> {
        let Some((stored, first)) = matrix.scales else { return Ok(vec![]) };
        let source = &self.files[stored.file];
        let (start, count) =
            (stored.start + (first * size_of::<f32>()) as u64, matrix.rows * size_of::<f32>());
        let mut bytes = Vec::new();
        source.append(start, count, &mut bytes, &mut |_| ())?;
        let scales: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let bad = |scale: &f32| !scale.is_finite() || *scale < 0.0;
        match scales.iter().position(bad) {
            None => Ok(scales),
            Some(row) => {
                let (tensor, row) = (scales_of(matrix.name), first + row);
                Err(source.broken(format!("tensor `{tensor}`: the scale of row {row} is no positive number")))
            }
        }
    }

    /// The tensor's bytes for good, rounded to `precision`: where they live as long as the program they are not copied.
    pub(super) fn keep(&self, matrix: Matrix<'_>, precision: Precision) -> Result<OwnedTensor> {
        if let Some(dtype) = matrix.rounded_to(precision) {
            let mut rounded = Rounded::new(dtype, matrix.rows, matrix.cols)?;
            let rows = (ROUNDED_BYTES / (matrix.bytes() / matrix.rows)).max(1);
            for first in (0..matrix.rows).step_by(rows) {
                let part = matrix.part(first..(first + rows).min(matrix.rows));
                for loaded in self.read(std::iter::once(part), Precision::F32)? {
                    rounded.append(loaded.tensor()).map_err(|message| self.broken(matrix, &message))?;
                }
            }
            let (bytes, scales) = rounded.take();
            return Ok(OwnedTensor {
                rows: matrix.rows,
                cols: matrix.cols,
                dtype,
                bytes: Cow::Owned(bytes),
                scales,
            });
        }
        let stored = matrix.stored;
        let (start, count) = (stored.start + matrix.offset as u64, matrix.bytes());
        let source = &self.files[stored.file];
        let bytes = match source.bytes_for_good() {
            Some(all) => {
                let bytes = &all[start as usize..][..count];
                if count == stored.bytes {
                    stored.hash.get_or_init(|| xxh3_64(bytes));
                }
                Cow::Borrowed(bytes)
            }
            None => {
                let (mut bytes, mut hash) = (Vec::new(), Xxh3::new());
                source.append(start, count, &mut bytes, &mut |block| hash.update(block))?;
                if count == stored.bytes {
                    stored.hash.get_or_init(|| hash.digest());
                }
                Cow::Owned(bytes)
            }
        };
        let scales = self.read_scales(matrix)?;
        Ok(OwnedTensor { rows: matrix.rows, cols: matrix.cols, dtype: matrix.dtype, bytes, scales })
    }

    fn broken(&self, matrix: Matrix<'_>, message: &str) -> Error {
        self.files[matrix.stored.file].broken(format!("tensor `{}` {message}", matrix.name))
    }

    /// What [`Precision::Auto`] stands for: what the first layer's weights are stored as.
    pub fn precision(&self, spec: &Spec, asked: Precision) -> Result<Precision> {
        if asked != Precision::Auto {
            return Ok(asked);
        }
        let network = Network::locate(self, spec)?;
        Ok(match network.layers.first().map(|layer| layer.query.weight.dtype) {
            Some(Dtype::F16 | Dtype::Bf16) => Precision::F16Weights,
            Some(Dtype::I8) => Precision::Int8,
            _ => Precision::F32,
        })
    }

    /// XXH3 of the weight files: of each header's and each tensor's, in the order of the files. What has not been read
    /// whole is read here. The same as for the same bytes in any other place, and on any number of threads.
    pub fn hash(&self) -> Result<u64> {
        let mut tensors: Vec<&Stored> = self.tensors.values().collect();
        tensors.sort_by_key(|stored| (stored.file, stored.start));
        let mut hash = Xxh3::new();
        for (file, header) in self.headers.iter().enumerate() {
            hash.update(&header.to_le_bytes());
            for stored in tensors.iter().filter(|stored| stored.file == file) {
                hash.update(&self.tensor_hash(stored)?.to_le_bytes());
            }
        }
        Ok(hash.digest())
    }

    fn tensor_hash(&self, stored: &Stored) -> Result<u64> {
        if let Some(hash) = stored.hash.get() {
            return Ok(*hash);
        }
        let mut hash = Xxh3::new();
        self.files[stored.file].visit(stored.start, stored.bytes, &mut |block| hash.update(block))?;
        Ok(*stored.hash.get_or_init(|| hash.digest()))
    }
}

/// Bytes that are read at a time to be rounded.
const ROUNDED_BYTES: usize = 1 << 20;

/// The name of the scales of an I8 matrix's rows.
pub(super) fn scales_of(matrix: &str) -> String {
    format!("{matrix}_scale")
}

/// A tensor's bytes and what they are.
pub(super) struct Loaded<'c> {
    bytes: Bytes<'c>,
    /// One per row for I8, else nothing.
    scales: Vec<f32>,
    pub rows: usize,
    pub cols: usize,
    dtype: Dtype,
}

enum Bytes<'c> {
    Kept(Cow<'c, [u8]>),
    Lent(StagingBuf<'c>),
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Kept(bytes) => bytes,
            Self::Lent(lent) => &lent.bytes,
        }
    }
}

impl Loaded<'_> {
    /// Values made here.
    pub fn new(rows: usize, cols: usize, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { bytes: Bytes::Kept(Cow::Owned(bytes)), scales: vec![], rows, cols, dtype: Dtype::F32 }
    }

    /// One row of zeros.
    pub fn zeros(cols: usize) -> Self {
        Self::new(1, cols, &vec![0.0; cols])
    }

    pub fn tensor(&self) -> Tensor<'_> {
        let Self { rows, cols, dtype, .. } = *self;
        Tensor { rows, cols, dtype, bytes: &self.bytes, scales: &self.scales }
    }
}
