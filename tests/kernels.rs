//! Every op on every CPU instruction set: compared with the reference backend, and bit for bit with each other.

use std::sync::Arc;

use crossrank::Isa;
use crossrank::cpu::Cpu;
use crossrank::cpu::isa;
use crossrank::cpu::simd::{Int8Kernel, LANES, Scalar, Simd, SimdKernel};
use crossrank::cpu::threads::Pool;
use crossrank::reference::Reference;

#[path = "kernels/families.rs"]
mod families;
#[path = "kernels/ops.rs"]
mod ops;

use crossrank::kernels::{Activation, Dtype, Epilogue, Kernels, LinearPart, PoolMode, Tensor, WeightStorage};
use crossrank::tensor::widen;
use ops::{Noise, Output, Sizes, disagreements};

/// Around every edge: of the vectors (16), of the tiles (4, 6, 14 rows; 16, 32 columns), of KC (384), and of a block of
/// queries or heads (16, 32).
const SIZES: Sizes = Sizes {
    rows: &[1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 29, 43],
    shapes: &[(1, 1), (16, 15), (20, 16), (383, 17), (384, 31), (385, 32), (800, 33), (64, 100), (1024, 3)],
    // Also around the block of inputs of the integer microkernels, 768 or 1536. Sums of integers are exact at any length.
    int8_shapes: &[(767, 17), (769, 3), (1536, 33), (1537, 5), (3100, 16)],
    activated_shapes: 8,
    lengths: &[1, 2, 13, 14, 15, 16, 17, 31, 32, 33, 64, 100],
    heads: &[(64, 4), (64, 2), (128, 2), (40, 2), (24, 3), (66, 33), (400, 4)],
};

/// So many rows that two to five threads share them by rows and columns, and by rows alone in every type of weights.
const MANY_ROWS: Sizes = Sizes {
    rows: &[70, 261],
    shapes: &[(20, 16), (40, 100), (385, 17)],
    int8_shapes: &[],
    activated_shapes: 1,
    lengths: &[],
    heads: &[],
};

/// Runs every op.
fn outputs<K: Kernels>(k: &mut K) -> Vec<Output> {
    let mut all = ops::outputs(k, &SIZES);
    ops::linear_as_stored(k, &SIZES, &mut all);
    all.extend(families::outputs(k));
    all
}

/// Runs linear layers on many rows.
fn many_rows<K: Kernels>(k: &mut K) -> Vec<Output> {
    let mut all = Vec::new();
    ops::linear(k, &MANY_ROWS, &mut all);
    ops::linear_as_stored(k, &MANY_ROWS, &mut all);
    all
}

