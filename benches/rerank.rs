//! The bundled model on the workloads that `benches/peers` runs on other engines, on every instruction set, in f32 and int8.
//! Before anything is timed, its logits are compared with Hugging Face's. Throughput is in documents.

use std::path::PathBuf;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossrank::cpu::isa;
use crossrank::{Backend, Isa, Precision, RerankOptions, Reranker};
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct Workload {
    query: String,
    docs: Vec<String>,
}

#[derive(Deserialize)]
struct Golden {
    max_length: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    query: String,
    document: String,
    logits: Vec<f64>,
}

fn path(below_root: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(below_root)
}

fn json<T: DeserializeOwned>(below_root: &str) -> T {
    let bytes = std::fs::read(path(below_root)).expect("a file of this repository");
    serde_json::from_slice(&bytes).expect("a file of the expected form")
}

/// Stops the benchmark if an answer is wrong: the time of a wrong answer says nothing. Logits in f32 are within 1e-5 of
/// float64; in int8, which rounds, within 0.5, where those of relevant and irrelevant documents differ by 8.
fn check(model: &Reranker, precision: Precision) {
    let tolerance = if precision == Precision::F32 { 1e-5 } else { 0.5 };
    let golden: Golden = json("models/crossrank-mini/golden.json");
    let pairs: Vec<_> = golden.cases.iter().map(|c| (&c.query, &c.document)).collect();
    let options = RerankOptions::new().max_tokens(golden.max_length);
    let scores = model.score_with(&pairs, &options).expect("the golden pairs score");
    for (scored, case) in scores.results.iter().zip(&golden.cases) {
        let error = (f64::from(scored.logits[0]) - case.logits[0]).abs();
        assert!(error <= tolerance, "golden pair {}: off by {error:e}", scored.index);
    }
}

fn rerank(criterion: &mut Criterion) {
    let workloads = ["pair1", "rerank100", "chunks32"]
        .map(|name| (name, json::<Workload>(&format!("benches/peers/{name}.json"))));
    let configurations = isa::available().into_iter().rev().flat_map(|isa| {
        [Precision::F32, Precision::Int8]
            .into_iter()
            .flat_map(move |p| [1, 2].map(|threads| (isa, p, threads)))
    });
    for (isa, precision, threads) in configurations {
        let model = Reranker::builder()
            .backend(Backend::Cpu)
            .isa(isa)
            .precision(precision)
            .threads(threads)
            .load(path("models/crossrank-mini"))
            .expect("the model in this repository");
        assert_eq!((model.info().isa, model.info().precision), (Some(isa), precision));
        check(&model, precision);
        let mut group = criterion.benchmark_group("rerank");
        // A hundred documents take about a second.
        group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(10));
        // Plain Rust takes a hundred times as long as the others: it is timed on one pair only.
        let count = if isa == Isa::Scalar { 1 } else { workloads.len() };
        for (name, workload) in &workloads[..count] {
            group.throughput(Throughput::Elements(workload.docs.len() as u64));
            let configuration = format!("{}, {precision:?}, threads {threads}", isa.name());
            group.bench_function(BenchmarkId::new(*name, configuration), |b| {
                let options = RerankOptions::new();
                b.iter(|| model.rerank(&workload.query, &workload.docs, &options).expect("it ranks"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, rerank);
criterion_main!(benches);
