//! Weights in 8 bits: quantized at load or in the file they give the same bits, and invalid quantized files are refused.

use std::path::Path;

use crossrank::{Backend, Error, ModelFiles, Precision, Reranker, WeightFile};

use crate::craft::*;

const FAMILIES: [&str; 15] = [
    "bert",
    "bert-3-labels",
    "bert-bf16",
    "bert-f16",
    "camembert",
    "deberta-v2",
    "distilbert",
    "electra",
    "ettin",
    "gte",
    "jinabert",
    "modernbert",
    "mpnet",
    "roberta",
    "xlm-roberta",
];

fn logit_bits(files: &ModelFiles, backend: Backend, precision: Precision) -> Vec<u32> {
    let builder = Reranker::builder().backend(backend).precision(precision);
    let model = builder.load_files(files.clone()).unwrap();
    let pairs = [("a query", "a document"), ("x", "y z and some more of it"), ("", "")];
    model.score(&pairs).unwrap().iter().flat_map(|s| &s.logits).map(|x| x.to_bits()).collect()
}

/// The same model with its weights quantized, in a file in `folder`.
fn quantized(files: &ModelFiles, folder: &Path) -> ModelFiles {
    let path = folder.join("model.safetensors");
    crossrank::quantize(files, &path).unwrap();
    ModelFiles { weights: vec![WeightFile::Path(path)], ..files.clone() }
}

#[test]
fn a_quantized_file_gives_the_bits_of_quantizing_at_load_in_every_family() {
    for family in FAMILIES {
        let folder = tempfile::tempdir().unwrap();
        let files = ModelFiles::from_dir(&fixture(family)).unwrap();
        let stored = quantized(&files, folder.path());
        let at_load = logit_bits(&files, Backend::Cpu, Precision::Int8);
        assert_eq!(logit_bits(&stored, Backend::Cpu, Precision::Auto), at_load, "{family}");
        assert_ne!(
            logit_bits(&files, Backend::Cpu, Precision::F32),
            at_load,
            "{family}: nothing was quantized"
        );
        let model = Reranker::builder().backend(Backend::Cpu).load_files(stored.clone()).unwrap();
        let of_files = Reranker::builder().backend(Backend::Cpu).load_files(files.clone()).unwrap();
        // The fixtures' tokenizers are read differently by versions 4 and 5 of transformers, and no other warning is given.
        let about_tokenizer = |warning: &String| warning.starts_with("transformers 4 and 5 read");
        assert!(of_files.info().warnings.iter().all(about_tokenizer), "{family}");
        assert_eq!(
            (model.info().precision, &model.info().warnings),
            (Precision::Int8, &of_files.info().warnings),
            "{family}"
        );
        // Quantizing the result again changes no byte.
        let WeightFile::Path(once) = &stored.weights[0] else { unreachable!() };
        let twice = tempfile::tempdir().unwrap();
        quantized(&stored, twice.path());
        assert_eq!(read(once), read(twice.path().join("model.safetensors")), "{family}");
    }
}

#[test]
fn integers_stay_close_to_floats_on_cpu_and_reference() {
    for family in FAMILIES {
        let files = ModelFiles::from_dir(&fixture(family)).unwrap();
        let logits = |backend, precision| -> Vec<f32> {
            logit_bits(&files, backend, precision).into_iter().map(f32::from_bits).collect()
        };
        let exact = logits(Backend::Reference, Precision::F32);
        for backend in [Backend::Cpu, Backend::Reference] {
            for (found, exact) in logits(backend, Precision::Int8).iter().zip(&exact) {
                // The largest error that 8 bits cause in the untrained fixtures on these pairs is 0.052; that of trained
                // weights is in benches/results.
                let bound = 0.055 * exact.abs().max(1.0);
                assert!((found - exact).abs() <= bound, "{family}: {found}, not {exact}");
            }
        }
    }
}

#[test]
fn stored_f16_weights_give_the_same_bits_as_f32_and_conversion_to_f16_changes_little() {
    for family in FAMILIES {
        let files = ModelFiles::from_dir(&fixture(family)).unwrap();
        let in_f32 = logit_bits(&files, Backend::Cpu, Precision::F32);
        let in_f16 = logit_bits(&files, Backend::Cpu, Precision::F16Weights);
        if ["bert-f16", "bert-bf16"].contains(&family) {
            assert_eq!(in_f16, in_f32);
            assert_eq!(logit_bits(&files, Backend::Cpu, Precision::Auto), in_f32);
        } else {
            assert_ne!(in_f16, in_f32, "{family}: nothing was converted");
        }
        for (found, expected) in in_f16.into_iter().zip(in_f32) {
            let (found, expected) = (f32::from_bits(found), f32::from_bits(expected));
            let bound = 5e-3 * expected.abs().max(1.0);
            assert!((found - expected).abs() <= bound, "{family}: {found}, not {expected}");
        }
    }
}

