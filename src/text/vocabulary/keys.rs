//! The keys of the files beside a vocabulary that decide what is made of it.

use serde_json::{Map, Value};

use super::class::{self, Class};
use super::files::{VocabularyFiles, format_error, shown};
use crate::error::{Error, Result};

const CONFIG: &str = "config.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
const DECODER: &str = "added_tokens_decoder";

/// The keys of tokenizer_config.json and special_tokens_map.json together, and those of config.json that name the class.
pub struct Keys {
    keys: Map<String, Value>,
    config: Map<String, Value>,
}

/// A special token, as it is matched in texts.
#[derive(Clone)]
pub struct SpecialToken {
    pub content: String,
    pub single_word: bool,
    pub lstrip: bool,
    pub rstrip: bool,
    pub normalized: bool,
}

impl Keys {
    pub fn read(files: &VocabularyFiles<'_>) -> Result<Self> {
        let mut keys = parse(TOKENIZER_CONFIG, files.tokenizer_config.unwrap_or(b"{}"))?;
        // Newer models have all tokens in one list, and transformers reads no other file then.
        if !keys.contains_key(DECODER) {
            keys.extend(parse(SPECIAL_TOKENS_MAP, files.special_tokens_map.unwrap_or(b"{}"))?);
        }
        Ok(Self { keys, config: parse(CONFIG, files.config)? })
    }

    /// The class that tokenizer_config.json, else config.json names, else that of the `model_type`.
    pub fn class(&self, advice: &str) -> Result<&'static Class> {
        let text = |map: &Map<String, Value>, key: &str| map.get(key)?.as_str().map(str::to_owned);
        let named = text(&self.keys, "tokenizer_class").or_else(|| text(&self.config, "tokenizer_class"));
        let model_type = text(&self.config, "model_type").unwrap_or_default();
        let (found, what) = match &named {
            Some(name) => (class::by_name(name), format!("a tokenizer of the class `{}`", shown(name))),
            None => {
                let what = format!("a tokenizer of the model type `{}`", shown(&model_type));
                (class::by_model_type(&model_type), what)
            }
        };
        let has_vocabulary = named.is_some_and(|name| !class::is_base(&name));
        let hint = if has_vocabulary { advice } else { "it has no other file: download the model again" };
        found.ok_or_else(|| Error::Unsupported {
            what: format!("{what} without tokenizer.json"),
            hint: hint.into(),
        })
    }

    /// Whether the files list added tokens with their ids.
    pub fn list_added_tokens(&self) -> bool {
        self.keys.contains_key(DECODER)
    }

    /// True or false; transformers takes null for neither.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let wrong = || key_error(key, "expected true or false");
        self.keys.get(key).map_or(Ok(default), |value| value.as_bool().ok_or_else(wrong))
    }

    /// True, false, or null.
    pub fn optional_flag(&self, key: &str) -> Result<Option<bool>> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.flag(key, false).map(Some),
        }
    }

    /// The special tokens of a class by key, without those that are null.
    pub fn special_tokens(&self, class: &Class) -> Result<Vec<(&'static str, SpecialToken)>> {
        let mut tokens = Vec::new();
        for &(key, default) in class.tokens {
            let plain = |content: &str| SpecialToken {
                content: content.to_owned(),
                single_word: false,
                lstrip: class.mask_takes_spaces && key == "mask_token",
                rstrip: false,
                normalized: class.normalized.contains(&key),
            };
            match self.keys.get(key) {
                None => tokens.push((key, plain(default))),
                Some(Value::Null) => {}
                Some(Value::String(content)) => {
                    let listed = self.listed(content).map(|token| token_of(key, token)).transpose()?;
                    tokens.push((key, listed.unwrap_or_else(|| plain(content))));
                }
                Some(token) => tokens.push((key, token_of(key, token)?)),
            }
        }
        Ok(tokens)
    }

    /// The entry of a token in the list of added tokens.
    fn listed(&self, content: &str) -> Option<&Value> {
        let tokens = self.keys.get(DECODER)?.as_object()?;
        tokens.values().find(|token| token["content"] == content)
    }
}

/// A token that is an object with its properties.
fn token_of(key: &str, token: &Value) -> Result<SpecialToken> {
    let wrong = || key_error(key, "expected a string, or an object with the key `content`");
    let flag = |name: &str| match token.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => value.as_bool().ok_or_else(wrong),
    };
    Ok(SpecialToken {
        content: token.get("content").and_then(Value::as_str).ok_or_else(wrong)?.to_owned(),
        single_word: flag("single_word")?,
        lstrip: flag("lstrip")?,
        rstrip: flag("rstrip")?,
        normalized: flag("normalized")?,
    })
}

fn key_error(key: &str, message: &str) -> Error {
    format_error(TOKENIZER_CONFIG, format_args!("key `{key}`: {message}"))
}

fn parse(file: &str, bytes: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(bytes).map_err(|e| format_error(file, format_args!("not a JSON object: {e}")))
}
