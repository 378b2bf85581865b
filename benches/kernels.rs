//! The main ops of the CPU backend at the shapes of MiniLM and BERT, on every instruction set. Each result is compared with
//! the reference before the op is timed. Throughput counts floating-point operations, a multiply-add as two. A table at the
//! end says what fraction of the core's measured peak each product reached on one thread:
//!
//! cargo bench --bench kernels -- 'avx512, threads 1'

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use crossrank::Isa;
use crossrank::cpu::simd::{self, Simd};
use crossrank::cpu::threads::Pool;
use crossrank::cpu::{Cpu, isa};
use crossrank::kernels::{Activation, Dtype, Epilogue, Kernels, LinearPart, Tensor, WeightStorage};
use crossrank::reference::Reference;
use crossrank::text::batch::{PackedBatch, Pair};

/// Rows of a full group.
const ROWS: usize = 256;
/// MiniLM: H and N.
const HIDDEN: usize = 384;
const HEADS: usize = 12;
/// (outputs, inputs, activation, name).
const LINEARS: [(usize, usize, Option<Activation>, &str); 5] = [
    (1152, 384, None, "qkv"),
    (384, 384, None, "out"),
    (1536, 384, Some(Activation::Gelu), "up"),
    (384, 1536, None, "down"),
    (3072, 768, Some(Activation::Gelu), "BERT-base up"),
];
const LENGTHS: [usize; 3] = [32, 128, 512];
/// Rounding to f32 of sums around 1; the kernel tests have the exact bounds.
const TOLERANCE: f32 = 1e-5;

/// Deterministic values in [-1, 1): Knuth's MMIX generator.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1_u64;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn bytes(values: &[f32], scale: f32) -> Vec<u8> {
    values.iter().flat_map(|v| (v * scale).to_le_bytes()).collect()
}

fn tensor(rows: usize, cols: usize, bytes: &[u8]) -> Tensor<'_> {
    Tensor::new(rows, cols, Dtype::F32, bytes)
}

fn one_sequence(tokens: usize) -> PackedBatch {
    let pair = Pair { ids: vec![0; tokens], token_types: vec![0; tokens], ..Pair::default() };
    PackedBatch::new([&pair], 0)
}

fn read<K: Kernels>(k: &mut K, buf: &K::Buf, count: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; count];
    k.read(buf, &mut out).expect("a buffer of that size");
    out
}

/// Stops the benchmark where a result is wrong: the time of a wrong result is no measurement.
fn check(name: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let close = (found - expected).abs() <= TOLERANCE;
        assert!(close, "{name}: element {i} is {found}, the reference has {expected}");
    }
}

/// The backend that is measured, and what the names of benchmarks say of it.
struct Bench<'a, S> {
    criterion: &'a mut Criterion,
    cpu: Cpu<S>,
    threads: usize,
    /// The lines of the table of fractions, one per product.
    fractions: &'a mut Vec<String>,
}

