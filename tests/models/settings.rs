//! The files beside tokenizer.json: token ids, token types and logits are those of transformers and sentence-transformers,
//! whose versions tests/tokenizer-settings/README.md names.

use std::collections::BTreeMap;

use crossrank::{Backend, Error, ModelFiles, RerankOptions, Reranker, Result};
use serde_json::{Map, Value, json};

use crate::craft::{fixture, read_json};

#[derive(serde::Deserialize)]
struct Case {
    row: String,
    fixture: String,
    major: u32,
    files: BTreeMap<String, Map<String, Value>>,
    changes: bool,
    pairs: Vec<Expected>,
}

#[derive(serde::Deserialize)]
struct Expected {
    query: String,
    document: String,
    max_tokens: usize,
    ids: Vec<u32>,
    token_types: Vec<u32>,
}

/// A fixture whose files have these keys; null removes one.
fn edited(family: &str, edits: &BTreeMap<String, Map<String, Value>>) -> ModelFiles {
    let mut files = ModelFiles::find(&fixture(family)).unwrap();
    for (name, edits) in edits {
        let mut keys: Map<String, Value> =
            content(&files, name).map(|bytes| serde_json::from_slice(bytes).unwrap()).unwrap_or_default();
        for (key, value) in edits {
            keys.remove(key);
            if !value.is_null() {
                keys.insert(key.clone(), value.clone());
            }
        }
        replace(&mut files, name, Value::Object(keys));
    }
    files
}

fn content<'a>(files: &'a ModelFiles, name: &str) -> Option<&'a [u8]> {
    match name {
        "config.json" => Some(&files.config),
        "tokenizer.json" => Some(&files.tokenizer),
        "tokenizer_config.json" => files.tokenizer_config.as_deref(),
        "special_tokens_map.json" => files.special_tokens_map.as_deref(),
        "added_tokens.json" => files.added_tokens.as_deref(),
        other => panic!("{other}"),
    }
}

fn replace(files: &mut ModelFiles, name: &str, content: Value) {
    let bytes = content.to_string().into_bytes();
    match name {
        "config.json" => files.config = bytes,
        "tokenizer.json" => files.tokenizer = bytes,
        "tokenizer_config.json" => files.tokenizer_config = Some(bytes),
        "special_tokens_map.json" => files.special_tokens_map = Some(bytes),
        "added_tokens.json" => files.added_tokens = Some(bytes),
        "sentence_bert_config.json" => files.sentence_bert_config = Some(bytes),
        "config_sentence_transformers.json" => files.sentence_transformers = Some(bytes),
        other => panic!("{other}"),
    }
}

fn load(files: ModelFiles) -> Result<Reranker> {
    Reranker::builder().backend(Backend::Cpu).threads(1).load_files(files)
}

/// Checks every case of a row. `changes` says whether any of them changes a token: without one the row would show nothing.
fn check_row(row: &str, changes: bool) {
    let cases: Vec<Case> =
        serde_json::from_value(read_json(fixture("../tokenizer-settings").join("cases.json"))).unwrap();
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.row == row).collect();
    for major in [4, 5] {
        assert!(cases.iter().any(|case| case.major == major), "no case of version {major}");
    }
    assert_eq!(cases.iter().any(|case| case.changes), changes);
    for Case { fixture, major, files, pairs, .. } in &cases {
        let model = load(edited(fixture, files)).unwrap();
        // Transformers gives token types that a model without a table of them does not read.
        let token_types = read_json(crate::craft::fixture(fixture).join("config.json"));
        let token_types = token_types["type_vocab_size"].as_u64().is_some_and(|rows| rows > 1);
        for pair in pairs {
            let options = RerankOptions::new().max_tokens(pair.max_tokens);
            let read = model.tokenize(&pair.query, &pair.document, &options).unwrap();
            let what = format!("{fixture}, version {major}, {files:?}");
            assert_eq!(read.ids, pair.ids, "{what}");
            if token_types {
                assert_eq!(read.token_types, pair.token_types, "{what}");
            } else {
                assert!(read.token_types.iter().all(|token_type| *token_type == 0), "{what}");
            }
        }
    }
}

#[test]
fn the_class_decides_which_keys_apply() {
    check_row("tokenizer_class", true);
}

#[test]
fn do_lower_case_takes_the_place_of_the_files_value() {
    check_row("do_lower_case", true);
}

#[test]
fn strip_accents_takes_the_place_of_the_files_value() {
    check_row("strip_accents", true);
}

#[test]
fn tokenize_chinese_chars_takes_the_place_of_the_files_value() {
    check_row("tokenize_chinese_chars", true);
}

#[test]
fn add_prefix_space_takes_the_place_of_the_files_value() {
    check_row("add_prefix_space", true);
}

#[test]
fn trim_offsets_changes_no_token() {
    check_row("trim_offsets", false);
}

#[test]
fn truncation_side_left_keeps_the_last_tokens() {
    check_row("truncation_side", true);
}

#[test]
fn token_types_are_zero_without_their_input_name() {
    check_row("model_input_names", true);
}

#[test]
fn split_special_tokens_reads_special_tokens_as_text() {
    check_row("split_special_tokens", true);
}

#[test]
fn special_tokens_of_the_files_are_those_of_a_pair_where_the_class_makes_its_template() {
    check_row("special tokens", true);
}

#[test]
fn additional_special_tokens_are_found_in_texts() {
    check_row("additional_special_tokens", true);
}

#[test]
fn extra_special_tokens_are_found_in_texts() {
    check_row("extra_special_tokens", true);
}

#[test]
fn added_tokens_decoder_adds_tokens_and_changes_their_properties() {
    check_row("added_tokens_decoder", true);
}

