//! Models in directories, by name and in memory: where they are found, and the errors where they are not.

use std::path::Path;

use crossrank::{Error, ModelFiles, WeightFile};
use serde_json::json;

use crate::craft::*;

fn error_of(dir: &Path) -> Error {
    ModelFiles::from_dir(dir).expect_err("the directory must not load")
}

fn io(path: &Path, message: &str) -> Error {
    Error::Io { path: path.display().to_string(), source: std::io::Error::other(message).into() }
}

/// The operating system's message about a path that cannot be followed.
fn os_message(path: &Path) -> String {
    std::fs::metadata(path).unwrap_err().to_string()
}

/// A directory with the fixture's files except the weights, and an empty file for each of the given names.
fn without_weights(parent: &Path, name: &str, files: &[&str]) -> std::path::PathBuf {
    let dir = parent.join(name);
    copy_into(&dir);
    std::fs::remove_file(dir.join("model.safetensors")).unwrap();
    for file in files {
        std::fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
        std::fs::write(dir.join(file), "").unwrap();
    }
    dir
}

#[test]
fn a_directory_without_a_needed_file_names_the_file() {
    for (file, hint) in [
        (
            "config.json",
            "the directory holds no config.json: it needs config.json, tokenizer.json and model.safetensors",
        ),
        (
            "tokenizer.json",
            "the directory holds no tokenizer.json, and none of vocab.txt, vocab.json, merges.txt, \
             sentencepiece.bpe.model, spm.model: download it again; of other files, Python's transformers makes one: \
             `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)`",
        ),
    ] {
        let dir = directory();
        std::fs::remove_file(dir.path().join(file)).unwrap();
        let expected = Error::NotFound { name: dir.path().display().to_string(), hint: hint.into() };
        assert_eq!(error_of(dir.path()), expected);
    }
    let dir = directory();
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let expected = Error::NotFound {
        name: dir.path().display().to_string(),
        hint: "the directory holds no model.safetensors: download it again, or use a repository with model.safetensors"
            .into(),
    };
    assert_eq!(error_of(dir.path()), expected);
    let dir = directory();
    std::fs::remove_file(dir.path().join("tokenizer_config.json")).unwrap();
    assert_eq!(ModelFiles::from_dir(dir.path()).unwrap().tokenizer_config, None);
}

#[test]
fn other_weight_formats_are_named_with_a_repository_to_use() {
    let parent = tempfile::tempdir().unwrap();
    for (name, files, format, file, instead) in [
        ("plain", ["onnx/model.onnx"], "ONNX", "model.onnx", "a repository with model.safetensors"),
        ("plain2", ["model.onnx"], "ONNX", "model.onnx", "a repository with model.safetensors"),
        (
            "Xenova/ms-marco-MiniLM-L-6-v2",
            ["onnx/model_quantized.onnx"],
            "ONNX",
            "model_quantized.onnx",
            "`cross-encoder/ms-marco-MiniLM-L6-v2`",
        ),
        (
            "hub/models--Xenova--bge-reranker-base/snapshots/00ff",
            ["onnx/model.onnx"],
            "ONNX",
            "model.onnx",
            "`BAAI/bge-reranker-base`",
        ),
        (
            "ms-marco-MiniLM-L-12-v2",
            ["pytorch_model.bin"],
            "PyTorch pickle",
            "pytorch_model.bin",
            "`cross-encoder/ms-marco-MiniLM-L12-v2`",
        ),
        ("plain3", ["tf_model.h5"], "TensorFlow", "tf_model.h5", "a repository with model.safetensors"),
    ] {
        let dir = without_weights(parent.path(), name, &files);
        let error = error_of(&dir);
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        let message = format!(
            "`{}` holds only {format} weights (`{file}`), which is not supported: use {instead}, whose weights are \
             safetensors",
            dir.display()
        );
        assert_eq!(error.to_string(), message);
    }
}

