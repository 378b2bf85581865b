//! A checkpoint -> one file with its matrices in 8 bits, which loads like any other.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, View, serialize};

use crate::error::{Error, Result};
use crate::model::checkpoint::{Checkpoint, scales_of};
use crate::model::config;
use crate::model::files::ModelFiles;
use crate::model::io::io_error;
use crate::model::network::Network;
use crate::options::Precision;

/// Writes a model's weights to a safetensors file as [`Precision::Int8`] keeps them: loaded from there, the model gives the
/// same bits as with that option, from about a quarter of float32's bytes.
///
/// The file holds, for every matrix `NAME` `[rows, cols]` of the encoder's linear layers and embedding tables, `NAME` as I8
/// and `NAME_scale` as F32 `[rows]`: a weight is its byte, from -127 to 127, times the scale of its row. All other tensors
/// are copied as they are: biases, norms, and the head. The metadata's key `quantization` says so too. The modules of a head
/// in folders of its own are not written; neither are the model's other files, which stay valid.
///
/// # Errors
///
/// What loading the model would meet, and [`Error::Io`] where the file cannot be written: then there is none.
pub fn quantize(files: &ModelFiles, to: &Path) -> Result<()> {
    let write = || {
        let spec = config::read(files)?;
        let checkpoint = Checkpoint::open(files)?;
        let mut tensors = Vec::new();
        let mut rounded = Vec::new();
        for matrix in Network::locate(&checkpoint, &spec)?.rounded() {
            // Parts of one packed projection are one tensor.
            let whole = matrix.whole();
            if rounded.contains(&whole.name()) {
                continue;
            }
            rounded.push(whole.name());
            let rows = checkpoint.keep(whole, Precision::Int8)?;
            let scales = rows.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
            let (dtype, shape) = (Dtype::F32, vec![rows.rows]);
            tensors.push((scales_of(whole.name()), Stored { dtype, shape, bytes: Cow::Owned(scales) }));
            let (dtype, shape) = (Dtype::I8, vec![rows.rows, rows.cols]);
            tensors.push((whole.name().to_owned(), Stored { dtype, shape, bytes: rows.bytes }));
        }
        let written: Vec<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
        for (name, dtype, shape) in checkpoint.stored(files.weights.len()) {
            if !written.iter().any(|written| written == name) {
                let bytes = checkpoint.copy(name)?;
                tensors.push((
                    name.to_owned(),
                    Stored { dtype, shape: shape.to_vec(), bytes: Cow::Owned(bytes) },
                ));
            }
        }
        // One key, for the order of several would change from run to run.
        let about = "int8: a matrix NAME is its bytes times NAME_scale, row by row".to_owned();
        let metadata = HashMap::from([("quantization".to_owned(), about)]);
        let file = serialize(tensors, Some(metadata))
            .map_err(|error| Error::Internal { message: error.to_string() })?;
        // Under another name until it is whole.
        let part = to.with_extension("part");
        let moved = fs::write(&part, file).and_then(|()| fs::rename(&part, to));
        if moved.is_err() {
            // It may never have been there.
            let _ = fs::remove_file(&part);
        }
        moved.map_err(|error| io_error(to, &error))
    };
    write().map_err(|error| files.locate(error))
}

/// A tensor to write.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'static, [u8]>,
}

impl View for Stored {
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
