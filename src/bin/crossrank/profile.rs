//! `crossrank bench --profile`: what each stage took, and how near that is to what the processor could do.

use std::io::Write;

use crossrank::cpu::isa::measure_peak;
use crossrank::{Isa, Reranker, StageTime};
use serde::Serialize;

use crate::failure::Failure;

/// What one run took on average, by stage. Operations are those of matrix products.
#[derive(Serialize)]
pub struct Report {
    /// Thread-milliseconds of a run: its duration times the threads.
    thread_ms: f64,
    stages: Vec<Line>,
    /// Thread-milliseconds in which a thread had no part of any stage.
    waiting_ms: f64,
    /// Billions of operations of a run, and of them per second of its duration, on all threads.
    gflop: f64,
    gflop_per_second: f64,
    /// What one thread could do, as measured just before and after the runs; `None` without an instruction set.
    peak_gflop_per_second: Option<f64>,
    /// Achieved by all threads / peak of one times threads.
    of_peak: Option<f64>,
}

#[derive(Serialize)]
struct Line {
    stage: &'static str,
    thread_ms: f64,
    /// Of the run's thread-milliseconds.
    share: f64,
    /// Billions of operations; `None` for a stage without matrix products.
    gflop: Option<f64>,
    /// Billions of operations per second of one thread.
    gflop_per_second: Option<f64>,
    /// That / peak of one thread.
    of_peak: Option<f64>,
}

/// The peak of one thread in billions of operations per second: a multiply-add counts as two.
pub fn peak(isa: Option<Isa>) -> Option<f64> {
    isa.and_then(measure_peak).map(|peak| peak.f32_per_second / 1e9)
}

impl Report {
    /// Of so many runs that took `run_ms` each on average, since the profile was last taken.
    pub fn new(reranker: &Reranker, runs: usize, run_ms: f64, peak: Option<f64>) -> Self {
        let threads = reranker.info().threads as f64;
        let thread_ms = run_ms * threads;
        let line = |time: &StageTime| {
            let ms = time.thread_ms / runs as f64;
            let gflop = (time.operations > 0).then_some(time.operations as f64 / 1e9 / runs as f64);
            let gflop_per_second = gflop.map(|gflop| gflop / ms * 1e3);
            let of_peak = gflop_per_second.zip(peak).map(|(achieved, peak)| achieved / peak);
            Line {
                stage: time.stage.name(),
                thread_ms: ms,
                share: ms / thread_ms,
                gflop,
                gflop_per_second,
                of_peak,
            }
        };
        let stages: Vec<_> = reranker.take_profile().iter().map(line).collect();
        let gflop: f64 = stages.iter().filter_map(|line| line.gflop).sum();
        let gflop_per_second = gflop / run_ms * 1e3;
        Self {
            thread_ms,
            waiting_ms: (thread_ms - stages.iter().map(|line| line.thread_ms).sum::<f64>()).max(0.0),
            stages,
            gflop,
            gflop_per_second,
            peak_gflop_per_second: peak,
            of_peak: peak.map(|peak| gflop_per_second / (peak * threads)),
        }
    }

    /// As a table and a line for the whole.
    pub fn write(&self, threads: usize, out: &mut impl Write) -> Result<(), Failure> {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let percent = |value: f64| format!("{:.1} %", value * 100.0);
        writeln!(
            out,
            "{:<10} {:>10} {:>8} {:>9} {:>9} {:>8}",
            "stage", "thread-ms", "share", "GFLOP", "GFLOP/s", "of peak"
        )?;
        for line in &self.stages {
            writeln!(
                out,
                "{:<10} {:>10.2} {:>8} {:>9} {:>9} {:>8}",
                line.stage,
                line.thread_ms,
                percent(line.share),
                number(line.gflop),
                number(line.gflop_per_second),
                line.of_peak.map_or("-".to_owned(), percent),
            )?;
        }
        let waiting = percent(self.waiting_ms / self.thread_ms);
        writeln!(out, "{:<10} {:>10.2} {:>8}", "waiting", self.waiting_ms, waiting)?;
        write!(
            out,
            "roofline: {:.2} GFLOP a run, {:.1} GFLOP/s achieved",
            self.gflop, self.gflop_per_second
        )?;
        match self.peak_gflop_per_second.zip(self.of_peak) {
            Some((peak, part)) => {
                writeln!(out, " / {threads} x {peak:.1} GFLOP/s peak = {}", percent(part))?;
            }
            None => writeln!(out)?,
        }
        Ok(())
    }
}