/// transformers adds the adapter to the model beside it, or to the one that its configuration names.
#[test]
fn a_folder_with_an_adapter_is_refused_with_what_to_do() {
    let dir = directory();
    let path = dir.path().join("adapter_config.json");
    for (config, of) in [
        (r#"{"peft_type": "LORA", "base_model_name_or_path": "org/base"}"#, " of `org/base`"),
        ("{}", ""),
        ("no JSON", ""),
    ] {
        std::fs::write(&path, config).unwrap();
        let Error::Unsupported { what, hint } = error_of(dir.path()) else { panic!("not Unsupported") };
        let folder = dir.path().display();
        assert_eq!(what, format!("`{folder}` is the folder of an adapter{of} (adapter_config.json), which"));
        assert!(
            hint.contains("merge_and_unload()") && hint.ends_with("delete adapter_config.json"),
            "{hint}"
        );
    }
    // As peft saves it: without a model.
    for file in ["config.json", "model.safetensors"] {
        std::fs::remove_file(dir.path().join(file)).unwrap();
    }
    assert!(matches!(error_of(dir.path()), Error::Unsupported { .. }));

    // And as a wrapped model's state: the adapter among the weights.
    for name in ["query.lora_A.default.weight", "query.base_layer.weight"] {
        let weights = edited(|all| {
            all.push(TestTensor {
                name: format!("base_model.model.bert.encoder.layer.0.attention.self.{name}"),
                dtype: "F32".into(),
                shape: vec![1],
                bytes: vec![0; 4],
            });
        });
        let error = load_error(&with_weights(weights)).to_string();
        assert!(error.contains(name) && error.contains("merge_and_unload()"), "{error}");
    }
}

#[test]
fn a_directory_in_place_of_a_file_is_an_error() {
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        let dir = directory();
        let path = dir.path().join(file);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(error_of(dir.path()), io(&path, "it is a directory, not a file"));
    }
}

#[test]
fn a_file_in_place_of_a_directory_is_an_error() {
    let dir = directory();
    let path = dir.path().join("model.safetensors");
    let expected = Error::NotFound {
        name: path.display().to_string(),
        hint: "it is a file: give the directory that holds config.json, tokenizer.json and model.safetensors"
            .into(),
    };
    assert_eq!(ModelFiles::find(&path).unwrap_err(), expected);
}

#[cfg(unix)]
#[test]
fn pipes_devices_and_loops_are_errors_and_never_hang() {
    use std::os::unix::fs::symlink;

    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        let dir = directory();
        let path = dir.path().join(file);
        let replace = || std::fs::remove_file(&path).unwrap();

        replace();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(error_of(dir.path()), io(&path, "it is not a regular file"));

        replace();
        symlink("/dev/zero", &path).unwrap();
        assert_eq!(error_of(dir.path()), io(&path, "it is not a regular file"));

        replace();
        symlink(&path, &path).unwrap();
        assert_eq!(error_of(dir.path()), io(&path, &os_message(&path)));

        replace();
        symlink(dir.path().join("nowhere"), &path).unwrap();
        let message = format!(
            "it is a link to `{}`, which is not there: copy the whole folder of the repository with its links, or \
             download the model again",
            dir.path().join("nowhere").display()
        );
        assert_eq!(error_of(dir.path()), io(&path, &message));
    }
}

#[cfg(unix)]
#[test]
fn weights_that_turn_into_a_pipe_before_loading_are_an_error() {
    let dir = directory();
    let files = ModelFiles::from_dir(dir.path()).unwrap();
    let path = dir.path().join("model.safetensors");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(load_error(&files), io(&path, "it is not there any more"));
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_eq!(load_error(&files), io(&path, "it is not a regular file"));
    assert_eq!(files.hash().unwrap_err(), io(&path, "it is not a regular file"));
}

#[test]
fn files_above_their_size_limit_are_not_read() {
    for (file, limit) in
        [("config.json", 4 << 20), ("tokenizer_config.json", 4 << 20), ("tokenizer.json", 128 << 20)]
    {
        let dir = directory();
        let path = dir.path().join(file);
        // A sparse file, which takes no disk space.
        std::fs::File::options().write(true).open(&path).unwrap().set_len(limit + 1).unwrap();
        let message = format!("is longer than {limit} bytes, the most that is read of such a file");
        assert_eq!(error_of(dir.path()), format(path.display().to_string(), message));
    }
}