impl<S: Simd> Bench<'_, S> {
    /// Times `call`, which takes `flop` operations. Gives the least time in seconds, unless the benchmark was filtered out.
    fn time(&mut self, op: &str, shape: &str, flop: usize, mut call: impl FnMut(&mut Cpu<S>)) -> Option<f64> {
        let mut group = self.criterion.benchmark_group(op);
        group.throughput(Throughput::Elements(flop as u64));
        // Plain Rust takes a second per call on the largest shape.
        group.sample_size(10).warm_up_time(Duration::from_millis(200));
        group.measurement_time(Duration::from_secs(1));
        let (cpu, mut best) = (&mut self.cpu, f64::INFINITY);
        let parameter = format!("{}, threads {}", S::ISA.name(), self.threads);
        group.bench_function(BenchmarkId::new(shape, parameter), |b| {
            b.iter_custom(|times| {
                let start = Instant::now();
                (0..times).for_each(|_| call(cpu));
                let elapsed = start.elapsed();
                best = best.min(elapsed.as_secs_f64() / times as f64);
                elapsed
            });
        });
        group.finish();
        best.is_finite().then_some(best)
    }

    /// [`time`](Self::time) of a product, and its line in the table. The peak is measured again for each product, because the
    /// clock of a core changes.
    fn time_product(&mut self, op: &str, shape: &str, flop: usize, call: impl FnMut(&mut Cpu<S>)) {
        if let (Some(seconds), 1) = (self.time(op, shape, flop, call), self.threads) {
            let peak = isa::measure_peak(S::ISA).expect("it runs here").f32_per_second;
            let (found, isa) = (flop as f64 / seconds, S::ISA.name());
            let (gflops, of) = (found / 1e9, peak / 1e9);
            let fraction = found / peak;
            self.fractions.push(format!("{isa:7} {op:10} {shape:40} {gflops:8.1} {of:8.1} {fraction:9.2}"));
        }
    }

    fn linear(&mut self) {
        for (outputs, inputs, activation, name) in LINEARS {
            let shape = format!("M {ROWS}, N {outputs}, K {inputs} ({name})");
            let values = noise(ROWS * inputs);
            // Outputs around 1 for any number of inputs.
            let weight = bytes(&noise(outputs * inputs), (inputs as f32).powf(-0.5));
            let bias = bytes(&noise(outputs), 1.0);
            let part = LinearPart {
                weight: tensor(outputs, inputs, &weight),
                bias: tensor(1, outputs, &bias),
                scale: 1.0,
            };
            let cpu = &mut self.cpu;
            cpu.begin(&one_sequence(ROWS), HIDDEN, HEADS).expect("memory");
            let x = cpu.write(ROWS, inputs, &values).expect("memory");
            let w = cpu.make_linear(&[part], WeightStorage::F32).expect("memory");
            let mut out = cpu.make_buf();
            cpu.shape(&mut out, ROWS, outputs).expect("memory");
            cpu.linear(&x, &w, activation.map_or(Epilogue::Store, Epilogue::Activate), &mut out);

            // A row's values do not depend on the other rows: checking the first and the last is enough.
            let (first, last) = (&values[..inputs], &values[(ROWS - 1) * inputs..]);
            let found = read(cpu, &out, ROWS * outputs);
            let found = [&found[..outputs], &found[(ROWS - 1) * outputs..]].concat();
            check(&shape, &found, &reference_linear(&[first, last].concat(), part, activation));

            let flop = 2 * ROWS * outputs * inputs;
            self.time_product("linear", &shape, flop, |cpu| {
                cpu.linear(&x, &w, activation.map_or(Epilogue::Store, Epilogue::Activate), &mut out);
            });
        }
    }

    fn attention(&mut self) {
        for tokens in LENGTHS {
            let shape = format!("{tokens} tokens, {HEADS} heads of {}", HIDDEN / HEADS);
            let values = noise(tokens * 3 * HIDDEN);
            let batch = one_sequence(tokens);
            let attention = |k: &mut Cpu<S>| {
                k.begin(&batch, HIDDEN, HEADS).expect("memory");
                let qkv = k.write(tokens, 3 * HIDDEN, &values).expect("memory");
                let mut out = k.make_buf();
                k.shape(&mut out, tokens, HIDDEN).expect("memory");
                k.attention(&batch, &qkv, HEADS, &mut out);
                (qkv, out)
            };
            let (qkv, mut out) = attention(&mut self.cpu);
            check(&shape, &read(&mut self.cpu, &out, tokens * HIDDEN), &reference_attention(&batch, &values));

            // Scores and their product with the values: 2 L^2 H each.
            let flop = 4 * tokens * tokens * HIDDEN;
            self.time_product("attention", &shape, flop, |cpu| {
                cpu.attention(&batch, &qkv, HEADS, &mut out);
            });
        }
    }

    fn norm(&mut self) {
        let shape = format!("[{ROWS}, {HIDDEN}]");
        let values = noise(ROWS * HIDDEN);
        let (gain, bias) = (bytes(&noise(HIDDEN), 1.0), bytes(&noise(HIDDEN), 0.5));
        let (gain, bias) = (tensor(1, HIDDEN, &gain), tensor(1, HIDDEN, &bias));
        let cpu = &mut self.cpu;
        let norm = cpu.make_norm(gain, bias, 1e-12).expect("memory");
        let x = cpu.write(ROWS, HIDDEN, &values).expect("memory");
        let mut out = cpu.make_buf();
        cpu.shape(&mut out, ROWS, HIDDEN).expect("memory");
        cpu.norm(&x, &norm, &mut out);
        check(&shape, &read(cpu, &out, ROWS * HIDDEN), &reference_norm(&values, gain, bias));

        // Per element: two sums, a difference and a square, and (x - mean) * inverse * gain + bias.
        let flop = 8 * ROWS * HIDDEN;
        self.time("norm", &shape, flop, |cpu| cpu.norm(&x, &norm, &mut out));
    }
}

