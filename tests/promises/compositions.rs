//! A pair has the same bits whatever else is in its call: calls composed at random.

use std::sync::Arc;
use std::time::Instant;

use crossrank::cpu::isa;
use crossrank::{Backend, Executor, Isa, Precision, Reranker, RerankerBuilder};

use super::texts::{ExpectedBits, Texts};
use super::{BERT, MINI};
use crate::common::{Random, assert_runs, backends, load, long};

/// Compositions of a normal run, and of one with `CROSSRANK_LONG=1`.
const COMPOSITIONS: [usize; 2] = [1_000, 100_000];

/// One composition of this many is computed by the reference or by plain Rust, which take a hundred times as long as the
/// others.
const SLOW_PERIOD: usize = 20;

/// Precisions that keep the promise, each compared with itself.
const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Int8];

/// An executor that starts this many threads for each call.
struct ScopedThreads(usize);

impl Executor for ScopedThreads {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for thread in 0..self.0 {
                // The last tasks first: no result may depend on their order.
                scope.spawn(move || (0..count).rev().skip(thread).step_by(self.0).for_each(task));
            }
        });
    }
}

/// A model in one combination of precision, backend and threads.
struct Configuration {
    name: String,
    model: Reranker,
    expected: Arc<ExpectedBits>,
    /// The maximum number of documents of a call.
    max_documents: usize,
}

/// A model on every backend, instruction set and number of threads, its own or an executor's: first the fast configurations,
/// then the slow ones.
fn configurations(folder: &str, texts: &Texts) -> [Vec<Configuration>; 2] {
    let mut configurations = [const { Vec::new() }; 2];
    for precision in PRECISIONS {
        let expected_of = |builder: RerankerBuilder| {
            Arc::new(texts.score_individually(&load(folder, builder.threads(1).precision(precision))))
        };
        // The same bits on all instruction sets.
        let on_cpu = expected_of(Reranker::builder().backend(Backend::Cpu));
        for (backend, builder) in backends() {
            // The reference has other bits, and makes the same promise.
            let expected = match backend == "reference" {
                true => expected_of(builder.clone()),
                false => Arc::clone(&on_cpu),
            };
            let slow = backend == "reference" || backend.ends_with("scalar");
            // In a call with fewer groups than threads the threads share each product; with more groups they share the groups.
            let own = [1, 2, 3, 8].map(|threads| (threads, builder.clone().threads(threads)));
            let hosts = [1, 3].map(|threads| {
                (threads, builder.clone().executor(Arc::new(ScopedThreads(threads)) as Arc<_>))
            });
            for (index, (threads, builder)) in own.into_iter().chain(hosts).enumerate() {
                let owner = if index < 4 { "threads" } else { "threads of an executor" };
                let model = load(folder, builder.precision(precision));
                assert_runs(&backend, &model);
                assert_eq!((model.info().threads, model.info().precision), (threads, precision));
                configurations[usize::from(slow)].push(Configuration {
                    name: format!("{precision:?} on {backend}, {threads} {owner}"),
                    model,
                    expected: Arc::clone(&expected),
                    max_documents: if slow { 8 } else { 40 },
                });
            }
        }
    }
    configurations
}

#[test]
fn the_bits_of_a_pair_depend_on_the_pair_alone() {
    let texts = Texts::new(BERT, 5, 12);
    let [fast, slow] = configurations(BERT, &texts);
    let start = Instant::now();
    let count = COMPOSITIONS[usize::from(long())];
    for composition in 0..count {
        // A seed of its own, so that each composition can be repeated by itself.
        let mut random = Random(composition as u64);
        let configurations = if composition % SLOW_PERIOD == 0 { &slow } else { &fast };
        let configuration = &configurations[random.below(configurations.len())];
        let Configuration { name, model, expected, max_documents } = configuration;
        let what = format!("composition {composition}, {name}");
        texts.check(model, expected, &mut random, *max_documents, &what);
    }
    println!("{count} compositions in {:.1} s", start.elapsed().as_secs_f64());
}

#[test]
fn the_bits_of_the_bundled_models_pairs_depend_on_the_pair_alone() {
    let texts = Texts::new(MINI, 2, 6);
    let mut random = Random(2);
    for precision in PRECISIONS {
        let expected =
            texts.score_individually(&load(MINI, Reranker::builder().threads(3).precision(precision)));
        for isa in isa::available().into_iter().filter(|isa| *isa != Isa::Scalar) {
            for threads in [1, 2] {
                let model = load(MINI, Reranker::builder().isa(isa).threads(threads).precision(precision));
                assert_eq!(model.info().isa, Some(isa));
                for _ in 0..3 {
                    let what = format!("{precision:?} on {isa:?}, {threads} threads");
                    texts.check(&model, &expected, &mut random, 8, &what);
                }
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
    for (family, precision) in FAMILIES.iter().flat_map(|family| PRECISIONS.map(|p| (family, p))) {
        let folder = format!("tests/fixtures/{family}");
        let texts = Texts::new(&folder, 3, 8);
        let expected =
            texts.score_individually(&load(&folder, Reranker::builder().threads(1).precision(precision)));
        for isa in isa::available() {
            let (compositions, max_documents) = if isa == Isa::Scalar { (1, 8) } else { (10, 24) };
            for threads in [1, 2, 5] {
                let model = load(&folder, Reranker::builder().isa(isa).threads(threads).precision(precision));
                assert_eq!(model.info().isa, Some(isa));
                for _ in 0..compositions {
                    let what = format!("{family} in {precision:?} on {isa:?}, {threads} threads");
                    texts.check(&model, &expected, &mut random, max_documents, &what);
                }
            }
        }
    }
}
