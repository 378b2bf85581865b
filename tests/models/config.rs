//! config.json and tokenizer_config.json: what is read, what is refused, and the error messages.

use crossrank::kernels::Activation;
use crossrank::model::config::read_spec;
use crossrank::model::names;
use crossrank::model::spec::{
    Attention, Biases, DenseLayer, FeedForward, HeadLayer, NormOrder, Pooling, Residual, ScoreActivation,
    Spec,
};
use crossrank::{Error, ModelFiles, Result};
use serde_json::{Map, Value, json};

use crate::craft::{config, fixture, format, model};

fn spec_of(config: impl Into<Vec<u8>>) -> Result<Spec> {
    read_spec(&model(config.into(), vec![]))
}

fn set(key: &'static str, value: Value) -> Vec<u8> {
    config(|c| drop(c.insert(key.into(), value)))
}

fn with_tokenizer_config(tokenizer_config: Option<&str>) -> Result<Spec> {
    let mut files = model(config(|_| {}), vec![]);
    files.tokenizer_config = tokenizer_config.map(|text| text.as_bytes().to_vec());
    read_spec(&files)
}

#[test]
fn a_spec_holds_what_the_configuration_says() {
    let spec = read_spec(&ModelFiles::from_dir(&fixture("bert")).unwrap()).unwrap();
    let dense = |name: &'static str, outputs, activation| {
        let (name, residual) = (name.into(), Residual::None);
        HeadLayer::Dense(DenseLayer { name, inputs: 64, outputs, bias: true, activation, residual })
    };
    let expected = Spec {
        architecture: "BertForSequenceClassification".into(),
        names: &names::BERT,
        layers: 2,
        hidden: 64,
        heads: 4,
        intermediate: 256,
        vocabulary: 2500,
        embedding: 64,
        positions: 128,
        first_position: 0,
        token_types: 2,
        epsilon: 1e-12,
        attention: Attention::Content,
        norm_order: NormOrder::Post,
        feed_forward: FeedForward::Plain,
        activation: Activation::Gelu,
        biases: Biases::ALL,
        pooling: Pooling::First,
        head: vec![dense("bert.pooler.dense", 64, Some(Activation::Tanh)), dense("classifier", 1, None)],
        logit: ScoreActivation::Identity,
        labels: vec!["LABEL_0".into()],
        score: ScoreActivation::Identity,
        max_tokens: 128,
        warnings: vec![],
    };
    assert_eq!(spec, expected);
}

#[test]
fn invalid_numbers_are_refused_with_their_key() {
    let count = |limit: usize| format!("expected a whole number from 1 to {limit}");
    for (key, value, message) in [
        ("hidden_size", json!(0), count(131_072)),
        ("hidden_size", json!(-64), count(131_072)),
        ("hidden_size", json!(64.5), count(131_072)),
        ("hidden_size", json!("64"), count(131_072)),
        ("hidden_size", json!(u64::MAX), count(131_072)),
        ("hidden_size", json!([64]), count(131_072)),
        ("num_attention_heads", json!(0), count(131_072)),
        ("num_attention_heads", json!(5), "5 heads do not divide hidden_size 64".into()),
        ("num_attention_heads", json!(128), "128 heads do not divide hidden_size 64".into()),
        ("num_hidden_layers", json!(0), count(1024)),
        ("num_hidden_layers", json!(1_u64 << 40), count(1024)),
        ("intermediate_size", json!(131_073), count(131_072)),
        ("vocab_size", json!(1 << 30), count(16_777_216)),
        ("max_position_embeddings", json!(-1), count(1_048_576)),
        ("type_vocab_size", json!(0), count(65_536)),
        ("layer_norm_eps", json!(0), "expected a number above 0 and at most 1".into()),
        ("layer_norm_eps", json!(-1e-12), "expected a number above 0 and at most 1".into()),
        ("layer_norm_eps", json!(1e300), "expected a number above 0 and at most 1".into()),
        ("layer_norm_eps", json!(1e-60), "expected a number above 0 and at most 1".into()),
        ("layer_norm_eps", json!("1e-12"), "expected a number above 0 and at most 1".into()),
        ("hidden_act", json!(7), "expected a string".into()),
        ("is_decoder", json!("no"), "expected true or false".into()),
    ] {
        let expected = format("config.json", format!("key `{key}`: {message}"));
        assert_eq!(spec_of(set(key, value)).unwrap_err(), expected);
    }
}

#[test]
fn missing_sizes_are_refused_with_their_key() {
    for key in [
        "hidden_size",
        "num_attention_heads",
        "num_hidden_layers",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
    ] {
        let expected = format("config.json", format!("key `{key}`: is missing"));
        assert_eq!(spec_of(config(|c| drop(c.remove(key)))).unwrap_err(), expected);
        assert_eq!(spec_of(set(key, Value::Null)).unwrap_err(), expected);
    }
}

