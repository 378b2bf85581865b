//! The files of a model without tokenizer.json, and errors about them.

use super::class::Class;
use crate::error::{Error, Result};

/// The files that a tokenizer is made from.
pub struct VocabularyFiles<'a> {
    /// Names and contents of the vocabulary files.
    pub files: &'a [(&'static str, Vec<u8>)],
    /// config.json.
    pub config: &'a [u8],
    /// tokenizer_config.json.
    pub tokenizer_config: Option<&'a [u8]>,
    /// special_tokens_map.json.
    pub special_tokens_map: Option<&'a [u8]>,
    /// The rows of the model's word table: no vocabulary has more tokens.
    pub rows: usize,
    /// Whether there is an added_tokens.json.
    pub added_tokens: bool,
    /// How to make a tokenizer.json, for errors.
    pub advice: &'a str,
}

impl VocabularyFiles<'_> {
    /// The content of a file that a class needs.
    pub(super) fn file(&self, class: &Class, name: &str) -> Result<&[u8]> {
        let found = self.files.iter().find(|(found, _)| *found == name);
        found.map(|(_, bytes)| &**bytes).ok_or_else(|| Error::Unsupported {
            what: format!("a {} without tokenizer.json and without {name}", class.name),
            hint: "download the model again".into(),
        })
    }

    /// A text file with `\n` for the three kinds of line end that Python knows.
    pub(super) fn lines(&self, class: &Class, name: &str) -> Result<String> {
        let text = std::str::from_utf8(self.file(class, name)?).map_err(|e| format_error(name, e))?;
        Ok(if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text.to_owned() })
    }
}

/// Checks the number of tokens before memory is taken for them.
pub fn check_count(file: &str, tokens: usize, rows: usize) -> Result<()> {
    if tokens <= rows {
        return Ok(());
    }
    let message =
        format!("has {tokens} tokens, and the word table has {rows} rows: these are files of two models");
    Err(format_error(file, message))
}

pub fn format_error(file: &str, message: impl ToString) -> Error {
    Error::Format { file: file.into(), message: message.to_string() }
}

/// A name from a file as an error shows it: cut, and without control characters.
pub fn shown(name: &str) -> String {
    name.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}