#[test]
fn special_tokens_map_adds_tokens() {
    check_row("special_tokens_map.json", true);
}

#[test]
fn added_tokens_json_adds_tokens() {
    check_row("added_tokens.json", true);
}

#[test]
fn a_class_has_values_for_keys_that_are_not_there() {
    check_row("class defaults", true);
}

#[test]
fn model_max_length_limits_a_pair() {
    check_row("model_max_length", true);
}

#[test]
fn other_keys_change_no_token_but_by_the_class() {
    // Only naming the class changes tokens.
    check_row("ignored", true);
}

#[test]
fn logits_are_the_references_with_edited_files() {
    let cases = read_json(fixture("../tokenizer-settings").join("logits.json"));
    let cases = cases["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let mut files = ModelFiles::find(&fixture(case["fixture"].as_str().unwrap())).unwrap();
        for (file, content) in case["replace"].as_object().unwrap() {
            replace(&mut files, file, content.clone());
        }
        let model = load(files).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (pair, logit) in case["pairs"].as_array().unwrap().iter().zip(case["logits"].as_array().unwrap())
        {
            let pair = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
            let (ours, truth) = (model.score(&[pair]).unwrap()[0].logits[0], logit.as_f64().unwrap());
            assert!((f64::from(ours) - truth).abs() <= 1e-5, "{name}: {ours}, right is {truth}");
        }
    }
}

/// The error of the `bert` fixture with these keys in a file.
fn error_of(file: &str, keys: Value) -> String {
    let edits = BTreeMap::from([(file.to_owned(), keys.as_object().unwrap().clone())]);
    match load(edited("bert", &edits)) {
        Err(error @ (Error::Format { .. } | Error::Unsupported { .. })) => error.to_string(),
        other => panic!("{file} {keys}: {:?}", other.map(|_| ())),
    }
}

#[test]
fn what_is_not_applied_is_refused_with_its_key() {
    const FILE: &str = "tokenizer_config.json";
    for (keys, key) in [
        (json!({"tokenizer_class": "LlamaTokenizer"}), "tokenizer_class"),
        (json!({"tokenizer_class": 1}), "tokenizer_class"),
        (json!({"tokenizer_class": "BertTokenizer", "do_lower_case": "yes"}), "do_lower_case"),
        (json!({"tokenizer_class": "BertTokenizer", "strip_accents": 0}), "strip_accents"),
        (json!({"truncation_side": "middle"}), "truncation_side"),
        (json!({"model_input_names": "input_ids"}), "model_input_names"),
        (json!({"split_special_tokens": []}), "split_special_tokens"),
        (json!({"additional_special_tokens": "x"}), "additional_special_tokens"),
        (json!({"added_tokens_decoder": {"x": {}}}), "added_tokens_decoder"),
        (json!({"cls_token": 3}), "cls_token"),
        (json!({"max_len": 0, "model_max_length": null}), "max_len"),
    ] {
        let message = error_of(FILE, keys);
        assert!(message.contains(key) && message.contains(FILE), "{message}");
    }
}

#[test]
fn keys_of_the_module_that_change_what_is_read_are_refused() {
    for (keys, key) in [
        (json!({"do_lower_case": true}), "do_lower_case"),
        (json!({"tokenizer_name_or_path": "bert-base-uncased"}), "tokenizer_name_or_path"),
        (json!({"tokenizer_args": {"use_fast": false}}), "tokenizer_args"),
        (json!({"processing_kwargs": {"text": {"max_length": 16}}}), "processing_kwargs"),
        (json!({"config_args": {"type_vocab_size": 1}}), "config_args"),
        (json!({"config_kwargs": {"num_labels": 3}}), "config_kwargs"),
        (json!({"model_args": {"torch_dtype": "float32", "num_labels": 3}}), "model_args"),
        (json!({"model_kwargs": {"subfolder": "other"}}), "model_kwargs"),
        (json!({"max_seq_length": 0}), "max_seq_length"),
    ] {
        let mut files = ModelFiles::find(&fixture("bert")).unwrap();
        replace(&mut files, "sentence_bert_config.json", keys);
        let message = load(files).err().unwrap().to_string();
        assert!(message.contains(key), "{message}");
    }
    let mut files = ModelFiles::find(&fixture("bert")).unwrap();
    let harmless =
        json!({"model_args": {"attn_implementation": "sdpa", "torch_dtype": "float16"}, "config_args": {}});
    replace(&mut files, "sentence_bert_config.json", harmless);
    load(files).unwrap();
}

#[test]
fn a_version_is_followed_and_said_where_the_two_differ() {
    let warnings = |family: &str, keys: Value, version: Value| {
        let edits =
            [("tokenizer_config.json", keys), ("config.json", json!({"transformers_version": version}))];
        let edits = edits.map(|(file, keys)| (file.to_owned(), keys.as_object().unwrap().clone()));
        load(edited(family, &BTreeMap::from(edits))).unwrap().info().warnings.clone()
    };
    let bert = json!({"tokenizer_class": "BertTokenizer"});
    for version in [json!("4.57.3"), json!("5.24.0"), Value::Null] {
        assert_eq!(warnings("bert", bert.clone(), version), [""; 0]);
    }
    for (version, said) in [
        (json!("4.30.0"), "version 4 is followed, because config.json says"),
        (json!("5.24.0"), "version 5 is followed, because config.json says"),
        (Value::Null, "version 4 is followed, because config.json does not say"),
    ] {
        let warnings = warnings("bert", json!({}), version);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(said) && warnings[0].contains("(token type ids)"), "{warnings:?}");
    }
}