#[test]
fn old_configurations_get_the_defaults_of_transformers() {
    let old = config(|c| {
        for key in ["layer_norm_eps", "type_vocab_size", "hidden_act", "is_decoder"] {
            c.remove(key);
        }
    });
    assert_eq!(spec_of(old).unwrap(), spec_of(config(|_| {})).unwrap());
}

#[test]
fn activations_are_read_by_their_names_in_transformers() {
    for (name, activation) in [
        ("gelu", Activation::Gelu),
        ("gelu_new", Activation::GeluTanh),
        ("gelu_pytorch_tanh", Activation::GeluTanh),
        ("gelu_fast", Activation::GeluTanh),
        ("relu", Activation::Relu),
        ("silu", Activation::Silu),
        ("swish", Activation::Silu),
    ] {
        assert_eq!(spec_of(set("hidden_act", json!(name))).unwrap().activation, activation, "{name}");
    }
    assert_eq!(
        spec_of(set("hidden_act", json!("quick_gelu"))).unwrap_err(),
        Error::Unsupported {
            what: "hidden_act `quick_gelu`".into(),
            hint: "use a model with gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu, silu or tanh".into(),
        }
    );
}

#[test]
fn unsupported_models_are_named_with_the_nearest_supported_one() {
    for (config, message) in [
        (
            set("architectures", json!(["T5ForSequenceClassification"])),
            "architecture `T5ForSequenceClassification` is not supported: its layers are not implemented; the nearest \
             supported architecture is `BertForSequenceClassification`, for example `cross-encoder/ms-marco-MiniLM-L6-v2`",
        ),
        (
            set("architectures", json!(["BertModel"])),
            "architecture `BertModel` is not supported: it is an embedding model with no classifier head and cannot \
             score pairs; use a cross-encoder: `BertForSequenceClassification`, for example \
             `cross-encoder/ms-marco-MiniLM-L6-v2`",
        ),
        (
            set("architectures", json!(["XLMRobertaXLForSequenceClassification"])),
            "architecture `XLMRobertaXLForSequenceClassification` is not supported: its layers are not implemented; \
             the nearest supported architecture is `XLMRobertaForSequenceClassification`, for example \
             `BAAI/bge-reranker-base`",
        ),
        (
            set("architectures", json!(["Qwen3ForCausalLM\u{1b}[2J"])),
            "architecture `Qwen3ForCausalLM?[2J` is not supported: it has no classifier head and cannot score pairs; \
             use a cross-encoder: `BertForSequenceClassification`, for example `cross-encoder/ms-marco-MiniLM-L6-v2`",
        ),
        (
            set("position_embedding_type", json!("relative_key")),
            "position_embedding_type `relative_key` is not supported: use a model with absolute positions",
        ),
        (
            set("is_decoder", json!(true)),
            "is_decoder `true` is not supported: use an encoder, in which every token sees the whole pair",
        ),
    ] {
        let error = spec_of(config).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn an_architecture_must_be_named() {
    let message = "key `architectures`: expected a list of names such as [\"BertForSequenceClassification\"]";
    for config in
        [set("architectures", json!("BertForSequenceClassification")), set("architectures", json!([1]))]
    {
        assert_eq!(spec_of(config).unwrap_err(), format("config.json", message));
    }
    let error = spec_of(config(|c| {
        c.remove("architectures");
        c.remove("model_type");
    }));
    let message = "key `architectures`: is missing, and so is `model_type`, which could stand for it";
    assert_eq!(error.unwrap_err(), format("config.json", message));
}

#[test]
fn without_an_architecture_the_model_type_decides() {
    for nothing in [Value::Null, json!([])] {
        assert_eq!(spec_of(set("architectures", nothing)).unwrap(), spec_of(config(|_| {})).unwrap());
    }
    let other = config(|c| {
        c.remove("architectures");
        c.insert("model_type".into(), json!("t5"));
    });
    let error = spec_of(other).unwrap_err().to_string();
    assert!(
        error.starts_with("model_type `t5` is not supported: use a cross-encoder of one of bert"),
        "{error}"
    );
}

/// transformers follows the model type and would compute another network.
#[test]
fn a_model_type_that_contradicts_the_architecture_is_refused() {
    for (architecture, model_type, accepted) in [
        ("BertForSequenceClassification", "bert", true),
        ("BertForSequenceClassification", "roberta", false),
        ("BertForSequenceClassification", "t5", false),
        // The same network by another name.
        ("XLMRobertaForSequenceClassification", "roberta", true),
        ("XLMRobertaForSequenceClassification", "bert", false),
    ] {
        let result = spec_of(config(|c| {
            c.insert("architectures".into(), json!([architecture]));
            c.insert("model_type".into(), json!(model_type));
        }));
        match result {
            Ok(_) => assert!(accepted, "{architecture} {model_type}"),
            Err(error) => {
                assert!(!accepted, "{error}");
                let start =
                    format!("model_type `{model_type}` with the architecture `{architecture}` is not");
                assert!(error.to_string().starts_with(&start), "{error}");
            }
        }
    }
}

/// The fixture's configuration with `labels` labels, and with `keys` in place of its own keys about scores.
fn scored(labels: usize, keys: Value) -> Vec<u8> {
    config(|c| {
        c.remove("sbert_ce_default_activation_function");
        c.extend(keys.as_object().unwrap().clone());
        let names: Map<_, _> = (0..labels).map(|i| (i.to_string(), json!(format!("L{i}")))).collect();
        c.insert("id2label".into(), names.into());
    })
}

#[test]
fn the_score_activation_is_the_one_sentence_transformers_would_use() {
    use ScoreActivation::*;
    let new = |class: &str| json!({"sentence_transformers": {"activation_fn": class, "version": "5.1.0"}});
    let old = |class: &str| json!({"sbert_ce_default_activation_function": class});
    for (labels, keys, expected) in [
        (1, json!({}), Sigmoid),
        (3, json!({}), Identity),
        (1, json!({"sbert_ce_default_activation_function": null}), Sigmoid),
        (1, json!({"sentence_transformers": {"version": "5.1.0"}}), Sigmoid),
        (1, new("torch.nn.modules.linear.Identity"), Identity),
        (1, old("torch.nn.modules.linear.Identity"), Identity),
        (1, old("torch.nn.modules.activation.Tanh"), Tanh),
        (2, new("torch.nn.modules.activation.Softmax"), Softmax),
        (3, new("torch.nn.modules.activation.Sigmoid"), Sigmoid),
        (1, new("torch.nn.modules.activation.ReLU"), Relu),
        (1, new("torch.nn.modules.activation.LogSigmoid"), LogSigmoid),
        (1, new("torch.nn.modules.activation.Hardsigmoid"), Hardsigmoid),
        // Not torch's: the next rule holds.
        (1, old("Identity"), Sigmoid),
        (2, new("evil.package.Sigmoid"), Identity),
    ] {
        assert_eq!(spec_of(scored(labels, keys.clone())).unwrap().score, expected, "{labels} labels, {keys}");
    }
    // The newer key takes precedence.
    let mut both = new("torch.nn.modules.activation.Sigmoid");
    both["sbert_ce_default_activation_function"] = json!("torch.nn.modules.linear.Identity");
    assert_eq!(spec_of(scored(1, both)).unwrap().score, Sigmoid);

    // A section without a value hides the older key.
    let mut hidden = json!({"sentence_transformers": {"activation_fn": null}});
    hidden["sbert_ce_default_activation_function"] = json!("torch.nn.modules.linear.Identity");
    assert_eq!(spec_of(scored(1, hidden)).unwrap().score, Sigmoid);

    for (class, shown) in [("torch.nn.modules.activation.GELU", "GELU"), ("torch.relu", "torch.relu")] {
        let error = spec_of(scored(1, new(class))).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        let error = error.to_string();
        assert!(
            error.starts_with(&format!("sentence_transformers.activation_fn `{shown}` is not")),
            "{error}"
        );
    }
    let warnings = spec_of(scored(1, new("evil.package.Sigmoid"))).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("activation_fn `evil.package.Sigmoid` is no class of torch"),
        "{warnings:?}"
    );
    assert_eq!(
        spec_of(scored(1, json!({"sentence_transformers": 5}))).unwrap_err(),
        format("config.json", "key `sentence_transformers`: expected an object")
    );
    assert_eq!(
        spec_of(scored(1, json!({"sbert_ce_default_activation_function": 5}))).unwrap_err(),
        format(
            "config.json",
            "key `sbert_ce_default_activation_function`: expected the name of a torch class"
        )
    );
}

#[test]
fn labels_come_in_the_order_of_their_numbers() {
    let labels = |edit: Value| {
        spec_of(config(|c| {
            c.remove("id2label");
            c.extend(edit.as_object().unwrap().clone());
        }))
        .map(|spec| spec.labels)
    };
    let many: Map<_, _> = (0..11).map(|i| (i.to_string(), json!(format!("name {i}")))).collect();
    let found = labels(json!({"id2label": many})).unwrap();
    assert_eq!(found, (0..11).map(|i| format!("name {i}")).collect::<Vec<_>>());
    assert_eq!(labels(json!({"num_labels": 1})).unwrap(), ["LABEL_0"]);
    assert_eq!(labels(json!({})).unwrap(), ["LABEL_0", "LABEL_1"]);

    for (map, message) in [
        (json!({}), "expected a map of 1 to 65536 labels"),
        (json!(["a"]), "expected a map of 1 to 65536 labels"),
        (json!({"0": "a", "b": "b"}), "expected whole numbers before the names"),
        (json!({"0": {}}), "label 0: expected a name"),
    ] {
        let expected = format("config.json", format!("key `id2label`: {message}"));
        assert_eq!(labels(json!({"id2label": map})).unwrap_err(), expected);
    }
}

/// transformers counts the labels and no more; a name would be that of another output.
#[test]
fn labels_that_are_not_numbered_from_0_are_counted() {
    for map in [json!({"1": "a", "2": "b"}), json!({"0": "a", "2": "b"}), json!({"-1": "a", "0": "b"})] {
        let spec = spec_of(set("id2label", map)).unwrap();
        assert_eq!(spec.labels, ["LABEL_0", "LABEL_1"]);
        assert!(spec.warnings[0].contains("does not number its labels from 0 to 1"), "{:?}", spec.warnings);
    }
    assert!(spec_of(config(|_| {})).unwrap().warnings.is_empty());
}

#[test]
fn the_activation_of_config_sentence_transformers_takes_precedence_over_that_of_config() {
    let with = |text: &str| {
        let mut files = model(config(|_| {}), vec![]);
        files.sentence_transformers = Some(text.as_bytes().to_vec());
        read_spec(&files).map(|spec| spec.score)
    };
    let named =
        |class: &str| with(&format!(r#"{{"model_type": "CrossEncoder", "activation_fn": "{class}"}}"#));
    let without = with("{}").unwrap();
    assert_eq!(with(r#"{"activation_fn": null}"#).unwrap(), without);
    for (class, score) in [
        ("torch.nn.modules.activation.Sigmoid", ScoreActivation::Sigmoid),
        ("torch.nn.modules.linear.Identity", ScoreActivation::Identity),
        ("torch.nn.modules.activation.Tanh", ScoreActivation::Tanh),
    ] {
        assert_eq!(named(class).unwrap(), score);
    }
    assert_eq!(named("my.package.Fancy").unwrap(), without);
    let error = with("{").unwrap_err();
    assert!(
        matches!(&error, Error::Format { file, .. } if file == "config_sentence_transformers.json"),
        "{error}"
    );
}

#[test]
fn the_window_is_the_smaller_of_tokenizer_and_positions() {
    for (tokenizer_config, expected) in [
        (None, 128),
        (Some("{}"), 128),
        (Some(r#"{"model_max_length": 100}"#), 100),
        (Some(r#"{"model_max_length": 512}"#), 128),
        (Some(r#"{"model_max_length": 1e30}"#), 128),
        (Some(r#"{"model_max_length": 1000000000000000019884624838656}"#), 128),
        (Some(r#"{"model_max_length": null}"#), 128),
    ] {
        assert_eq!(
            with_tokenizer_config(tokenizer_config).unwrap().max_tokens,
            expected,
            "{tokenizer_config:?}"
        );
    }
    for length in ["0", "-5", "\"512\"", "[]"] {
        let error = with_tokenizer_config(Some(&format!("{{\"model_max_length\": {length}}}"))).unwrap_err();
        let message = "key `model_max_length`: expected a number from 1 up";
        assert_eq!(error, format("tokenizer_config.json", message));
    }
}

#[test]
fn malformed_json_is_an_error_that_names_the_file() {
    let deep = "[".repeat(1_000_000);
    let deep_value = format!("{{\"hidden_size\": {deep}");
    for (text, message) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("{\"a\":", "EOF while parsing a value at line 1 column 5"),
        ("{} {}", "trailing characters at line 1 column 4"),
        ("[1]", "invalid type: sequence, expected a map at line 1 column 0"),
        ("7", "invalid type: integer `7`, expected a map at line 1 column 1"),
        (
            "{\"a\": \"\u{7}\"}",
            "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 8",
        ),
        (&deep, "invalid type: sequence, expected a map at line 1 column 0"),
        (&deep_value, "recursion limit exceeded at line 1 column 143"),
    ] {
        assert_eq!(spec_of(text).unwrap_err(), format("config.json", message));
        let error = with_tokenizer_config(Some(text)).unwrap_err();
        assert_eq!(error, format("tokenizer_config.json", message));
    }
    let not_utf8 = spec_of(b"{\"a\": \"\xff\"}".to_vec()).unwrap_err();
    assert_eq!(not_utf8, format("config.json", "invalid unicode code point at line 1 column 8"));
}

#[test]
fn messages_about_json_are_cut() {
    let Error::Format { message, .. } = spec_of(format!("\"{}\"", "x".repeat(100_000))).unwrap_err() else {
        panic!("not a Format error");
    };
    assert_eq!(message.len(), 303);
}
