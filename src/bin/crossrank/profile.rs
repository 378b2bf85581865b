//! `crossrank bench --profile`: the time of each stage, compared with the processor's measured peak.

use std::io::Write;

use crossrank::cpu::isa::measure_peak;
use crossrank::{Isa, Precision, Reranker, Stage, StageTime};
use serde::Serialize;

use crate::failure::Failure;

/// The average time of a run by stage. Operations are those of matrix products.
#[derive(Serialize)]
pub struct Report {
    /// Thread-milliseconds of a run: its duration times the threads.
    thread_ms: f64,
    stages: Vec<Line>,
    /// Thread-milliseconds in which a thread computed no stage.
    waiting_ms: f64,
    /// Billions of operations of a run, and the same per second of its duration, on all threads.
    gflop: f64,
    gflop_per_second: f64,
    #[serde(flatten)]
    peak: Option<Peak>,
    /// Time that the products of a run would take at the peak on all threads / its duration.
    of_peak: Option<f64>,
}

#[derive(Serialize)]
struct Line {
    stage: &'static str,
    thread_ms: f64,
    /// Fraction of the run's thread-milliseconds.
    share: f64,
    /// Billions of operations; `None` for a stage without matrix products.
    gflop: Option<f64>,
    /// Billions of operations per second of one thread.
    gflop_per_second: Option<f64>,
    /// The same divided by the peak of one thread.
    of_peak: Option<f64>,
}

/// The measured peak of one thread, in billions of operations per second: a multiply-add counts as two. Linear layers in
/// int8 are compared with the int8 peak, everything else with the f32 peak.
#[derive(Clone, Copy, Serialize)]
pub struct Peak {
    peak_gflop_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    int8_peak_gflop_per_second: Option<f64>,
}

impl Peak {
    /// Measures the peak; `None` without an instruction set.
    pub fn measure(isa: Option<Isa>, precision: Precision) -> Option<Self> {
        let peak = measure_peak(isa?)?;
        let int8 = precision == Precision::Int8;
        Some(Self {
            peak_gflop_per_second: peak.f32_per_second / 1e9,
            int8_peak_gflop_per_second: int8.then_some(peak.int8_per_second / 1e9),
        })
    }

    /// The greater of two measurements: other load on the machine can only lower a peak.
    pub fn max(self, other: Self) -> Self {
        let greater = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a.max(b));
        Self {
            peak_gflop_per_second: self.peak_gflop_per_second.max(other.peak_gflop_per_second),
            int8_peak_gflop_per_second: greater(
                self.int8_peak_gflop_per_second,
                other.int8_peak_gflop_per_second,
            ),
        }
    }

    fn of(self, stage: Stage) -> f64 {
        match (stage, self.int8_peak_gflop_per_second) {
            (Stage::Linear, Some(int8)) => int8,
            _ => self.peak_gflop_per_second,
        }
    }
}

impl Report {
    /// Averages the profile since it was last taken over `runs` runs, which took `run_ms` each on average.
    pub fn new(reranker: &Reranker, runs: usize, run_ms: f64, peak: Option<Peak>) -> Self {
        let threads = reranker.info().threads as f64;
        let thread_ms = run_ms * threads;
        let line = |time: &StageTime| {
            let ms = time.thread_ms / runs as f64;
            let gflop = (time.operations > 0).then_some(time.operations as f64 / 1e9 / runs as f64);
            let gflop_per_second = gflop.map(|gflop| gflop / ms * 1e3);
            let of_peak = gflop_per_second.zip(peak).map(|(achieved, peak)| achieved / peak.of(time.stage));
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
        let at_peak = |line: &Line| line.of_peak.unwrap_or(0.0) * line.thread_ms;
        Self {
            thread_ms,
            waiting_ms: (thread_ms - stages.iter().map(|line| line.thread_ms).sum::<f64>()).max(0.0),
            of_peak: peak.map(|_| stages.iter().map(at_peak).sum::<f64>() / thread_ms),
            stages,
            gflop,
            gflop_per_second: gflop / run_ms * 1e3,
            peak,
        }
    }

    /// Writes a table of the stages and a line about the whole run.
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
        if let Some((peak, part)) = self.peak.zip(self.of_peak) {
            write!(out, " / {threads} x {:.1} GFLOP/s peak", peak.peak_gflop_per_second)?;
            if let Some(int8) = peak.int8_peak_gflop_per_second {
                write!(out, " ({int8:.1} in int8)")?;
            }
            write!(out, " = {}", percent(part))?;
        }
        writeln!(out)?;
        Ok(())
    }
}
