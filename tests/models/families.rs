//! Where the families differ: tensor names, configuration keys, and what is refused.

use std::borrow::Cow;

use crossrank::kernels::{Activation, PoolMode};
use crossrank::model::checkpoint::Checkpoint;
use crossrank::model::config::read_spec;
use crossrank::model::network::Network;
use crossrank::model::plan::LoadPlan;
use crossrank::model::spec::{Attention, HeadLayer, Pooling, SlidingWindow, Spec};
use crossrank::{Error, ModelFiles, Precision, Result, WeightFile};
use serde_json::{Value, json};

use crate::craft::*;
use crate::golden::{logits_of_shortest, max_diff_from};

/// The fixtures with their prefixes.
const FAMILIES: &[(&str, &str)] = &[
    ("roberta", "roberta."),
    ("xlm-roberta", "roberta."),
    ("camembert", "roberta."),
    ("distilbert", "distilbert."),
    ("electra", "electra."),
    ("mpnet", "mpnet."),
    ("modernbert", "model."),
    ("gte", "gte."),
    ("deberta-v2", "deberta."),
    ("jinabert", "bert."),
    ("ettin", "model."),
];

/// A fixture with other weights and another configuration.
fn with(family: &str, config: Vec<u8>, tensors: &[TestTensor]) -> ModelFiles {
    let files = ModelFiles::from_dir(&fixture(family)).unwrap();
    let weights = vec![WeightFile::Bytes("model.safetensors".into(), Cow::Owned(file_of(tensors)))];
    ModelFiles { config, weights, ..files }
}

fn spec_of(family: &str, key: &str, value: Value) -> Result<Spec> {
    let config = config_of(family, |c| drop(c.insert(key.into(), value)));
    read_spec(&ModelFiles { config, ..ModelFiles::from_dir(&fixture(family)).unwrap() })
}

fn spec(family: &str) -> Spec {
    read_spec(&ModelFiles::from_dir(&fixture(family)).unwrap()).unwrap()
}

#[test]
fn any_missing_tensor_of_any_family_is_named() {
    for (family, prefix) in FAMILIES {
        let all = tensors_of(family);
        for index in 0..all.len() {
            let mut some = all.clone();
            let removed = some.remove(index);
            let error = load_error(&with(family, config_of(family, |_| {}), &some));
            let Error::MissingTensor { tensor, .. } = &error else { panic!("{family}: {error}") };
            let bare = tensor.strip_prefix(prefix).unwrap_or(tensor);
            assert!(*tensor == removed.name || bare == removed.name, "{family}: {tensor}");
        }
    }
}

#[test]
fn any_wrong_shape_in_any_family_is_named() {
    for (family, _) in FAMILIES {
        let all = tensors_of(family);
        for index in 0..all.len() {
            let mut some = all.clone();
            some[index].shape = match some[index].shape[..] {
                [rows] => vec![1, rows],
                [rows, cols] => vec![rows * cols],
                _ => unreachable!("vectors and matrices"),
            };
            let error = load_error(&with(family, config_of(family, |_| {}), &some));
            assert!(
                matches!(&error, Error::TensorShape { tensor, .. } if *tensor == all[index].name),
                "{family}: {error}"
            );
        }
    }
}

#[test]
fn bare_and_old_names_of_every_family_load_like_the_usual_ones() {
    for (family, prefix) in FAMILIES {
        let renamed = |rename: &dyn Fn(&str) -> String| {
            let mut all = tensors_of(family);
            all.iter_mut().for_each(|t| t.name = rename(&t.name));
            max_diff_from(family, &with(family, config_of(family, |_| {}), &all), 2)
        };
        let bare = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_owned();
        let full = |name: &str| match name.starts_with(prefix) || !family.contains("ettin") {
            true => name.to_owned(),
            false => format!("{prefix}{name}"),
        };
        let old = |name: &str| {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        };
        assert!(renamed(&bare) <= 1e-6, "{family} bare");
        assert!(renamed(&full) <= 1e-6, "{family} with its prefix");
        assert!(renamed(&old) <= 1e-6, "{family} with old names");
    }
}