#[test]
fn an_index_can_only_name_files_beside_it() {
    let parent = tempfile::tempdir().unwrap();
    let dir = without_weights(parent.path(), "model", &[]);
    let path = dir.join("model.safetensors.index.json");
    let shown = path.display().to_string();
    for shard in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "a\\b", "..", ".", "", "C:x"] {
        std::fs::write(&path, json!({"weight_map": {"a": shard}}).to_string()).unwrap();
        let message = format!("key `weight_map`: `{shard}` is not the plain name of a file beside the index");
        assert_eq!(error_of(&dir), format(&shown, message));
    }
    for (index, message) in [
        (json!({}), "key `weight_map`: expected a map from tensors to files"),
        (json!({"weight_map": {}}), "key `weight_map`: expected a map from tensors to files"),
        (json!({"weight_map": ["a"]}), "key `weight_map`: expected a map from tensors to files"),
        (json!({"weight_map": {"a": 1}}), "key `weight_map`: expected names of files"),
        (
            json!({"weight_map": {"a": "gone.safetensors"}}),
            "lists `gone.safetensors`, which is not there: download the model again",
        ),
        (json!([]), "invalid type: sequence, expected a map at line 1 column 0"),
    ] {
        std::fs::write(&path, index.to_string()).unwrap();
        assert_eq!(error_of(&dir), format(&shown, message));
    }
}

#[test]
fn names_are_found_in_a_models_folder_with_and_without_organization() {
    let folder = tempfile::tempdir().unwrap();
    copy_into(&folder.path().join("org/first"));
    copy_into(&folder.path().join("second"));
    copy_into(&folder.path().join("cross-encoder/ms-marco-MiniLM-L6-v2"));
    for (name, found) in [
        ("org/first", "org/first"),
        ("second", "second"),
        ("org/second", "org/second"),
        ("Xenova/ms-marco-MiniLM-L-6-v2", "cross-encoder/ms-marco-MiniLM-L6-v2"),
        ("cross-encoder/ms-marco-MiniLM-L-6-v2", "cross-encoder/ms-marco-MiniLM-L6-v2"),
    ] {
        assert_eq!(ModelFiles::find_in(folder.path(), name).unwrap().name, found);
    }
}

#[test]
fn an_alias_takes_precedence_over_the_directory_without_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let onnx = without_weights(folder.path(), "Xenova/bge-reranker-base", &["onnx/model.onnx"]);
    let error = ModelFiles::find_in(folder.path(), "Xenova/bge-reranker-base").unwrap_err();
    assert_eq!(
        error,
        Error::Unsupported {
            what: format!("`{}` holds only ONNX weights (`model.onnx`), which", onnx.display()),
            hint: "use `BAAI/bge-reranker-base`, whose weights are safetensors".into(),
        }
    );
    copy_into(&folder.path().join("BAAI/bge-reranker-base"));
    let files = ModelFiles::find_in(folder.path(), "Xenova/bge-reranker-base").unwrap();
    assert_eq!(files.name, "BAAI/bge-reranker-base");
}

#[cfg(unix)]
#[test]
fn the_hugging_face_cache_is_read_through_its_links() {
    let hub = tempfile::tempdir().unwrap();
    let cached = hub.path().join("models--org--name");
    let (blobs, old, new) =
        (cached.join("blobs"), cached.join("snapshots/0ld"), cached.join("snapshots/00ff"));
    for dir in [&blobs, &old, &new] {
        std::fs::create_dir_all(dir).unwrap();
    }
    for (blob, file) in
        ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"].iter().enumerate()
    {
        std::fs::copy(fixture("bert").join(file), blobs.join(blob.to_string())).unwrap();
        std::os::unix::fs::symlink(format!("../../blobs/{blob}"), new.join(file)).unwrap();
    }
    // Without refs/main two snapshots are ambiguous.
    let error = ModelFiles::find_in(hub.path(), "org/name").unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");

    std::fs::create_dir_all(cached.join("refs")).unwrap();
    std::fs::write(cached.join("refs/main"), "00ff\n").unwrap();
    let files = ModelFiles::find_in(hub.path(), "org/name").unwrap();
    assert_eq!(files.name, "org/name");
    assert!(matches!(&files.weights[..], [WeightFile::Path(path)] if *path == new.join("model.safetensors")));
    assert!(load(&files).is_ok());

    // A reference that is no snapshot's name is not followed.
    copy_into(&hub.path().join("elsewhere"));
    std::fs::write(cached.join("refs/main"), "../../elsewhere").unwrap();
    assert!(matches!(ModelFiles::find_in(hub.path(), "org/name"), Err(Error::NotFound { .. })));

    std::fs::remove_dir_all(cached.join("refs")).unwrap();
    std::fs::remove_dir_all(&old).unwrap();
    assert!(ModelFiles::find_in(hub.path(), "org/name").is_ok(), "the only snapshot is taken");
}

