//! The promises of the library, tested through its public interface: a pair has the same bits whatever else is in its call,
//! and the host process is left as it was.

mod common;
#[path = "promises/compositions.rs"]
mod compositions;
#[path = "promises/texts.rs"]
mod texts;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Random, assert_runs, backends, bits, files, golden, in_child, load, with_nan, with_sigmoid};
use crossrank::cpu::isa;
use crossrank::{
    Backend, CancelToken, Error, Executor, Isa, PairStatus, RerankOptions, Reranker, Truncation,
};
use texts::Texts;

const BERT: &str = "tests/fixtures/bert";
const MINI: &str = "models/crossrank-mini";

/// Tokens of a long window: many blocks of queries, and relative positions far beyond those of the fixtures' cases.
const LONG: usize = 2048;

#[test]
fn a_long_window_has_the_same_bits_on_any_number_of_threads_and_instruction_set() {
    // Families whose window is a number in config.json and not the number of rows of a table.
    for family in ["modernbert", "gte", "deberta-v2", "jinabert"] {
        let mut files = files(&format!("tests/fixtures/{family}"));
        let mut config: serde_json::Value = serde_json::from_slice(&files.config).unwrap();
        config["max_position_embeddings"] = LONG.into();
        files.config = serde_json::to_vec(&config).unwrap();
        files.tokenizer_config = None;
        let document = "a planet and its moons ".repeat(LONG);
        let mut expected = None;
        for isa in isa::available().into_iter().filter(|isa| *isa != Isa::Scalar) {
            for threads in [1, 3] {
                let model = Reranker::builder().isa(isa).threads(threads).load_files(files.clone()).unwrap();
                let scored = model.score(&[("planet", &document)]).unwrap().remove(0);
                assert_eq!((scored.status, scored.tokens), (PairStatus::Scored, LONG), "{family}");
                let bits = bits(&scored.logits);
                assert_eq!(
                    *expected.get_or_insert(bits.clone()),
                    bits,
                    "{family} on {isa:?}, {threads} threads"
                );
            }
        }
    }
}

#[test]
fn sixteen_host_threads_on_one_model_get_the_same_bits() {
    let texts = Texts::new(BERT, 5, 12);
    let model = load(BERT, Reranker::builder().threads(3));
    let expected = texts.score_individually(&model);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (texts, model, expected) = (&texts, &model, &expected);
            scope.spawn(move || {
                let mut random = Random(100 + thread);
                for call in 0..20 {
                    // Calls that end early must not disturb the others.
                    let pairs = [(&texts.queries[0], &texts.documents[0]); 30];
                    match call % 4 {
                        0 => {
                            let token = CancelToken::new();
                            let canceller = token.clone();
                            let options =
                                RerankOptions::new().cancel(token).on_progress(move |_| canceller.cancel());
                            assert_eq!(model.score_with(&pairs, &options).unwrap_err(), Error::Cancelled);
                        }
                        1 => {
                            let options = RerankOptions::new().time_limit(Duration::from_micros(300));
                            for scored in model.score_with(&pairs, &options).unwrap().results {
                                assert!(
                                    scored.status == PairStatus::NotScored
                                        || bits(&scored.logits) == expected[&(0, 0)]
                                );
                            }
                        }
                        _ => {}
                    }
                    texts.check(model, expected, &mut random, 10, "concurrent calls");
                }
            });
        }
    });
}

#[test]
fn the_reported_backend_is_the_one_that_ran() {
    for (name, builder) in backends() {
        let model = load(BERT, builder);
        assert_runs(&name, &model);
        let usage = model.rerank("q", &["d"], &RerankOptions::new()).unwrap().usage;
        assert_eq!((usage.backend, usage.isa), (model.info().backend, model.info().isa));
        let expected = if name == "reference" { Backend::Reference } else { Backend::Cpu };
        assert_eq!(usage.backend, expected);
    }
    // An instruction set that this machine lacks is never reported: the best one below the cap is used.
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
    let expected = texts.score_individually(&model);
    for name in names {
        // In place: a mapped or still open file would change with it.
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join(name)).unwrap();
        let zeros = vec![0; file.metadata().unwrap().len() as usize];
        std::io::Write::write_all(&mut &file, &zeros).unwrap();
        file.set_len(1).unwrap();
    }
    assert_eq!(texts.score_individually(&model), expected);
    folder.close().unwrap();
    assert_eq!(texts.score_individually(&model), expected);
}