/// The greatest difference from the reference that f32 rounding explains, for values around 1; a row around 1000 is already
/// rounded by 3e-5 where its mean is subtracted.
fn tolerance(output: &Output) -> f32 {
    match output.op {
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

fn outputs_with<S: Simd>(simd: S, threads: usize, int8_kernel: &'static Int8Kernel) -> Vec<Output> {
    outputs(&mut cpu_with(simd, threads, int8_kernel))
}

fn many_rows_outputs<S: Simd>(simd: S, threads: usize) -> Vec<Output> {
    many_rows(&mut cpu_with(simd, threads, Int8Kernel::best(S::ISA)))
}

fn cpu_with<S: Simd>(simd: S, threads: usize, int8_kernel: &'static Int8Kernel) -> Cpu<S> {
    let mut cpu = Cpu::with_int8_kernel(simd, int8_kernel);
    if threads > 1 {
        cpu.set_pool(Some(Arc::new(Pool::new(threads))));
    }
    cpu
}

#[test]
fn every_op_matches_the_reference_on_every_instruction_set() {
    let reference = outputs(&mut Reference);
    for isa in isa::available() {
        let found = disagreements(&with_isa!(isa, cpu_outputs(1)), &reference, tolerance);
        assert!(found.is_empty(), "{}:\n{}", isa.name(), found.join("\n"));
    }
}

#[test]
fn every_instruction_set_and_number_of_threads_computes_the_same_bits() {
    let (scalar, scalar_many_rows) = (cpu_outputs(Scalar, 1), many_rows_outputs(Scalar, 1));
    for isa in isa::available() {
        for threads in [1, 2, 5] {
            let what = format!("{} on {threads} threads", isa.name());
            same_bits(&what, &with_isa!(isa, cpu_outputs(threads)), &scalar);
            same_bits(&what, &with_isa!(isa, many_rows_outputs(threads)), &scalar_many_rows);
        }
    }
}

#[test]
fn every_int8_kernel_computes_the_same_bits() {
    let scalar = cpu_outputs(Scalar, 1);
    for kernel in Int8Kernel::available() {
        same_bits(kernel.name, &with_isa!(isa::best(None), outputs_with(1, kernel)), &scalar);
    }
}

fn same_bits(what: &str, outputs: &[Output], scalar: &[Output]) {
    assert_eq!(outputs.len(), scalar.len());
    for (a, b) in outputs.iter().zip(scalar) {
        let bits = |o: &Output| o.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(a), bits(b), "{what}: {}: {}", a.op, a.case);
    }
}

/// A required instruction set must not be skipped silently.
#[test]
fn the_required_instruction_set_was_tested() {
    match std::env::var("CROSSRANK_REQUIRE_ISA") {
        Ok(name) => {
            assert!(isa::available().iter().any(|isa| isa.name() == name), "{name} does not run here")
        }
        Err(_) => println!("SKIP: CROSSRANK_REQUIRE_ISA is not set; tested {:?}", isa::available()),
    }
}

/// Nor may a required microkernel for 8-bit integers.
#[test]
fn the_required_int8_kernels_were_tested() {
    let names: Vec<_> = Int8Kernel::available().iter().map(|kernel| kernel.name).collect();
    match std::env::var("CROSSRANK_REQUIRE_INT8_KERNELS") {
        Ok(required) => {
            for name in required.split(',') {
                assert!(names.contains(&name), "{name} does not run here, only {names:?}");
            }
        }
        Err(_) => println!("SKIP: CROSSRANK_REQUIRE_INT8_KERNELS is not set; tested {names:?}"),
    }
}

/// Quantized rows that hold NaN or infinity, between rows that do not.
fn rows_with_nan<S: Simd>(simd: S, kernel: &'static Int8Kernel) {
    const INPUTS: usize = 40;
    const OUTPUTS: usize = 20;
    let mut noise = Noise(5);
    let bytes: Vec<u8> = noise.values(INPUTS * OUTPUTS).iter().map(|v| (v * 127.0) as i8 as u8).collect();
    let (scales, bias) = (vec![0.01; OUTPUTS], noise.bytes(OUTPUTS, 1.0));
    let weight = Tensor { scales: &scales, ..Tensor::new(OUTPUTS, INPUTS, Dtype::I8, &bytes) };
    let k = &mut Cpu::with_int8_kernel(simd, kernel);
    let part = LinearPart { weight, bias: ops::tensor(1, OUTPUTS, &bias), scale: 1.0 };
    let w = k.make_linear(&[part], WeightStorage::AsStored).unwrap();
    let mut linear = |x: &[f32], epilogue: Epilogue<'_, _>| {
        let rows = x.len() / INPUTS;
        k.begin(&ops::batch(&[rows], 8), 16, 1).unwrap();
        let x = k.write(rows, INPUTS, x).unwrap();
        let mut out = k.make_buf();
        k.shape(&mut out, rows, OUTPUTS).unwrap();
        k.linear(&x, &w, epilogue, &mut out);
        ops::read(k, &out, rows * OUTPUTS)
    };
    let finite = noise.values(3 * INPUTS);
    let expected = linear(&finite, Epilogue::Store);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        // In a whole vector, and in the rest of the row.
        for at in [3, INPUTS - 1] {
            let mut x = finite.clone();
            x[INPUTS + at] = bad;
            for epilogue in [Epilogue::Store, Epilogue::Activate(Activation::Relu)] {
                let stored = matches!(epilogue, Epilogue::Store);
                let found = linear(&x, epilogue);
                let row = &found[OUTPUTS..2 * OUTPUTS];
                assert!(row.iter().all(|y| y.is_nan()), "{}: {bad} at {at}: {row:?}", kernel.name);
                if stored {
                    assert_eq!(found[..OUTPUTS], expected[..OUTPUTS], "{}", kernel.name);
                    assert_eq!(found[2 * OUTPUTS..], expected[2 * OUTPUTS..], "{}", kernel.name);
                }
            }
        }
    }
}

