//! config.json and tokenizer_config.json -> [`Spec`]. What differs between families is here and nowhere else.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::kernels::Activation;
use crate::model::files::{ModelFiles, parse_json};
use crate::model::spec::{ScoreActivation, Spec};

/// Upper limits, each at least eight times what any published encoder has: a broken number must not turn into an
/// allocation or an overflow.
const MAX_LAYERS: usize = 1 << 10;
const MAX_WIDTH: usize = 1 << 17;
const MAX_VOCABULARY: usize = 1 << 24;
const MAX_POSITIONS: usize = 1 << 20;
const MAX_SEGMENTS: usize = 1 << 16;
const MAX_LABELS: usize = 1 << 16;

/// Derives everything the network and the text layer need from the configuration files.
pub fn read(files: &ModelFiles) -> Result<Spec> {
    let config = Config { file: "config.json", map: parse_json("config.json", &files.config)? };
    let tokenizer = match &files.tokenizer_config {
        Some(bytes) => parse_json("tokenizer_config.json", bytes)?,
        None => Map::new(),
    };
    let tokenizer = Config { file: "tokenizer_config.json", map: tokenizer };
    let architectures = config.architectures()?;
    let mut spec = architectures.iter().find_map(|name| family(name)).map_or_else(
        || Err(unsupported_architecture(architectures[0])),
        |(architecture, family)| family(architecture, &config),
    )?;
    if let Some(length) = tokenizer.model_max_length()? {
        spec.max_tokens = spec.max_tokens.min(length);
    }
    check_sizes(&spec)?;
    Ok(spec)
}

type Family = fn(&str, &Config) -> Result<Spec>;

/// The function that reads an architecture's configuration.
fn family(architecture: &str) -> Option<(&str, Family)> {
    match architecture {
        "BertForSequenceClassification" => Some((architecture, bert)),
        _ => None,
    }
}

/// BERT: positions from 0, segments, a tanh pooler over the first token, then the classifier.
fn bert(architecture: &str, config: &Config) -> Result<Spec> {
    let position_type = config.string("position_embedding_type")?.unwrap_or("absolute");
    if position_type != "absolute" {
        return Err(Error::Unsupported {
            what: format!("position_embedding_type `{}`", printable(position_type)),
            hint: "use a model with absolute positions".into(),
        });
    }
    if config.flag("is_decoder")? {
        return Err(Error::Unsupported {
            what: "is_decoder `true`".into(),
            hint: "use an encoder, in which every token sees the whole pair".into(),
        });
    }
    let (hidden, heads) = config.hidden_and_heads()?;
    let positions = config.count("max_position_embeddings", MAX_POSITIONS)?;
    let labels = config.labels()?;
    Ok(Spec {
        architecture: architecture.into(),
        prefix: "bert.",
        layers: config.count("num_hidden_layers", MAX_LAYERS)?,
        hidden,
        heads,
        intermediate: config.count("intermediate_size", MAX_WIDTH)?,
        vocabulary: config.count("vocab_size", MAX_VOCABULARY)?,
        positions,
        first_position: 0,
        segments: config.count_or("type_vocab_size", MAX_SEGMENTS, 2)?,
        epsilon: config.epsilon("layer_norm_eps", 1e-12)?,
        activation: config.activation("hidden_act")?,
        head_activation: Activation::Tanh,
        score: config.score(labels.len())?,
        labels,
        max_tokens: positions,
    })
}

/// Says what an unsupported architecture is and what comes nearest to it.
fn unsupported_architecture(architecture: &str) -> Error {
    let supported = "`BertForSequenceClassification`, for example `cross-encoder/ms-marco-MiniLM-L6-v2`";
    let hint = if architecture.ends_with("ForSequenceClassification") {
        format!("the nearest supported architecture is {supported}")
    } else if architecture.ends_with("Model") {
        format!(
            "it is an embedding model with no classifier head and cannot score pairs; use a cross-encoder: {supported}"
        )
    } else {
        format!("it has no classifier head and cannot score pairs; use a cross-encoder: {supported}")
    };
    Error::Unsupported { what: format!("architecture `{}`", printable(architecture)), hint }
}

/// Every array of the network must be addressable: its bytes in f32 fit in `isize`.
fn check_sizes(spec: &Spec) -> Result<()> {
    let rows = [spec.vocabulary, spec.positions, spec.segments, spec.intermediate, spec.labels.len()];
    let tallest = rows.into_iter().chain([3 * spec.hidden]).max().unwrap_or(0);
    let bytes = tallest.checked_mul(spec.hidden).and_then(|n| n.checked_mul(4));
    if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
        let message = format!("a matrix of {tallest} x {} is too large for this machine", spec.hidden);
        return Err(Error::Format { file: "config.json".into(), message });
    }
    Ok(())
}

