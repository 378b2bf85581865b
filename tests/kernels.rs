//! Every word of every CPU instruction set against the reference backend, and bit for bit against each other.

use std::sync::Arc;

use crossrank::Isa;
use crossrank::cpu::Cpu;
use crossrank::cpu::isa;
use crossrank::cpu::simd::{Scalar, Simd};
use crossrank::cpu::threads::Pool;
use crossrank::kernels::{Activation, Dtype, Kernels, Part, Tensor, Then};
use crossrank::reference::Reference;
use crossrank::text::batch::{PackedBatch, Pair};

/// What one word computed in one case.
struct Output {
    word: &'static str,
    case: String,
    values: Vec<f32>,
}

/// Deterministic values in [-1, 1).
struct Noise(u64);

impl Noise {
    fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| {
                // Knuth's MMIX generator.
                self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// A tensor's bytes in f32.
    fn bytes(&mut self, count: usize, scale: f32) -> Vec<u8> {
        self.values(count).iter().flat_map(|v| (v * scale).to_le_bytes()).collect()
    }
}

fn tensor(rows: usize, cols: usize, bytes: &[u8]) -> Tensor<'_> {
    Tensor { rows, cols, dtype: Dtype::F32, bytes }
}

/// Sequences of these lengths, with ids below `vocabulary`.
fn batch(lengths: &[usize], vocabulary: u32) -> PackedBatch {
    let pairs: Vec<Pair> = lengths
        .iter()
        .map(|&len| Pair {
            ids: (0..len as u32).map(|i| (i * 7 + 3) % vocabulary).collect(),
            types: (0..len as u32).map(|i| i % 2).collect(),
            ..Pair::default()
        })
        .collect();
    PackedBatch::new(&pairs, 0)
}

fn read<K: Kernels>(k: &mut K, buf: &K::Buf, count: usize) -> Vec<f32> {
    let mut out = vec![0.0; count];
    k.read(buf, &mut out).unwrap();
    out
}

/// Runs every word on sizes around every edge: of the vectors (16), of the tiles (4, 6, 14 rows; 16, 32 columns), of the
/// steps of k in one go (384), and of a block of queries or heads (16, 32).
fn outputs<K: Kernels>(k: &mut K) -> Vec<Output> {
    let mut all = Vec::new();
    linear(k, &mut all);
    norm(k, &mut all);
    embed(k, &mut all);
    attention(k, &mut all);
    all
}

fn linear<K: Kernels>(k: &mut K, all: &mut Vec<Output>) {
    let thens = [
        None,
        Some(Activation::Gelu),
        Some(Activation::GeluTanh),
        Some(Activation::Relu),
        Some(Activation::Silu),
        Some(Activation::Tanh),
    ];
    let mut noise = Noise(1);
    for rows in [1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 29, 43] {
        for (inputs, outputs) in
            [(1, 1), (16, 15), (20, 16), (383, 17), (384, 31), (385, 32), (800, 33), (64, 100)]
        {
            k.begin(&batch(&[rows], 8), 16, 1).unwrap();
            let x = noise.values(rows * inputs);
            let x = k.write(rows, inputs, &x).unwrap();
            // Weights as a trained layer has them: outputs around 1, whatever the width.
            let scale = (inputs as f32).powf(-0.5);
            let (weight, bias) = (noise.bytes(outputs * inputs, scale), noise.bytes(outputs, 1.0));
            let residual = noise.values(rows * outputs);
            let residual = k.write(rows, outputs, &residual).unwrap();
            let split = outputs / 3;
            let part = |rows: std::ops::Range<usize>, scale| Part {
                weight: tensor(outputs, inputs, &weight).rows(rows.clone()),
                bias: tensor(1, outputs, &bias).slice(rows),
                scale,
            };
            let w = k.make_linear(&[part(0..split, 0.3), part(split..outputs, 1.0)]).unwrap();
            let mut out = k.make_buf();
            let mut run = |k: &mut K, name: &str, then: Then<'_, K::Buf>| {
                k.shape(&mut out, rows, outputs).unwrap();
                k.linear(&x, &w, then, &mut out);
                let case = format!("{rows} x {inputs} -> {outputs}, {name}");
                all.push(Output { word: "linear", case, values: read(k, &out, rows * outputs) });
            };
            for then in thens {
                run(k, &format!("{then:?}"), then.map_or(Then::Store, Then::Activate));
            }
            run(k, "add", Then::Add(&residual));
        }
    }
    // Activations far out, where a polynomial would run away.
    for f in thens.into_iter().flatten() {
        let x = [
            -1e4, -100.0, -88.0, -9.5, -5.0, -1e-6, -0.0, 0.0, 1e-6, 0.3, 4.5, 9.5, 88.0, 100.0, 1e4, 1e-30,
            3.3,
        ];
        k.begin(&batch(&[x.len()], 8), 16, 1).unwrap();
        let buf = k.write(x.len(), 1, &x).unwrap();
        let (weight, bias) = (1f32.to_le_bytes(), 0f32.to_le_bytes());
        let part = Part { weight: tensor(1, 1, &weight), bias: tensor(1, 1, &bias), scale: 1.0 };
        let w = k.make_linear(&[part]).unwrap();
        let mut out = k.make_buf();
        k.shape(&mut out, x.len(), 1).unwrap();
        k.linear(&buf, &w, Then::Activate(f), &mut out);
        let values = read(k, &out, x.len());
        // Relative for the large ones, so that one tolerance serves all.
        let values = values.iter().zip(x).map(|(y, x)| y / x.abs().max(1.0)).collect();
        all.push(Output { word: "linear", case: format!("{f:?} far out"), values });
    }
}