fn reference_linear(x: &[f32], part: LinearPart<'_>, activation: Option<Activation>) -> Vec<f32> {
    let k = &mut Reference;
    let (inputs, outputs) = (part.weight.cols, part.weight.rows);
    let rows = x.len() / inputs;
    let w = k.make_linear(&[part], WeightStorage::F32).expect("memory");
    let x = k.write(rows, inputs, x).expect("memory");
    let mut out = k.make_buf();
    k.shape(&mut out, rows, outputs).expect("memory");
    k.linear(&x, &w, activation.map_or(Epilogue::Store, Epilogue::Activate), &mut out);
    read(k, &out, rows * outputs)
}

fn reference_attention(batch: &PackedBatch, qkv: &[f32]) -> Vec<f32> {
    let (k, tokens) = (&mut Reference, batch.tokens());
    let qkv = k.write(tokens, 3 * HIDDEN, qkv).expect("memory");
    let mut out = k.make_buf();
    k.shape(&mut out, tokens, HIDDEN).expect("memory");
    k.attention(batch, &qkv, HEADS, &mut out);
    read(k, &out, tokens * HIDDEN)
}

fn reference_norm(x: &[f32], gain: Tensor<'_>, bias: Tensor<'_>) -> Vec<f32> {
    let k = &mut Reference;
    let norm = k.make_norm(gain, bias, 1e-12).expect("memory");
    let x = k.write(ROWS, HIDDEN, x).expect("memory");
    let mut out = k.make_buf();
    k.shape(&mut out, ROWS, HIDDEN).expect("memory");
    k.norm(&x, &norm, &mut out);
    read(k, &out, ROWS * HIDDEN)
}

fn with<S: Simd>(criterion: &mut Criterion, fractions: &mut Vec<String>, simd: S) {
    for threads in [1, 2] {
        let mut cpu = Cpu::new(simd);
        if threads > 1 {
            cpu.set_pool(Some(Arc::new(Pool::new(threads))));
        }
        let mut bench = Bench { criterion: &mut *criterion, cpu, threads, fractions: &mut *fractions };
        bench.linear();
        bench.attention();
        bench.norm();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut fractions = Vec::new();
    for isa in isa::available().into_iter().rev() {
        let (c, f) = (&mut criterion, &mut fractions);
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => with(c, f, simd::Avx2::detect().expect("it is available")),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => with(c, f, simd::Avx512::detect().expect("it is available")),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => with(c, f, simd::Neon::detect().expect("it is available")),
            _ => with(c, f, simd::Scalar),
        }
    }
    criterion.final_summary();
    if !fractions.is_empty() {
        println!("{:59} {:>8} {:>8} {:>9}", "one thread", "GFLOP/s", "peak", "fraction");
        fractions.iter().for_each(|line| println!("{line}"));
    }
}
