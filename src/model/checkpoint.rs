//! safetensors files -> tensors, with every check on a file that may be hostile.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use safetensors::tensor::{Dtype as StoredType, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, Result};
use crate::kernels::{Dtype, Kernels, Tensor};
use crate::model::files::{ModelFiles, WeightFile, io_error, open, parse_json};
use crate::model::forward::Weights;
use crate::model::network::Network;
use crate::model::spec::Spec;
use crate::model::weights;
use crate::options::Precision;
use crate::tensor::{narrow_f16, round_row};

/// Bytes of the field that holds the header's length.
const LENGTH_BYTES: u64 = 8;
/// A header takes about 100 bytes per tensor, so this is room for 40 000.
const MAX_HEADER_BYTES: u64 = 4 << 20;
/// The largest encoders have about a thousand.
const MAX_TENSORS: usize = 16_384;
/// Nothing in an encoder has more than 2; this bounds what an error prints.
const MAX_DIMENSIONS: usize = 8;
/// Like [`MAX_DIMENSIONS`], for names.
const MAX_NAME_BYTES: usize = 512;

/// Reads the checkpoint of a model. Every tensor's presence, shape and type is checked before the first is read.
pub fn load<K: Kernels>(k: &K, spec: &Spec, files: &ModelFiles) -> Result<Weights<K>> {
    Checkpoint::open(files)?.load(k, spec)
}

/// Opened weight files: headers parsed and checked, tensors read one at a time.
pub struct Checkpoint<'a> {
    files: Vec<Source<'a>>,
    tensors: BTreeMap<String, Stored>,
}

/// An opened weight file.
struct Source<'a> {
    name: String,
    data: Data<'a>,
}

enum Data<'a> {
    File(File, PathBuf),
    Bytes(&'a [u8]),
}

/// Where a tensor lies and what it is.
#[derive(Debug)]
struct Stored {
    /// Index into `Checkpoint::files`.
    file: usize,
    dtype: StoredType,
    shape: Vec<usize>,
    /// First byte, from the start of the file.
    start: u64,
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

impl Matrix<'_> {
    /// Some of the rows, or of the values of a vector.
    pub fn part(&self, range: Range<usize>) -> Self {
        let (rows, cols, stride) =
            if self.is_vector() { (1, range.len(), 1) } else { (range.len(), self.cols, self.cols) };
        let offset = self.offset + range.start * stride * self.dtype.bytes();
        let scales = self.scales.map(|(stored, first)| (stored, first + range.start));
        Self { offset, rows, cols, scales, ..*self }
    }

    pub fn is_vector(&self) -> bool {
        self.stored.shape.len() == 1
    }

    fn bytes(&self) -> usize {
        self.rows * self.cols * self.dtype.bytes()
    }
}

impl<'a> Checkpoint<'a> {
    /// Opens the weight files and checks their headers. No tensor is read.
    pub fn open(files: &'a ModelFiles) -> Result<Self> {
        if files.weights.is_empty() {
            let hint = "it has no weight files: give it the bytes of a model.safetensors";
            return Err(Error::NotFound { name: files.name.clone(), hint: hint.into() });
        }
        let mut checkpoint = Self { files: vec![], tensors: BTreeMap::new() };
        // The tensors of a module are told apart by its folder, as on disk.
        let modules =
            files.modules.iter().filter_map(|m| Some((format!("{}/", m.path), m.weights.as_ref()?)));
        let all = files.weights.iter().map(|file| (String::new(), file)).chain(modules);
        for (index, (folder, file)) in all.enumerate() {
            let (source, length) = match file {
                WeightFile::Path(path) => {
                    let (file, length) = open(path)?;
                    let name = path.display().to_string();
                    (Source { name, data: Data::File(file, path.clone()) }, length)
                }
                WeightFile::Bytes(name, bytes) => {
                    (Source { name: name.clone(), data: Data::Bytes(bytes) }, bytes.len() as u64)
                }
            };
            for (name, stored) in read_header(&source, index, length)? {
                let name = folder.clone() + &name;
                if checkpoint.tensors.contains_key(&name) {
                    return Err(source.broken(format!("tensor `{name}` is in another shard too")));
                }
                checkpoint.tensors.insert(name, stored);
            }
            checkpoint.files.push(source);
        }
        Ok(checkpoint)
    }