fn norm<K: Kernels>(k: &mut K, all: &mut Vec<Output>) {
    let mut noise = Noise(2);
    for hidden in [1, 15, 16, 17, 64, 312, 384] {
        for mean in [0.0, 1e3] {
            let rows = 5;
            k.begin(&batch(&[rows], 8), hidden, 1).unwrap();
            let (gain, bias) = (noise.bytes(hidden, 1.0), noise.bytes(hidden, 1.0));
            let norm = k.make_norm(tensor(1, hidden, &gain), tensor(1, hidden, &bias), 1e-12).unwrap();
            let x: Vec<f32> = noise.values(rows * hidden).iter().map(|v| v + mean).collect();
            let x = k.write(rows, hidden, &x).unwrap();
            let mut out = k.make_buf();
            k.shape(&mut out, rows, hidden).unwrap();
            k.norm(&x, &norm, &mut out);
            let case = format!("{hidden} around {mean}");
            all.push(Output { word: "norm", case, values: read(k, &out, rows * hidden) });
        }
    }
}

fn embed<K: Kernels>(k: &mut K, all: &mut Vec<Output>) {
    let mut noise = Noise(3);
    let batch = batch(&[3, 1, 9], 11);
    for hidden in [15, 64, 100] {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            k.begin(&batch, hidden, 1).unwrap();
            let mut bytes = |rows: usize| match dtype {
                Dtype::F32 => noise.bytes(rows * hidden, 1.0),
                // Any bits but those of infinity and NaN: the top exponent bit is cleared.
                _ => {
                    let mut bytes = noise.bytes(rows * hidden, 1.0);
                    bytes.truncate(rows * hidden * 2);
                    bytes.iter_mut().skip(1).step_by(2).for_each(|b| *b &= 0xbf);
                    bytes
                }
            };
            let (word, position, kind) = (bytes(11), bytes(9), bytes(2));
            let table = |rows, bytes| Tensor { rows, cols: hidden, dtype, bytes };
            let word = k.make_table(table(11, &word)).unwrap();
            let position = k.make_table(table(9, &position)).unwrap();
            let kind = k.make_table(table(2, &kind)).unwrap();
            let (gain, bias) = (noise.bytes(hidden, 1.0), noise.bytes(hidden, 1.0));
            let norm = k.make_norm(tensor(1, hidden, &gain), tensor(1, hidden, &bias), 1e-5).unwrap();
            let mut out = k.make_buf();
            k.shape(&mut out, batch.tokens(), hidden).unwrap();
            k.embed(&batch, &word, &position, &kind, &norm, &mut out);
            let values = read(k, &out, batch.tokens() * hidden);
            all.push(Output { word: "embed", case: format!("{hidden} {dtype:?}"), values });
        }
    }
}

