//! The configuration files of a model -> its [`Spec`].

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::architecture;
use crate::model::files::{ModelFiles, SENTENCE_BERT_CONFIG, SENTENCE_TRANSFORMERS};
use crate::model::io::parse_json;
use crate::model::json::Config;
use crate::model::modules;
use crate::model::spec::{Attention, Spec};
use crate::model::torch;

/// The most elements of the position tables computed at load: 32 times what 8192 tokens and 16 heads need.
const MAX_POSITION_ELEMENTS: usize = 1 << 23;

/// Derives everything the network and the text layer need from the configuration files.
pub fn read_spec(files: &ModelFiles) -> Result<Spec> {
    let config = Config { file: "config.json".into(), map: parse_json("config.json", &files.config)? };
    let tokenizer = match &files.tokenizer_config {
        Some(bytes) => parse_json("tokenizer_config.json", bytes)?,
        None => Map::new(),
    };
    let tokenizer = Config { file: "tokenizer_config.json".into(), map: tokenizer };
    let sentence_transformers = match &files.sentence_transformers {
        Some(bytes) => Some(Config {
            file: SENTENCE_TRANSFORMERS.into(),
            map: parse_json(SENTENCE_TRANSFORMERS, bytes)?,
        }),
        None => None,
    };
    let found = architecture::find(&config, !files.modules.is_empty())?;
    let mut spec = (found.read)(&found.name, &config)?;
    spec.warnings.extend(config.label_warning());
    if modules::replace_head(&found, files, sentence_transformers.as_ref())? {
        spec = modules::with_head(spec, files)?;
    }
    let labels = spec.labels.len();
    spec.score = torch::score(sentence_transformers.as_ref(), &config, labels, &mut spec.warnings)?;
    // sentence-transformers gives its limit to the tokenizer in place of the tokenizer's own.
    let of_module = files.sentence_bert_config.as_deref().map(max_seq_length).transpose()?.flatten();
    if let Some(length) = of_module.map_or_else(|| tokenizer.model_max_length(), |length| Ok(Some(length)))? {
        spec.max_tokens = spec.max_tokens.min(length);
    }
    check_sizes(&spec)?;
    Ok(spec)
}

/// The limit of sentence_bert_config.json. Refuses the keys that would change what is read otherwise.
fn max_seq_length(bytes: &[u8]) -> Result<Option<usize>> {
    let file = SENTENCE_BERT_CONFIG;
    let config = Config { file: file.into(), map: parse_json(file, bytes)? };
    config.only("do_lower_case", &json!(false), "put a Lowercase normalizer into tokenizer.json")?;
    config.only("tokenizer_name_or_path", &Value::Null, "put that tokenizer's files beside config.json")?;
    for (key, remedy) in [
        ("tokenizer_args", "put them into tokenizer_config.json"),
        ("processor_kwargs", "put them into tokenizer_config.json"),
        ("processing_kwargs", "put them into tokenizer_config.json"),
        ("config_args", "put them into config.json"),
        ("config_kwargs", "put them into config.json"),
    ] {
        if config.get(key).is_some_and(|arguments| !arguments.is_null() && *arguments != json!({})) {
            return Err(config.unsupported(key, "arguments", remedy));
        }
    }
    // How PyTorch computes, not what.
    const HARMLESS: &[&str] =
        &["attn_implementation", "device_map", "dtype", "low_cpu_mem_usage", "torch_dtype"];
    for key in ["model_args", "model_kwargs"] {
        let arguments = config.get(key).and_then(Value::as_object);
        let other = arguments.and_then(|all| all.keys().find(|name| !HARMLESS.contains(&name.as_str())));
        if let Some(name) = other {
            return Err(config.unsupported(
                key,
                &format!("argument `{name:.40}`"),
                "put it into config.json",
            ));
        }
    }
    config.length_limit("max_seq_length")
}

/// Refuses sizes with which a matrix of the network would not be addressable: its bytes in f32 must fit in `isize`.
fn check_sizes(spec: &Spec) -> Result<()> {
    let (hidden, head) = (spec.hidden, spec.head_width());
    let rows = [spec.vocabulary, spec.positions, spec.token_types, 2 * spec.intermediate, 3 * hidden, head];
    let max_rows = rows.into_iter().max().unwrap_or(0);
    let cols = hidden.max(head);
    let bytes = max_rows.checked_mul(cols).and_then(|n| n.checked_mul(4));
    if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
        let message = format!("a matrix of {max_rows} x {cols} is too large for this machine");
        return Err(Error::Format { file: "config.json".into(), message });
    }
    let per_token = match &spec.attention {
        Attention::Content => 0,
        Attention::Buckets { .. } | Attention::Alibi => 2 * spec.heads,
        Attention::Rotary { .. } => 2 * spec.hidden / spec.heads,
        Attention::Disentangled { .. } => 2,
    };
    let elements = per_token.saturating_mul(spec.max_tokens);
    if elements > MAX_POSITION_ELEMENTS {
        let message = format!(
            "positions up to {} need {elements} numbers, the limit is {MAX_POSITION_ELEMENTS}",
            spec.max_tokens
        );
        return Err(Error::Format { file: "config.json".into(), message });
    }
    Ok(())
}
