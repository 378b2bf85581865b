//! `crossrank quantize`: writes a model with int8 weights to a new folder.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crossrank::{ModelFiles, WeightFile};
use indicatif::HumanBytes;
use serde_json::json;

use crate::failure::Failure;

/// Write a model with int8 weights
///
/// The new folder loads like any other model, takes about a quarter of the memory of float32, and gives the scores of
/// `--precision int8`.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of a model, or its name in the models folder or the Hugging Face cache
    model: PathBuf,

    /// Folder for the new model, which does not exist yet
    out: PathBuf,
}

pub fn quantize_model(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let files = ModelFiles::find(&args.model)?;
    let folder = args.out.as_path();
    create(folder)?;
    let written = write_model(&files, folder);
    if written.is_err() {
        // Removed because the next try could not create it.
        let _ = fs::remove_dir_all(folder);
    }
    let (before, after) = written?;
    writeln!(
        out,
        "{}: weights of {}, which were {}",
        folder.display(),
        HumanBytes(after),
        HumanBytes(before)
    )?;
    Ok(())
}

/// Returns the bytes of the weights before and after.
fn write_model(files: &ModelFiles, folder: &Path) -> Result<(u64, u64), Failure> {
    for (name, bytes) in files.small_files() {
        write(&folder.join(name), bytes)?;
    }
    let encoder =
        json!({ "idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer" });
    let mut modules = vec![encoder];
    for (index, module) in files.modules.iter().enumerate() {
        let (index, path) = (index + 1, folder.join(&module.path));
        create(&path)?;
        write(&path.join("config.json"), &module.config)?;
        if let Some(weights) = &module.weights {
            write(&path.join("model.safetensors"), &bytes(weights)?)?;
        }
        modules.push(
            json!({ "idx": index, "name": index.to_string(), "path": module.path, "type": module.class }),
        );
    }
    if modules.len() > 1 {
        write(&folder.join("modules.json"), json!(modules).to_string().as_bytes())?;
    }
    let weights = folder.join("model.safetensors");
    crossrank::quantize(files, &weights)?;
    Ok((files.weights.iter().map(length).sum(), length(&WeightFile::Path(weights))))
}

fn create(folder: &Path) -> Result<(), Failure> {
    fs::create_dir(folder).map_err(|error| {
        Failure::new(format_args!("cannot create the folder `{}`: {error}", folder.display()))
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes)
        .map_err(|error| Failure::new(format_args!("cannot write `{}`: {error}", path.display())))
}

fn bytes(file: &WeightFile) -> Result<Vec<u8>, Failure> {
    match file {
        WeightFile::Bytes(_, bytes) => Ok(bytes.to_vec()),
        WeightFile::Path(path) => fs::read(path)
            .map_err(|error| Failure::new(format_args!("cannot read `{}`: {error}", path.display()))),
    }
}

/// Bytes of a weight file, 0 if they cannot be determined.
fn length(file: &WeightFile) -> u64 {
    match file {
        WeightFile::Bytes(_, bytes) => bytes.len() as u64,
        WeightFile::Path(path) => fs::metadata(path).map_or(0, |data| data.len()),
    }
}
