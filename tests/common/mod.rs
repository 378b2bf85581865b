//! Helpers that several test files share.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::borrow::Cow;
use std::path::Path;
use std::process::{Command, Output};

use crossrank::cpu::isa;
use crossrank::{Backend, ModelFiles, PairStatus, RerankOptions, Reranker, RerankerBuilder, WeightFile};

/// One case of a golden.json.
#[derive(serde::Deserialize)]
pub struct Case {
    pub query: String,
    pub document: String,
    pub input_ids: Vec<u32>,
    /// `None` where the model has no token types.
    pub token_type_ids: Option<Vec<u32>>,
    pub logits: Vec<f64>,
}

#[derive(serde::Deserialize)]
pub struct Golden {
    pub max_length: usize,
    pub cases: Vec<Case>,
}

/// The golden.json of a model folder below the crate's root.
pub fn golden(folder: &str) -> Golden {
    let path = format!("{}/{folder}/golden.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A model folder below the crate's root.
pub fn load(folder: &str, builder: RerankerBuilder) -> Reranker {
    builder.load(format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The reference backend and the CPU backend at every instruction set of this machine, with names.
pub fn backends() -> Vec<(String, RerankerBuilder)> {
    let cpu = isa::available()
        .into_iter()
        .map(|isa| (format!("cpu {}", isa.name()), Reranker::builder().backend(Backend::Cpu).isa(isa)));
    let reference = ("reference".to_owned(), Reranker::builder().backend(Backend::Reference));
    std::iter::once(reference).chain(cpu).collect()
}

/// Asserts that the model runs on the backend that was asked for, so that no test compares a backend with itself.
pub fn assert_runs(name: &str, model: &Reranker) {
    let info = model.info();
    let ran = match (info.backend, info.isa) {
        (_, Some(isa)) => format!("cpu {}", isa.name()),
        (Backend::Gpu, None) => match info.tier.unwrap() {
            "f32" => format!("gpu {}", info.adapter.as_deref().unwrap()),
            tier => format!("gpu {} {tier}", info.adapter.as_deref().unwrap()),
        },
        _ => "reference".to_owned(),
    };
    assert_eq!(ran, name);
}

/// The adapter that the GPU tests run on: a software adapter if there is no other. If there is none at all, the tests print
/// that they were skipped, and `CROSSRANK_REQUIRE_GPU=1` turns that into a failure.
#[cfg(feature = "gpu")]
pub fn gpu_adapter() -> Option<String> {
    let adapters = crossrank::gpu::adapters().unwrap();
    if adapters.is_empty() {
        let required = std::env::var_os("CROSSRANK_REQUIRE_GPU").is_some_and(|v| v == "1");
        assert!(!required, "CROSSRANK_REQUIRE_GPU is set and there is no adapter");
        println!("SKIP: no GPU adapter, not even a software one");
    }
    adapters.first().map(|a| a.name.clone())
}

/// The greatest absolute error of a model's logits against its golden values; asserts that the model runs on `name`.
pub fn max_logit_error(folder: &str, name: &str, builder: RerankerBuilder) -> f64 {
    let golden = golden(folder);
    let pairs: Vec<_> = golden.cases.iter().map(|c| (&c.query, &c.document)).collect();
    let model = load(folder, builder);
    assert_runs(name, &model);
    let options = RerankOptions::new().max_tokens(golden.max_length);
    let scores = model.score_with(&pairs, &options).unwrap();
    assert_eq!(scores.usage.backend, model.info().backend, "{:?}", scores.usage.gpu_failure);
    assert_eq!(scores.results.len(), golden.cases.len());
    let mut worst: f64 = 0.0;
    for (case, scored) in golden.cases.iter().zip(&scores.results) {
        assert_eq!(scored.status, PairStatus::Scored);
        assert_eq!(scored.tokens, case.input_ids.len(), "{folder} pair {}", scored.index);
        assert_eq!(scored.logits.len(), case.logits.len());
        for (ours, golden) in scored.logits.iter().zip(&case.logits) {
            worst = worst.max((f64::from(*ours) - golden).abs());
        }
    }
    println!("{folder} on {name}: within {worst:.1e} of float64");
    worst
}

/// The folders of heads that sentence-transformers saved as modules.
pub const MODULES: [&str; 9] = [
    "cls-dense",
    "cls-residual-norm",
    "cls-three-dense",
    "last-scores-residual",
    "max-wide",
    "mean-norm-dense",
    "mean-norm-f64",
    "sqrt-narrow-residual",
    "weighted-residual",
];

/// Asserts that the logits and scores of each of [`MODULES`], on the encoder of the `bert` fixture, are within 1e-5 of
/// sentence-transformers' in float64. The model runs on `name`.
pub fn assert_modules(name: &str, builder: impl Fn() -> RerankerBuilder) {
    #[derive(serde::Deserialize)]
    struct Case {
        query: String,
        document: String,
        logits: Vec<f64>,
        scores: Vec<f64>,
    }
    #[derive(serde::Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for folder in MODULES {
        let model = tempfile::tempdir().unwrap();
        copy_folder(&tests.join("modules").join(folder), model.path());
        for file in ["model.safetensors", "tokenizer.json"] {
            std::fs::copy(tests.join("fixtures/bert").join(file), model.path().join(file)).unwrap();
        }
        let golden = std::fs::read(model.path().join("golden.json")).unwrap();
        let Golden { cases } = serde_json::from_slice(&golden).unwrap();
        let model = builder().load(model.path()).unwrap();
        assert_runs(name, &model);
        let pairs: Vec<_> = cases.iter().map(|case| (&case.query, &case.document)).collect();
        for (case, scored) in cases.iter().zip(model.score(&pairs).unwrap()) {
            let logits: Vec<f64> = scored.logits.iter().map(|logit| (*logit).into()).collect();
            for (ours, golden) in [(&logits, &case.logits), (&scored.scores, &case.scores)] {
                assert_eq!(ours.len(), golden.len(), "{folder}");
                let near = ours.iter().zip(golden).all(|(ours, golden)| (ours - golden).abs() <= 1e-5);
                assert!(near, "{folder} on {name}: {ours:?} instead of {golden:?}");
            }
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Whether tests that have a short and a long form run the long one: `CROSSRANK_LONG=1`.
pub fn long() -> bool {
    std::env::var_os("CROSSRANK_LONG").is_some_and(|value| value == "1")
}

/// Deterministic pseudo-random numbers: Knuth's MMIX generator.
pub struct Random(pub u64);

impl Random {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }
}

/// The bits of a pair's logits.
pub fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

/// A file of a model folder below the crate's root.
pub fn read(folder: &str, file: &str) -> Vec<u8> {
    std::fs::read(format!("{}/{folder}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The files of a model folder in memory, so that a test can change them before it loads them.
pub fn files(folder: &str) -> ModelFiles {
    let weights = Cow::Owned(read(folder, "model.safetensors"));
    let mut files = ModelFiles::from_bytes(
        folder,
        read(folder, "config.json"),
        read(folder, "tokenizer.json"),
        [weights],
    );
    files.tokenizer_config = Some(read(folder, "tokenizer_config.json"));
    files
}

/// The `bert` fixture with a sigmoid after its logits; without it its scores are the logits themselves.
pub fn with_sigmoid() -> ModelFiles {
    let mut files = files("tests/fixtures/bert");
    let mut config: serde_json::Value = serde_json::from_slice(&files.config).unwrap();
    config["sbert_ce_default_activation_function"] = "torch.nn.modules.activation.Sigmoid".into();
    files.config = serde_json::to_vec(&config).unwrap();
    files
}

/// The `bert` fixture with NaN in the row of `token` in the word embedding table: every pair with that token fails, and no
/// other pair does.
pub fn with_nan(token: u32) -> ModelFiles {
    let mut files = files("tests/fixtures/bert");
    let [WeightFile::Bytes(_, bytes)] = &mut files.weights[..] else { panic!("one weight file") };
    let bytes = bytes.to_mut();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let table = &header["bert.embeddings.word_embeddings.weight"];
    let start = data + table["data_offsets"][0].as_u64().unwrap() as usize;
    let row = 4 * table["shape"][1].as_u64().unwrap() as usize;
    let at = start + row * token as usize;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    files
}

/// Runs the test `name` in a child process, where no other test shares its threads, processor time and output, and returns
/// what the child printed. Returns `None` in the child, which then does the test's work. A failure there is a failure here.
pub fn in_child(name: &str) -> Option<Output> {
    const CHILD: &str = "CROSSRANK_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    Some(output)
}