#[test]
fn names_that_wrappers_lengthen_load_like_the_usual_ones_with_a_warning() {
    for (family, prefix) in FAMILIES {
        for wrapper in ["_orig_mod.", "module.", "model.", "0.auto_model.", "0.model.", "module._orig_mod."] {
            for bare in [false, true] {
                let mut all = tensors_of(family);
                for tensor in &mut all {
                    let name = tensor.name.strip_prefix(prefix).filter(|_| bare).unwrap_or(&tensor.name);
                    tensor.name = format!("{wrapper}{name}");
                }
                let files = with(family, config_of(family, |_| {}), &all);
                let case = format!("{family} after {wrapper}, bare: {bare}");
                assert!(max_diff_from(family, &files, 2) <= 1e-6, "{case}");
                // Without a head in the same file, the last wrapper may be the family's own prefix.
                let own = if *family == "ettin" {
                    wrapper.strip_suffix(prefix).unwrap_or(wrapper)
                } else {
                    wrapper
                };
                let own = if own == "0.auto_" { wrapper } else { own };
                let sentence = format!("the names of the tensors start with `{own}`");
                let warnings = warnings(&files);
                let found = warnings.iter().filter(|warning| warning.contains(&sentence)).count();
                let expected = usize::from(!own.is_empty());
                assert_eq!((found, warnings.len()), (expected, expected), "{case}: {warnings:?}");
            }
        }
    }
}

/// The warnings about a model's tensors.
fn warnings(files: &ModelFiles) -> Vec<String> {
    let spec = read_spec(files).unwrap();
    let checkpoint = Checkpoint::open(files).unwrap();
    LoadPlan::new(Network::locate(&checkpoint, &spec).unwrap(), Precision::F32).warnings()
}

#[test]
fn tensors_outside_of_the_wrapper_are_missing() {
    let mut all = tensors_of("bert");
    for tensor in all.iter_mut().filter(|tensor| !tensor.name.starts_with("classifier.")) {
        tensor.name = format!("_orig_mod.{}", tensor.name);
    }
    let error = load_error(&with("bert", config_of("bert", |_| {}), &all));
    assert!(
        matches!(&error, Error::MissingTensor { tensor, .. } if tensor == "_orig_mod.classifier.weight"),
        "{error}"
    );
    all.iter_mut().for_each(|tensor| tensor.name = tensor.name.replace("_orig_mod.", "encoder."));
    let error = load_error(&with("bert", config_of("bert", |_| {}), &all));
    let first = "bert.embeddings.word_embeddings.weight";
    assert!(matches!(&error, Error::MissingTensor { tensor, .. } if tensor == first), "{error}");
}

#[test]
fn unsupported_values_of_a_family_are_refused_with_their_key() {
    for (family, key, value, message) in [
        (
            "roberta",
            "position_embedding_type",
            json!("relative_key"),
            "position_embedding_type `relative_key`",
        ),
        ("roberta", "pad_token_id", json!(129), "expected a row of the 130 positions, and not the last"),
        ("roberta", "pad_token_id", json!(-1), "expected a row of the 130 positions, and not the last"),
        ("distilbert", "n_heads", json!(5), "5 heads do not divide dim 64"),
        ("distilbert", "activation", json!("quick"), "activation `quick`"),
        ("electra", "embedding_size", json!(65), "embedding_size 65 above hidden_size 64"),
        ("mpnet", "relative_attention_num_buckets", json!(3), "expected at least 4"),
        ("mpnet", "relative_attention_num_buckets", json!(1000), "expected a whole number from 1 to 256"),
        ("modernbert", "classifier_pooling", json!("max"), "classifier_pooling `max`"),
        ("modernbert", "global_rope_theta", json!(0), "expected a number from 1 to 1e12"),
        (
            "modernbert",
            "num_attention_heads",
            json!(64),
            "rotary positions need an even head dimension, not 1",
        ),
        ("modernbert", "layer_types", json!(["full_attention"]), "expected 4 of them, one for each layer"),
        ("modernbert", "layer_types", json!(["a", "b", "c", "d"]), "layer_types `a`"),
        ("modernbert", "max_position_embeddings", json!(1 << 19), "the limit is 8388608"),
        (
            "modernbert",
            "rope_parameters",
            json!({"full_attention": {"rope_type": "yarn"}}),
            "rope_type `yarn`",
        ),
        ("gte", "position_embedding_type", json!("absolute"), "position_embedding_type `absolute`"),
        ("gte", "logn_attention_scale", json!(true), "logn_attention_scale `true`"),
        ("gte", "rope_parameters", json!(7), "expected an object"),
        ("deberta-v2", "share_att_key", json!(false), "share_att_key `false`"),
        ("deberta-v2", "relative_attention", Value::Null, "no relative_attention"),
        ("deberta-v2", "position_biased_input", json!(true), "position_biased_input `true`"),
        ("deberta-v2", "conv_kernel_size", json!(3), "conv_kernel_size `3`"),
        ("deberta-v2", "pos_att_type", json!(["c2c"]), "pos_att_type `c2c`"),
        ("deberta-v2", "position_buckets", json!(2), "expected at least 4"),
        (
            "deberta-v2",
            "position_buckets",
            json!(254),
            "half of it plus 1 below the largest relative position 128",
        ),
        ("deberta-v2", "embedding_size", json!(32), "embedding_size `32`"),
        ("jinabert", "position_embedding_type", Value::Null, "no position_embedding_type"),
        ("jinabert", "feed_forward_type", json!("original"), "feed_forward_type `original`"),
        ("bert", "hidden_size", json!(2048), "a head dimension of 512"),
    ] {
        // So that the tokenizer does not limit the window further.
        let files = ModelFiles::from_dir(&fixture(family)).unwrap();
        let config = config_of(family, |c| drop(c.insert(key.into(), value.clone())));
        let error =
            read_spec(&ModelFiles { config, tokenizer_config: None, ..files }).unwrap_err().to_string();
        assert!(error.contains(message), "{family} {key} {value}: {error}");
    }
}

