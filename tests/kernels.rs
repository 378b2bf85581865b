//! Every word of every CPU instruction set against the reference backend, and bit for bit against each other.

use std::sync::Arc;

use crossrank::Isa;
use crossrank::cpu::Cpu;
use crossrank::cpu::isa;
use crossrank::cpu::simd::{Int8Kernel, LANES, Scalar, Simd, SimdKernel};
use crossrank::cpu::threads::Pool;
use crossrank::reference::Reference;

#[path = "kernels/families.rs"]
mod families;
#[path = "kernels/words.rs"]
mod words;

use crossrank::kernels::{Activation, Dtype, Epilogue, Kernels, LinearPart, Tensor, WeightStorage};
use crossrank::tensor::widen;
use words::{Noise, Output, Sizes, disagreements};

/// Around every edge: of the vectors (16), of the tiles (4, 6, 14 rows; 16, 32 columns), of the steps of k in one go
/// (384), and of a block of queries or heads (16, 32).
const SIZES: Sizes = Sizes {
    rows: &[1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 29, 43],
    shapes: &[(1, 1), (16, 15), (20, 16), (383, 17), (384, 31), (385, 32), (800, 33), (64, 100), (1024, 3)],
    // Besides, those of a block of integers: 768 or 1536 inputs. Sums of integers are exact at any length.
    long: &[(767, 17), (769, 3), (1536, 33), (1537, 5), (3100, 16)],
    activated: 8,
    lengths: &[1, 2, 13, 14, 15, 16, 17, 31, 32, 33, 64, 100],
    heads: &[(64, 4), (64, 2), (128, 2), (40, 2), (24, 3), (66, 33), (400, 4)],
};

/// Rows that two to five threads share by rows and columns, and by rows in every number format.
const TALL: Sizes = Sizes {
    rows: &[70, 261],
    shapes: &[(20, 16), (40, 100), (385, 17)],
    long: &[],
    activated: 1,
    lengths: &[],
    heads: &[],
};

/// Runs every word.
fn outputs<K: Kernels>(k: &mut K) -> Vec<Output> {
    let mut all = words::outputs(k, &SIZES);
    words::kept(k, &SIZES, &mut all);
    all.extend(families::outputs(k));
    all
}

/// Runs linear layers on many rows.
fn tall<K: Kernels>(k: &mut K) -> Vec<Output> {
    let mut all = Vec::new();
    words::linear(k, &TALL, &mut all);
    words::kept(k, &TALL, &mut all);
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
    outputs_with(simd, threads, Int8Kernel::best(S::ISA))
}

fn outputs_with<S: Simd>(simd: S, threads: usize, dot: &'static Int8Kernel) -> Vec<Output> {
    outputs(&mut team(simd, threads, dot))
}

fn tall_outputs<S: Simd>(simd: S, threads: usize) -> Vec<Output> {
    tall(&mut team(simd, threads, Int8Kernel::best(S::ISA)))
}

fn team<S: Simd>(simd: S, threads: usize, dot: &'static Int8Kernel) -> Cpu<S> {
    let mut cpu = Cpu::with_int8_kernel(simd, dot);
    if threads > 1 {
        cpu.set_pool(Some(Arc::new(Pool::new(threads))));
    }
    cpu
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
    let (scalar, tall) = (cpu_outputs(Scalar, 1), tall_outputs(Scalar, 1));
    for isa in isa::available() {
        for threads in [1, 2, 5] {
            let what = format!("{} on {threads} threads", isa.name());
            same_bits(&what, &with_isa!(isa, cpu_outputs(threads)), &scalar);
            same_bits(&what, &with_isa!(isa, tall_outputs(threads)), &tall);
        }
    }
}

#[test]
fn every_microkernel_of_integers_computes_the_same_bits() {
    let scalar = cpu_outputs(Scalar, 1);
    for dot in Int8Kernel::available() {
        same_bits(dot.name, &with_isa!(isa::best(None), outputs_with(1, dot)), &scalar);
    }
}