    /// The tensors' names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
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
            None => kept(m, m.bytes() as u64, 4),
            Some(width) => numbers(m) * width as u64,
        };
        let tables: u64 = network.tables().map(table).sum();
        let mut rest: u64 = network.widened().map(numbers).sum();
        rest = (rest + weights::numbers_made(spec)) * width as u64;
        if width == Dtype::F32.bytes() {
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
                self.files[stored.file].name, spec.architecture
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
            let first = &self.files[0].name;
            let file = match self.files.len() {
                1 => first.clone(),
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
            return Err(Error::MissingTensor { file: self.files[0].name.clone(), tensor });
        };
        if stored.dtype != StoredType::F32 {
            return Err(Error::TensorType { tensor, found: stored.dtype.to_string() });
        }
        if stored.shape != [rows] {
            return Err(Error::TensorShape { tensor, expected: vec![rows], found: stored.shape.clone() });
        }
        Ok(stored)
    }

    /// The tensor's bytes: borrowed from memory, or read from the file.
    pub(super) fn read(&self, matrix: Matrix<'_>) -> Result<Loaded<'a>> {
        let bytes = self.bytes_at(matrix.stored, matrix.offset, matrix.bytes())?;
        let scales = match matrix.scales {
            None => vec![],
            Some((stored, first)) => {
                let width = Dtype::F32.bytes();
                let bytes = self.bytes_at(stored, first * width, matrix.rows * width)?;
                let scales: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                if let Some(row) = scales.iter().position(|scale| !scale.is_finite() || *scale < 0.0) {
                    let message = format!("the scale of row {row} is no positive number");
                    let tensor = format!("tensor `{}`: {message}", scales_of(matrix.name));
                    return Err(self.files[stored.file].broken(tensor));
                }
                scales
            }
        };
        Ok(Loaded { bytes, scales, rows: matrix.rows, cols: matrix.cols, dtype: matrix.dtype })
    }

    /// `count` bytes of a tensor from `offset` on.
    fn bytes_at(&self, stored: &Stored, offset: usize, count: usize) -> Result<Cow<'a, [u8]>> {
        let start = stored.start + offset as u64;
        match &self.files[stored.file].data {
            Data::Bytes(all) => Ok(Cow::Borrowed(&all[start as usize..start as usize + count])),
            Data::File(file, path) => {
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(count).map_err(|_| Error::OutOfMemory { bytes: count as u64 })?;
                bytes.resize(count, 0);
                let mut file = file;
                file.seek(SeekFrom::Start(start))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|e| io_error(path, &e))?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// [`read`](Self::read), rounded to what `precision` keeps.
    pub(super) fn read_rounded(&self, matrix: Matrix<'_>, precision: Precision) -> Result<Loaded<'a>> {
        let stored = self.read(matrix)?;
        let (rows, cols) = (stored.rows, stored.cols);
        let (to, bytes) = match (precision, stored.dtype) {
            (Precision::Int8, Dtype::F32 | Dtype::F16 | Dtype::Bf16) => (Dtype::I8, rows * cols),
            (Precision::F16Weights, Dtype::F32 | Dtype::I8) => (Dtype::F16, 2 * rows * cols),
            _ => return Ok(stored),
        };
        let mut rounded = Vec::new();
        rounded.try_reserve_exact(bytes).map_err(|_| Error::OutOfMemory { bytes: bytes as u64 })?;
        rounded.resize(bytes, 0);
        let (mut wide, mut scales) = (vec![0.0; cols], Vec::new());
        for (row, out) in rounded.chunks_exact_mut(bytes / rows).enumerate() {
            stored.tensor().widen_row(row, &mut wide);
            if to == Dtype::I8 {
                scales.push(round_row(&wide, out));
                continue;
            }
            for (half, x) in out.as_chunks_mut().0.iter_mut().zip(&wide) {
                *half = narrow_f16(*x).to_le_bytes();
            }
            if wide.iter().any(|x| x.is_finite() && x.abs() >= 65_520.0) {
                let message = format!(
                    "tensor `{}`: row {row} holds numbers beyond float16: load it as float32",
                    matrix.name
                );
                return Err(self.files[matrix.stored.file].broken(message));
            }
        }
        Ok(Loaded { bytes: Cow::Owned(rounded), scales, rows, cols, dtype: to })
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
}

/// The name of the scales of an I8 matrix's rows.
pub(super) fn scales_of(matrix: &str) -> String {
    format!("{matrix}_scale")
}

/// A tensor's bytes and what they are.
pub(super) struct Loaded<'a> {
    bytes: Cow<'a, [u8]>,
    /// One per row for I8, else nothing.
    scales: Vec<f32>,
    pub rows: usize,
    pub cols: usize,
    dtype: Dtype,
}

impl Loaded<'_> {
    /// Values made here.
    pub fn new(rows: usize, cols: usize, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { bytes: Cow::Owned(bytes), scales: vec![], rows, cols, dtype: Dtype::F32 }
    }

    /// One row of zeros.
    pub fn zeros(cols: usize) -> Self {
        let dtype = Dtype::F32;
        Self { bytes: Cow::Owned(vec![0; cols * dtype.bytes()]), scales: vec![], rows: 1, cols, dtype }
    }

    pub fn tensor(&self) -> Tensor<'_> {
        let Self { rows, cols, dtype, .. } = *self;
        Tensor { rows, cols, dtype, bytes: &self.bytes, scales: &self.scales }
    }
}