#[test]
fn smaller_precisions_take_less_memory_as_planned() {
    let files = ModelFiles::from_dir(&fixture("bert")).unwrap();
    let bytes = |precision| {
        let builder = Reranker::builder().backend(Backend::Cpu).precision(precision);
        let plan = builder.plan_files(&files).unwrap().weight_bytes;
        assert_eq!(builder.load_files(files.clone()).unwrap().info().weight_bytes, plan);
        plan
    };
    let [f32_bytes, f16_bytes, int8_bytes] =
        [Precision::F32, Precision::F16Weights, Precision::Int8].map(bytes);
    // In float32, quantized tables stay as they are stored, with their scales, and other weights are dequantized.
    let folder = tempfile::tempdir().unwrap();
    let stored = quantized(&files, folder.path());
    let plan = |precision| Reranker::builder().precision(precision).plan_files(&stored).unwrap().weight_bytes;
    assert_eq!(plan(Precision::Auto), int8_bytes);
    let quantized_in_f32 = plan(Precision::F32);
    assert!(int8_bytes < quantized_in_f32 && quantized_in_f32 < f32_bytes, "{quantized_in_f32}");
    // Norms, biases and the head stay in float32, and are a larger part of a tiny model than of a real one.
    assert!(f16_bytes * 10 < f32_bytes * 7, "{f16_bytes} of {f32_bytes}");
    assert!(int8_bytes * 10 < f32_bytes * 5, "{int8_bytes} of {f32_bytes}");
}

#[test]
fn values_beyond_the_range_of_float16_are_an_error_that_names_the_tensor() {
    let tensor = "bert.encoder.layer.0.output.dense.weight";
    let files = with_weights(edited(|tensors| {
        let weight = tensors.iter_mut().find(|t| t.name == tensor).unwrap();
        weight.bytes[..4].copy_from_slice(&65_520f32.to_le_bytes());
    }));
    let load = |precision| Reranker::builder().precision(precision).load_files(files.clone()).err();
    let message = format!("tensor `{tensor}` holds numbers beyond float16: load it as float32");
    assert_eq!(load(Precision::F16Weights), Some(format("model.safetensors", message)));
    assert_eq!(load(Precision::F32), None);
}

#[test]
fn invalid_scales_are_errors_that_name_their_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let files = ModelFiles::from_dir(&fixture("bert")).unwrap();
    quantized(&files, folder.path());
    let tensors = tensors_in(&folder.path().join("model.safetensors"));
    let scale = "bert.encoder.layer.0.output.dense.weight_scale";
    let error = |edit: &dyn Fn(&mut Vec<TestTensor>)| {
        let mut tensors = tensors.clone();
        edit(&mut tensors);
        Reranker::builder().load_files(with_weights(file_of(&tensors))).expect_err("it must not load")
    };
    let with = |edit: fn(&mut TestTensor)| {
        error(&|tensors| edit(tensors.iter_mut().find(|t| t.name == scale).unwrap()))
    };
    let missing = error(&|tensors| tensors.retain(|t| t.name != scale));
    assert_eq!(missing, Error::MissingTensor { file: "model.safetensors".into(), tensor: scale.into() });
    for invalid in [f32::NAN, f32::INFINITY, -1.0] {
        let error = error(&|tensors| {
            let scales = tensors.iter_mut().find(|t| t.name == scale).unwrap();
            scales.bytes[4..8].copy_from_slice(&invalid.to_le_bytes());
        });
        let message = format!("tensor `{scale}`: the scale of row 1 is no positive number");
        assert_eq!(error, format("model.safetensors", message));
    }
    let rows = tensors.iter().find(|t| t.name == scale).unwrap().shape[0];
    let short = with(|scales| {
        scales.shape[0] -= 1;
        scales.bytes.truncate(scales.bytes.len() - 4);
    });
    let shape = |found| Error::TensorShape { tensor: scale.into(), expected: vec![rows], found: vec![found] };
    assert_eq!(short, shape(rows - 1));
    let typed = with(|scales| {
        scales.dtype = "F16".into();
        scales.bytes.truncate(scales.bytes.len() / 2);
    });
    assert_eq!(typed, Error::TensorType { tensor: scale.into(), found: "F16".into() });
}

#[test]
fn the_bundled_weights_are_crossrank_mini_quantized() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let (original, bundled) = (models.join("crossrank-mini"), models.join("crossrank-mini-int8"));
    let folder = tempfile::tempdir().unwrap();
    quantized(&ModelFiles::from_dir(&original).unwrap(), folder.path());
    assert!(read(folder.path().join("model.safetensors")) == read(bundled.join("model.safetensors")));
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        assert!(read(original.join(file)) == read(bundled.join(file)), "{file}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_and_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let files = ModelFiles::from_dir(&fixture("bert")).unwrap();
    let path = folder.path().join("missing/model.safetensors");
    match crossrank::quantize(&files, &path) {
        Err(Error::Io { path: named, .. }) => assert_eq!(named, path.display().to_string()),
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
