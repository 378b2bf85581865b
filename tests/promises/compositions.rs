//! Same bits whatever surrounds a pair: calls composed at random.

use std::sync::Arc;
use std::time::Instant;

use crossrank::cpu::isa;
use crossrank::{Backend, Executor, Isa, Precision, Reranker, RerankerBuilder};

use super::texts::{Texts, Truth};
use super::{BERT, MINI};
use crate::common::{Random, assert_runs, backends, load, long};

/// Compositions of a normal run, and of one with `CROSSRANK_LONG=1`.
const COMPOSITIONS: [usize; 2] = [1_000, 100_000];

/// One in so many is computed by the reference or by plain Rust, which take a hundred times as long as the others.
const SLOW: usize = 20;

/// Number formats that keep the promise, each against itself.
const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Int8];

/// A host with so many threads, started for each run.
struct Host(usize);

impl Executor for Host {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for thread in 0..self.0 {
                // The last tasks first: nothing may depend on their order.
                scope.spawn(move || (0..count).rev().skip(thread).step_by(self.0).for_each(task));
            }
        });
    }
}

/// A model loaded in one of the ways there are.
struct Subject {
    name: String,
    model: Reranker,
    truth: Arc<Truth>,
    /// Most documents of a call.
    most: usize,
}

/// A model on every backend, instruction set and number of threads, our own or the host's; the slow ones apart.
fn subjects(folder: &str, texts: &Texts) -> [Vec<Subject>; 2] {
    let mut subjects = [const { Vec::new() }; 2];
    for precision in PRECISIONS {
        let truth_of = |builder: RerankerBuilder| {
            Arc::new(texts.alone(&load(folder, builder.threads(1).precision(precision))))
        };
        // One for all instruction sets.
        let on_cpu = truth_of(Reranker::builder().backend(Backend::Cpu));
        for (backend, builder) in backends() {
            // The reference has other bits, and the same promise.
            let truth = match backend == "reference" {
                true => truth_of(builder.clone()),
                false => Arc::clone(&on_cpu),
            };
            let slow = backend == "reference" || backend.ends_with("scalar");
            // A call with fewer groups than threads shares out each product, one with more shares out the groups.
            let own = [1, 2, 3, 8].map(|threads| (threads, builder.clone().threads(threads)));
            let hosts =
                [1, 3].map(|threads| (threads, builder.clone().executor(Arc::new(Host(threads)) as Arc<_>)));
            for (index, (threads, builder)) in own.into_iter().chain(hosts).enumerate() {
                let whose = if index < 4 { "threads" } else { "threads of the host" };
                let model = load(folder, builder.precision(precision));
                assert_runs(&backend, &model);
                assert_eq!((model.info().threads, model.info().precision), (threads, precision));
                subjects[usize::from(slow)].push(Subject {
                    name: format!("{precision:?} on {backend}, {threads} {whose}"),
                    model,
                    truth: Arc::clone(&truth),
                    most: if slow { 8 } else { 40 },
                });
            }
        }
    }
    subjects
}

#[test]
fn the_bits_of_a_pair_depend_on_the_pair_alone() {
    let texts = Texts::new(BERT, 5, 12);
    let [fast, slow] = subjects(BERT, &texts);
    let start = Instant::now();
    let count = COMPOSITIONS[usize::from(long())];
    for composition in 0..count {
        // Each can be run again by itself.
        let mut random = Random(composition as u64);
        let subjects = if composition % SLOW == 0 { &slow } else { &fast };
        let subject = &subjects[random.below(subjects.len())];
        let what = format!("composition {composition}, {}", subject.name);
        texts.check(&subject.model, &subject.truth, &mut random, subject.most, &what);
    }
    println!("{count} compositions in {:.1} s", start.elapsed().as_secs_f64());
}

#[test]
fn the_bits_of_the_bundled_models_pairs_depend_on_the_pair_alone() {
    let texts = Texts::new(MINI, 2, 6);
    let mut random = Random(2);
    for precision in PRECISIONS {
        let truth = texts.alone(&load(MINI, Reranker::builder().threads(3).precision(precision)));
        for isa in isa::available().into_iter().filter(|isa| *isa != Isa::Scalar) {
            for threads in [1, 2] {
                let model = load(MINI, Reranker::builder().isa(isa).threads(threads).precision(precision));
                assert_eq!(model.info().isa, Some(isa));
                for _ in 0..3 {
                    let what = format!("{precision:?} on {isa:?}, {threads} threads");
                    texts.check(&model, &truth, &mut random, 8, &what);
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
        let truth = texts.alone(&load(&folder, Reranker::builder().threads(1).precision(precision)));
        for isa in isa::available() {
            let (compositions, most) = if isa == Isa::Scalar { (1, 8) } else { (10, 24) };
            for threads in [1, 2, 5] {
                let model = load(&folder, Reranker::builder().isa(isa).threads(threads).precision(precision));
                assert_eq!(model.info().isa, Some(isa));
                for _ in 0..compositions {
                    let what = format!("{family} in {precision:?} on {isa:?}, {threads} threads");
                    texts.check(&model, &truth, &mut random, most, &what);
                }
            }
        }
    }
}
