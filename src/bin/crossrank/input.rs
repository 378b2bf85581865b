//! Reads documents and pairs from files or standard input.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use crossrank::Document;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// Maximum warnings about lines with invalid UTF-8: a file in another encoding would fill the screen.
const MAX_WARNINGS: usize = 10;

/// The non-blank lines of one input.
pub struct Lines {
    /// The file, or `standard input`.
    pub name: String,
    /// Line numbers, from 1, with the text.
    pub lines: Vec<(usize, String)>,
}

/// A document of an input file.
pub struct Passage {
    /// The JSON value of `id`, of any type.
    pub id: Option<Value>,
    /// The text to rank.
    pub text: String,
}

impl Document for Passage {
    fn text(&self) -> &str {
        &self.text
    }
}

/// The lines of a file, or of standard input for `-`. A byte order mark is dropped, invalid UTF-8 replaced with a warning.
pub fn read_lines(path: &Path) -> Result<Lines, Failure> {
    let (name, bytes) = read(path)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(Failure::new(format_args!("`{name}` is UTF-16: convert it to UTF-8")));
    }
    let mut lines = Vec::new();
    let mut invalid = 0;
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        if let std::borrow::Cow::Owned(_) = line {
            invalid += 1;
            if invalid <= MAX_WARNINGS {
                warn(format_args!("`{name}` line {}: invalid UTF-8, replaced by U+FFFD", index + 1));
            }
        }
        if !line.trim().is_empty() {
            lines.push((index + 1, line.into_owned()));
        }
    }
    if invalid > MAX_WARNINGS {
        warn(format_args!("`{name}`: invalid UTF-8 in {} more lines", invalid - MAX_WARNINGS));
    }
    Ok(Lines { name, lines })
}

/// Documents: JSON lines with `text` and optional `id` if the first line is a JSON object, else one text per line.
pub fn read_documents(path: &Path) -> Result<Vec<Passage>, Failure> {
    let Lines { name, lines } = read_lines(path)?;
    let json = lines.first().is_some_and(|(_, line)| {
        line.trim_start().starts_with('{') && serde_json::from_str::<Map<String, Value>>(line).is_ok()
    });
    if !json {
        return Ok(lines.into_iter().map(|(_, text)| Passage { id: None, text }).collect());
    }
    let passage = |(number, line): &(usize, String)| {
        let mut object = parse_object(&name, *number, line)?;
        let text = take_string(&mut object, "text", &name, *number)?;
        let id = object.remove("id").filter(|id| !id.is_null());
        Ok(Passage { id, text })
    };
    lines.iter().map(passage).collect()
}

/// JSON lines with `query` and `document`.
pub fn read_pairs(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let Lines { name, lines } = read_lines(path)?;
    let pair = |(number, line): &(usize, String)| {
        let mut object = parse_object(&name, *number, line)?;
        let query = take_string(&mut object, "query", &name, *number)?;
        let document = take_string(&mut object, "document", &name, *number)?;
        Ok((query, document))
    };
    lines.iter().map(pair).collect()
}

/// The bytes of a file, or of standard input for `-`, with a name for messages.
pub fn read(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let (name, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        ("standard input".to_owned(), io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes))
    } else {
        (path.display().to_string(), fs::read(path))
    };
    match bytes {
        Ok(bytes) => Ok((name, bytes)),
        Err(error) => Err(Failure::new(format_args!("cannot read `{name}`: {error}"))),
    }
}

fn parse_object(name: &str, number: usize, line: &str) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(line).map_err(|error| {
        // serde_json's own message may quote the line.
        let what = if error.is_data() { "not a JSON object" } else { "broken JSON" };
        Failure::new(format_args!("`{name}` line {number}: {what} at column {}", error.column()))
    })
}

fn take_string(
    object: &mut Map<String, Value>,
    key: &str,
    name: &str,
    number: usize,
) -> Result<String, Failure> {
    match object.remove(key) {
        Some(Value::String(text)) => Ok(text),
        found => {
            let what = if found.is_none() { "is missing" } else { "is not a string" };
            Err(Failure::new(format_args!("`{name}` line {number}: `{key}` {what}")))
        }
    }
}

fn warn(message: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "warning: {message}");
}