/// A value of a file as an error may show it.
fn printable(value: &str) -> String {
    value.chars().take(100).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A JSON object whose errors name the file and the key.
struct Config {
    file: &'static str,
    map: Map<String, Value>,
}

impl Config {
    fn broken(&self, key: &str, message: impl std::fmt::Display) -> Error {
        Error::Format { file: self.file.into(), message: format!("key `{key}`: {message}") }
    }

    /// A key that is there and not null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn string(&self, key: &str) -> Result<Option<&str>> {
        let wrong = || self.broken(key, "expected a string");
        self.get(key).map(|value| value.as_str().ok_or_else(wrong)).transpose()
    }

    fn flag(&self, key: &str) -> Result<bool> {
        let wrong = || self.broken(key, "expected true or false");
        self.get(key).map_or(Ok(false), |value| value.as_bool().ok_or_else(wrong))
    }

    /// A whole number from 1 to `limit`.
    fn count(&self, key: &str, limit: usize) -> Result<usize> {
        let value = self.get(key).ok_or_else(|| self.broken(key, "is missing"))?;
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| (1..=limit).contains(n))
            .ok_or_else(|| self.broken(key, format_args!("expected a whole number from 1 to {limit}")))
    }

    fn count_or(&self, key: &str, limit: usize, default: usize) -> Result<usize> {
        if self.get(key).is_some() { self.count(key, limit) } else { Ok(default) }
    }

    fn hidden_and_heads(&self) -> Result<(usize, usize)> {
        let hidden = self.count("hidden_size", MAX_WIDTH)?;
        let heads = self.count("num_attention_heads", MAX_WIDTH)?;
        if !hidden.is_multiple_of(heads) {
            let message = format_args!("{heads} heads do not divide hidden_size {hidden}");
            return Err(self.broken("num_attention_heads", message));
        }
        Ok((hidden, heads))
    }

    fn epsilon(&self, key: &str, default: f64) -> Result<f32> {
        let wrong = || self.broken(key, "expected a number above 0 and at most 1");
        let value = self.get(key).map_or(Some(default), Value::as_f64).ok_or_else(wrong)?;
        let narrow = value as f32;
        // Below the smallest normal number the backends would disagree on what is left of it.
        if (f32::MIN_POSITIVE..=1.0).contains(&narrow) { Ok(narrow) } else { Err(wrong()) }
    }

    fn activation(&self, key: &str) -> Result<Activation> {
        // The names of transformers' ACT2FN; without the key BERT means gelu.
        match self.string(key)?.unwrap_or("gelu") {
            "gelu" | "gelu_python" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate" => {
                Ok(Activation::GeluTanh)
            }
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            "tanh" => Ok(Activation::Tanh),
            other => Err(Error::Unsupported {
                what: format!("{key} `{}`", printable(other)),
                hint: "use a model with gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu, silu or tanh"
                    .into(),
            }),
        }
    }

    fn architectures(&self) -> Result<Vec<&str>> {
        const KEY: &str = "architectures";
        let wrong =
            || self.broken(KEY, "expected a list of names such as [\"BertForSequenceClassification\"]");
        let list =
            self.get(KEY).and_then(Value::as_array).filter(|list| !list.is_empty()).ok_or_else(wrong)?;
        list.iter().map(|name| name.as_str().ok_or_else(wrong)).collect()
    }

    /// Names of the outputs. transformers takes their number from id2label, else from num_labels, else 2: it leaves
    /// both keys out of config.json when they have their default values.
    fn labels(&self) -> Result<Vec<String>> {
        const KEY: &str = "id2label";
        let Some(value) = self.get(KEY) else {
            let count = self.count_or("num_labels", MAX_LABELS, 2)?;
            return Ok((0..count).map(|i| format!("LABEL_{i}")).collect());
        };
        let map = value.as_object().filter(|map| (1..=MAX_LABELS).contains(&map.len()));
        let map =
            map.ok_or_else(|| self.broken(KEY, format_args!("expected a map of 1 to {MAX_LABELS} labels")))?;
        (0..map.len())
            .map(|index| match map.get(&index.to_string()) {
                Some(Value::String(name)) => Ok(name.clone()),
                Some(Value::Number(name)) => Ok(name.to_string()),
                Some(_) => Err(self.broken(KEY, format_args!("label {index}: expected a name"))),
                None => Err(self.broken(KEY, format_args!("label {index} of 0..{} is missing", map.len()))),
            })
            .collect()
    }

    /// sentence-transformers' rule: its own section, else its former key, else by the number of labels.
    fn score(&self, labels: usize) -> Result<ScoreActivation> {
        const SECTION: &str = "sentence_transformers";
        let section = match self.get(SECTION) {
            None => None,
            Some(Value::Object(section)) => section.get("activation_fn").filter(|value| !value.is_null()),
            Some(_) => return Err(self.broken(SECTION, "expected an object")),
        };
        let (key, value) = match section {
            Some(value) => ("sentence_transformers.activation_fn", Some(value)),
            None => {
                let key = "sbert_ce_default_activation_function";
                (key, self.get(key))
            }
        };
        let Some(value) = value else {
            return Ok(if labels == 1 { ScoreActivation::Sigmoid } else { ScoreActivation::Identity });
        };
        let path = value.as_str().ok_or_else(|| self.broken(key, "expected the name of a torch class"))?;
        // `torch.nn.modules.activation.Sigmoid` and `Sigmoid` mean the same; a class of another package may not.
        let class = path.rsplit('.').next().filter(|class| path.starts_with("torch.nn.") || *class == path);
        match class {
            Some("Identity") => Ok(ScoreActivation::Identity),
            Some("Sigmoid") => Ok(ScoreActivation::Sigmoid),
            Some("Tanh") => Ok(ScoreActivation::Tanh),
            Some("Softmax") => Ok(ScoreActivation::Softmax),
            _ => Err(Error::Unsupported {
                what: format!("{key} `{}`", printable(path)),
                hint: "use a model with torch.nn's Identity, Sigmoid, Tanh or Softmax".into(),
            }),
        }
    }

    /// `None` without the key. transformers writes 1e30, as an integer or a float, for "no limit"; that is cut to the
    /// largest usize.
    fn model_max_length(&self) -> Result<Option<usize>> {
        const KEY: &str = "model_max_length";
        let Some(value) = self.get(KEY) else { return Ok(None) };
        let length = value.as_f64().filter(|length| *length >= 1.0);
        let length = length.ok_or_else(|| self.broken(KEY, "expected a number from 1 up"))?;
        Ok(Some(length as usize))
    }
}
