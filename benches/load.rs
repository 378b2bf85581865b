//! The time from the call that loads the bundled model to the score of a first pair: from disk, and from memory that outlives
//! the model, as in a program that embeds it. Before anything is timed, that score is compared with Hugging Face's. The files
//! are in the system's page cache. A process that loads again reuses memory that it has used before: its first load takes
//! longer.

use std::borrow::Cow;
use std::path::PathBuf;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use crossrank::{ModelFiles, Reranker};

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/crossrank-mini").join(file)
}

fn read(file: &str) -> Vec<u8> {
    std::fs::read(path(file)).expect("a file of this repository")
}

/// The logit of one pair.
fn first_score(files: ModelFiles, threads: usize, pair: (&str, &str)) -> f32 {
    let model = Reranker::builder().threads(threads).load_files(files).expect("the model in this repository");
    model.score(&[pair]).expect("it scores")[0].logits[0]
}

fn load(criterion: &mut Criterion) {
    let golden: serde_json::Value = serde_json::from_slice(&read("golden.json")).expect("golden values");
    let case = &golden["cases"][0];
    let text = |name: &str| case[name].as_str().expect("a text").to_owned();
    let (query, document) = (text("query"), text("document"));
    let pair = (query.as_str(), document.as_str());

    let weights: &'static [u8] = read("model.safetensors").leak();
    let mut memory = ModelFiles::from_bytes(
        "memory",
        read("config.json"),
        read("tokenizer.json"),
        [Cow::Borrowed(weights)],
    );
    memory.tokenizer_config = Some(read("tokenizer_config.json"));
    let disk = || ModelFiles::from_dir(&path("")).expect("the model in this repository");

    let mut group = criterion.benchmark_group("load to first score");
    group.sample_size(20);
    for threads in [1, 2] {
        for files in [disk(), memory.clone()] {
            let error =
                f64::from(first_score(files, threads, pair)) - case["logits"][0].as_f64().expect("a logit");
            assert!(error.abs() <= 1e-5, "off by {error:e}");
        }
        group.bench_function(BenchmarkId::new("disk", format!("threads {threads}")), |b| {
            b.iter(|| first_score(disk(), threads, pair));
        });
        group.bench_function(BenchmarkId::new("memory", format!("threads {threads}")), |b| {
            b.iter(|| first_score(memory.clone(), threads, pair));
        });
    }
    group.finish();
}

criterion_group!(benches, load);
criterion_main!(benches);