fn same_bits(what: &str, outputs: &[Output], scalar: &[Output]) {
    assert_eq!(outputs.len(), scalar.len());
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

/// Nor may microkernels of integers.
#[test]
fn the_required_microkernels_were_tested() {
    let names: Vec<_> = Int8Kernel::available().iter().map(|dot| dot.name).collect();
    match std::env::var("CROSSRANK_REQUIRE_DOTS") {
        Ok(required) => {
            for name in required.split(',') {
                assert!(names.contains(&name), "{name} does not run here, only {names:?}");
            }
        }
        Err(_) => println!("SKIP: CROSSRANK_REQUIRE_DOTS is not set; tested {names:?}"),
    }
}

/// Rows of 8 bits with something that is no number among them, on their own and between others.
fn spoiled_rows<S: Simd>(simd: S, dot: &'static Int8Kernel) {
    const INPUTS: usize = 40;
    const OUTPUTS: usize = 20;
    let mut noise = Noise(5);
    let bytes: Vec<u8> = noise.values(INPUTS * OUTPUTS).iter().map(|v| (v * 127.0) as i8 as u8).collect();
    let (scales, bias) = (vec![0.01; OUTPUTS], noise.bytes(OUTPUTS, 1.0));
    let weight = Tensor { scales: &scales, ..Tensor::new(OUTPUTS, INPUTS, Dtype::I8, &bytes) };
    let k = &mut Cpu::with_int8_kernel(simd, dot);
    let part = LinearPart { weight, bias: words::tensor(1, OUTPUTS, &bias), scale: 1.0 };
    let w = k.make_linear(&[part], WeightStorage::AsStored).unwrap();
    let mut run = |x: &[f32], then: Epilogue<'_, _>| {
        let rows = x.len() / INPUTS;
        k.begin(&words::batch(&[rows], 8), 16, 1).unwrap();
        let x = k.write(rows, INPUTS, x).unwrap();
        let mut out = k.make_buf();
        k.shape(&mut out, rows, OUTPUTS).unwrap();
        k.linear(&x, &w, then, &mut out);
        words::read(k, &out, rows * OUTPUTS)
    };
    let whole = noise.values(3 * INPUTS);
    let expected = run(&whole, Epilogue::Store);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        // In a vector, and in what is left of one.
        for at in [3, INPUTS - 1] {
            let mut x = whole.clone();
            x[INPUTS + at] = bad;
            for then in [Epilogue::Store, Epilogue::Activate(Activation::Relu)] {
                let stored = matches!(then, Epilogue::Store);
                let found = run(&x, then);
                let spoiled = &found[OUTPUTS..2 * OUTPUTS];
                assert!(spoiled.iter().all(|y| y.is_nan()), "{}: {bad} at {at}: {spoiled:?}", dot.name);
                if stored {
                    assert_eq!(found[..OUTPUTS], expected[..OUTPUTS], "{}", dot.name);
                    assert_eq!(found[2 * OUTPUTS..], expected[2 * OUTPUTS..], "{}", dot.name);
                }
            }
        }
    }
}

#[test]
fn what_is_no_number_spoils_its_own_row_of_integers_and_no_other() {
    for dot in Int8Kernel::available() {
        for isa in isa::available() {
            with_isa!(isa, spoiled_rows(dot));
        }
    }
}

/// Every f16, bit for bit but for which NaN it is.
fn every_f16<S: Simd>(simd: S) {
    struct Load([[u8; 2]; LANES]);
    impl SimdKernel for Load {
        type Output = [f32; LANES];
        fn compute<S: Simd>(self, simd: S) -> [f32; LANES] {
            simd.lanes(simd.load_f16(&self.0))
        }
    }
    for first in (0..=u16::MAX).step_by(LANES) {
        let halves: [[u8; 2]; LANES] = std::array::from_fn(|lane| (first + lane as u16).to_le_bytes());
        let mut expected = [0.0; LANES];
        widen(Dtype::F16, halves.as_flattened(), &mut expected);
        let found = simd.dispatch(Load(halves));
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan());
        }
    }
}

#[test]
fn every_instruction_set_widens_every_f16_exactly() {
    for isa in isa::available() {
        with_isa!(isa, every_f16());
    }
}

/// Moves lanes about: the transpose of sixteen rows, and the lowest byte of each lane.
struct Moved([[f32; LANES]; LANES]);

impl SimdKernel for Moved {
    type Output = ([[f32; LANES]; LANES], [[u8; LANES]; LANES]);

    fn compute<S: Simd>(self, s: S) -> Self::Output {
        let rows = self.0.map(|row| s.load(&row));
        (s.transpose(rows).map(|row| s.lanes(row)), rows.map(|row| s.low_bytes(row)))
    }
}

fn moves<S: Simd>(simd: S) {
    // Every byte is a lowest one, and no two lanes are alike.
    let rows = std::array::from_fn(|i| {
        std::array::from_fn(|j| f32::from_bits(0x3f8a_5000 + (i * LANES + j) as u32))
    });
    let (columns, bytes) = simd.dispatch(Moved(rows));
    for (i, j) in (0..LANES).flat_map(|i| (0..LANES).map(move |j| (i, j))) {
        assert_eq!(columns[j][i].to_bits(), rows[i][j].to_bits(), "row {i}, lane {j}");
        assert_eq!(usize::from(bytes[i][j]), i * LANES + j);
    }
}

#[test]
fn every_instruction_set_moves_every_lane_to_its_place() {
    for isa in isa::available() {
        with_isa!(isa, moves());
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
