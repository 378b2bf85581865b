//! Comma- and tab-separated files: with a line of column names, or with the columns of MS MARCO.

use super::{Id, Passage, Source, with_title};
use crate::failure::Failure;

/// Names of the columns that are read; others are skipped.
const TEXT: &[&str] = &["text", "passage", "document", "content", "contents"];
const TITLE: &[&str] = &["title"];
const ID: &[&str] = &["id", "_id", "docid", "doc_id", "pid", "passage_id", "document_id"];
const QUERY: &[&str] = &["query"];
const QUERY_ID: &[&str] = &["qid", "query_id"];

/// The columns of MS MARCO's files of passages to rank, such as top1000.dev.tsv.
const MS_MARCO: [&str; 4] = ["qid", "pid", "query", "passage"];

/// Rows with the same columns.
struct Table {
    columns: Columns,
    rows: Vec<Row>,
}

/// Where each known column is.
struct Columns {
    text: usize,
    title: Option<usize>,
    id: Option<usize>,
    query: Option<usize>,
    query_id: Option<usize>,
}

/// The fields of a row, and the line that it begins in.
struct Row {
    line: usize,
    fields: Vec<String>,
}

/// The documents of a file; `delimiter` is a comma or a tab.
pub fn documents(text: &str, delimiter: char, source: &Source) -> Result<Vec<Passage>, Failure> {
    let Some(Table { columns, rows }) = read_table(text, delimiter, source)? else { return Ok(Vec::new()) };
    for column in [columns.query_id, columns.query].into_iter().flatten() {
        if let Some(row) = rows.iter().find(|row| row.fields[column] != rows[0].fields[column]) {
            let what =
                "another query than in the rows before: rerank ranks for one, `crossrank score` scores pairs";
            return Err(source.error(row.line, what));
        }
    }
    let passage = |row: Row| {
        let field = |column: Option<usize>| column.map(|column| row.fields[column].clone());
        Passage {
            id: field(columns.id).filter(|id| !id.is_empty()).map(Id::Text),
            text: with_title(field(columns.title).as_deref(), row.fields[columns.text].clone()),
        }
    };
    Ok(rows.into_iter().map(passage).collect())
}

/// The (query, document) pairs of a file.
pub fn pairs(text: &str, delimiter: char, source: &Source) -> Result<Vec<(String, String)>, Failure> {
    let Some(Table { columns, rows }) = read_table(text, delimiter, source)? else { return Ok(Vec::new()) };
    let query = columns.query.ok_or_else(|| source.error(1, "names no column `query`"))?;
    let pair = |row: Row| {
        let title = columns.title.map(|title| &*row.fields[title]);
        (row.fields[query].clone(), with_title(title, row.fields[columns.text].clone()))
    };
    Ok(rows.into_iter().map(pair).collect())
}

/// Whether a line names the columns of a table: one of them the text, or all of them known.
pub fn is_header(line: &str, delimiter: char) -> bool {
    let names: Vec<String> =
        line.split(delimiter).map(|field| column_name(field.trim().trim_matches('"'))).collect();
    let known =
        |name: &String| [TEXT, TITLE, ID, QUERY, QUERY_ID].iter().any(|names| names.contains(&&**name));
    let has_text = names.iter().any(|name| TEXT.contains(&&**name));
    names.len() > 1 && (names.iter().all(known) || has_text && names.iter().all(|name| is_word(name)))
}

/// Whether every line has the same number of tabs, at least one.
pub fn looks_tab_separated(text: &str) -> bool {
    let mut tabs = text.lines().filter(|line| !line.trim().is_empty()).map(|line| line.matches('\t').count());
    let first = tabs.next().unwrap_or(0);
    first > 0 && tabs.all(|count| count == first)
}

fn read_table(text: &str, delimiter: char, source: &Source) -> Result<Option<Table>, Failure> {
    let lines = || text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((line, first)) = lines().next() else { return Ok(None) };
    if is_header(first, ';') && !is_header(first, delimiter) {
        let what = "semicolons between columns are not read: write the table with commas or tabs";
        return Err(source.format_error(line + 1, what));
    }
    let names: Vec<String> =
        first.split(delimiter).map(|field| column_name(field.trim_matches('"'))).collect();
    let has_header =
        names.iter().any(|name| TEXT.contains(&&**name)) && names.iter().all(|name| is_word(name));
    if delimiter == '\t' && !has_header {
        // These files quote nothing: a quotation mark is one.
        let fields = |line: &str| line.split('\t').map(str::to_owned).collect();
        let rows: Vec<Row> = lines().map(|(i, line)| Row { line: i + 1, fields: fields(line) }).collect();
        check_ms_marco(&rows, source)?;
        let columns = Columns::find(&MS_MARCO.map(str::to_owned), 0, source)?;
        return Ok(Some(Table { columns, rows }));
    }
    let mut rows = split_rows(text, delimiter, source)?.into_iter();
    let Some(header) = rows.next() else { return Ok(None) };
    let names: Vec<String> = header.fields.iter().map(|name| column_name(name)).collect();
    let columns = Columns::find(&names, header.line, source)?;
    let rows: Vec<Row> = rows.collect();
    match rows.iter().find(|row| row.fields.len() != names.len()) {
        Some(row) => {
            let (found, expected) = (row.fields.len(), names.len());
            Err(source.format_error(
                row.line,
                format_args!("{found} columns where the first line names {expected}"),
            ))
        }
        None => Ok(Some(Table { columns, rows })),
    }
}

