//! Reads documents and pairs from files or standard input: what is not understood is refused, never ranked as text.

mod bytes;
mod delimited;
mod json;

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use clap::ValueEnum;
use crossrank::Document;

pub use self::json::Id;
use crate::failure::Failure;

/// Maximum warnings about lines with invalid UTF-8: a file in another encoding would fill the screen.
const MAX_WARNINGS: usize = 10;

/// How an input is read.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum InputFormat {
    /// By the file's extension (.jsonl, .ndjson, .json, .csv, .tsv, also before .gz), else by its content: `{` and `[` begin
    /// JSON; a table begins with a line of the known column names, or has the same number of tabs in every line; all else
    /// is text, one per line
    #[default]
    Auto,
    /// One text per line
    Text,
    /// One JSON object per line
    Jsonl,
    /// JSON objects one after another, or in arrays
    Json,
    /// Comma-separated with a line of column names, among them `text`
    Csv,
    /// Tab-separated with a line of column names, or MS MARCO's qid, pid, query, passage without one
    Tsv,
}

/// A document of an input file.
pub struct Passage {
    /// The document's id, as it stands in the input.
    pub id: Option<Id>,
    /// The text to rank.
    pub text: String,
}

impl Document for Passage {
    fn text(&self) -> &str {
        &self.text
    }
}

/// The name of an input, for messages, and what else may be tried.
struct Source {
    /// The file, or `standard input`.
    name: String,
    /// Ends the message about a file that is not what it was taken for.
    hint: &'static str,
}

impl Source {
    /// A failure in a line, counted from 1.
    fn error(&self, line: usize, what: impl std::fmt::Display) -> Failure {
        Failure::new(format_args!("`{}` line {line}: {what}", self.name))
    }

    /// A failure in a line that may mean that the format is another.
    fn format_error(&self, line: usize, what: impl std::fmt::Display) -> Failure {
        self.error(line, format_args!("{what}{}", self.hint))
    }
}

/// The documents of a file.
pub fn read_documents(path: &Path, format: InputFormat) -> Result<Vec<Passage>, Failure> {
    let (mut source, text) = read_text(path)?;
    if format == InputFormat::Auto {
        source.hint = "; `--input` names another format, `--input text` ranks the lines as they are";
    }
    match decide(format, path, &text, &source)? {
        InputFormat::Jsonl => json::documents(&text, false, &source),
        InputFormat::Json => json::documents(&text, true, &source),
        InputFormat::Csv => delimited::documents(&text, ',', &source),
        InputFormat::Tsv => delimited::documents(&text, '\t', &source),
        InputFormat::Auto | InputFormat::Text => {
            // Old Macintosh programs end lines with a carriage return alone.
            let end = if text.contains('\n') { '\n' } else { '\r' };
            let lines = text.split(end).map(|line| line.strip_suffix('\r').unwrap_or(line));
            let lines = lines.filter(|line| !line.trim().is_empty());
            Ok(lines.map(|line| Passage { id: None, text: line.to_owned() }).collect())
        }
    }
}

/// The (query, document) pairs of a file.
pub fn read_pairs(path: &Path, format: InputFormat) -> Result<Vec<(String, String)>, Failure> {
    if format == InputFormat::Text {
        return Err(Failure::new("`--input text` has no queries: pairs are jsonl, json, csv or tsv"));
    }
    let (source, text) = read_text(path)?;
    match decide(format, path, &text, &source)? {
        InputFormat::Json => json::pairs(&text, true, &source),
        InputFormat::Csv => delimited::pairs(&text, ',', &source),
        InputFormat::Tsv => delimited::pairs(&text, '\t', &source),
        // Lines of text are no pairs either: the error names the first.
        InputFormat::Jsonl | InputFormat::Auto | InputFormat::Text => json::pairs(&text, false, &source),
    }
}

/// The format of a text: the one that was asked for, else that of the file's extension, else that of its first bytes.
fn decide(format: InputFormat, path: &Path, text: &str, source: &Source) -> Result<InputFormat, Failure> {
    if format != InputFormat::Auto {
        return Ok(format);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    match name.trim_end_matches(".gz").rsplit_once('.').map(|(_, extension)| extension) {
        Some("jsonl" | "ndjson") => return Ok(InputFormat::Jsonl),
        Some("json") => return Ok(InputFormat::Json),
        Some("csv") => return Ok(InputFormat::Csv),
        Some("tsv") => return Ok(InputFormat::Tsv),
        _ => {}
    }
    let start = text.trim_start();
    let first = start.lines().next().unwrap_or_default();
    let markup = ["<?xml", "<!doctype", "<html"];
    if markup.iter().any(|tag| first.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag))) {
        let line = 1 + text[..text.len() - start.len()].matches('\n').count();
        return Err(source.format_error(line, "XML or HTML is not read: extract the text first"));
    }
    Ok(match start.as_bytes().first() {
        // A line that is an object of its own: then each line is, and an error can name the one that is not.
        Some(b'{') if json::is_object(first) => InputFormat::Jsonl,
        Some(b'{' | b'[') => InputFormat::Json,
        _ if delimited::is_header(first, '\t') || delimited::looks_tab_separated(text) => InputFormat::Tsv,
        _ if [',', ';'].iter().any(|&delimiter| delimited::is_header(first, delimiter)) => InputFormat::Csv,
        _ => InputFormat::Text,
    })
}

/// The text of a file, or of standard input for `-`. A byte order mark is dropped, invalid UTF-8 replaced with a warning.
fn read_text(path: &Path) -> Result<(Source, String), Failure> {
    let (name, raw) = read(path)?;
    let mut text = String::from_utf8(bytes::text_bytes(&name, raw)?).unwrap_or_else(|error| {
        warn_of_invalid_utf8(&name, error.as_bytes());
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    });
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok((Source { name, hint: "" }, text))
}

/// Names the lines in which bytes were replaced.
fn warn_of_invalid_utf8(name: &str, raw: &[u8]) {
    let lines = raw.split(|&byte| byte == b'\n').enumerate();
    let invalid: Vec<usize> =
        lines.filter(|(_, line)| std::str::from_utf8(line).is_err()).map(|(index, _)| index + 1).collect();
    for line in invalid.iter().take(MAX_WARNINGS) {
        warn(format_args!("`{name}` line {line}: invalid UTF-8, replaced by U+FFFD"));
    }
    if invalid.len() > MAX_WARNINGS {
        warn(format_args!("`{name}`: invalid UTF-8 in {} more lines", invalid.len() - MAX_WARNINGS));
    }
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

/// A title and a text as BEIR's evaluations join them, also where the title is empty.
fn with_title(title: Option<&str>, text: String) -> String {
    match title {
        Some(title) => format!("{title} {text}").trim().to_owned(),
        None => text,
    }
}

fn warn(message: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "warning: {message}");
}
