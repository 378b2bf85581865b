//! Every word of every CPU instruction set against the reference backend, and bit for bit against each other.

use std::sync::Arc;

use crossrank::Isa;
use crossrank::cpu::Cpu;
use crossrank::cpu::isa;
use crossrank::cpu::simd::{Dot, Scalar, Simd};
use crossrank::cpu::threads::Pool;
use crossrank::reference::Reference;

#[path = "kernels/families.rs"]
mod families;
#[path = "kernels/words.rs"]
mod words;

use crossrank::kernels::Kernels;
use words::{Output, Sizes, disagreements};

/// Around every edge: of the vectors (16), of the tiles (4, 6, 14 rows; 16, 32 columns), of the steps of k in one go
/// (384), and of a block of queries or heads (16, 32).
const SIZES: Sizes = Sizes {
    rows: &[1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 29, 43],
    shapes: &[(1, 1), (16, 15), (20, 16), (383, 17), (384, 31), (385, 32), (800, 33), (64, 100)],
    activated: 8,
    lengths: &[1, 2, 13, 14, 15, 16, 17, 31, 32, 33, 64, 100],
    heads: &[(64, 4), (64, 2), (128, 2), (40, 2), (24, 3), (66, 33), (400, 4)],
};

/// Runs every word.
fn outputs<K: Kernels>(k: &mut K) -> Vec<Output> {
    let mut all = words::outputs(k, &SIZES);
    words::kept(k, &SIZES, &mut all);
    all.extend(families::outputs(k));
    all
}

/// Greatest distance from the reference that f32 rounding explains, for values around 1; a row around 1000 is already
/// rounded by 3e-5 where it is subtracted from its mean.
fn tolerance(output: &Output) -> f32 {
    match output.word {
        "norm" if output.case.ends_with("1000") => 5e-4,
        "first_tokens" => 0.0,
        _ => 2e-6,
    }
}

/// Runs `$f(token, ...)` with the token of an instruction set that runs here.
macro_rules! with_isa {
    ($isa:expr, $f:ident($($arg:expr),*)) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => $f(crossrank::cpu::simd::Avx2::detect().unwrap() $(, $arg)*),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => $f(crossrank::cpu::simd::Avx512::detect().unwrap() $(, $arg)*),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => $f(crossrank::cpu::simd::Neon::detect().unwrap() $(, $arg)*),
            _ => $f(Scalar $(, $arg)*),
        }
    };
}

fn cpu_outputs<S: Simd>(simd: S, threads: usize) -> Vec<Output> {
    outputs_with(simd, threads, Dot::best(S::ISA))
}

fn outputs_with<S: Simd>(simd: S, threads: usize, dot: &'static Dot) -> Vec<Output> {
    let mut cpu = Cpu::with_dot(simd, dot);
    if threads > 1 {
        cpu.set_team(Some(Arc::new(Pool::new(threads))));
    }
    outputs(&mut cpu)
}

#[test]
fn every_word_matches_the_reference_on_every_instruction_set() {
    let reference = outputs(&mut Reference);
    for isa in isa::available() {
        let found = disagreements(&with_isa!(isa, cpu_outputs(1)), &reference, tolerance);
        assert!(found.is_empty(), "{}:\n{}", isa.name(), found.join("\n"));
    }
}

#[test]
fn every_instruction_set_and_every_team_computes_the_same_bits() {
    let scalar = cpu_outputs(Scalar, 1);
    for isa in isa::available() {
        for threads in [1, 2, 5] {
            let outputs = with_isa!(isa, cpu_outputs(threads));
            same_bits(&format!("{} on {threads} threads", isa.name()), &outputs, &scalar);
        }
    }
}

#[test]
fn every_microkernel_of_integers_computes_the_same_bits() {
    let scalar = cpu_outputs(Scalar, 1);
    for dot in Dot::available() {
        same_bits(dot.name, &with_isa!(isa::best(None), outputs_with(1, dot)), &scalar);
    }
}

fn same_bits(what: &str, outputs: &[Output], scalar: &[Output]) {
    for (a, b) in outputs.iter().zip(scalar) {
        let bits = |o: &Output| o.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(a), bits(b), "{what}: {}: {}", a.word, a.case);
    }
}

/// Instruction sets that must not silently be missing from a run.
#[test]
fn the_required_instruction_set_was_tested() {
    match std::env::var("CROSSRANK_REQUIRE_ISA") {
        Ok(name) => {
            assert!(isa::available().iter().any(|isa| isa.name() == name), "{name} does not run here")
        }
        Err(_) => println!("SKIP: CROSSRANK_REQUIRE_ISA is not set; tested {:?}", isa::available()),
    }
}

#[path = "kernels/saboteur.rs"]
mod saboteur;

#[test]
fn a_single_wrong_element_of_any_word_is_noticed() {
    let reference = outputs(&mut Reference);
    for word in [
        "linear",
        "norm",
        "embed",
        "attention",
        "attention_biased",
        "attention_local",
        "attention_disentangled",
        "rotate",
        "gate",
        "mean_tokens",
        "first_tokens",
        "attention_first",
    ] {
        let found = disagreements(&outputs(&mut saboteur::Saboteur::of(word)), &reference, tolerance);
        assert!(!found.is_empty(), "a wrong element of {word} went unnoticed");
        assert!(found.iter().all(|f| f.starts_with(&format!("{word}:"))), "{found:?}");
    }
}