#[test]
fn nan_or_infinity_makes_its_own_quantized_row_nan_and_no_other() {
    for kernel in Int8Kernel::available() {
        for isa in isa::available() {
            with_isa!(isa, rows_with_nan(kernel));
        }
    }
}

/// Sequences of three rows, of which one holds NaN, and one without.
fn pooled_nan<K: Kernels>(k: &mut K) {
    let batch = ops::batch(&[3; 4], 8);
    let mut x = Noise(9).values(12);
    for sequence in 0..3 {
        x[4 * sequence] = f32::NAN;
    }
    k.begin(&batch, 1, 1).unwrap();
    let x = k.write(12, 1, &x).unwrap();
    for mode in [PoolMode::Mean, PoolMode::MeanSqrtLen, PoolMode::WeightedMean, PoolMode::Max] {
        let mut out = k.make_buf();
        k.shape(&mut out, 4, 1).unwrap();
        k.pool(&batch, mode, &x, &mut out);
        let nan: Vec<bool> = ops::read(k, &out, 4).iter().map(|x| x.is_nan()).collect();
        assert_eq!(nan, [true, true, true, false], "{mode:?}");
    }
}

fn cpu_pooled_nan<S: Simd>(simd: S) {
    pooled_nan(&mut cpu_with(simd, 1, Int8Kernel::best(S::ISA)));
}

#[test]
fn nan_in_any_row_of_a_sequence_is_not_lost_when_it_is_pooled() {
    pooled_nan(&mut Reference);
    for isa in isa::available() {
        with_isa!(isa, cpu_pooled_nan());
    }
}

/// Every f16, bit for bit except for the bits of NaN.
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

/// Moves lanes: the transpose of sixteen rows, and the lowest byte of each lane.
struct MoveLanes([[f32; LANES]; LANES]);

impl SimdKernel for MoveLanes {
    type Output = ([[f32; LANES]; LANES], [[u8; LANES]; LANES]);

    fn compute<S: Simd>(self, s: S) -> Self::Output {
        let rows = self.0.map(|row| s.load(&row));
        (s.transpose(rows).map(|row| s.lanes(row)), rows.map(|row| s.low_bytes(row)))
    }
}

fn move_lanes<S: Simd>(simd: S) {
    // Every byte value is the lowest byte of a lane, and no two lanes are equal.
    let rows = std::array::from_fn(|i| {
        std::array::from_fn(|j| f32::from_bits(0x3f8a_5000 + (i * LANES + j) as u32))
    });
    let (columns, bytes) = simd.dispatch(MoveLanes(rows));
    for (i, j) in (0..LANES).flat_map(|i| (0..LANES).map(move |j| (i, j))) {
        assert_eq!(columns[j][i].to_bits(), rows[i][j].to_bits(), "row {i}, lane {j}");
        assert_eq!(usize::from(bytes[i][j]), i * LANES + j);
    }
}

#[test]
fn every_instruction_set_moves_every_lane_to_its_place() {
    for isa in isa::available() {
        with_isa!(isa, move_lanes());
    }
}

#[path = "kernels/saboteur.rs"]
mod saboteur;

#[test]
fn a_single_wrong_element_of_any_op_is_noticed() {
    let reference = outputs(&mut Reference);
    for op in [
        "linear",
        "norm",
        "embed",
        "attention",
        "attention_biased",
        "attention_local",
        "attention_disentangled",
        "rotate",
        "gate",
        "pool",
        "first_tokens",
        "attention_first",
    ] {
        let found = disagreements(&outputs(&mut saboteur::Saboteur::of(op)), &reference, tolerance);
        assert!(!found.is_empty(), "a wrong element of {op} went unnoticed");
        assert!(found.iter().all(|f| f.starts_with(&format!("{op}:"))), "{found:?}");
    }
}