#[test]
fn a_name_that_is_not_found_is_an_error_with_all_places_that_were_tried() {
    let folder = tempfile::tempdir().unwrap();
    let shown = folder.path().display();
    let error = ModelFiles::find_in(folder.path(), "org/name").unwrap_err();
    let hint = format!(
        "looked for `{shown}/org/name`, `{shown}/name`, `{shown}/models--org--name`; `crossrank pull org/name` \
         downloads it"
    );
    assert_eq!(error, Error::NotFound { name: "org/name".into(), hint });
    let error = ModelFiles::find_in(folder.path(), "Xenova/bge-reranker-base").unwrap_err();
    assert!(
        error.to_string().ends_with("`crossrank pull BAAI/bge-reranker-base` downloads it"),
        "an alias is pulled by its target: {error}"
    );
    let error = ModelFiles::find(Path::new("no-organization/no-model")).unwrap_err();
    assert!(error.to_string().contains("`models/no-organization/no-model`"), "{error}");
}

#[test]
fn paths_that_are_not_names_are_not_looked_up() {
    for path in ["/no/such/directory", "../models/x", "a/b/c", "a/../b", "./nowhere", "", "C:\\models\\x"] {
        let expected = Error::NotFound {
            name: path.into(),
            hint: "there is no such directory, and it is not a name of the form `organization/model`".into(),
        };
        assert_eq!(ModelFiles::find(Path::new(path)).unwrap_err(), expected);
        assert_eq!(ModelFiles::find_in(Path::new("models"), path).unwrap_err(), expected);
    }
}

/// A weight file without tensors.
fn no_tensors() -> Vec<u8> {
    [&2u64.to_le_bytes()[..], b"{}"].concat()
}

#[test]
fn the_hash_depends_on_every_file_and_not_on_their_place() {
    let dir = directory();
    let on_disk = ModelFiles::from_dir(dir.path()).unwrap();
    let in_memory = with_weights(read(dir.path().join("model.safetensors")));
    let in_memory = ModelFiles { config: on_disk.config.clone(), ..in_memory };
    let hash = on_disk.hash().unwrap();
    assert_eq!(hash, in_memory.hash().unwrap());
    assert_eq!(hash, ModelFiles::find(&fixture("bert")).unwrap().hash().unwrap());

    let changed = |edit: fn(&mut ModelFiles)| {
        let mut files = in_memory.clone();
        edit(&mut files);
        files.hash().unwrap()
    };
    let hashes = [
        hash,
        changed(|f| f.config.push(b' ')),
        changed(|f| f.tokenizer[100] ^= 1),
        changed(|f| f.tokenizer_config = None),
        changed(|f| f.sentence_transformers = Some(b"{}".to_vec())),
        changed(|f| f.special_tokens_map = Some(b"{}".to_vec())),
        changed(|f| f.added_tokens = Some(b"{}".to_vec())),
        changed(|f| f.sentence_bert_config = Some(b"{}".to_vec())),
        changed(|f| f.vocabulary.push(("vocab.txt", b"{}".to_vec()))),
        changed(|f| f.vocabulary.push(("spm.model", b"{}".to_vec()))),
        changed(|f| f.vocabulary.push(("spm.model", b"{ }".to_vec()))),
        changed(|f| {
            let WeightFile::Bytes(_, bytes) = &mut f.weights[0] else { unreachable!("it is in memory") };
            *bytes.to_mut().last_mut().unwrap() ^= 1;
        }),
        changed(|f| f.weights.push(WeightFile::Bytes("more".into(), no_tensors().into()))),
        // A byte is moved from the end of one file to the start of the next.
        changed(|f| f.tokenizer.insert(0, f.config.pop().unwrap())),
    ];
    let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), hashes.len());
}

#[cfg(feature = "bundled-model")]
#[test]
fn the_bundled_model_is_the_one_in_the_repository() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/crossrank-mini-int8");
    assert_eq!(ModelFiles::bundled().hash().unwrap(), ModelFiles::from_dir(&dir).unwrap().hash().unwrap());
}

#[test]
fn an_error_about_a_file_on_disk_names_its_folder() {
    let dir = directory();
    std::fs::write(dir.path().join("tokenizer.json"), "{").unwrap();
    let path = dir.path().join("tokenizer.json").display().to_string();
    match crossrank::Reranker::load(dir.path()).err() {
        Some(crossrank::Error::Format { file, .. }) => assert_eq!(file, path),
        other => panic!("{other:?}"),
    }
}
