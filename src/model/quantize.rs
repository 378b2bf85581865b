//! A checkpoint -> one file with its matrices in 8 bits, which loads like any other.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, View, serialize};

use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::config;
use crate::model::files::ModelFiles;
use crate::model::io::io_error;
use crate::model::matrix::scales_name;
use crate::model::network::{Network, TensorRole};
use crate::model::reader::TensorReader;
use crate::options::Precision;

/// Writes a model's weights to a safetensors file as [`Precision::Int8`] keeps them: loaded from there, the model
/// computes the same bits as with that option, from about a quarter of float32's bytes.
///
/// The file holds, for every matrix `NAME` `[rows, cols]` of the encoder's linear layers and embedding tables, `NAME` as I8
/// and `NAME_scale` as F32 `[rows]`: a weight is its byte, from -127 to 127, times the scale of its row. All other tensors
/// are copied as they are: biases, norms, and the head. The metadata's key `quantization` says so too. The modules of a head
/// in folders of its own are not written, nor are the model's other files, which stay valid.
///
/// ```no_run
/// use std::path::Path;
///
/// use crossrank::{ModelFiles, quantize};
///
/// let files = ModelFiles::find(Path::new("my-model"))?;
/// quantize(&files, Path::new("my-model-int8/model.safetensors"))?;
/// # Ok::<(), crossrank::Error>(())
/// ```
///
/// # Errors
///
/// Those of loading the model, and [`Error::Io`] where the file cannot be written: then no file is left behind.
pub fn quantize(files: &ModelFiles, to: &Path) -> Result<()> {
    let write = || {
        let tensors = quantized_tensors(files)?;
        // One key only: with several, their order would change from run to run.
        let about = "int8: a matrix NAME is its bytes times NAME_scale, row by row".to_owned();
        let metadata = HashMap::from([("quantization".to_owned(), about)]);
        let file = serialize(tensors, Some(metadata))
            .map_err(|error| Error::Internal { message: error.to_string() })?;
        write_whole(to, &file)
    };
    write().map_err(|error| files.with_folder(error))
}

/// Every tensor of the weight files, quantized where `Int8` quantizes it at load.
fn quantized_tensors(files: &ModelFiles) -> Result<Vec<(String, OutputTensor)>> {
    let spec = config::read_spec(files)?;
    let checkpoint = Checkpoint::open(files)?;
    let network = Network::locate(&checkpoint, &spec)?;
    let reader = TensorReader::new(&checkpoint);
    let (mut tensors, mut written) = (Vec::new(), BTreeSet::new());
    for (matrix, role) in network.tensors() {
        // The parts of a packed projection are one tensor.
        let matrix = matrix.whole_tensor();
        if role == TensorRole::Float || !written.insert(matrix.name().to_owned()) {
            continue;
        }
        let quantized = reader.read_owned(matrix, Precision::Int8)?;
        let scales = quantized.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let (dtype, shape) = (Dtype::F32, vec![quantized.rows]);
        let scales_name = scales_name(matrix.name());
        written.insert(scales_name.clone());
        tensors.push((scales_name, OutputTensor { dtype, shape, bytes: Cow::Owned(scales) }));
        let (dtype, shape) = (Dtype::I8, vec![quantized.rows, quantized.cols]);
        tensors.push((matrix.name().to_owned(), OutputTensor { dtype, shape, bytes: quantized.bytes }));
    }
    // Modules of a head follow the weight files.
    let copied = checkpoint
        .tensors()
        .filter(|(name, stored)| stored.file < files.weights.len() && !written.contains(*name));
    for (name, stored) in copied {
        let mut bytes = Vec::new();
        checkpoint.source(stored).append(stored.start, stored.bytes, &mut bytes, &mut |_| ())?;
        let (dtype, shape) = (stored.dtype, stored.shape.clone());
        tensors.push((name.to_owned(), OutputTensor { dtype, shape, bytes: Cow::Owned(bytes) }));
    }
    Ok(tensors)
}

/// Writes a file under another name and renames it once it is complete.
fn write_whole(to: &Path, bytes: &[u8]) -> Result<()> {
    let part = to.with_extension("part");
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, to));
    if written.is_err() {
        // It may not exist at all.
        let _ = fs::remove_file(&part);
    }
    written.map_err(|error| io_error(to, error))
}

/// A tensor to write.
struct OutputTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'static, [u8]>,
}

impl View for OutputTensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