#[test]
fn variants_that_compute_something_else_are_refused_by_their_tensors() {
    for (family, name) in [
        ("deberta-v2", "deberta.encoder.conv.conv.weight"),
        ("deberta-v2", "deberta.encoder.layer.0.attention.self.pos_key_proj.weight"),
        ("jinabert", "bert.encoder.layer.0.attention.self.layer_norm_q.weight"),
    ] {
        let mut all = tensors_of(family);
        let bytes = vec![0; 4];
        all.push(TestTensor { name: name.into(), dtype: "F32".into(), shape: vec![1], bytes });
        let error = load_error(&with(family, config_of(family, |_| {}), &all));
        assert!(matches!(&error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn windows_and_positions_are_those_of_the_family() {
    for (family, max_tokens, first_position) in [
        ("roberta", 128, 2),
        ("xlm-roberta", 128, 2),
        ("mpnet", 128, 2),
        ("distilbert", 128, 0),
        ("gte", 256, 0),
    ] {
        let files = ModelFiles::from_dir(&fixture(family)).unwrap();
        let spec = read_spec(&ModelFiles { tokenizer_config: None, ..files }).unwrap();
        assert_eq!((spec.max_tokens, spec.first_position), (max_tokens, first_position), "{family}");
    }
    assert_eq!(spec_of("roberta", "pad_token_id", json!(5)).unwrap().max_tokens, 124);
}

#[test]
fn rotary_positions_are_read_from_old_and_new_keys() {
    let layers = vec![false, true, true, false];
    let rotary = |theta, local_theta, layers| Attention::Rotary {
        theta,
        ntk_factor: 1.0,
        window: Some(SlidingWindow { theta: local_theta, radius: 8, layers }),
    };
    assert_eq!(spec("modernbert").attention, rotary(160_000.0, 10_000.0, layers.clone()));
    let new = json!({
        "full_attention": {"rope_type": "default", "rope_theta": 7.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 5.0},
    });
    assert_eq!(spec_of("modernbert", "rope_parameters", new).unwrap().attention, rotary(7.0, 5.0, layers));
    let types = json!(["sliding_attention", "full_attention", "sliding_attention", "full_attention"]);
    let types = spec_of("modernbert", "layer_types", types).unwrap().attention;
    assert_eq!(types, rotary(160_000.0, 10_000.0, vec![true, false, true, false]));

    // GTE's own code has theta and a factor.
    let stretched = config_of("gte", |c| {
        c.remove("rope_parameters");
        c.insert("rope_theta".into(), json!(20_000));
        c.insert("rope_scaling".into(), json!({"type": "ntk", "factor": 8.0}));
        c.insert("architectures".into(), json!(["NewForSequenceClassification"]));
    });
    let files = ModelFiles::from_dir(&fixture("gte")).unwrap();
    let spec = read_spec(&ModelFiles { config: stretched, ..files }).unwrap();
    assert_eq!(spec.attention, Attention::Rotary { theta: 160_000.0, ntk_factor: 8.0, window: None });
    assert_eq!(spec.names.prefix, "new.");
}

#[test]
fn gtes_own_names_load_like_those_of_transformers() {
    let mut all = tensors_of("gte");
    all.iter_mut().for_each(|t| t.name = t.name.replace("gte.", "new."));
    let config =
        config_of("gte", |c| drop(c.insert("architectures".into(), json!(["NewForSequenceClassification"]))));
    assert!(max_diff_from("gte", &with("gte", config, &all), 2) <= 1e-6);
}

/// The `ettin` fixture after a change of one module's config.json.
fn ettin(index: usize, key: &str, value: Value) -> ModelFiles {
    let mut files = ModelFiles::from_dir(&fixture("ettin")).unwrap();
    let module = &mut files.modules[index];
    let mut config: Value = serde_json::from_slice(&module.config).unwrap();
    config[key] = value;
    module.config = serde_json::to_vec(&config).unwrap();
    files
}

#[test]
fn a_head_of_modules_is_read_or_refused_by_the_module() {
    assert_eq!(
        spec("ettin").pooling,
        Pooling::First,
        "the modules' pooling, not that of the encoder's config.json"
    );
    for (index, key, value, message) in [
        (0, "pooling_mode", json!("median"), "pooling_mode `median`"),
        (0, "pooling_mode", json!(["cls", "mean"]), "pooling_mode `cls, mean`"),
        (0, "include_prompt", json!(false), "include_prompt `false`"),
        (1, "activation_function", json!("torch.nn.modules.activation.Mish"), "Mish"),
        (1, "in_features", json!(31), "`2_Dense/config.json`: key `in_features`: expected 32"),
        (1, "out_features", json!(16), "`3_LayerNorm/config.json`: key `dimension`: expected 16"),
        (
            1,
            "activation_function",
            Value::Null,
            "key `activation_function`: expected the name of a torch class",
        ),
        (1, "module_input_name", json!("token_embeddings"), "module_input_name `token_embeddings`"),
        (1, "module_output_name", json!("scores"), "module_output_name `scores`"),
        (1, "use_residual", json!(1), "key `use_residual`: expected true or false"),
        (3, "module_output_name", json!("sentence_embedding"), "gives vectors and cannot score pairs"),
        (3, "out_features", json!(0), "`4_Dense/config.json`: key `out_features`"),
        (3, "activation_function", json!("torch.nn.Mish"), "Mish"),
    ] {
        let error = read_spec(&ettin(index, key, value)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let old = ModelFiles { ..ettin(0, "pooling_mode", Value::Null) };
    let flags = |flags: Value| {
        let mut files = old.clone();
        files.modules[0].config = flags.to_string().into_bytes();
        read_spec(&files).map(|spec| spec.pooling)
    };
    assert_eq!(
        flags(json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false})).unwrap(),
        Pooling::First
    );
    assert_eq!(flags(json!({"pooling_mode_mean_tokens": true})).unwrap(), Pooling::All(PoolMode::Mean));
    assert_eq!(flags(json!({"pooling_mode_lasttoken": true})).unwrap(), Pooling::All(PoolMode::Last));
    assert_eq!(flags(json!({})).unwrap(), Pooling::All(PoolMode::Mean));
    assert!(flags(json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true})).is_err());

    let mut files = ModelFiles::from_dir(&fixture("ettin")).unwrap();
    files.modules[2].class = "sentence_transformers.models.Normalize".into();
    let error = read_spec(&files).unwrap_err().to_string();
    assert!(error.contains("`3_LayerNorm` of the class `sentence_transformers.models.Normalize`"), "{error}");
    files.modules[2].class = "my.models.LayerNorm".into();
    let error = read_spec(&files).unwrap_err().to_string();
    assert!(error.contains("`my.models.LayerNorm`"), "{error}");
    files.modules[2].class = "sentence_transformers.models.LayerNorm".into();
    let weights = files.modules[2].weights.take();
    let error = load_error(&files).to_string();
    assert!(error.contains("`3_LayerNorm/model.safetensors` is not there"), "{error}");
    files.modules[2].weights = weights;
    let mut headless = files.clone();
    headless.modules.truncate(1);
    let error = read_spec(&headless).unwrap_err().to_string();
    assert!(error.contains("modules.json with Pooling") && error.contains("gives vectors"), "{error}");
    headless.modules = files.modules[1..].to_vec();
    let error = read_spec(&headless).unwrap_err().to_string();
    assert!(error.contains("first module after the encoder is Pooling"), "{error}");
    let own = |model_type: &str| json!({"model_type": model_type}).to_string().into_bytes();
    let embedder = ModelFiles { sentence_transformers: Some(own("SentenceTransformer")), ..files.clone() };
    let error = read_spec(&embedder).unwrap_err().to_string();
    assert!(error.contains("model_type `SentenceTransformer`"), "{error}");
    files.modules.clear();
    let error = read_spec(&files).unwrap_err().to_string();
    assert!(
        error.contains("embedding model") && error.contains("ModernBertForSequenceClassification"),
        "{error}"
    );
}

#[test]
fn modules_are_folders_beside_modules_json() {
    let dir = tempfile::tempdir().unwrap();
    copy_into(dir.path());
    for path in ["../elsewhere", "/etc", "a/b", ".", "a\\b"] {
        let list = json!([{"path": "", "type": "Transformer"}, {"path": path, "type": "Dense"}]);
        std::fs::write(dir.path().join("modules.json"), list.to_string()).unwrap();
        let error = ModelFiles::from_dir(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is not the plain name of a folder"), "{path}: {error}");
    }
    let many = json!(vec![json!({"path": "a", "type": "Dense"}); 17]);
    std::fs::write(dir.path().join("modules.json"), many.to_string()).unwrap();
    assert!(ModelFiles::from_dir(dir.path()).unwrap_err().to_string().contains("the limit is 16"));
}

#[test]
fn every_tensor_of_every_familys_fixture_is_used() {
    for (family, _) in FAMILIES {
        let files = ModelFiles::from_dir(&fixture(family)).unwrap();
        let (spec, checkpoint) = (read_spec(&files).unwrap(), Checkpoint::open(&files).unwrap());
        let plan = LoadPlan::new(Network::locate(&checkpoint, &spec).unwrap(), Precision::Auto);
        assert_eq!(plan.warnings(), [""; 0], "{family}");
    }
}

/// Fails by panicking.
#[test]
fn any_value_of_any_key_is_an_error_or_a_model() {
    let mut loaded = 0;
    for (family, _) in FAMILIES {
        let files = ModelFiles::from_dir(&fixture(family)).unwrap();
        let config = read_json(fixture(family).join("config.json"));
        for key in config.as_object().unwrap().keys() {
            for value in [
                Value::Null,
                json!(-1),
                json!(0),
                json!(1),
                json!(2),
                json!(3),
                json!(1.5),
                json!(1e300),
                json!(u64::MAX),
                json!(1 << 20),
                json!(true),
                json!("x"),
                json!([]),
                json!(["x"]),
                json!({}),
                json!({"full_attention": {"rope_theta": 1}, "rope_theta": 1, "0": "x"}),
            ] {
                let config = config_of(family, |c| drop(c.insert(key.clone(), value.clone())));
                let files = ModelFiles { config, ..files.clone() };
                if load(&files).is_ok() {
                    loaded += 1;
                    // The caller must not exceed the window.
                    if read_spec(&files).unwrap().max_tokens >= 128 {
                        let logits = logits_of_shortest(family, &files);
                        assert!(logits.iter().all(|x| x.is_finite()), "{family} {key} {value}: {logits:?}");
                    }
                }
            }
        }
    }
    assert!(loaded > 1000, "only {loaded} models were loaded");
}

/// As sentence-transformers does without `trust_remote_code`.
#[test]
fn classes_and_keys_that_sentence_transformers_ignores_are_ignored_with_a_warning() {
    let spec = read_spec(&ettin(1, "activation_function", json!("my.package.Fancy"))).unwrap();
    assert!(spec.warnings[0].contains("`2_Dense/config.json`: activation_function `my.package.Fancy`"));
    assert!(spec.warnings[0].contains("the default Tanh"), "{:?}", spec.warnings);
    let HeadLayer::Dense(dense) = &spec.head[0] else { panic!("a dense layer") };
    assert_eq!(dense.activation, Some(Activation::Tanh));
    let spec = read_spec(&ettin(3, "new_key", json!(1))).unwrap();
    assert_eq!(spec.warnings.len(), 1);
    assert!(spec.warnings[0].contains("`4_Dense/config.json`: key `new_key`"), "{:?}", spec.warnings);
}
