//! Weight files: the names and types that are accepted, and the inconsistent headers that are refused.

use std::borrow::Cow;

use crossrank::model::checkpoint::Checkpoint;
use crossrank::model::config::read_spec;
use crossrank::model::network::Network;
use crossrank::model::plan::LoadPlan;
use crossrank::{Error, ModelFiles, Precision, WeightFile};
use proptest::prelude::*;
use serde_json::json;

use crate::craft::*;
use crate::golden::max_diff_from_bert;

const FILE: &str = "model.safetensors";
const QUERY: &str = "bert.encoder.layer.0.attention.self.query.weight";

/// The error of opening a file, which reads its header only.
fn open_error(file: &[u8]) -> Error {
    Checkpoint::open(&with_weights(file.to_vec())).err().expect("the file must not open")
}

/// A file with this header and `data` zero bytes.
fn with_header(header: serde_json::Value, data: usize) -> Vec<u8> {
    join(header.to_string().as_bytes(), &vec![0; data])
}

#[test]
fn a_file_cut_at_any_byte_of_its_header_is_truncated() {
    let file = read(fixture("bert").join(FILE));
    let header = split(&file).0.len();
    assert_eq!(open_error(b""), format(FILE, "is empty: copy or download the model again"));
    for cut in 1..8 {
        let message =
            format!("is truncated: it has {cut} bytes and a safetensors file starts with an 8-byte length");
        assert_eq!(open_error(&file[..cut]), format(FILE, message));
    }
    for cut in 8..8 + header {
        let message = format!("is truncated: its header claims {header} bytes, the file has {cut}");
        assert_eq!(open_error(&file[..cut]), format(FILE, message));
    }
}

#[test]
fn a_file_cut_in_its_data_names_the_first_tensor_that_is_cut() {
    let file = read(fixture("bert").join(FILE));
    let (header, data) = split(&file);
    let start = 8 + header.len();
    let mut end = 0;
    for tensor in tensors() {
        let begin = end;
        end += tensor.bytes.len();
        for kept in [begin, begin + 1, (begin + end) / 2, end - 1] {
            let message = format!(
                "tensor `{}`: the file is truncated: the tensor ends at byte {end} of the data, of which there are {kept}",
                tensor.name
            );
            assert_eq!(open_error(&file[..start + kept]), format(FILE, message));
        }
    }
    assert_eq!(end, data.len());
}

#[test]
fn a_truncated_file_on_disk_is_an_error_that_names_its_path() {
    let dir = directory();
    let path = dir.path().join(FILE);
    let file = read(&path);
    for (cut, message) in [
        (0, "is empty: copy or download the model again"),
        (100, "is truncated: its header claims 4408 bytes, the file has 100"),
        (
            file.len() - 1,
            "tensor `classifier.weight`: the file is truncated: the tensor ends at byte 1090564 of the data, of which \
             there are 1090563",
        ),
    ] {
        std::fs::write(&path, &file[..cut]).unwrap();
        let error = load_error(&ModelFiles::from_dir(dir.path()).unwrap());
        assert_eq!(error, format(path.display().to_string(), message));
    }
}

