//! `crossrank verify`: compares a model's logits with the recorded ones.

use std::io::Write;
use std::path::PathBuf;

use crossrank::{ModelFiles, Precision, RerankOptions, Scored, Truncation, WeightFile};
use serde::Deserialize;

use crate::failure::Failure;
use crate::input;
use crate::interrupt::Interrupt;
use crate::load::ModelArgs;
use crate::rerank::error_text;

/// Maximum difference of a logit from the recorded float64 one. On crossrank-mini, rounding causes 4e-6 in f32 and 0.15 in
/// int8. Wrong weights or token ids cause far more, and a wrong kernel more than the bound of f32.
fn max_error(precision: Precision) -> f64 {
    if precision == Precision::Int8 { 0.25 } else { 1e-5 }
}

const BUNDLED: &[u8] = include_bytes!("../../../models/crossrank-mini/golden.json");

/// Compare a model's token counts and logits with the golden.json beside it
#[derive(clap::Args)]
pub struct Args {
    /// Recorded pairs [default: golden.json beside the model]
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Deserialize)]
struct Golden {
    /// The window the pairs were recorded with.
    max_length: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    query: String,
    document: String,
    input_ids: Vec<u32>,
    logits: Vec<f64>,
}

pub fn verify_model(args: &Args, interrupt: &Interrupt, out: &mut impl Write) -> Result<(), Failure> {
    let files = args.model.files()?;
    let (name, bytes) = match args.golden.clone().or_else(|| golden_path(&files)) {
        Some(path) => input::read(&path)?,
        None => ("golden.json".to_owned(), BUNDLED.to_vec()),
    };
    let golden: Golden = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::new(format_args!("`{name}`: not a golden file: {error}")))?;
    if golden.cases.is_empty() {
        return Err(Failure::new(format_args!("`{name}`: no cases, so nothing to verify")));
    }

    let reranker = args.model.load_files(files)?;
    let pairs: Vec<_> = golden.cases.iter().map(|case| (&case.query, &case.document)).collect();
    let options = RerankOptions::new()
        .truncation(Truncation::LongestFirst)
        // The recorded token ids are those of the query alone.
        .prompt("")
        .max_tokens(golden.max_length.min(reranker.info().max_tokens));
    let scores = interrupt.guard(|token| reranker.score_with(&pairs, &options.cancel(token)))?;

    let bound = max_error(reranker.info().precision);
    let mut failed = 0;
    let mut worst = 0.0_f64;
    for (case, scored) in golden.cases.iter().zip(&scores.results) {
        let verdict = match compare(case, scored, bound) {
            Ok(error) => {
                worst = worst.max(error);
                format!("pass  {:>4} tokens, logits within {error:.1e}", scored.tokens)
            }
            Err(reason) => {
                failed += 1;
                format!("FAIL  {reason}")
            }
        };
        writeln!(out, "case {:>3}  {verdict}", scored.index)?;
    }
    let total = golden.cases.len();
    if failed > 0 {
        out.flush()?;
        return Err(Failure::new(format_args!(
            "{failed} of {total} cases of `{name}` fail (bound {bound:e}): the files are damaged or do not belong together"
        )));
    }
    writeln!(out, "{total} of {total} cases pass, largest error {worst:.1e}, bound {bound:e}")?;
    Ok(())
}

/// golden.json beside the weights; `None` for weights in memory.
fn golden_path(files: &ModelFiles) -> Option<PathBuf> {
    match files.weights.first()? {
        WeightFile::Path(path) => Some(path.with_file_name("golden.json")),
        WeightFile::Bytes(..) => None,
    }
}

/// The largest error of the logits, or why the case fails.
fn compare(case: &Case, scored: &Scored, bound: f64) -> Result<f64, String> {
    if let Some(error) = error_text(&scored.status) {
        return Err(error);
    }
    if scored.tokens != case.input_ids.len() {
        return Err(format!("{} tokens, recorded {}", scored.tokens, case.input_ids.len()));
    }
    if scored.logits.len() != case.logits.len() {
        return Err(format!("{} logits, recorded {}", scored.logits.len(), case.logits.len()));
    }
    let errors = scored.logits.iter().zip(&case.logits).map(|(&l, g)| (f64::from(l) - g).abs());
    let error = errors.fold(0.0, f64::max);
    if error <= bound { Ok(error) } else { Err(format!("a logit is off by {error:.1e}")) }
}