impl Source<'_> {
    fn broken(&self, message: impl Into<String>) -> Error {
        Error::Format { file: self.name.clone(), message: message.into() }
    }

    /// The first `count` bytes of the file, which has at least as many.
    fn start(&self, count: u64) -> Result<Cow<'_, [u8]>> {
        match &self.data {
            Data::Bytes(bytes) => Ok(Cow::Borrowed(&bytes[..count as usize])),
            Data::File(file, path) => {
                let mut bytes = vec![0; count as usize];
                let mut file = file;
                file.seek(SeekFrom::Start(0))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|e| io_error(path, &e))?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

/// Parses and checks the header of file number `index`, `length` bytes long. The `safetensors` crate's own reader wants
/// the whole file in memory, adds unchecked and keeps the last of two tensors of one name; hence its types only.
fn read_header(source: &Source<'_>, index: usize, length: u64) -> Result<Vec<(String, Stored)>> {
    if length < LENGTH_BYTES {
        return Err(source.broken(format!(
            "is truncated: it has {length} bytes and a safetensors file starts with an 8-byte length"
        )));
    }
    let field = source.start(LENGTH_BYTES)?;
    if *field == *b"version " {
        return Err(source.broken("is a Git LFS pointer, not the weights: run `git lfs pull`"));
    }
    let header_bytes = field.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
    if header_bytes > MAX_HEADER_BYTES {
        return Err(source.broken(format!(
            "is not a safetensors file: its header claims {header_bytes} bytes, the limit is {MAX_HEADER_BYTES}"
        )));
    }
    // No overflow: both are small.
    let data_start = LENGTH_BYTES + header_bytes;
    if data_start > length {
        return Err(source
            .broken(format!("is truncated: its header claims {header_bytes} bytes, the file has {length}")));
    }
    let header = source.start(data_start)?;
    let Header(mut tensors) = parse_json(&source.name, &header[LENGTH_BYTES as usize..])?;
    tensors.sort_by_key(|(_, info)| info.data_offsets);

    // Every tensor starts where the one before it ends, and the last ends with the file.
    let mut end = 0;
    let mut checked = Vec::with_capacity(tensors.len());
    for (name, info) in tensors {
        let (from, to) = info.data_offsets;
        let tensor = |message: String| source.broken(format!("tensor `{name}`: {message}"));
        if info.shape.len() > MAX_DIMENSIONS {
            return Err(tensor(format!("it has {} dimensions", info.shape.len())));
        }
        if from != end {
            let what = if from < end { "overlaps the tensor before it" } else { "leaves a hole before it" };
            return Err(tensor(format!("it {what}: it starts at {from}, the one before it ends at {end}")));
        }
        let bits = info
            .shape
            .iter()
            .try_fold(info.dtype.bitsize() as u64, |bits, dimension| bits.checked_mul(*dimension as u64))
            .ok_or_else(|| tensor(format!("the shape {:?} overflows", info.shape)))?;
        if to < from || bits % 8 != 0 || (to - from) as u64 != bits / 8 {
            return Err(tensor(format!(
                "the shape {:?} of {} does not fill the bytes {from}..{to} that the header gives it",
                info.shape, info.dtype
            )));
        }
        // `to` may be anything up to usize::MAX.
        let stop = data_start.checked_add(to as u64).filter(|stop| *stop <= length);
        if stop.is_none() {
            return Err(tensor(format!(
                "the file is truncated: the tensor ends at byte {to} of the data, of which there are {}",
                length - data_start
            )));
        }
        end = to;
        let start = data_start + from as u64;
        checked.push((name, Stored { file: index, dtype: info.dtype, shape: info.shape, start }));
    }
    if data_start + end as u64 != length {
        let rest = length - data_start - end as u64;
        return Err(
            source.broken(format!("{rest} bytes follow the last tensor: the header does not fit the file"))
        );
    }
    Ok(checked)
}

/// The header's tensors in file order, each name once.
struct Header(Vec<(String, TensorInfo)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tensors;

        impl<'de> Visitor<'de> for Tensors {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let (mut tensors, mut seen) = (Vec::new(), HashSet::new());
                while let Some(name) = map.next_key::<String>()? {
                    if name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
                        return Err(A::Error::custom("the header holds a name that is no tensor's name"));
                    }
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("tensor `{name}` is listed twice")));
                    }
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if tensors.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    let info =
                        map.next_value().map_err(|e| A::Error::custom(format!("tensor `{name}`: {e}")))?;
                    tensors.push((name, info));
                }
                Ok(Header(tensors))
            }
        }

        deserializer.deserialize_map(Tensors)
    }
}