#[test]
fn headers_that_do_not_fit_their_file_are_refused() {
    let one = |info: serde_json::Value| json!({ "a": info });
    let vector = |offsets: [u64; 2]| json!({"dtype": "F32", "shape": [4], "data_offsets": offsets});
    let two = |a: [u64; 2], b: [u64; 2]| json!({"a": vector(a), "b": vector(b)});
    for (header, data, message) in [
        (one(vector([0, 16])), 17, "1 bytes follow the last tensor: the header does not fit the file"),
        (json!({}), 5, "5 bytes follow the last tensor: the header does not fit the file"),
        (
            one(vector([0, 16])),
            15,
            "tensor `a`: the file is truncated: the tensor ends at byte 16 of the data, of which there are 15",
        ),
        (
            one(vector([4, 20])),
            20,
            "tensor `a`: it leaves a hole before it: it starts at 4, the one before it ends at 0",
        ),
        (
            two([0, 16], [8, 24]),
            24,
            "tensor `b`: it overlaps the tensor before it: it starts at 8, the one before it ends at 16",
        ),
        (
            two([0, 16], [20, 36]),
            36,
            "tensor `b`: it leaves a hole before it: it starts at 20, the one before it ends at 16",
        ),
        (
            two([0, 16], [0, 16]),
            16,
            "tensor `b`: it overlaps the tensor before it: it starts at 0, the one before it ends at 16",
        ),
        (
            one(vector([0, 12])),
            12,
            "tensor `a`: the shape [4] of F32 does not fill the bytes 0..12 that the header gives it",
        ),
        (
            one(json!({"dtype": "F32", "shape": [0], "data_offsets": [0, 4]})),
            4,
            "tensor `a`: the shape [0] of F32 does not fill the bytes 0..4 that the header gives it",
        ),
        (
            one(json!({"dtype": "F4", "shape": [3], "data_offsets": [0, 1]})),
            1,
            "tensor `a`: the shape [3] of F4 does not fill the bytes 0..1 that the header gives it",
        ),
        (
            one(json!({"dtype": "F32", "shape": [1_u64 << 32, 1_u64 << 32], "data_offsets": [0, 0]})),
            0,
            "tensor `a`: the shape [4294967296, 4294967296] overflows",
        ),
        (
            // 2^64 - 8 bytes: the header's length added to it would overflow.
            one(json!({"dtype": "U8", "shape": [u64::MAX / 8], "data_offsets": [0, u64::MAX / 8]})),
            0,
            "tensor `a`: the file is truncated: the tensor ends at byte 2305843009213693951 of the data, of which \
             there are 0",
        ),
        (
            one(json!({"dtype": "U8", "shape": vec![1; 9], "data_offsets": [0, 1]})),
            1,
            "tensor `a`: it has 9 dimensions",
        ),
    ] {
        assert_eq!(open_error(&with_header(header, data)), format(FILE, message));
    }
}

