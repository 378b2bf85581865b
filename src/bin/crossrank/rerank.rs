//! `crossrank rerank`: one query, many documents, best first.

use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use crossrank::{Label, PairStatus, Ranked, Ranking};
use serde::Serialize;

use crate::failure::{Failure, in_flags};
use crate::input::{self, Id, InputFormat, Passage};
use crate::interrupt::Interrupt;
use crate::load::{ModelArgs, PromptArgs, TruncationArgs};
use crate::{progress, table};

/// Rank the documents of a file by relevance to a query
#[derive(clap::Args)]
pub struct Args {
    /// The query
    #[arg(short, long, value_name = "TEXT")]
    query: String,

    /// Documents: lines of text, JSON objects or tables with `text` and optional `id` (or `_id`) and `title`, which is put
    /// before the text. gzip is read; `-` reads standard input; blank lines are skipped
    #[arg(value_name = "FILE|-")]
    documents: PathBuf,

    /// How the documents are read
    #[arg(long, value_enum, default_value_t)]
    input: InputFormat,

    /// Show only the best K documents
    #[arg(short = 'k', long, value_name = "K")]
    top_k: Option<usize>,

    /// Show only documents with at least this score
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    threshold: Option<f64>,

    /// Rank by this label of a model with several: its name or its number from 0
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,

    /// `json` is one object in the shape of Cohere's and Jina's; `jsonl` is one line per result
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    truncation: TruncationArgs,

    #[command(flatten)]
    prompt: PromptArgs,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Format {
    #[default]
    Table,
    Json,
    Jsonl,
}

#[derive(Serialize)]
struct Response<'a> {
    model: &'a str,
    results: Vec<Entry<'a>>,
    usage: ResponseUsage,
}

#[derive(Serialize)]
struct ResponseUsage {
    total_tokens: usize,
    tokens_cut: usize,
    /// Whether at least so many tokens were cut: a text was not read to its end.
    tokens_cut_at_least: bool,
}

#[derive(Serialize)]
struct Entry<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Id>,
    /// Null where the pair failed.
    relevance_score: Option<f64>,
    logit: Option<f32>,
    document: EntryDocument<'a>,
    /// Whether a part of the query or the document did not fit the window and was not read.
    truncated: bool,
    /// Bytes of the text that the score is about, with --windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<[usize; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct EntryDocument<'a> {
    text: &'a str,
}

pub fn rerank_documents(args: &Args, interrupt: &Interrupt, out: &mut impl Write) -> Result<(), Failure> {
    let documents = input::read_documents(&args.documents, args.input)?;
    let reranker = args.model.load()?;
    let mut options = args.prompt.add_to(args.truncation.options());
    options.top_k = args.top_k;
    options.threshold = args.threshold;
    options.label = args.label.as_deref().map(|label| {
        let is_name = reranker.info().labels.iter().any(|name| name == label);
        label.parse().ok().filter(|_| !is_name).map_or_else(|| Label::from(label), Label::Index)
    });
    let (options, bar) = progress::attach(options);
    let ranking = interrupt.guard(|token| reranker.rerank(&args.query, &documents, &options.cancel(token)));
    bar.finish_and_clear();
    let ranking = ranking?;

    match args.format {
        Format::Table => write_table(&ranking, &documents, out)?,
        Format::Json => {
            let response = Response {
                model: &reranker.info().name,
                results: ranking.results.iter().map(|ranked| entry(ranked, &documents)).collect(),
                usage: ResponseUsage {
                    total_tokens: ranking.usage.tokens,
                    tokens_cut: ranking.usage.truncated_tokens,
                    tokens_cut_at_least: ranking.usage.truncated_at_least,
                },
            };
            write_json(&response, out)?;
        }
        Format::Jsonl => {
            for ranked in &ranking.results {
                write_json(&entry(ranked, &documents), out)?;
            }
        }
    }
    out.flush()?;

    let failed = ranking.results.iter().filter(|ranked| ranked.status != PairStatus::Scored).count();
    if failed > 0 {
        return Err(Failure::new(format_args!(
            "{failed} of {} documents could not be scored",
            documents.len()
        )));
    }
    Ok(())
}

/// One value as a line of JSON.
pub fn write_json(value: &impl Serialize, out: &mut impl Write) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

fn entry<'a>(ranked: &Ranked, documents: &'a [Passage]) -> Entry<'a> {
    let passage = &documents[ranked.index];
    let scored = ranked.status == PairStatus::Scored;
    Entry {
        index: ranked.index,
        id: passage.id.as_ref(),
        relevance_score: scored.then_some(ranked.score),
        logit: scored.then_some(ranked.logit),
        document: EntryDocument { text: &passage.text },
        truncated: ranked.truncated.any(),
        window: ranked.window.as_ref().map(|bytes| [bytes.start, bytes.end]),
        error: error_text(&ranked.status),
    }
}

/// Why a pair has no score; `None` if it has one.
pub fn error_text(status: &PairStatus) -> Option<String> {
    match status {
        PairStatus::Scored => None,
        PairStatus::Failed(error) => Some(in_flags(&error.to_string())),
        _ => Some("not scored in time".to_owned()),
    }
}

fn write_table(ranking: &Ranking, documents: &[Passage], out: &mut impl Write) -> Result<(), Failure> {
    /// Maximum columns of an id.
    const MAX_ID_COLUMNS: usize = 24;
    let name = |ranked: &Ranked| match &documents[ranked.index].id {
        Some(id) => table::shorten(id.as_str(), MAX_ID_COLUMNS),
        None => ranked.index.to_string(),
    };
    let heading = if documents.iter().any(|passage| passage.id.is_some()) { "id" } else { "index" };
    let names: Vec<String> = ranking.results.iter().map(name).collect();
    let id_width = names.iter().map(|name| table::columns(name)).max().unwrap_or(0).max(heading.len());
    let rank_width = ranking.results.len().to_string().len().max(4);
    // The column is there where it says something.
    let any_truncated = ranking.results.iter().any(|ranked| ranked.truncated.any());
    let truncated = |text| if any_truncated { format!("{text:<9}  ") } else { String::new() };

    let fixed =
        format!("{:>rank_width$}  {:>7}  {:>8}  {}", "rank", "score", "logit", truncated("truncated"));
    writeln!(out, "{fixed}{}  text", table::pad(heading, id_width))?;
    let text_width = table::width().saturating_sub(fixed.len() + id_width + 2).max(20);
    for (position, (ranked, name)) in ranking.results.iter().zip(&names).enumerate() {
        let text = match error_text(&ranked.status) {
            Some(error) => table::shorten(&format!("error: {error}"), text_width),
            None => {
                let text = &documents[ranked.index].text;
                table::shorten(&text[ranked.window.clone().unwrap_or(0..text.len())], text_width)
            }
        };
        let (rank, name) = (position + 1, table::pad(name, id_width));
        let numbers = match ranked.status {
            PairStatus::Scored => format!("{:>7.4}  {:>8.3}", ranked.score, ranked.logit),
            _ => format!("{:>7}  {:>8}", "-", "-"),
        };
        let truncated = truncated(if ranked.truncated.any() { "yes" } else { "no" });
        writeln!(out, "{rank:>rank_width$}  {numbers}  {truncated}{name}  {text}")?;
    }
    Ok(())
}
