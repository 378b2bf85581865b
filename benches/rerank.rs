//! The bundled model on the workloads that `benches/peers` gives to other engines. Before anything is timed, its logits
//! are compared with Hugging Face's. Throughput counts documents.

use std::path::PathBuf;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossrank::{RerankOptions, Reranker};
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

/// Stops the benchmark where the answer is wrong: a fast wrong answer is no measurement.
fn check(model: &Reranker) {
    let golden: Golden = json("models/crossrank-mini/golden.json");
    let pairs: Vec<_> = golden.cases.iter().map(|c| (&c.query, &c.document)).collect();
    let options = RerankOptions::new().max_tokens(golden.max_length);
    let scores = model.score_with(&pairs, &options).expect("the golden pairs score");
    for (scored, case) in scores.results.iter().zip(&golden.cases) {
        let distance = (f64::from(scored.logits[0]) - case.logits[0]).abs();
        assert!(distance <= 1e-5, "golden pair {}: off by {distance:e}", scored.index);
    }
}

fn rerank(criterion: &mut Criterion) {
    let workloads = ["pair1", "rerank100", "chunks32"]
        .map(|name| (name, json::<Workload>(&format!("benches/peers/{name}.json"))));
    for threads in [1, 2] {
        let model = Reranker::builder()
            .threads(threads)
            .load(path("models/crossrank-mini"))
            .expect("the model in this repository");
        check(&model);
        let isa = model.info().isa.map_or("reference", |isa| isa.name());
        let mut group = criterion.benchmark_group("rerank");
        // A hundred documents take about a second.
        group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(10));
        for (name, workload) in &workloads {
            group.throughput(Throughput::Elements(workload.docs.len() as u64));
            group.bench_function(BenchmarkId::new(*name, format!("{isa}, threads {threads}")), |b| {
                let options = RerankOptions::new();
                b.iter(|| model.rerank(&workload.query, &workload.docs, &options).expect("it ranks"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, rerank);
criterion_main!(benches);
