//! The prompts of config_sentence_transformers.json: texts that a model was trained to read before the query.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::files::{ModelFiles, SENTENCE_TRANSFORMERS};
use crate::model::io::parse_json;
use crate::model::json::{Config, printable};

const PROMPTS: &str = "prompts";
const DEFAULT: &str = "default_prompt_name";

/// A model's prompts by name, and the one that calls without a prompt get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompts {
    texts: BTreeMap<String, String>,
    default: Option<String>,
}

impl Prompts {
    /// Reads a model's prompts: none unless config_sentence_transformers.json is that of a cross-encoder. sentence-transformers
    /// ignores the file of an embedding model whose encoder is loaded as a cross-encoder, and so do we.
    ///
    /// Errors: [`Error::Format`] for what is no prompt, and for a default that is not among the prompts.
    pub fn read(files: &ModelFiles) -> Result<Self> {
        let Some(bytes) = &files.sentence_transformers else { return Ok(Self::default()) };
        let config =
            Config { file: SENTENCE_TRANSFORMERS.into(), map: parse_json(SENTENCE_TRANSFORMERS, bytes)? };
        if config.string("model_type")? != Some("CrossEncoder") {
            return Ok(Self::default());
        }
        let mut texts = BTreeMap::new();
        for (name, text) in config.section(PROMPTS)?.map(|section| section.map).unwrap_or_default() {
            let text = match text {
                Value::String(text) => text,
                // sentence-transformers reads null as the empty prompt.
                Value::Null => String::new(),
                _ => {
                    let message = format_args!("`{}`: expected a string", printable(&name));
                    return Err(config.key_error(PROMPTS, message));
                }
            };
            texts.insert(name, text);
        }
        let default = config.string(DEFAULT)?.map(str::to_owned);
        if let Some(name) = default.as_ref().filter(|name| !texts.contains_key(*name)) {
            let message =
                format_args!("`{}` is none of the file's prompts ({})", printable(name), list(&texts));
            return Err(config.key_error(DEFAULT, message));
        }
        Ok(Self { texts, default })
    }

    /// Their names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// The name of the prompt that calls without a prompt get.
    pub fn default_name(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// What a call reads before its queries, as sentence-transformers decides it: the `prompt` itself, even an empty one; else
    /// the prompt called `name`; else the default; else nothing.
    ///
    /// Errors: [`Error::InvalidOption`] for a name that the model does not have.
    pub fn resolve<'a>(&'a self, prompt: Option<&'a str>, name: Option<&str>) -> Result<&'a str> {
        match (prompt, name.or(self.default_name())) {
            (Some(prompt), _) => Ok(prompt),
            (None, None) => Ok(""),
            (None, Some(name)) => self.texts.get(name).map(String::as_str).ok_or_else(|| {
                let known = if self.texts.is_empty() { "no prompts".into() } else { list(&self.texts) };
                let message = format!("the model has no prompt of that name: it has {known}");
                Error::InvalidOption { option: "prompt_name", message }
            }),
        }
    }
}

/// The names for a message.
fn list(texts: &BTreeMap<String, String>) -> String {
    let names: Vec<String> = texts.keys().map(|name| printable(name)).collect();
    names.join(", ")
}