/// Exercises everything that could print: loading, ranking, warnings, and errors of every layer.
fn cause_warnings_and_errors() {
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
    // Not panic!: the process's panic hook would print its message.
    let panics = RerankOptions::new().on_progress(|_| std::panic::resume_unwind(Box::new("planted")));
    model.rerank("query", &["one"], &panics).unwrap_err();

    let nan = Reranker::builder().load_files(with_nan(66)).unwrap();
    assert!(matches!(nan.score(&[("x", "y")]).unwrap()[0].status, PairStatus::Failed(_)));
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
        cause_warnings_and_errors();
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

/// The contents of a file of /proc/self on Linux; elsewhere prints that the test is skipped and returns `None`.
fn proc_self(file: &str) -> Option<String> {
    if !cfg!(target_os = "linux") {
        println!("SKIP: /proc/self/{file} exists on Linux only");
        return None;
    }
    Some(std::fs::read_to_string(format!("/proc/self/{file}")).unwrap())
}

/// The processor time in nanoseconds that every thread of this process has used, by thread id.
fn processor_times() -> Option<HashMap<u32, u64>> {
    proc_self("schedstat")?;
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let time = |thread: std::io::Result<std::fs::DirEntry>| {
        let thread = thread.ok()?;
        // A thread may end while this reads its file.
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let id = thread.file_name().to_str()?.parse().ok()?;
        Some((id, stat.split(' ').next()?.parse().ok()?))
    };
    Some(threads.filter_map(time).collect())
}

/// The number of threads of this process.
fn thread_count() -> Option<usize> {
    let status = proc_self("status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    Some(line.trim().parse().unwrap())
}

/// Asserts that this process has `count` threads within a second: a joined thread leaves /proc a moment later.
fn assert_thread_count(count: usize) {
    for _ in 0..100 {
        if thread_count().unwrap() == count {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} threads, not {count}", thread_count().unwrap());
}

#[test]
fn idle_threads_take_less_than_a_millisecond_in_ten_seconds() {
    if in_child("idle_threads_take_less_than_a_millisecond_in_ten_seconds").is_some() {
        return;
    }
    // A tenth of a millisecond for each second. A thread that wakes up at all wakes up many times in two seconds: one that
    // looked for work every 10 ms would take ten times as much, and one that sleeps takes nothing.
    let seconds = if common::long() { 10 } else { 2 };
    let Some(others) = processor_times() else { return };
    let assert_idle = |when: &str| {
        // When a call returns, its threads still spin for up to 50 microseconds.
        std::thread::sleep(Duration::from_millis(20));
        let before = processor_times().unwrap();
        std::thread::sleep(Duration::from_secs(seconds));
        let after = processor_times().unwrap();
        let ours = after.iter().filter(|(id, _)| !others.contains_key(id));
        let used: Vec<u64> = ours.map(|(id, time)| time - before[id]).collect();
        assert!(!used.is_empty(), "no threads");
        let sum: u64 = used.iter().sum();
        assert!(sum <= seconds * 100_000, "{when}: {used:?} ns of each thread in {seconds} s of idleness");
    };
    let model = load(BERT, Reranker::builder().threads(8));
    assert_idle("loaded");
    model.score(&[("query", "document")]).unwrap();
    model.score(&[("query", "document"); 200]).unwrap();
    assert_idle("after calls");
    let second = load(BERT, Reranker::builder().threads(3));
    second.score(&[("query", "document"); 20]).unwrap();
    let token = CancelToken::new();
    let canceller = token.clone();
    let options = RerankOptions::new().cancel(token).on_progress(move |_| canceller.cancel());
    model.score_with(&[("query", "document"); 200], &options).unwrap_err();
    assert_idle("two models, after a call that was cancelled");
}

#[test]
fn with_an_executor_its_threads_compute_and_none_is_started() {
    if in_child("with_an_executor_its_threads_compute_and_none_is_started").is_some() {
        return;
    }
    /// Runs tasks on two threads and counts them.
    struct Host(AtomicUsize);
    impl Executor for Host {
        fn threads(&self) -> usize {
            2
        }
        fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
            let half = |parity: usize| (0..count).filter(move |i| i % 2 == parity).for_each(task);
            std::thread::scope(|scope| {
                scope.spawn(|| half(0));
                half(1);
            });
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }
    let own = load(BERT, Reranker::builder().threads(1));
    let Some(before) = thread_count() else { return };
    let host = Arc::new(Host(AtomicUsize::new(0)));
    let model = load(BERT, Reranker::builder().executor(Arc::clone(&host) as Arc<dyn Executor>));
    assert_eq!((model.info().threads, thread_count().unwrap()), (2, before));
    let pairs: Vec<_> = golden(BERT).cases.into_iter().map(|c| (c.query, c.document)).collect();
    let scores = model.score_with(&pairs, &RerankOptions::new()).unwrap();
    // Every query, every document and every group is a task.
    assert_eq!(host.0.load(Ordering::Relaxed), 2 * pairs.len() + scores.usage.groups);
    assert_thread_count(before);
    assert_eq!(scores.results, own.score(&pairs).unwrap());
    // From several threads of the host at once.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(model.score(&pairs).unwrap(), scores.results));
        }
    });
}

#[test]
fn nothing_is_left_running() {
    if in_child("nothing_is_left_running").is_some() {
        return;
    }
    let Some(before) = thread_count() else { return };
    let model = load(BERT, Reranker::builder().threads(5));
    model.score(&[("query", "document"); 50]).unwrap();
    assert_eq!(thread_count().unwrap(), before + 5, "the model's own threads and no other");
    drop(model);
    assert_thread_count(before);
}

#[cfg(target_arch = "x86_64")]
mod float_mode {
    use super::*;
    use std::arch::asm;

    use crossrank::{ModelFiles, RerankerBuilder};

    fn get() -> u32 {
        let mut mode = 0_u32;
        // SAFETY: stores MXCSR to a local.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut mode, options(nostack)) };
        mode
    }

    fn set(mode: u32) {
        // SAFETY: loads a valid MXCSR value; until the default is restored, this thread only calls the library and copies bits.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &mode, options(nostack)) };
    }

    const DEFAULT: u32 = 0x1f80;
    const SUBNORMAL_INPUTS_ARE_ZERO: u32 = 1 << 6;
    const FLUSH_TO_ZERO: u32 = 1 << 15;
    const ROUND_DOWN: u32 = 1 << 13;
    const ROUND_UP: u32 = 1 << 14;

    /// Logits and scores of freshly loaded models.
    fn outputs(builder: &RerankerBuilder, models: &[ModelFiles], pairs: &[(String, String)]) -> Vec<u64> {
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
        // A model with a sigmoid, because an identity rounds nothing; and one in f16, where subnormal weights are common.
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
