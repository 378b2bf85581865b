//! JSON lines, and JSON that spans lines: objects one after another or in arrays.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::{Passage, Source, with_title};
use crate::failure::Failure;

/// The keys of a document's id, the first that is there: BEIR's files have `_id`.
const ID_KEYS: [&str; 2] = ["id", "_id"];

/// A document's id.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Id {
    /// A string.
    Text(String),
    /// Any other JSON value as it was written, on one line: serde_json's numbers would round those of more than 64 bits.
    Json(Box<RawValue>),
}

impl Id {
    /// The id without quotes.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(id) => id,
            Self::Json(id) => id.get(),
        }
    }
}

/// A value, and the line that it begins in.
type Item<'a> = (usize, &'a RawValue);

/// The values of an object by key; of a key that is there twice the last one, as in Python.
type Object<'a> = HashMap<String, &'a RawValue>;

/// Whether a line is a JSON object.
pub fn is_object(line: &str) -> bool {
    serde_json::from_str::<Object<'_>>(&without_lone_surrogates(line)).is_ok()
}

/// Documents with `text`, a `title` before it and an `id`, from one object per line, or from objects that span lines.
pub fn documents(text: &str, spans_lines: bool, source: &Source) -> Result<Vec<Passage>, Failure> {
    let text = without_lone_surrogates(text);
    let passage = |(line, value): Item<'_>| {
        // Of an array: lines of strings are read as text.
        if value.get().starts_with('"') && spans_lines {
            return Ok(Passage { id: None, text: as_string(value, "text", line, source)? });
        }
        let object = parse_object(line, value, source)?;
        let text = required_string(&object, "text", line, source)?;
        let title = match object.get("title").copied() {
            Some(title) if title.get() != "null" => Some(as_string(title, "title", line, source)?),
            _ => None,
        };
        let id = ID_KEYS.iter().filter_map(|key| object.get(*key)).find(|id| id.get() != "null");
        Ok(Passage { id: id.map(|id| parse_id(id)), text: with_title(title.as_deref(), text) })
    };
    items(&text, spans_lines, source)?.into_iter().map(passage).collect()
}

/// Pairs with `query` and `document`, from one object per line, or from objects that span lines.
pub fn pairs(text: &str, spans_lines: bool, source: &Source) -> Result<Vec<(String, String)>, Failure> {
    let text = without_lone_surrogates(text);
    let pair = |(line, value): Item<'_>| {
        let object = parse_object(line, value, source)?;
        let string = |key| required_string(&object, key, line, source);
        Ok((string("query")?, string("document")?))
    };
    items(&text, spans_lines, source)?.into_iter().map(pair).collect()
}

/// The values of a text: one per line that is not blank, or one after another, where those of an array count alone.
fn items<'a>(text: &'a str, spans_lines: bool, source: &Source) -> Result<Vec<Item<'a>>, Failure> {
    if !spans_lines {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        return lines
            .map(|(index, line)| {
                let value = serde_json::from_str(line);
                Ok((index + 1, value.map_err(|error| broken(index + 1, &error, source))?))
            })
            .collect();
    }
    let mut values = Vec::new();
    for value in Deserializer::from_str(text).into_iter::<&RawValue>() {
        let value = value.map_err(|error| broken(error.line(), &error, source))?;
        match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            Ok(array) => values.extend(array),
            Err(_) => values.push(value),
        }
    }
    let (mut line, mut read) = (1, 0);
    let with_line = |value: &'a RawValue| {
        let start = value.get().as_ptr().addr() - text.as_ptr().addr();
        line += text[read..start].matches('\n').count();
        read = start;
        (line, value)
    };
    Ok(values.into_iter().map(with_line).collect())
}

fn parse_object<'a>(line: usize, value: &'a RawValue, source: &Source) -> Result<Object<'a>, Failure> {
    serde_json::from_str(value.get()).map_err(|_| source.format_error(line, "not a JSON object"))
}

/// serde_json's own message may quote the line.
fn broken(line: usize, error: &serde_json::Error, source: &Source) -> Failure {
    source.format_error(line, format_args!("broken JSON at column {}", error.column()))
}

fn required_string(object: &Object<'_>, key: &str, line: usize, source: &Source) -> Result<String, Failure> {
    let value = object.get(key).ok_or_else(|| source.error(line, format_args!("`{key}` is missing")))?;
    as_string(value, key, line, source)
}

fn as_string(value: &RawValue, key: &str, line: usize, source: &Source) -> Result<String, Failure> {
    let wrong = |_| source.error(line, format_args!("`{key}` is not a string"));
    serde_json::from_str(value.get()).map_err(wrong)
}

fn parse_id(value: &RawValue) -> Id {
    match serde_json::from_str(value.get()) {
        Ok(text) => Id::Text(text),
        Err(_) => Id::Json(on_one_line(value)),
    }
}

/// A value without the white space between its parts, which may hold line ends.
fn on_one_line(value: &RawValue) -> Box<RawValue> {
    let (mut quoted, mut escaped) = (false, false);
    let part = |c: &char| {
        let end = *c == '"' && !escaped;
        escaped = quoted && *c == '\\' && !escaped;
        quoted ^= end;
        quoted || !c.is_ascii_whitespace()
    };
    let line = value.get().chars().filter(part).collect();
    RawValue::from_string(line).expect("JSON without white space is JSON")
}

/// The text with U+FFFD for each half of a surrogate pair that stands alone, which serde_json refuses. JavaScript and Python
/// write them where a string was cut. Lines and columns stay: each escape is as long as the one that replaces it.
fn without_lone_surrogates(text: &str) -> Cow<'_, str> {
    /// Bytes of `\uXXXX`.
    const ESCAPE: usize = 6;
    let unit = |at: usize| {
        let digits = text.as_bytes().get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut replaced = String::new();
    let (mut copied, mut at) = (0, 0);
    // JSON has backslashes in strings alone.
    while let Some(found) = text[at..].find('\\') {
        at += found;
        match (unit(at), unit(at + ESCAPE)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 2 * ESCAPE,
            (Some(0xd800..=0xdfff), _) => {
                replaced.push_str(&text[copied..at]);
                replaced.push_str("\\ufffd");
                at += ESCAPE;
                copied = at;
            }
            // The character after the backslash may be one too.
            _ => at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    replaced.push_str(&text[copied..]);
    Cow::Owned(replaced)
}
