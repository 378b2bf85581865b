//! Reads the keys of config.json and tokenizer_config.json, with limits and with errors that name file and key.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::kernels::Activation;
use crate::model::spec::Attention;

/// Upper limits, each at least eight times what any published encoder has: a wrong number in a file must not cause a huge
/// allocation or an overflow.
pub(super) const MAX_LAYERS: usize = 1 << 10;
pub(super) const MAX_FEATURES: usize = 1 << 17;
pub(super) const MAX_VOCABULARY: usize = 1 << 24;
pub(super) const MAX_POSITIONS: usize = 1 << 20;
pub(super) const MAX_TOKEN_TYPES: usize = 1 << 16;
/// A quarter of the buckets hold one relative position each, and the logarithmic ones begin there and end at 128: so a
/// quarter must be less than 128.
pub(super) const MAX_BUCKETS: usize = 1 << 8;
/// The largest head dimension: the backends keep the values of one head in registers or in the first-level cache.
const MAX_HEAD_DIM: usize = 256;
pub(super) const MAX_LABELS: usize = 1 << 16;

/// A value from a file in the form in which an error shows it: cut, and without control characters.
pub(super) fn printable(value: &str) -> String {
    value.chars().take(100).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A JSON object whose errors name the file and the key.
pub(super) struct Config {
    pub file: String,
    pub map: Map<String, Value>,
}

impl Config {
    /// [`Error::Format`] about a key.
    pub fn key_error(&self, key: &str, message: impl std::fmt::Display) -> Error {
        Error::Format { file: self.file.clone(), message: format!("key `{key}`: {message}") }
    }

    /// The value of a key; `None` where the key is absent or its value null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub fn string(&self, key: &str) -> Result<Option<&str>> {
        let wrong = || self.key_error(key, "expected a string");
        self.get(key).map(|value| value.as_str().ok_or_else(wrong)).transpose()
    }

    /// False without the key.
    pub fn flag(&self, key: &str) -> Result<bool> {
        self.flag_or(key, false)
    }

    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        let wrong = || self.key_error(key, "expected true or false");
        self.get(key).map_or(Ok(default), |value| value.as_bool().ok_or_else(wrong))
    }

    /// Refuses any value but the supported one; the key may be absent.
    pub fn only(&self, key: &str, supported: &Value, hint: &str) -> Result<()> {
        match self.get(key) {
            Some(value) if value != supported => {
                Err(self.unsupported(key, value.as_str().unwrap_or(&value.to_string()), hint))
            }
            _ => Ok(()),
        }
    }

    /// Refuses any value but the supported one, and the absence of the key, which means another value.
    pub fn exactly(&self, key: &str, supported: &Value, hint: &str) -> Result<()> {
        match self.get(key) {
            None => Err(Error::Unsupported { what: format!("no {key}"), hint: hint.into() }),
            Some(_) => self.only(key, supported, hint),
        }
    }

    /// An object inside this one.
    pub fn section(&self, key: &str) -> Result<Option<Config>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Config { file: self.file.clone(), map: map.clone() })),
            Some(_) => Err(self.key_error(key, "expected an object")),
        }
    }

    /// A list of strings, or one string in which `separator` stands between them.
    pub fn strings(&self, key: &str, separator: char) -> Result<Vec<String>> {
        let wrong = || self.key_error(key, "expected a list of strings");
        let string = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(string).collect(),
            Some(value) => Ok(string(value)?.split(separator).map(str::to_owned).collect()),
        }
    }

    /// The error for a value that is well formed and not supported.
    pub fn unsupported(&self, key: &str, value: &str, hint: &str) -> Error {
        Error::Unsupported { what: format!("{key} `{}`", printable(value)), hint: hint.into() }
    }

    /// Base of the rotation frequencies.
    pub fn theta(&self, key: &str, default: f64) -> Result<f64> {
        let theta = self.get(key).map_or(Some(default), Value::as_f64);
        theta
            .filter(|theta| (1.0..=1e12).contains(theta))
            .ok_or_else(|| self.key_error(key, "expected a number from 1 to 1e12"))
    }

    /// The theta of a section of RoPE parameters, whose type must be the default one: the others scale the frequencies.
    pub fn default_rope_theta(&self, default: f64) -> Result<f64> {
        self.only("rope_type", &json!("default"), "use a model with rotary positions of type default")?;
        self.theta("rope_theta", default)
    }

    /// Rotary positions, with NTK-aware scaling where the configuration has it: theta is multiplied by the factor, and all
    /// frequencies are divided by factor^(2/D).
    pub fn rope_scaling(&self, theta: f64) -> Result<Attention> {
        const KEY: &str = "rope_scaling";
        let Some(section) = self.section(KEY)? else {
            return Ok(Attention::Rotary { theta, ntk_factor: 1.0, window: None });
        };
        section.only("type", &json!("ntk"), "use a model with rope_scaling of type ntk or without")?;
        section.only("mixed_b", &Value::Null, "use a model without mixed_b")?;
        let factor = section.theta("factor", 1.0)?;
        Ok(Attention::Rotary { theta: theta * factor, ntk_factor: factor, window: None })
    }

    /// Refuses an odd head dimension, because rotary positions rotate pairs of a head's values.
    pub fn require_even_head_dim(&self, head_dim: usize, attention: Attention) -> Result<Attention> {
        if head_dim.is_multiple_of(2) {
            return Ok(attention);
        }
        Err(self.key_error(
            "num_attention_heads",
            format_args!("rotary positions need an even head dimension, not {head_dim}"),
        ))
    }

    /// For each layer, whether its attention has the sliding window.
    pub fn sliding_window_layers(&self, layers: usize) -> Result<Vec<bool>> {
        const KEY: &str = "layer_types";
        if self.get(KEY).is_none() {
            let every = self.count_or("global_attn_every_n_layers", MAX_LAYERS, 3)?;
            return Ok((0..layers).map(|index| index % every != 0).collect());
        }
        let layer_types = self.strings(KEY, ',')?;
        if layer_types.len() != layers {
            return Err(self.key_error(KEY, format_args!("expected {layers} of them, one for each layer")));
        }
        let has_window = |layer_type: &String| match layer_type.as_str() {
            "sliding_attention" => Ok(true),
            "full_attention" => Ok(false),
            other => {
                Err(self.unsupported(KEY, other, "use a model with full_attention and sliding_attention"))
            }
        };
        layer_types.iter().map(has_window).collect()
    }

    /// Rows of the token-type table; 1 for a family that has no such key.
    pub fn token_types(&self) -> Result<usize> {
        const KEY: &str = "type_vocab_size";
        // DeBERTa has 0 here where it has no such table.
        if self.get(KEY).and_then(Value::as_u64) == Some(0) && self.get("relative_attention").is_some() {
            return Ok(1);
        }
        self.count_or(KEY, MAX_TOKEN_TYPES, 2)
    }

    /// [`count`](Self::count) of a key whose negative values mean the same as its absence: `None`.
    pub fn count_unless_negative(&self, key: &str, limit: usize) -> Result<Option<usize>> {
        match self.get(key).map(Value::as_i64) {
            None | Some(Some(..0)) => Ok(None),
            _ => self.count(key, limit).map(Some),
        }
    }

    /// A whole number from 1 to `limit`.
    pub fn count(&self, key: &str, limit: usize) -> Result<usize> {
        let value = self.get(key).ok_or_else(|| self.key_error(key, "is missing"))?;
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| (1..=limit).contains(n))
            .ok_or_else(|| self.key_error(key, format_args!("expected a whole number from 1 to {limit}")))
    }

    pub fn count_or(&self, key: &str, limit: usize, default: usize) -> Result<usize> {
        if self.get(key).is_some() { self.count(key, limit) } else { Ok(default) }
    }

    /// Hidden size and number of heads, by the family's names of these keys.
    pub fn hidden_and_heads(&self, hidden_key: &str, heads_key: &str) -> Result<(usize, usize)> {
        let hidden = self.count(hidden_key, MAX_FEATURES)?;
        let heads = self.count(heads_key, MAX_FEATURES)?;
        if !hidden.is_multiple_of(heads) {
            let message = format_args!("{heads} heads do not divide {hidden_key} {hidden}");
            return Err(self.key_error(heads_key, message));
        }
        if hidden / heads > MAX_HEAD_DIM {
            return Err(Error::Unsupported {
                what: format!("a head dimension of {}", hidden / heads),
                hint: format!("use a model whose head dimension is at most {MAX_HEAD_DIM}"),
            });
        }
        Ok((hidden, heads))
    }

    /// Columns of the embedding tables; the hidden size without the key.
    pub fn embedding(&self, hidden: usize) -> Result<usize> {
        const KEY: &str = "embedding_size";
        let embedding = self.count_or(KEY, MAX_FEATURES, hidden)?;
        if embedding > hidden {
            return Err(Error::Unsupported {
                what: format!("{KEY} {embedding} above hidden_size {hidden}"),
                hint: "use a model whose embeddings are no wider than its layers".into(),
            });
        }
        Ok(embedding)
    }

    /// Where positions count from the row after the padding token's: the number of rows after it, and the first of them.
    pub fn positions_after_padding(&self, positions: usize) -> Result<(usize, u32)> {
        const KEY: &str = "pad_token_id";
        let pad = self.get(KEY).map_or(Some(1), Value::as_u64).and_then(|pad| u32::try_from(pad).ok());
        let usable = pad.and_then(|pad| positions.checked_sub(pad as usize + 1));
        match (pad, usable) {
            (Some(pad), Some(usable)) if usable > 0 => Ok((usable, pad + 1)),
            _ => Err(self.key_error(
                KEY,
                format_args!("expected a row of the {positions} positions, and not the last"),
            )),
        }
    }

    pub fn epsilon(&self, key: &str, default: f64) -> Result<f32> {
        let wrong = || self.key_error(key, "expected a number above 0 and at most 1");
        let value = self.get(key).map_or(Some(default), Value::as_f64).ok_or_else(wrong)?;
        let epsilon = value as f32;
        // The backends would treat a subnormal number differently: some flush it to zero.
        if (f32::MIN_POSITIVE..=1.0).contains(&epsilon) { Ok(epsilon) } else { Err(wrong()) }
    }

    pub fn activation(&self, key: &str) -> Result<Activation> {
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

    /// The names of `architectures`; `None` without the key or with an empty list.
    pub fn architectures(&self) -> Result<Option<Vec<&str>>> {
        const KEY: &str = "architectures";
        let wrong =
            || self.key_error(KEY, "expected a list of names such as [\"BertForSequenceClassification\"]");
        let Some(list) = self.get(KEY) else { return Ok(None) };
        let list = list.as_array().ok_or_else(wrong)?;
        let names: Vec<&str> =
            list.iter().map(|name| name.as_str().ok_or_else(wrong)).collect::<Result<_>>()?;
        Ok(Some(names).filter(|names| !names.is_empty()))
    }

    /// Names of the outputs. transformers takes their number from id2label, else from num_labels, else 2: it omits both keys
    /// from config.json when they have their default values. Where the numbers of id2label are not those of the outputs,
    /// no name is certain, and all are `LABEL_` with the number.
    pub fn labels(&self) -> Result<Vec<String>> {
        let unnamed = |count: usize| (0..count).map(|i| format!("LABEL_{i}")).collect();
        let Some(map) = self.label_map()? else {
            return Ok(unnamed(self.count_or("num_labels", MAX_LABELS, 2)?));
        };
        let name = |(index, value): (&i64, &&Value)| match value {
            Value::String(name) => Ok(name.clone()),
            Value::Number(name) => Ok(name.to_string()),
            _ => Err(self.key_error(ID2LABEL, format_args!("label {index}: expected a name"))),
        };
        let names: Vec<String> = map.iter().map(name).collect::<Result<_>>()?;
        Ok(if numbers_outputs(&map) { names } else { unnamed(map.len()) })
    }

    /// What to say about an id2label whose numbers are not those of the outputs.
    pub fn label_warning(&self) -> Option<String> {
        let map = self.label_map().ok()??;
        let last = map.len() - 1;
        (!numbers_outputs(&map)).then(|| {
            format!(
                "`{}`: {ID2LABEL} does not number its labels from 0 to {last}, so the {} outputs are called LABEL_0 \
                 and so on",
                self.file,
                map.len()
            )
        })
    }

    /// id2label by its numbers.
    fn label_map(&self) -> Result<Option<BTreeMap<i64, &Value>>> {
        let Some(value) = self.get(ID2LABEL) else { return Ok(None) };
        let map = value.as_object().filter(|map| (1..=MAX_LABELS).contains(&map.len()));
        let wrong = || self.key_error(ID2LABEL, format_args!("expected a map of 1 to {MAX_LABELS} labels"));
        let number = |(key, value)| {
            let key: &String = key;
            let number = key.parse::<i64>();
            let message = "expected whole numbers before the names";
            Ok((number.map_err(|_| self.key_error(ID2LABEL, message))?, value))
        };
        map.ok_or_else(wrong)?.iter().map(number).collect::<Result<_>>().map(Some)
    }

    /// The most tokens of a pair: `model_max_length` or, without it, the `max_len` of old models.
    pub fn model_max_length(&self) -> Result<Option<usize>> {
        const KEY: &str = "model_max_length";
        self.length_limit(if self.map.contains_key(KEY) { KEY } else { "max_len" })
    }

    /// `None` without the key. For "no limit" transformers writes 1e30, as an integer or a float; this becomes the largest
    /// usize.
    pub fn length_limit(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let length = value.as_f64().filter(|length| *length >= 1.0);
        let length = length.ok_or_else(|| self.key_error(key, "expected a number from 1 up"))?;
        Ok(Some(length as usize))
    }
}

/// The key of the labels' names.
const ID2LABEL: &str = "id2label";

/// Whether labels have the numbers of the outputs: 0, 1, 2, ...
fn numbers_outputs(map: &BTreeMap<i64, &Value>) -> bool {
    map.keys().copied().eq(0..map.len() as i64)
}
