//! Model directories as people edit them by hand: each is right, or refused in words that name what to mend.

use std::fs;
use std::path::Path;

use crossrank::model::config::read_spec;
use crossrank::{ModelFiles, Result};
use serde_json::{Value, json};

use crate::craft::*;

/// A copy of the `ettin` fixture, whose head lies in folders.
fn with_modules() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["", "1_Pooling", "2_Dense", "3_LayerNorm", "4_Dense"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
        for entry in fs::read_dir(fixture("ettin").join(folder)).unwrap().map(std::result::Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), dir.path().join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    dir
}

/// Loads a directory on the reference backend.
fn load_dir(dir: &Path) -> Result<()> {
    let files = ModelFiles::from_dir(dir)?;
    load(&files).map(drop)
}

fn message(dir: &Path) -> String {
    load_dir(dir).expect_err("the directory must not load").to_string()
}

/// The modules in another order or number.
fn relisted(order: &[usize]) -> tempfile::TempDir {
    let dir = with_modules();
    let path = dir.path().join("modules.json");
    let modules = read_json(&path);
    let modules: Vec<&Value> = order.iter().map(|index| &modules[index]).collect();
    fs::write(&path, json!(modules).to_string()).unwrap();
    dir
}

#[test]
fn a_half_deleted_module_is_named_with_its_file() {
    assert_eq!(load_dir(with_modules().path()), Ok(()));
    for (deleted, named) in [
        ("1_Pooling/config.json", "1_Pooling/config.json"),
        ("1_Pooling", "1_Pooling/config.json"),
        ("2_Dense", "2_Dense/config.json"),
        ("3_LayerNorm/config.json", "3_LayerNorm/config.json"),
        ("3_LayerNorm/model.safetensors", "3_LayerNorm/model.safetensors"),
        ("4_Dense/model.safetensors", "4_Dense/model.safetensors"),
    ] {
        let dir = with_modules();
        let path = dir.path().join(deleted);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        let message = message(dir.path());
        assert!(message.contains(&format!("lists a module whose file `{named}` is not there")), "{message}");
    }
}

/// sentence-transformers runs modules in the order of the list; one of the same name takes the other's place.
#[test]
fn modules_in_another_order_run_in_it_or_are_refused() {
    for (order, part) in [
        (&[1, 0, 2, 3, 4][..], "expected the encoder, whose path is empty, as the first module"),
        (&[1, 2, 3, 4], "expected the encoder, whose path is empty, as the first module"),
        (&[0, 0, 1, 2, 3, 4], "expected the encoder, whose path is empty, as the first module"),
        (&[0, 1, 2, 2, 3, 4], "lists two modules of the name `2`"),
        (&[0, 2, 1, 3, 4], "use a cross-encoder whose first module after the encoder is Pooling"),
        (&[0, 1, 2, 4, 3], "in a CrossEncoder the last module writes `scores` and all others"),
        (&[0, 1, 2, 3], "use a cross-encoder with one Pooling and a Dense at the end"),
        (&[0, 1], "it gives vectors and cannot score pairs"),
    ] {
        let message = message(relisted(order).path());
        assert!(message.contains(part), "{order:?}: {message}");
    }
    let dir = relisted(&[0, 1, 3, 2, 4]);
    let spec = read_spec(&ModelFiles::from_dir(dir.path()).unwrap()).unwrap();
    let names: Vec<String> = spec.head.iter().map(|layer| format!("{layer:?}")).collect();
    assert!(names[0].contains("3_LayerNorm") && names[1].contains("2_Dense"), "{names:?}");
}

#[test]
fn a_configuration_of_another_model_is_refused_by_what_does_not_fit() {
    for (other, part) in [
        ("roberta", "tensor `roberta.embeddings.word_embeddings.weight` is missing, though config.json asks"),
        ("bert-3-labels", "tensor `classifier.weight`: expected [3, 64], found [1, 64]"),
    ] {
        let dir = directory();
        fs::copy(fixture(other).join("config.json"), dir.path().join("config.json")).unwrap();
        let message = message(dir.path());
        assert!(message.contains(part), "{other}: {message}");
    }
}

#[test]
fn weights_under_another_name_are_named() {
    for (name, part) in [
        ("bert.safetensors", "holds no model.safetensors, but `bert.safetensors`"),
        ("model-00001-of-00002.safetensors", "but no model.safetensors.index.json"),
        ("training_args.bin", "holds no model.safetensors: download it again"),
    ] {
        let dir = directory();
        // What training leaves there is not taken for weights.
        fs::write(dir.path().join("optimizer.pt"), "").unwrap();
        fs::rename(dir.path().join("model.safetensors"), dir.path().join(name)).unwrap();
        let message = message(dir.path());
        assert!(message.contains(part), "{name}: {message}");
    }
}

#[test]
fn a_byte_order_mark_is_named() {
    for file in ["config.json", "tokenizer_config.json"] {
        let dir = directory();
        let path = dir.path().join(file);
        fs::write(&path, [b"\xef\xbb\xbf", &*read(&path)].concat()).unwrap();
        let message = message(dir.path());
        let part = format!("{file}`: starts with a byte order mark: save it as UTF-8 without one");
        assert!(message.contains(&part), "{message}");
    }
}
