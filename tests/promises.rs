//! The promises of the library, tried from outside: same bits whatever surrounds a pair, and a host left alone.

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::{Random, assert_runs, backends, bits, files, golden, in_child, load, with_nan, with_sigmoid};
use crossrank::cpu::isa;
use crossrank::{Backend, CancelToken, Error, Isa, RerankOptions, Reranker, Status, Truncation};

const BERT: &str = "tests/fixtures/bert";
const MINI: &str = "models/crossrank-mini";

/// Queries and documents of a golden file, every query with every document: pairs of 3 tokens up to the whole window.
struct Texts {
    queries: Vec<String>,
    documents: Vec<String>,
}

/// Logit bits by (query, document).
type Truth = HashMap<(usize, usize), Vec<u32>>;

impl Texts {
    fn new(folder: &str, queries: usize, documents: usize) -> Self {
        // From the end: the golden files keep their odd and their long cases there.
        let cases = golden(folder).cases;
        let queries = cases.iter().rev().step_by(2).take(queries).map(|c| c.query.clone()).collect();
        let documents = cases.iter().rev().take(documents).map(|c| c.document.clone()).collect();
        Self { queries, documents }
    }

    /// Every pair in a call of its own.
    fn alone(&self, model: &Reranker) -> Truth {
        let mut truth = Truth::new();
        for (q, query) in self.queries.iter().enumerate() {
            for (d, document) in self.documents.iter().enumerate() {
                let scored = model.score(&[(query, document)]).unwrap();
                assert_eq!(scored[0].status, Status::Scored);
                truth.insert((q, d), bits(&scored[0].logits));
            }
        }
        let different: std::collections::HashSet<_> = truth.values().collect();
        assert!(different.len() > truth.len() / 2, "pairs that all score alike would hide a mix-up");
        truth
    }

    /// Up to `most` documents, some more than once, in random order.
    fn draw(&self, random: &mut Random, most: usize) -> Vec<usize> {
        (0..1 + random.below(most)).map(|_| random.below(self.documents.len())).collect()
    }

