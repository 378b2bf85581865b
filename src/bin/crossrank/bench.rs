//! `crossrank bench`: how long a workload takes, text in, scores out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossrank::{Isa, RerankOptions, Truncation, Usage};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::input;
use crate::interrupt::Interrupt;
use crate::load::{self, ModelArgs};
use crate::profile;
use crate::rerank::write_json;

/// Minimum timed runs, whatever their duration: a median of fewer says little.
const MIN_RUNS: usize = 3;

/// Time a workload, tokenization included
#[derive(clap::Args)]
pub struct Args {
    /// JSON with `query` and `docs`
    #[arg(short, long, value_name = "FILE")]
    workload: PathBuf,

    /// Print one line of JSON instead of text
    #[arg(long)]
    json: bool,

    /// How long to repeat the workload after one warm-up run; at least three runs
    #[arg(long, value_name = "SECONDS", default_value_t = 4.0)]
    seconds: f64,

    /// Also print the time of each stage, on average over the runs and summed over the threads, and the rate of the matrix
    /// products as a fraction of the processor's measured peak
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

pub fn bench_workload(args: &Args, interrupt: &Interrupt, out: &mut impl Write) -> Result<(), Failure> {
    let Workload { query, docs } = read_workload(&args.workload)?;
    let duration = Duration::try_from_secs_f64(args.seconds).map_err(|_| {
        crossrank::Error::InvalidOption { option: "seconds", message: "must be a positive number".to_owned() }
    })?;
    let start = Instant::now();
    let reranker = args.model.load_profiled(args.profile)?;
    reranker.warmup()?;
    let info = reranker.info();
    let rerank = || {
        let ranking = interrupt.guard(|token| {
            // The truncation that other implementations use.
            let options = RerankOptions::new().truncation(Truncation::LongestFirst).cancel(token);
            reranker.rerank(&query, &docs, &options)
        });
        Ok(ranking?.usage)
    };
    let isa = rerank()?.isa;
    let first_ms = milliseconds_since(start);

    // The peak is measured before and after the runs, because other load on the machine can lower it.
    let measure_peak = || profile::Peak::measure(isa, info.precision).filter(|_| args.profile);
    let peak = measure_peak();
    reranker.take_profile();
    let mut runs = Runs::repeat(duration, rerank)?;
    let profile = args.profile.then(|| {
        let mean = runs.total_ms.iter().sum::<f64>() / runs.total_ms.len() as f64;
        let peak = peak.zip(measure_peak()).map(|(before, after)| before.max(after));
        profile::Report::new(&reranker, runs.total_ms.len(), mean, peak)
    });
    let median_ms = median(&mut runs.total_ms);
    let report = Report {
        engine: "crossrank",
        version: env!("CARGO_PKG_VERSION"),
        model: &info.name,
        workload: args.workload.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        documents: docs.len(),
        tokens: runs.usage.tokens,
        threads: info.threads,
        backend: load::backend_name(runs.usage.backend),
        isa: runs.usage.isa.map(Isa::name),
        gpu: info.adapter.as_deref(),
        tier: info.tier,
        precision: load::precision_name(info.precision),
        runs: runs.total_ms.len(),
        median_ms,
        // Sorted by `median`.
        min_ms: runs.total_ms[0],
        documents_per_second: docs.len() as f64 / median_ms * 1e3,
        load_ms: info.load_ms,
        first_ms,
        stages: Stages {
            tokenize_ms: median(&mut runs.tokenize_ms),
            compute_ms: median(&mut runs.compute_ms),
        },
        profile,
    };
    if args.json { write_json(&report, out) } else { report.write(out) }
}

fn read_workload(path: &Path) -> Result<Workload, Failure> {
    let (name, bytes) = input::read(path)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::new(format_args!(
            "`{name}` line {} column {}: not a workload, which is JSON with `query` and `docs`",
            error.line(),
            error.column()
        ))
    })
}

/// The times of repeated runs, and the usage of the last one.
struct Runs {
    total_ms: Vec<f64>,
    tokenize_ms: Vec<f64>,
    compute_ms: Vec<f64>,
    usage: Usage,
}

impl Runs {
    /// Repeats a call for this long, at least `MIN_RUNS` times.
    fn repeat(duration: Duration, call: impl Fn() -> Result<Usage, Failure>) -> Result<Self, Failure> {
        let mut runs = Self {
            total_ms: Vec::new(),
            tokenize_ms: Vec::new(),
            compute_ms: Vec::new(),
            usage: Usage::default(),
        };
        let start = Instant::now();
        while start.elapsed() < duration || runs.total_ms.len() < MIN_RUNS {
            let before = Instant::now();
            runs.usage = call()?;
            runs.total_ms.push(milliseconds_since(before));
            runs.tokenize_ms.push(runs.usage.tokenize_ms);
            runs.compute_ms.push(runs.usage.compute_ms);
        }
        Ok(runs)
    }
}

fn milliseconds_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

impl Report<'_> {
    /// Writes the report as text.
    fn write(&self, out: &mut impl Write) -> Result<(), Failure> {
        writeln!(
            out,
            "{} documents, {} tokens, {} threads, {}{}",
            self.documents,
            self.tokens,
            self.threads,
            self.backend,
            self.isa.map(|isa| format!(" {isa}")).unwrap_or_default()
        )?;
        writeln!(
            out,
            "median {:.2} ms (tokenize {:.2}, compute {:.2}), fastest {:.2} ms of {} runs, {:.1} documents per second, loaded in {:.1} ms",
            self.median_ms,
            self.stages.tokenize_ms,
            self.stages.compute_ms,
            self.min_ms,
            self.runs,
            self.documents_per_second,
            self.load_ms
        )?;
        match &self.profile {
            Some(profile) => profile.write(self.threads, out),
            None => Ok(()),
        }
    }
}

/// Sorts the values and returns the median, of an even count the upper one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