impl Columns {
    fn find(names: &[String], line: usize, source: &Source) -> Result<Self, Failure> {
        let column = |known: &[&str]| {
            let mut found = (0..names.len()).filter(|&column| known.contains(&&*names[column]));
            match (found.next(), found.next()) {
                (Some(a), Some(b)) => {
                    let what = format!("columns `{}` and `{}` mean the same: keep one", names[a], names[b]);
                    Err(source.error(line, what))
                }
                (column, _) => Ok(column),
            }
        };
        let text = column(TEXT)?.ok_or_else(|| {
            source
                .format_error(line, "the first line names no column `text`, so it is not known what to rank")
        })?;
        let (title, id) = (column(TITLE)?, column(ID)?);
        Ok(Self { text, title, id, query: column(QUERY)?, query_id: column(QUERY_ID)? })
    }
}

/// Refuses rows that are not qid, pid, query and passage: other files of MS MARCO and TREC have four columns too.
fn check_ms_marco(rows: &[Row], source: &Source) -> Result<(), Failure> {
    let unknown = |line: usize, why: &str| {
        let what = format!(
            "{why}: without a line of column names (one of them `text`), TSV has MS MARCO's qid, pid, query, passage"
        );
        Err(source.format_error(line, what))
    };
    let mut queries = std::collections::HashMap::new();
    for Row { line, fields } in rows {
        let [query_id, passage_id, query, _] = &fields[..] else {
            return unknown(*line, &format!("{} columns", fields.len()));
        };
        if !is_word(query_id) || !is_word(passage_id) || passage_id.contains("://") {
            return unknown(*line, "the first two columns are no ids");
        }
        if *queries.entry(query_id).or_insert(query) != query {
            return unknown(*line, "another query under the same id");
        }
    }
    // The last column of qrels is a grade.
    if rows.iter().all(|row| row.fields[3].trim().parse::<f64>().is_ok()) {
        return unknown(rows.first().map_or(1, |row| row.line), "the last column holds numbers");
    }
    Ok(())
}

/// A name as columns are compared: without case and white space around it.
fn column_name(field: &str) -> String {
    field.trim().to_lowercase()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace)
}

/// The rows of a file that are not blank, with fields quoted as RFC 4180 says.
fn split_rows(text: &str, delimiter: char, source: &Source) -> Result<Vec<Row>, Failure> {
    // Rows of any length: the caller's error names the row that is too short or too long.
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter as u8)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let (mut rows, mut line, mut end) = (Vec::new(), 1, 0);
    let mut record = csv::StringRecord::new();
    let failed = |line: usize| move |_| source.format_error(line, "not a row of a table");
    while reader.read_record(&mut record).map_err(failed(line))? {
        let row = text.get(end..reader.position().byte() as usize).unwrap_or_default();
        // Line ends before a row belong to it: those of blank lines, and the second half of the last one.
        let fields = row.trim_start_matches(['\r', '\n']);
        line += row[..row.len() - fields.len()].matches('\n').count();
        if !is_well_quoted(fields, &record, delimiter) {
            return Err(source.format_error(line, "a quoted field does not end, or is followed by text"));
        }
        if record.iter().any(|field| !field.trim().is_empty()) || record.len() > 1 {
            rows.push(Row { line, fields: record.iter().map(str::to_owned).collect() });
        }
        line += fields.matches('\n').count();
        end += row.len();
    }
    Ok(rows)
}

/// Whether a row is its fields, as they are or quoted. The reader also takes a quoted field that does not end and text after
/// one: both are mostly a quotation mark too many, and would make one document of many.
fn is_well_quoted(row: &str, fields: &csv::StringRecord, delimiter: char) -> bool {
    let mut rest = row;
    for (position, field) in fields.iter().enumerate() {
        let written = match rest.starts_with('"') {
            true => format!("\"{}\"", field.replace('"', "\"\"")),
            false => field.to_owned(),
        };
        let Some(next) = rest.strip_prefix(&*written) else { return false };
        rest = if position + 1 < fields.len() { next.strip_prefix(delimiter).unwrap_or(next) } else { next };
    }
    rest.trim_end_matches(['\r', '\n']).is_empty()
}