#[test]
fn a_reversed_range_is_refused() {
    let header = json!({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                        "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}});
    let message = "tensor `b`: the shape [1] of F32 does not fill the bytes 4..0 that the header gives it";
    assert_eq!(open_error(&with_header(header, 4)), format(FILE, message));
}

#[test]
fn headers_that_are_not_a_map_of_tensors_are_refused() {
    for (header, message) in [
        ("", "begins with zeros alone: copy or download the model again"),
        ("[]", "invalid type: sequence, expected a map of tensors at line 1 column 0"),
        ("{\"a\":{}}", "tensor `a`: missing field `dtype` at line 1 column 7"),
        ("{\"a\":7}", "tensor `a`: invalid type: integer `7`, expected struct TensorInfo at line 1 column 6"),
        ("{\"a\": {\"dtype\": \"F32\"", "tensor `a`: EOF while parsing an object at line 1 column 21"),
        ("{} x", "trailing characters at line 1 column 4"),
        ("{\"a\\u001b[2J\": 1}", "the header holds a name that is no tensor's name at line 1 column 13"),
    ] {
        assert_eq!(open_error(&join(header.as_bytes(), b"")), format(FILE, message));
    }
    let unknown = json!({"a": {"dtype": "F31", "shape": [1], "data_offsets": [0, 4]}});
    let Error::Format { file, message } = open_error(&with_header(unknown, 4)) else {
        panic!("not a Format error")
    };
    assert_eq!(file, FILE);
    assert!(message.starts_with("tensor `a`: unknown variant `F31`, expected one of"), "{message}");

    let not_utf8 = open_error(&join(b"{\"\xff\": 1}", b""));
    assert_eq!(not_utf8, format(FILE, "invalid unicode code point at line 1 column 3"));
    let deep = open_error(&join(format!("{{\"a\":{}", "[".repeat(1_000_000)).as_bytes(), b""));
    let Error::Format { message, .. } = deep else { panic!("not a Format error") };
    assert!(message.starts_with("tensor `a`: "), "{message}");
}

#[test]
fn limits_on_headers_hold() {
    let mut file = vec![0; 100];
    for claim in [(4 << 20) + 1, u64::MAX, u64::MAX - 7, 1 << 63] {
        file[..8].copy_from_slice(&claim.to_le_bytes());
        let message =
            format!("is not a safetensors file: its header claims {claim} bytes, the limit is 4194304");
        assert_eq!(open_error(&file), format(FILE, message));
    }
    let long = format!("{{\"{}\": 1}}", "x".repeat(513));
    let message = "the header holds a name that is no tensor's name at line 1 column 516";
    assert_eq!(open_error(&join(long.as_bytes(), b"")), format(FILE, message));

    let many = |count: usize| {
        let info = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
        let all: Vec<_> = (0..count).map(|i| format!("\"{i}\":{info}")).collect();
        join(format!("{{{}}}", all.join(",")).as_bytes(), b"")
    };
    assert!(Checkpoint::open(&with_weights(many(16_384))).is_ok());
    let Error::Format { message, .. } = open_error(&many(16_385)) else { panic!("not a Format error") };
    assert!(message.starts_with("more than 16384 tensors at line 1"), "{message}");
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let info = |from: u8, to: u8| format!(r#"{{"dtype":"U8","shape":[1],"data_offsets":[{from},{to}]}}"#);
    let header = format!(r#"{{"a":{},"a":{}}}"#, info(0, 1), info(1, 2));
    let message = "tensor `a` is listed twice at line 1 column 56";
    assert_eq!(open_error(&join(header.as_bytes(), b"xy")), format(FILE, message));
    // An escaped name is the same name.
    let header = format!(r#"{{"a":{},"\u0061":{}}}"#, info(0, 1), info(1, 2));
    let message = "tensor `a` is listed twice at line 1 column 61";
    assert_eq!(open_error(&join(header.as_bytes(), b"xy")), format(FILE, message));
}

#[test]
fn a_git_lfs_pointer_is_recognized() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90868376\n";
    let message = "is a Git LFS pointer, not the file itself: run `git lfs pull`";
    assert_eq!(open_error(pointer), format(FILE, message));
}

#[test]
fn any_missing_tensor_is_named() {
    for (index, tensor) in tensors().into_iter().enumerate() {
        let files = with_weights(edited(|all| drop(all.remove(index))));
        let expected = Error::MissingTensor { file: FILE.into(), tensor: tensor.name.clone() };
        assert_eq!(load_error(&files), expected);
        assert_eq!(
            expected.to_string(),
            format!("`{FILE}`: tensor `{}` is missing, though config.json asks for it", tensor.name)
        );
    }
}

#[test]
fn any_wrong_shape_is_named_with_both_shapes() {
    for (index, tensor) in tensors().into_iter().enumerate() {
        // The same number of bytes, in another shape.
        let found = match tensor.shape[..] {
            [rows] => vec![1, rows],
            [rows, cols] => vec![rows * cols],
            _ => unreachable!("BERT has vectors and matrices"),
        };
        let files = with_weights(edited(|all| all[index].shape.clone_from(&found)));
        let error = load_error(&files);
        let message = format!("tensor `{}`: expected {:?}, found {found:?}", tensor.name, tensor.shape);
        assert_eq!(error.to_string(), message);
        let expected = Error::TensorShape { tensor: tensor.name, expected: tensor.shape, found };
        assert_eq!(error, expected);
    }
}

#[test]
fn every_size_in_the_configuration_is_compared_with_the_weights() {
    for (key, value, tensor) in [
        ("vocab_size", 2501, "bert.embeddings.word_embeddings.weight"),
        ("max_position_embeddings", 129, "bert.embeddings.position_embeddings.weight"),
        ("type_vocab_size", 1, "bert.embeddings.token_type_embeddings.weight"),
        ("hidden_size", 68, "bert.embeddings.word_embeddings.weight"),
        ("intermediate_size", 255, "bert.encoder.layer.0.intermediate.dense.weight"),
    ] {
        let files =
            model(config(|c| drop(c.insert(key.into(), value.into()))), read(fixture("bert").join(FILE)));
        let error = load_error(&files);
        assert!(
            matches!(&error, Error::TensorShape { tensor: found, .. } if found == tensor),
            "{key}: {error:?}"
        );
    }
    let labels = config(|c| drop(c.insert("id2label".into(), json!({"0": "a", "1": "b"}))));
    assert_eq!(
        load_error(&model(labels, read(fixture("bert").join(FILE)))),
        Error::TensorShape { tensor: "classifier.weight".into(), expected: vec![2, 64], found: vec![1, 64] }
    );
    let layers = config(|c| drop(c.insert("num_hidden_layers".into(), json!(3))));
    assert_eq!(
        load_error(&model(layers, read(fixture("bert").join(FILE)))),
        Error::MissingTensor {
            file: FILE.into(),
            tensor: "bert.encoder.layer.2.attention.self.query.weight".into()
        }
    );
}

#[test]
fn unsupported_types_are_named() {
    for (dtype, bytes) in [("I64", 8), ("I32", 4), ("U8", 1), ("F8_E4M3", 1)] {
        let files = with_weights(edited(|all| {
            let query = all.iter_mut().find(|t| t.name == QUERY).unwrap();
            query.dtype = dtype.into();
            query.bytes = vec![0; 64 * 64 * bytes];
        }));
        let error = load_error(&files);
        assert_eq!(error, Error::TensorType { tensor: QUERY.into(), found: dtype.into() });
        let message = format!("tensor `{QUERY}`: expected F64, F32, F16 or BF16, found {dtype}");
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn old_names_and_names_without_prefix_load_like_the_usual_ones() {
    let renamed = |rename: fn(&str) -> String| {
        let file = edited(|all| all.iter_mut().for_each(|t| t.name = rename(&t.name)));
        max_diff_from_bert(&with_weights(file), 2)
    };
    let old = |name: &str| {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    };
    let bare = |name: &str| name.trim_start_matches("bert.").to_owned();
    assert!(renamed(str::to_owned) <= 1e-6);
    assert!(renamed(old) <= 1e-6);
    assert!(renamed(bare) <= 1e-6);
}

#[test]
fn tensors_load_from_any_alignment() {
    let file = read(fixture("bert").join(FILE));
    let (header, data) = split(&file);
    for padding in 0..64 {
        let padded = [header, &vec![b' '; padding]].concat();
        let difference = max_diff_from_bert(&with_weights(join(&padded, data)), 1);
        assert!(difference <= 1e-6, "{padding} bytes of padding: {difference:e}");
    }
}

#[test]
fn unknown_tensors_are_mentioned_and_expected_extras_are_not() {
    let weights = edited(|all| {
        let mut add = |name: &str, dtype: &str, bytes: usize| {
            all.push(TestTensor {
                name: name.into(),
                dtype: dtype.into(),
                shape: vec![1],
                bytes: vec![0; bytes],
            });
        };
        add("bert.embeddings.position_ids", "I64", 8);
        add("cls.predictions.bias", "F32", 4);
        add("bert.encoder.layer.2.output.dense.bias", "F32", 4);
        add("embeddings.LayerNorm.bias", "F32", 4);
    });
    let files = with_weights(weights);
    let spec = read_spec(&files).unwrap();
    let checkpoint = Checkpoint::open(&files).unwrap();
    let plan = LoadPlan::new(Network::locate(&checkpoint, &spec).unwrap(), Precision::F32);
    let sentence =
        |name: &str| format!("`{FILE}`: tensor `{name}` is not part of BertForSequenceClassification");
    assert_eq!(
        plan.warnings(),
        [sentence("bert.encoder.layer.2.output.dense.bias"), sentence("embeddings.LayerNorm.bias")]
    );
    // The extra bytes are not counted.
    assert_eq!(plan.weight_bytes(), 1_090_564);
    assert!(load(&files).is_ok());
}

#[test]
fn weights_that_are_not_numbers_load() {
    let files = with_weights(edited(|all| {
        for tensor in all {
            tensor.bytes = f32::NAN.to_le_bytes().repeat(tensor.bytes.len() / 4);
        }
    }));
    assert!(load(&files).is_ok());
    assert!(max_diff_from_bert(&files, 1).is_nan());
}

/// The fixture in two shards, in memory.
fn shards() -> [Vec<u8>; 2] {
    let all = tensors();
    let (first, second) = all.split_at(17);
    [file_of(first), file_of(second)]
}

#[test]
fn shards_load_from_disk_and_from_memory() {
    let [first, second] = shards();
    let dir = directory();
    std::fs::remove_file(dir.path().join(FILE)).unwrap();
    std::fs::write(dir.path().join("model-00001-of-00002.safetensors"), &first).unwrap();
    std::fs::write(dir.path().join("model-00002-of-00002.safetensors"), &second).unwrap();
    let map: serde_json::Map<_, _> = tensors()
        .iter()
        .enumerate()
        .map(|(i, t)| (t.name.clone(), json!(format!("model-0000{}-of-00002.safetensors", 1 + i / 17 % 2))))
        .collect();
    let index = json!({"metadata": {"total_size": 1_090_564}, "weight_map": map});
    std::fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let files = ModelFiles::from_dir(dir.path()).unwrap();
    assert_eq!(files.weights.len(), 2);
    assert!(max_diff_from_bert(&files, 2) <= 1e-6);

    let memory = ModelFiles::from_bytes(
        "shards",
        files.config.clone(),
        files.tokenizer.clone(),
        [Cow::Owned(first.clone()), Cow::Owned(second)],
    );
    assert!(max_diff_from_bert(&memory, 2) <= 1e-6);

    let deeper = config(|c| drop(c.insert("num_hidden_layers".into(), json!(3))));
    let expected = Error::MissingTensor {
        file: "model-0.safetensors and 1 more".into(),
        tensor: "bert.encoder.layer.2.attention.self.query.weight".into(),
    };
    assert_eq!(load_error(&ModelFiles { config: deeper, ..memory.clone() }), expected);
    let expected = Error::NotFound {
        name: "shards".into(),
        hint: "it has no weight files: give it the bytes of a model.safetensors".into(),
    };
    assert_eq!(load_error(&ModelFiles { weights: vec![], ..memory.clone() }), expected);

    let twice = ModelFiles { weights: vec![memory.weights[0].clone(), memory.weights[0].clone()], ..memory };
    let expected =
        format("model-0.safetensors", "tensor `bert.embeddings.LayerNorm.bias` is in another shard too");
    assert_eq!(load_error(&twice), expected);
    let lone = ModelFiles { weights: vec![WeightFile::Bytes("one".into(), first.into())], ..twice };
    let tensor = "bert.encoder.layer.0.output.dense.weight";
    assert_eq!(load_error(&lone), Error::MissingTensor { file: "one".into(), tensor: tensor.into() });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Fails by panicking.
    #[test]
    fn a_header_with_changed_bytes_is_an_error_or_a_checkpoint(
        changes in prop::collection::vec((0usize..500, any::<u8>()), 1..6),
    ) {
        let mut file = file_of(&tensors_of_a_small_file());
        let length = file.len();
        for (at, byte) in changes {
            file[at % length] = byte;
        }
        let files = with_weights(file);
        match Checkpoint::open(&files) {
            Ok(checkpoint) => prop_assert!(checkpoint.names().count() <= 3),
            Err(Error::Format { file, message }) => {
                prop_assert_eq!(file, FILE);
                prop_assert!(!message.is_empty());
            }
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }
}

/// Three tensors of few bytes, so that most mutations hit the header.
fn tensors_of_a_small_file() -> Vec<TestTensor> {
    let small = |name: &str, shape: &[usize]| TestTensor {
        name: name.into(),
        dtype: "U8".into(),
        shape: shape.to_vec(),
        bytes: vec![0; shape.iter().product()],
    };
    vec![small("a", &[2, 3]), small("b", &[0]), small("c.weight", &[5])]
}