    /// One call with random pairs, through one of the three entrances.
    fn check(&self, model: &Reranker, truth: &Truth, random: &mut Random, most: usize) {
        // `score` truncates like this by default, and so must the others for comparison.
        let options = RerankOptions::new().truncation(Truncation::LongestFirst);
        match random.below(3) {
            0 => {
                let drawn = self.draw(random, most);
                let keys: Vec<_> = drawn.iter().map(|&d| (random.below(self.queries.len()), d)).collect();
                let pairs: Vec<_> =
                    keys.iter().map(|&(q, d)| (&self.queries[q], &self.documents[d])).collect();
                let scored = model.score(&pairs).unwrap();
                assert_eq!(scored.len(), keys.len());
                for (key, scored) in keys.iter().zip(scored) {
                    assert_eq!(bits(&scored.logits), truth[key], "score, pair {key:?} among {keys:?}");
                }
            }
            1 => {
                let (q, drawn) = (random.below(self.queries.len()), self.draw(random, most));
                let documents: Vec<_> = drawn.iter().map(|&d| &self.documents[d]).collect();
                let ranking = model.rerank(&self.queries[q], &documents, &options).unwrap();
                assert_eq!(ranking.results.len(), drawn.len());
                for r in ranking.results {
                    let key = (q, drawn[r.index]);
                    assert_eq!(bits(&[r.logit]), truth[&key], "rerank, pair {key:?} among {drawn:?}");
                }
            }
            _ => {
                let drawn: Vec<_> = (0..1 + random.below(3))
                    .map(|_| (random.below(self.queries.len()), self.draw(random, most)))
                    .collect();
                let documents: Vec<Vec<_>> = drawn
                    .iter()
                    .map(|(_, drawn)| drawn.iter().map(|&d| self.documents[d].as_str()).collect())
                    .collect();
                let sets: Vec<_> = drawn
                    .iter()
                    .zip(&documents)
                    .map(|((q, _), documents)| (self.queries[*q].as_str(), &documents[..]))
                    .collect();
                let rankings = model.rerank_many(&sets, &options).unwrap();
                for ((q, drawn), ranking) in drawn.iter().zip(rankings) {
                    assert_eq!(ranking.results.len(), drawn.len());
                    for r in ranking.results {
                        let key = (*q, drawn[r.index]);
                        assert_eq!(
                            bits(&[r.logit]),
                            truth[&key],
                            "rerank_many, pair {key:?} among {drawn:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_bits_of_a_pair_depend_on_the_pair_alone() {
    let texts = Texts::new(BERT, 5, 12);
    let best = load(BERT, Reranker::builder().threads(1));
    let truth = texts.alone(&best);
    let mut random = Random(1);
    for (name, builder) in backends() {
        // The reference backend has other bits than the CPU's, but its own promise is the same.
        let reference = name == "reference";
        let truth = match reference {
            true => &texts.alone(&load(BERT, builder.clone().threads(1))),
            false => &truth,
        };
        // Plain Rust takes a hundred times as long as the others: fewer compositions.
        let (compositions, most) = if reference || name.ends_with("scalar") { (5, 12) } else { (50, 40) };
        // A call with fewer groups than threads shares out each product, one with more shares out the groups.
        for threads in [1, 2, 3, 8] {
            let model = load(BERT, builder.clone().threads(threads));
            assert_runs(&name, &model);
            assert_eq!(model.info().threads, threads);
            for _ in 0..compositions {
                texts.check(&model, truth, &mut random, most);
            }
        }
    }
}

#[test]
fn the_bits_of_the_bundled_models_pairs_depend_on_the_pair_alone() {
    let texts = Texts::new(MINI, 2, 6);
    let truth = texts.alone(&load(MINI, Reranker::builder().threads(3)));
    let mut random = Random(2);
    for isa in isa::available().into_iter().filter(|isa| *isa != Isa::Scalar) {
        for threads in [1, 2] {
            let model = load(MINI, Reranker::builder().isa(isa).threads(threads));
            assert_eq!(model.info().isa, Some(isa));
            for _ in 0..3 {
                texts.check(&model, &truth, &mut random, 8);
            }
        }
    }
}

/// The fixture of each family that computes in a way of its own.
const FAMILIES: &[&str] = &[
    "xlm-roberta",
    "distilbert",
    "electra",
    "mpnet",
    "modernbert",
    "gte",
    "deberta-v2",
    "jinabert",
    "ettin",
];

#[test]
fn the_bits_of_every_familys_pairs_depend_on_the_pair_alone() {
    let mut random = Random(3);
    for family in FAMILIES {
        let folder = format!("tests/fixtures/{family}");
        let texts = Texts::new(&folder, 3, 8);
        let truth = texts.alone(&load(&folder, Reranker::builder().threads(1)));
        for isa in isa::available() {
            // Plain Rust takes a hundred times as long as the others: fewer compositions.
            let (compositions, most) = if isa == Isa::Scalar { (1, 8) } else { (10, 24) };
            for threads in [1, 2, 5] {
                let model = load(&folder, Reranker::builder().isa(isa).threads(threads));
                assert_eq!(model.info().isa, Some(isa));
                for _ in 0..compositions {
                    texts.check(&model, &truth, &mut random, most);
                }
            }
        }
    }
}

/// Tokens of a long window: many blocks of queries, and distances far beyond those of the fixtures' cases.
const LONG: usize = 2048;

#[test]
fn a_long_window_has_the_same_bits_on_any_team_and_instruction_set() {
    // Families whose window is a number in a file, not the height of a table.
    for family in ["modernbert", "gte", "deberta-v2", "jinabert"] {
        let mut files = files(&format!("tests/fixtures/{family}"));
        let mut config: serde_json::Value = serde_json::from_slice(&files.config).unwrap();
        config["max_position_embeddings"] = LONG.into();
        files.config = serde_json::to_vec(&config).unwrap();
        files.tokenizer_config = None;
        let document = "a planet and its moons ".repeat(LONG);
        let mut seen = None;
        for isa in isa::available().into_iter().filter(|isa| *isa != Isa::Scalar) {
            for threads in [1, 3] {
                let model = Reranker::builder().isa(isa).threads(threads).load_files(files.clone()).unwrap();
                let scored = model.score(&[("planet", &document)]).unwrap().remove(0);
                assert_eq!((scored.status, scored.tokens), (Status::Scored, LONG), "{family}");
                let bits = bits(&scored.logits);
                assert_eq!(*seen.get_or_insert(bits.clone()), bits, "{family} on {isa:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn sixteen_host_threads_on_one_model_get_the_same_bits() {
    let texts = Texts::new(BERT, 5, 12);
    let model = load(BERT, Reranker::builder().threads(3));
    let truth = texts.alone(&model);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (texts, model, truth) = (&texts, &model, &truth);
            scope.spawn(move || {
                let mut random = Random(100 + thread);
                for call in 0..20 {
                    // Calls that end early must not disturb the others.
                    let pairs = [(&texts.queries[0], &texts.documents[0]); 30];
                    match call % 4 {
                        0 => {
                            let token = CancelToken::new();
                            let raise = token.clone();
                            let options =
                                RerankOptions::new().cancel(token).on_progress(move |_| raise.cancel());
                            assert_eq!(model.score_with(&pairs, &options).unwrap_err(), Error::Cancelled);
                        }
                        1 => {
                            let options = RerankOptions::new().time_limit(Duration::from_micros(300));
                            for scored in model.score_with(&pairs, &options).unwrap().results {
                                assert!(
                                    scored.status == Status::NotScored
                                        || bits(&scored.logits) == truth[&(0, 0)]
                                );
                            }
                        }
                        _ => {}
                    }
                    texts.check(model, truth, &mut random, 10);
                }
            });
        }
    });
}

#[test]
fn what_ran_is_what_is_reported() {
    for (name, builder) in backends() {
        let model = load(BERT, builder);
        assert_runs(&name, &model);
        let usage = model.rerank("q", &["d"], &RerankOptions::new()).unwrap().usage;
        assert_eq!((usage.backend, usage.isa), (model.info().backend, model.info().isa));
        let expected = if name == "reference" { Backend::Reference } else { Backend::Cpu };
        assert_eq!(usage.backend, expected);
    }
    // What this machine lacks is never claimed: the cap falls to the best below it.
    for cap in [Isa::Scalar, Isa::Neon, Isa::Avx2, Isa::Avx512] {
        let below = isa::available().into_iter().rfind(|isa| *isa <= cap);
        assert_eq!(load(BERT, Reranker::builder().isa(cap)).info().isa, below);
    }
    let auto = load(BERT, Reranker::builder());
    assert_eq!(auto.info().backend, Backend::Cpu);
    assert_eq!(auto.info().isa, isa::available().last().copied());
}

#[test]
fn files_may_change_once_the_model_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
    for name in names {
        std::fs::write(folder.path().join(name), common::read(BERT, name)).unwrap();
    }
    let model = Reranker::load(folder.path()).unwrap();
    let texts = Texts::new(BERT, 5, 12);
    let truth = texts.alone(&model);
    for name in names {
        // In place: a mapped or still open file would change with it.
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join(name)).unwrap();
        let zeros = vec![0; file.metadata().unwrap().len() as usize];
        std::io::Write::write_all(&mut &file, &zeros).unwrap();
        file.set_len(1).unwrap();
    }
    assert_eq!(texts.alone(&model), truth);
    folder.close().unwrap();
    assert_eq!(texts.alone(&model), truth);
}

/// Everything that might be tempted to print: loading, ranking, warnings, and errors of every layer.
fn provoke() {
    let model = load(BERT, Reranker::builder().threads(2));
    model.rerank("query", &["one", "two"], &RerankOptions::new()).unwrap();
    model.rerank("query", &[""; 0], &RerankOptions::new()).unwrap();
    let token = CancelToken::new();
    token.cancel();
    model.rerank("query", &["one"], &RerankOptions::new().cancel(token)).unwrap_err();
    model.rerank("query", &["one"], &RerankOptions::new().time_limit(Duration::ZERO)).unwrap();
    let long = "word ".repeat(1000);
    let refuse = RerankOptions::new().truncation(Truncation::Error);
    model.rerank("query", &[&long], &refuse).unwrap_err();
    // Not panic!: its message would be the host's own hook printing.
    let panics = RerankOptions::new().on_progress(|_| std::panic::resume_unwind(Box::new("planted")));
    model.rerank("query", &["one"], &panics).unwrap_err();

    let nan = Reranker::builder().load_files(with_nan(66)).unwrap();
    assert!(matches!(nan.score(&[("x", "y")]).unwrap()[0].status, Status::Failed(_)));
    let three = load("tests/fixtures/bert-3-labels", Reranker::builder());
    three.rerank("query", &["one"], &RerankOptions::new()).unwrap_err();
    Reranker::load("no/such-model").err().unwrap();
    Reranker::load(tempfile::tempdir().unwrap().path()).err().unwrap();
    for edit in [0, 1, 2] {
        for bytes in [
            &b""[..],
            b"{",
            b"null",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            b"{\"model\": {\"type\": \"BPE\"}}",
        ] {
            let mut files = files(BERT);
            match edit {
                0 => files.config = bytes.to_vec(),
                1 => files.tokenizer = bytes.to_vec(),
                _ => files.weights = crossrank::ModelFiles::from_bytes("", "", "", [bytes.into()]).weights,
            }
            Reranker::builder().load_files(files).err().unwrap();
        }
    }
}

#[test]
fn the_library_prints_nothing() {
    const BEGIN: &str = "-- begin --\n";
    const END: &str = "-- end --\n";
    let Some(output) = in_child("the_library_prints_nothing") else {
        print!("{BEGIN}");
        eprint!("{BEGIN}");
        provoke();
        print!("{END}");
        eprint!("{END}");
        return;
    };
    for (stream, bytes) in [("stdout", output.stdout), ("stderr", output.stderr)] {
        let text = String::from_utf8(bytes).unwrap();
        let (_, after) = text.split_once(BEGIN).unwrap_or_else(|| panic!("{stream}: {text}"));
        let (between, _) = after.split_once(END).unwrap_or_else(|| panic!("{stream}: {text}"));
        assert_eq!(between, "", "{stream}");
    }
}

/// What Linux says of this process in a file of /proc/self; `None`, with a word about it, elsewhere.
fn proc(file: &str) -> Option<String> {
    if !cfg!(target_os = "linux") {
        println!("SKIP: /proc/self/{file} is Linux's");
        return None;
    }
    Some(std::fs::read_to_string(format!("/proc/self/{file}")).unwrap())
}

/// Processor time of the whole process so far, in clock ticks of 10 ms.
fn ticks() -> Option<u64> {
    let stat = proc("stat")?;
    // The process name, in parentheses, may hold spaces; user and system time are fields 14 and 15, that is the 12th and
    // 13th after it.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    Some(fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum())
}

fn threads() -> Option<usize> {
    let status = proc("status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    Some(line.trim().parse().unwrap())
}

#[test]
fn idle_threads_sleep() {
    if in_child("idle_threads_sleep").is_some() {
        return;
    }
    let model = load(BERT, Reranker::builder().threads(8));
    let calls = [vec![("query", "document")], vec![("query", "document"); 200]];
    for pairs in calls {
        model.score(&pairs).unwrap();
        let Some(before) = ticks() else { return };
        std::thread::sleep(Duration::from_millis(300));
        let used = ticks().unwrap() - before;
        // One thread that spins would use 30; a tick may be charged for the end of the call.
        assert!(used <= 2, "{used} ticks of 10 ms in 300 ms of idleness");
    }
}

#[test]
fn nothing_is_left_running() {
    if in_child("nothing_is_left_running").is_some() {
        return;
    }
    let Some(before) = threads() else { return };
    let model = load(BERT, Reranker::builder().threads(5));
    model.score(&[("query", "document"); 50]).unwrap();
    assert_eq!(threads().unwrap(), before + 5, "the model's own threads and no other");
    drop(model);
    // A joined thread leaves /proc a moment later.
    for _ in 0..100 {
        if threads().unwrap() == before {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} threads, {before} before the model", threads().unwrap());
}

#[cfg(target_arch = "x86_64")]
mod float_mode {
    use super::*;
    use std::arch::asm;

    use crossrank::{Builder, ModelFiles};

    fn get() -> u32 {
        let mut mode = 0_u32;
        // SAFETY: stores MXCSR to a local.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut mode, options(nostack)) };
        mode
    }

    fn set(mode: u32) {
        // SAFETY: loads a valid MXCSR value; until it is put back, this thread calls the library and copies bits.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &mode, options(nostack)) };
    }

    const DEFAULT: u32 = 0x1f80;
    const SUBNORMAL_INPUTS_ARE_ZERO: u32 = 1 << 6;
    const FLUSH_TO_ZERO: u32 = 1 << 15;
    const ROUND_DOWN: u32 = 1 << 13;
    const ROUND_UP: u32 = 1 << 14;

    /// Logits and scores of freshly loaded models.
    fn outputs(builder: &Builder, models: &[ModelFiles], pairs: &[(String, String)]) -> Vec<u64> {
        let mut outputs = Vec::new();
        for files in models {
            let model = builder.clone().threads(2).load_files(files.clone()).unwrap();
            for scored in model.score(pairs).unwrap() {
                outputs.extend(scored.logits.iter().map(|x| u64::from(x.to_bits())));
                outputs.extend(scored.scores.iter().map(|x| x.to_bits()));
            }
        }
        outputs
    }

    #[test]
    fn the_hosts_floating_point_mode_is_ignored_and_kept() {
        let pairs: Vec<_> = golden(BERT).cases.into_iter().map(|c| (c.query, c.document)).skip(18).collect();
        // Scores through a sigmoid, since an identity rounds nothing; and f16, where subnormal weights are common.
        let mut half = files("tests/fixtures/bert-f16");
        half.config = with_sigmoid().config;
        let models = [with_sigmoid(), half];
        for (name, builder) in backends() {
            let expected = outputs(&builder, &models, &pairs);
            for mode in [
                DEFAULT | FLUSH_TO_ZERO | SUBNORMAL_INPUTS_ARE_ZERO,
                DEFAULT | ROUND_UP,
                DEFAULT | ROUND_DOWN,
                DEFAULT | FLUSH_TO_ZERO | SUBNORMAL_INPUTS_ARE_ZERO | ROUND_UP | ROUND_DOWN,
            ] {
                set(mode);
                let found = outputs(&builder, &models, &pairs);
                let after = get();
                set(DEFAULT);
                assert_eq!(after, mode, "{name}: the caller's mode");
                assert!(found == expected, "{name}: mode {mode:#x} changes bits");
            }
        }
    }
}