fn attention<K: Kernels>(k: &mut K, all: &mut Vec<Output>) {
    let mut noise = Noise(4);
    let lengths = [1, 2, 13, 14, 15, 16, 17, 31, 32, 33, 64, 100];
    let batch = batch(&lengths, 8);
    let (tokens, sequences) = (batch.tokens(), batch.sequences());
    for (hidden, heads) in [(64, 4), (64, 2), (128, 2), (40, 2), (24, 3), (66, 33), (400, 4)] {
        k.begin(&batch, hidden, heads).unwrap();
        let case = format!("H {hidden}, N {heads}");
        // Queries carry 1/sqrt(D); 3 makes the softmax neither flat nor a single spike.
        let scale = 3.0 * ((hidden / heads) as f32).powf(-0.5);
        let mut qkv = noise.values(tokens * 3 * hidden);
        qkv.chunks_mut(3 * hidden).for_each(|row| row[..hidden].iter_mut().for_each(|q| *q *= scale));
        let qkv = k.write(tokens, 3 * hidden, &qkv).unwrap();
        let mut out = k.make_buf();
        k.shape(&mut out, tokens, hidden).unwrap();
        k.attention(&batch, &qkv, heads, &mut out);
        all.push(Output { word: "attention", case: case.clone(), values: read(k, &out, tokens * hidden) });

        let x = noise.values(tokens * hidden);
        let x = k.write(tokens, hidden, &x).unwrap();
        let mut first = k.make_buf();
        k.shape(&mut first, sequences, hidden).unwrap();
        k.first_tokens(&batch, &x, &mut first);
        let values = read(k, &first, sequences * hidden);
        all.push(Output { word: "first_tokens", case: case.clone(), values });

        let scale = (hidden as f32).powf(-0.5);
        let mut linear = || (noise.bytes(hidden * hidden, scale), noise.bytes(hidden, 1.0));
        let ((key, key_bias), (value, value_bias)) = (linear(), linear());
        let key =
            Part { weight: tensor(hidden, hidden, &key), bias: tensor(1, hidden, &key_bias), scale: 1.0 };
        let value =
            Part { weight: tensor(hidden, hidden, &value), bias: tensor(1, hidden, &value_bias), scale: 1.0 };
        let kv = k.make_key_value(key, value, heads).unwrap();
        let q = noise.values(sequences * hidden);
        let q = k.write(sequences, hidden, &q).unwrap();
        k.attention_first(&batch, &q, &x, &kv, &mut first);
        let values = read(k, &first, sequences * hidden);
        all.push(Output { word: "attention_first", case, values });
    }
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

/// The first case of each word that is further from the reference than its tolerance.
fn disagreements(outputs: &[Output], reference: &[Output]) -> Vec<String> {
    assert_eq!(outputs.len(), reference.len());
    let mut found: Vec<String> = Vec::new();
    for (ours, theirs) in outputs.iter().zip(reference) {
        assert_eq!((ours.word, &ours.case), (theirs.word, &theirs.case));
        let differs = |(a, b): (&f32, &f32)| (a - b).abs() > tolerance(ours) || a.is_nan() != b.is_nan();
        if let Some(i) = ours.values.iter().zip(&theirs.values).position(differs) {
            let (a, b) = (ours.values[i], theirs.values[i]);
            found.push(format!("{}: {}: element {i} is {a}, the reference has {b}", ours.word, ours.case));
        }
    }
    found
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
    let mut cpu = Cpu::new(simd);
    if threads > 1 {
        cpu.set_team(Some(Arc::new(Pool::new(threads))));
    }
    outputs(&mut cpu)
}

#[test]
fn every_word_matches_the_reference_on_every_instruction_set() {
    let reference = outputs(&mut Reference);
    for isa in isa::available() {
        let found = disagreements(&with_isa!(isa, cpu_outputs(1)), &reference);
        assert!(found.is_empty(), "{}:\n{}", isa.name(), found.join("\n"));
    }
}

#[test]
fn every_instruction_set_and_every_team_computes_the_same_bits() {
    let scalar = cpu_outputs(Scalar, 1);
    for isa in isa::available() {
        for threads in [1, 2, 5] {
            let outputs = with_isa!(isa, cpu_outputs(threads));
            for (a, b) in outputs.iter().zip(&scalar) {
                let bits = |o: &Output| o.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(a), bits(b), "{} on {threads} threads: {}: {}", isa.name(), a.word, a.case);
            }
        }
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
    for word in ["linear", "norm", "embed", "attention", "first_tokens", "attention_first"] {
        let found = disagreements(&outputs(&mut saboteur::Saboteur::of(word)), &reference);
        assert!(!found.is_empty(), "a wrong element of {word} went unnoticed");
        assert!(found.iter().all(|f| f.starts_with(&format!("{word}:"))), "{found:?}");
    }
}
