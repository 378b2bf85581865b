//! The files of a model that change how its tokenizer.json is read.

use serde_json::{Map, Value};

use super::classes::{self, Class};
use crate::error::{Error, Result};

pub const CONFIG: &str = "config.json";
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The contents of the files of a model that change how its tokenizer.json is read.
#[derive(Clone, Copy, Default)]
pub struct SettingsFiles<'a> {
    /// config.json.
    pub config: &'a [u8],
    /// tokenizer_config.json.
    pub tokenizer_config: Option<&'a [u8]>,
    /// special_tokens_map.json.
    pub special_tokens_map: Option<&'a [u8]>,
    /// added_tokens.json.
    pub added_tokens: Option<&'a [u8]>,
}

/// The major version of transformers that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V4,
    V5,
}

/// The parsed files.
pub struct Files {
    pub config: Map<String, Value>,
    pub tokenizer: Map<String, Value>,
    pub special_tokens_map: Option<Map<String, Value>>,
    pub added_tokens: Option<Map<String, Value>>,
}

impl Files {
    /// Parses the files.
    ///
    /// Errors: [`Error::Format`].
    pub fn parse(files: &SettingsFiles<'_>) -> Result<Self> {
        Ok(Self {
            config: parse(CONFIG, files.config)?,
            tokenizer: parse(TOKENIZER_CONFIG, files.tokenizer_config.unwrap_or(b"{}"))?,
            special_tokens_map: optional("special_tokens_map.json", files.special_tokens_map)?,
            added_tokens: optional("added_tokens.json", files.added_tokens)?,
        })
    }

    /// The version of transformers that wrote the model, and how that is known.
    pub fn version(&self) -> (Version, &'static str) {
        if self.tokenizer.get("tokenizer_class").and_then(Value::as_str) == Some("TokenizersBackend") {
            return (Version::V5, "the class TokenizersBackend exists there alone");
        }
        let written_by = self.config.get("transformers_version").and_then(Value::as_str);
        let major = written_by.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        match major {
            Some(5..) => (Version::V5, "config.json says that it was written by that version"),
            Some(_) => (Version::V4, "config.json says that it was written by that version"),
            None => (Version::V4, "config.json does not say which version wrote the model"),
        }
    }

    /// The tokenizer's class.
    pub fn class(&self, version: Version) -> Result<&'static Class> {
        let text = |map: &Map<String, Value>, file: &str, key: &str| match map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(file_error(file, key, "expected a string")),
        };
        let model_type = text(&self.config, CONFIG, "model_type")?;
        let named = match text(&self.tokenizer, TOKENIZER_CONFIG, "tokenizer_class")? {
            Some(name) => Some((name, TOKENIZER_CONFIG)),
            None => text(&self.config, CONFIG, "tokenizer_class")?.map(|name| (name, CONFIG)),
        };
        match named {
            Some(_) if version == Version::V5 && model_type.as_deref() == Some("modernbert") => {
                Ok(classes::base())
            }
            Some((name, file)) => match classes::by_name(&name) {
                Some(class) => Ok(class),
                // Version 5 takes its base class for a class that it does not know, but we do not know all that it knows.
                None => Err(Error::Unsupported {
                    what: format!("`{file}`: key `tokenizer_class`: the class `{}`", shown(&name)),
                    hint: format!(
                        "use {}, if the tokenizer was made by one of them",
                        classes::names().collect::<Vec<_>>().join(", ")
                    ),
                }),
            },
            None => Ok(classes::of_model_type(model_type.as_deref().unwrap_or(""), version == Version::V5)),
        }
    }
}

/// True or false; transformers takes null for neither.
pub fn flag(map: &Map<String, Value>, key: &str, default: bool) -> Result<bool> {
    let wrong = || key_error(key, "expected true or false");
    map.get(key).map_or(Ok(default), |value| value.as_bool().ok_or_else(wrong))
}

/// True, false, or null.
pub fn optional_flag(map: &Map<String, Value>, key: &str) -> Result<Option<bool>> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_bool().map(Some).ok_or_else(|| key_error(key, "expected true, false or null"))
        }
    }
}

pub fn key_error(key: &str, message: &str) -> Error {
    file_error(TOKENIZER_CONFIG, key, message)
}

pub fn file_error(file: &str, key: &str, message: &str) -> Error {
    Error::Format { file: file.into(), message: format!("key `{key}`: {message}") }
}

/// A name from a file as an error shows it: cut, and without control characters.
pub fn shown(name: &str) -> String {
    name.chars().take(100).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn parse(file: &str, bytes: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::Format { file: file.into(), message: format!("not a JSON object: {e}") })
}

fn optional(file: &str, bytes: Option<&[u8]>) -> Result<Option<Map<String, Value>>> {
    bytes.map(|bytes| parse(file, bytes)).transpose()
}
