//! `crossrank bench`: how long a workload takes, text in, scores out.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossrank::{Isa, RerankOptions, Truncation};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::input;
use crate::interrupt::Interrupt;
use crate::load::{self, ModelArgs};
use crate::profile;
use crate::rerank::write_json;

/// Fewest timed runs, however long they take: a median of fewer says little.
const RUNS: usize = 3;

/// Time a workload, tokenization included
#[derive(clap::Args)]
pub struct Args {
    /// JSON with `query` and `docs`
    #[arg(short, long, value_name = "FILE")]
    workload: PathBuf,

    /// Print one line of JSON instead of text
    #[arg(long)]
    json: bool,

    /// How long to repeat the workload after one run to warm up, at least three times
    #[arg(long, value_name = "SECONDS", default_value_t = 4.0)]
    seconds: f64,

    /// Also print what each stage took, on average over the runs and summed over the threads, and how near the matrix
    /// products came to the processor's measured peak
    #[arg(long)]
    profile: bool,

    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Deserialize)]
struct Workload {
    query: String,
    docs: Vec<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    engine: &'static str,
    version: &'static str,
    model: &'a str,
    workload: String,
    documents: usize,
    tokens: usize,
    threads: usize,
    backend: &'static str,
    isa: Option<&'static str>,
    gpu: Option<&'a str>,
    tier: Option<&'static str>,
    precision: &'static str,
    runs: usize,
    median_ms: f64,
    min_ms: f64,
    documents_per_second: f64,
    load_ms: f64,
    /// From the first byte of the model's files to the end of the first run.
    first_ms: f64,
    stages: Stages,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<profile::Report>,
}

/// Medians over the runs.
#[derive(Serialize)]
struct Stages {
    tokenize_ms: f64,
    compute_ms: f64,
}

pub fn run(args: &Args, interrupt: &Interrupt, out: &mut impl Write) -> Result<(), Failure> {
    let (name, bytes) = input::read(&args.workload)?;
    let Workload { query, docs } = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::new(format_args!(
            "`{name}` line {} column {}: not a workload, which is JSON with `query` and `docs`",
            error.line(),
            error.column()
        ))
    })?;
    let seconds = Duration::try_from_secs_f64(args.seconds).map_err(|_| crossrank::Error::InvalidOption {
        option: "seconds",
        message: "must be a positive number".to_owned(),
    })?;
    let loading = Instant::now();
    let reranker = args.model.load_profiled(args.profile)?;
    reranker.warmup()?;
    let info = reranker.info();
    let once = || {
        interrupt.guard(|token| {
            // What the peers do with long pairs.
            let options = RerankOptions::new().truncation(Truncation::LongestFirst).cancel(token);
            reranker.rerank(&query, &docs, &options)
        })
    };

    let mut usage = once()?.usage;
    let first_ms = loading.elapsed().as_secs_f64() * 1e3;
    let measure = |isa| profile::Peak::measure(isa, info.precision);
    let peak = args.profile.then(|| measure(usage.isa)).flatten();
    reranker.take_profile();
    let (mut total, mut tokenize, mut compute) = (Vec::new(), Vec::new(), Vec::new());
    let start = Instant::now();
    while start.elapsed() < seconds || total.len() < RUNS {
        let before = Instant::now();
        usage = once()?.usage;
        total.push(before.elapsed().as_secs_f64() * 1e3);
        tokenize.push(usage.tokenize_ms);
        compute.push(usage.compute_ms);
    }
    let profile = args.profile.then(|| {
        let mean = total.iter().sum::<f64>() / total.len() as f64;
        let peak = peak.zip(measure(usage.isa)).map(|(before, after)| before.max(after));
        profile::Report::new(&reranker, total.len(), mean, peak)
    });
    let median_ms = median(&mut total);
    let report = Report {
        engine: "crossrank",
        version: env!("CARGO_PKG_VERSION"),
        model: &info.name,
        workload: args.workload.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        documents: docs.len(),
        tokens: usage.tokens,
        threads: info.threads,
        backend: load::backend_name(usage.backend),
        isa: usage.isa.map(Isa::name),
        gpu: info.adapter.as_deref(),
        tier: info.tier,
        precision: load::precision_name(info.precision),
        runs: total.len(),
        median_ms,
        // Sorted by `median`.
        min_ms: total[0],
        documents_per_second: docs.len() as f64 / median_ms * 1e3,
        load_ms: info.load_ms,
        first_ms,
        stages: Stages { tokenize_ms: median(&mut tokenize), compute_ms: median(&mut compute) },
        profile,
    };
    if args.json {
        return write_json(&report, out);
    }
    writeln!(
        out,
        "{} documents, {} tokens, {} threads, {}{}",
        report.documents,
        report.tokens,
        report.threads,
        report.backend,
        report.isa.map(|isa| format!(" {isa}")).unwrap_or_default()
    )?;
    writeln!(
        out,
        "median {:.2} ms (tokenize {:.2}, compute {:.2}), fastest {:.2} ms of {} runs, {:.1} documents per second, loaded in {:.1} ms",
        report.median_ms,
        report.stages.tokenize_ms,
        report.stages.compute_ms,
        report.min_ms,
        report.runs,
        report.documents_per_second,
        report.load_ms
    )?;
    match &report.profile {
        Some(profile) => profile.write(report.threads, out),
        None => Ok(()),
    }
}

/// The middle of the values (the upper one of two), which are sorted on the way.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
