//! Loading on several threads: the model does not depend on them, and no thread waits for ever.

use std::borrow::Cow;
use std::path::Path;

use crossrank::model::checkpoint::Checkpoint;
use crossrank::model::config;
use crossrank::model::hash::hash_weights;
use crossrank::model::network::Network;
use crossrank::model::plan::LoadPlan;
use crossrank::model::weights::load_weights;
use crossrank::reference::Reference;
use crossrank::{Backend, Error, ModelFiles, Precision, Reranker, WeightFile};

use crate::craft::*;
use crate::golden::max_diff_from;

/// Families whose tensors are read in different ways: whole, in thirds and halves, and more than once.
const FAMILIES: [&str; 6] = ["bert", "bert-f16", "modernbert", "gte", "deberta-v2", "mpnet"];

fn in_memory(folder: &Path) -> ModelFiles {
    let file = |name: &str| read(folder.join(name));
    let weights = file("model.safetensors").into();
    let files = ModelFiles::from_bytes("memory", file("config.json"), file("tokenizer.json"), [weights]);
    ModelFiles { tokenizer_config: Some(file("tokenizer_config.json")), ..files }
}

#[test]
fn hash_and_scores_are_the_same_on_any_number_of_threads_from_disk_and_from_memory() {
    for family in FAMILIES {
        let on_disk = ModelFiles::from_dir(&fixture(family)).unwrap();
        let hash = on_disk.hash().unwrap();
        let mut first = None;
        for files in [on_disk, in_memory(&fixture(family))] {
            for threads in [1, 2, 5] {
                let builder = Reranker::builder().backend(Backend::Cpu).threads(threads);
                let model = builder.load_files(files.clone()).unwrap();
                assert_eq!(model.info().hash, hash, "{family} on {threads} threads");
                let scores = model.score(&[("a query", "a document"), ("x", "y z")]).unwrap();
                let bits: Vec<u32> = scores.iter().flat_map(|s| &s.logits).map(|x| x.to_bits()).collect();
                assert_eq!(bits, *first.get_or_insert(bits.clone()), "{family} on {threads} threads");
            }
        }
    }
}

/// A fixture's tensors in float64, each number moved by less than half of a step of float32.
fn in_f64(family: &str) -> Vec<u8> {
    let mut all = tensors_of(family);
    for tensor in all.iter_mut().filter(|tensor| tensor.dtype == "F32") {
        let numbers = tensor.bytes.as_chunks().0.iter().enumerate();
        let moved = numbers.map(|(i, bytes)| {
            let factor = [1.0, 1.0 - 1e-8, 1.0 + 1e-8][i % 3];
            f64::from(f32::from_le_bytes(*bytes)) * factor
        });
        tensor.bytes = moved.flat_map(f64::to_le_bytes).collect();
        tensor.dtype = "F64".into();
    }
    file_of(&all)
}

#[test]
fn numbers_in_f64_are_rounded_to_those_of_f32() {
    for family in ["bert", "modernbert", "gte", "deberta-v2", "mpnet"] {
        let dir = tempfile::tempdir().unwrap();
        for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(fixture(family).join(file), dir.path().join(file)).unwrap();
        }
        let weights = in_f64(family);
        std::fs::write(dir.path().join("model.safetensors"), &weights).unwrap();
        let on_disk = ModelFiles::from_dir(dir.path()).unwrap();
        assert!(max_diff_from(family, &on_disk, 2) <= 1e-6, "{family}");
        let borrowed = ModelFiles {
            weights: vec![WeightFile::Bytes("static".into(), Cow::Borrowed(&*Vec::leak(weights)))],
            ..on_disk.clone()
        };
        let hash = on_disk.hash().unwrap();
        let all = [on_disk, in_memory(dir.path()), borrowed];
        for precision in [Precision::Auto, Precision::F16Weights, Precision::Int8] {
            let bits = |files: &ModelFiles| -> Vec<u32> {
                let builder = Reranker::builder().backend(Backend::Cpu).precision(precision).threads(2);
                let model = builder.load_files(files.clone()).unwrap();
                assert_eq!(model.info().hash, files.hash().unwrap(), "{family}");
                let scores = model.score(&[("a query", "a document"), ("x", "y z")]).unwrap();
                scores.iter().flat_map(|s| &s.logits).map(|x| x.to_bits()).collect()
            };
            let expected = bits(&ModelFiles::from_dir(&fixture(family)).unwrap());
            for files in &all {
                assert_eq!(files.hash().unwrap(), hash, "{family}");
                assert_eq!(bits(files), expected, "{family} in {precision:?}");
            }
        }
    }
}

#[test]
fn the_hash_depends_on_every_byte_of_a_weight_file() {
    let file = read(fixture("bert").join("model.safetensors"));
    let hash = |file: &[u8]| with_weights(file.to_vec()).hash();
    let mut hashes = vec![hash(&file).unwrap()];
    let (header, changes) = (split(&file).0.len(), 60);
    // The first and the last byte, and some in between.
    for at in (0..changes).map(|i| 8 + header + i * (file.len() - 9 - header) / (changes - 1)) {
        let mut changed = file.clone();
        changed[at] ^= 1;
        hashes.push(hash(&changed).unwrap());
    }
    // The name and the value of a tensor that the model does not use.
    for (name, byte) in [("unused.a", 0), ("unused.b", 0), ("unused.b", 1)] {
        let unused = TestTensor { name: name.into(), dtype: "U8".into(), shape: vec![1], bytes: vec![byte] };
        hashes.push(hash(&edited(|tensors| tensors.push(unused))).unwrap());
    }
    let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), hashes.len());
}

#[test]
fn a_file_that_was_truncated_after_it_was_opened_is_an_error_on_every_thread() {
    let dir = directory();
    let path = dir.path().join("model.safetensors");
    let files = ModelFiles::from_dir(dir.path()).unwrap();
    let spec = config::read_spec(&files).unwrap();
    let checkpoint = Checkpoint::open(&files).unwrap();
    let plan = LoadPlan::new(Network::locate(&checkpoint, &spec).unwrap(), Precision::F32);
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 8).unwrap();
    let at_once = |count: usize, task: &(dyn Fn(usize) + Sync)| {
        std::thread::scope(|scope| (0..count).for_each(|index| drop(scope.spawn(move || task(index)))));
        Ok(())
    };
    match load_weights(&Reference, &plan, &at_once).err() {
        Some(Error::Io { path: named, .. }) => assert_eq!(named, path.display().to_string()),
        other => panic!("{other:?}"),
    }
    assert!(matches!(hash_weights(&checkpoint), Err(Error::Io { .. })));
}
