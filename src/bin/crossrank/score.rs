//! `crossrank score`: pairs in, scores out, in the same order.

use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use crossrank::{PairStatus, Scored};
use serde::Serialize;

use crate::failure::Failure;
use crate::input::{self, InputFormat};
use crate::interrupt::Interrupt;
use crate::load::{ModelArgs, PromptArgs, TruncationArgs};
use crate::progress;
use crate::rerank::{error_text, write_json};

/// Score the (query, document) pairs of a file, in order
#[derive(clap::Args)]
pub struct Args {
    /// JSON objects or a table with `query` and `document`. gzip is read; `-` reads standard input; blank lines are skipped
    #[arg(short, long, value_name = "FILE|-")]
    pairs: PathBuf,

    /// How the pairs are read
    #[arg(long, value_enum, default_value_t)]
    input: InputFormat,

    /// One line of JSON per pair
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
    Jsonl,
}

#[derive(Serialize)]
struct Line<'a> {
    index: usize,
    /// Null where the pair failed, like the scores.
    logits: Option<&'a [f32]>,
    #[serde(flatten)]
    scores: LineScores<'a>,
    tokens: usize,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum LineScores<'a> {
    /// For models with one label.
    Score(Option<f64>),
    /// For models with several labels.
    Scores(Option<&'a [f64]>),
}

pub fn score_pairs(args: &Args, interrupt: &Interrupt, out: &mut impl Write) -> Result<(), Failure> {
    let Format::Jsonl = args.format;
    let pairs = input::read_pairs(&args.pairs, args.input)?;
    let reranker = args.model.load()?;
    let labels = reranker.info().labels.len();
    let (options, bar) = progress::attach(args.prompt.add_to(args.truncation.options()));
    let scores = interrupt.guard(|token| reranker.score_with(&pairs, &options.cancel(token)));
    bar.finish_and_clear();
    let scores = scores?;

    for scored in &scores.results {
        write_json(&line(scored, labels), out)?;
    }
    out.flush()?;

    let failed = scores.results.iter().filter(|scored| scored.status != PairStatus::Scored).count();
    if failed > 0 {
        let total = pairs.len();
        return Err(Failure::new(format_args!("{failed} of {total} pairs could not be scored")));
    }
    Ok(())
}

fn line(scored: &Scored, labels: usize) -> Line<'_> {
    let valid = scored.status == PairStatus::Scored;
    Line {
        index: scored.index,
        logits: valid.then_some(&scored.logits),
        scores: match labels {
            1 => LineScores::Score(scored.scores.first().copied().filter(|_| valid)),
            _ => LineScores::Scores(valid.then_some(&scored.scores)),
        },
        tokens: scored.tokens,
        truncated: scored.truncated.any(),
        error: error_text(&scored.status),
    }
}
