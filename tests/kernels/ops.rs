//! Every op at the sizes where its kernels may fail, for any backend: what it computes, and where that differs from the
//! reference.

use crossrank::kernels::{Activation, Dtype, Epilogue, Kernels, LinearPart, Tensor, WeightStorage};
use crossrank::tensor::{narrow_f16, quantize_weights};
use crossrank::text::batch::{PackedBatch, Pair};

/// What one op computed in one case.
pub struct Output {
    pub op: &'static str,
    pub case: String,
    pub values: Vec<f32>,
}

/// The sizes at which a backend's kernels may fail: those around the edges of its tiles.
pub struct Sizes {
    /// Rows of linear layers.
    pub rows: &'static [usize],
    /// Inputs and outputs of linear layers.
    pub shapes: &'static [(usize, usize)],
    /// More inputs and outputs, for 8-bit integers alone.
    pub int8_shapes: &'static [(usize, usize)],
    /// How many of `shapes` are tried with every activation; the others only with a plain store and a residual.
    pub activated_shapes: usize,
    /// Lengths of the sequences of one batch.
    pub lengths: &'static [usize],
    /// H and N of attention.
    pub heads: &'static [(usize, usize)],
}

/// Deterministic values in [-1, 1).
pub struct Noise(pub u64);

impl Noise {
    pub fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| {
                // Knuth's MMIX generator.
                self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// The bytes of an f32 tensor.
    pub fn bytes(&mut self, count: usize, scale: f32) -> Vec<u8> {
        self.values(count).iter().flat_map(|v| (v * scale).to_le_bytes()).collect()
    }
}

pub fn tensor(rows: usize, cols: usize, bytes: &[u8]) -> Tensor<'_> {
    Tensor::new(rows, cols, Dtype::F32, bytes)
}

/// Sequences of these lengths, with token ids below `vocabulary`.
pub fn batch(lengths: &[usize], vocabulary: u32) -> PackedBatch {
    let pairs: Vec<Pair> = lengths
        .iter()
        .map(|&len| Pair {
            ids: (0..len as u32).map(|i| (i * 7 + 3) % vocabulary).collect(),
            token_types: (0..len as u32).map(|i| i % 2).collect(),
            ..Pair::default()
        })
        .collect();
    PackedBatch::new(&pairs, 0)
}

pub fn read<K: Kernels>(k: &mut K, buf: &K::Buf, count: usize) -> Vec<f32> {
    let mut out = vec![0.0; count];
    k.read(buf, &mut out).unwrap();
    out
}

/// Runs every op that all families need.
pub fn outputs<K: Kernels>(k: &mut K, sizes: &Sizes) -> Vec<Output> {
    let mut all = Vec::new();
    linear(k, sizes, &mut all);
    norm(k, &mut all);
    embed(k, &mut all);
    attention(k, sizes, &mut all);
    all
}

/// Runs linear layers alone.
pub fn linear<K: Kernels>(k: &mut K, sizes: &Sizes, all: &mut Vec<Output>) {
    let activations = [
        None,
        Some(Activation::Gelu),
        Some(Activation::GeluTanh),
        Some(Activation::Relu),
        Some(Activation::Silu),
        Some(Activation::Tanh),
    ];
    let mut noise = Noise(1);
    for &rows in sizes.rows {
        for (index, &(inputs, outputs)) in sizes.shapes.iter().enumerate() {
            k.begin(&batch(&[rows], 8), 16, 1).unwrap();
            let x = noise.values(rows * inputs);
            let x = k.write(rows, inputs, &x).unwrap();
            // Weights like those of a trained layer: outputs around 1 for any number of inputs.
            let scale = (inputs as f32).powf(-0.5);
            let (weight, bias) = (noise.bytes(outputs * inputs, scale), noise.bytes(outputs, 1.0));
            let residual = noise.values(rows * outputs);
            let residual = k.write(rows, outputs, &residual).unwrap();
            let split = outputs / 3;
            let part = |rows: std::ops::Range<usize>, scale| LinearPart {
                weight: tensor(outputs, inputs, &weight).rows(rows.clone()),
                bias: tensor(1, outputs, &bias).slice(rows),
                scale,
            };
            let w =
                k.make_linear(&[part(0..split, 0.3), part(split..outputs, 1.0)], WeightStorage::F32).unwrap();
            let mut out = k.make_buf();
            let mut run = |k: &mut K, name: &str, epilogue: Epilogue<'_, K::Buf>| {
                k.shape(&mut out, rows, outputs).unwrap();
                k.linear(&x, &w, epilogue, &mut out);
                let case = format!("{rows} x {inputs} -> {outputs}, {name}");
                all.push(Output { op: "linear", case, values: read(k, &out, rows * outputs) });
            };
            let activations =
                if index < sizes.activated_shapes { &activations[..] } else { &activations[..1] };
            for &activation in activations {
                run(k, &format!("{activation:?}"), activation.map_or(Epilogue::Store, Epilogue::Activate));
            }
            run(k, "add", Epilogue::Add(&residual));
        }
    }
    // Activations of large values, where a polynomial would diverge.
    for f in activations.into_iter().flatten() {
        let x = [
            -1e4, -100.0, -88.0, -9.5, -5.0, -1e-6, -0.0, 0.0, 1e-6, 0.3, 4.5, 9.5, 88.0, 100.0, 1e4, 1e-30,
            3.3,
        ];
        k.begin(&batch(&[x.len()], 8), 16, 1).unwrap();
        let buf = k.write(x.len(), 1, &x).unwrap();
        let (weight, bias) = (1f32.to_le_bytes(), 0f32.to_le_bytes());
        let part = LinearPart { weight: tensor(1, 1, &weight), bias: tensor(1, 1, &bias), scale: 1.0 };
        let w = k.make_linear(&[part], WeightStorage::F32).unwrap();
        let mut out = k.make_buf();
        k.shape(&mut out, x.len(), 1).unwrap();
        k.linear(&buf, &w, Epilogue::Activate(f), &mut out);
        let values = read(k, &out, x.len());
        // Large values are compared relatively, so that one tolerance serves all.
        let values = values.iter().zip(x).map(|(y, x)| y / x.abs().max(1.0)).collect();
        all.push(Output { op: "linear", case: format!("{f:?} of large values"), values });
    }
}

/// Runs linear layers whose weights stay as they are stored, for backends that multiply 8-bit integers as such.
#[allow(dead_code, reason = "the GPU widens them")]
pub fn linear_as_stored<K: Kernels>(k: &mut K, sizes: &Sizes, all: &mut Vec<Output>) {
    let mut noise = Noise(3);
    for (index, &(inputs, outputs)) in sizes.shapes.iter().chain(sizes.int8_shapes).enumerate() {
        let scale = (inputs as f32).powf(-0.5);
        let weights: Vec<f32> = noise.values(outputs * inputs).iter().map(|v| v * scale).collect();
        let bias = noise.bytes(outputs, 1.0);
        let half = |narrow: fn(f32) -> u16| weights.iter().flat_map(|v| narrow(*v).to_le_bytes()).collect();
        let f16: Vec<u8> = half(narrow_f16);
        let bf16: Vec<u8> = half(|v| (v.to_bits() >> 16) as u16);
        let mut bytes = vec![0; weights.len()];
        let rows = weights.chunks(inputs).zip(bytes.chunks_mut(inputs));
        let scales: Vec<f32> = rows.map(|(row, bytes)| quantize_weights(row, bytes)).collect();
        let dtypes = [(Dtype::I8, &bytes), (Dtype::F16, &f16), (Dtype::Bf16, &bf16)];
        for (dtype, weight) in dtypes.into_iter().take(if index < sizes.shapes.len() { 3 } else { 1 }) {
            let scales = if dtype == Dtype::I8 { &scales[..] } else { &[] };
            let weight = Tensor { scales, ..Tensor::new(outputs, inputs, dtype, weight) };
            let split = outputs / 3;
            let part = |rows: std::ops::Range<usize>, scale| LinearPart {
                weight: weight.rows(rows.clone()),
                bias: tensor(1, outputs, &bias).slice(rows),
                scale,
            };
            let w = k
                .make_linear(&[part(0..split, 0.3), part(split..outputs, 1.0)], WeightStorage::AsStored)
                .unwrap();
            for &rows in sizes.rows {
                k.begin(&batch(&[rows], 8), 16, 1).unwrap();
                // Mostly positive, as the outputs of GELU are; a row of zeros; a row of small values.
                let mut x: Vec<f32> = noise.values(rows * inputs).iter().map(|x| 0.6 * x + 0.3).collect();
                x[..inputs].iter_mut().for_each(|x| *x *= if rows == 2 { 0.0 } else { 0.01 });
                let x = k.write(rows, inputs, &x).unwrap();
                let mut out = k.make_buf();
                for (name, epilogue) in
                    [("", Epilogue::Store), (", gelu", Epilogue::Activate(Activation::Gelu))]
                {
                    k.shape(&mut out, rows, outputs).unwrap();
                    k.linear(&x, &w, epilogue, &mut out);
                    let case = format!("{dtype:?}, {rows} x {inputs} -> {outputs}{name}");
                    all.push(Output { op: "linear", case, values: read(k, &out, rows * outputs) });
                }
            }
        }
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
            all.push(Output { op: "norm", case, values: read(k, &out, rows * hidden) });
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
            let (word, position, token_type) = (bytes(11), bytes(9), bytes(2));
            let table = |rows, bytes| Tensor::new(rows, hidden, dtype, bytes).into();
            let word = k.make_table(table(11, &word)).unwrap();
            let position = k.make_table(table(9, &position)).unwrap();
            let token_type = k.make_table(table(2, &token_type)).unwrap();
            let (gain, bias) = (noise.bytes(hidden, 1.0), noise.bytes(hidden, 1.0));
            let norm = k.make_norm(tensor(1, hidden, &gain), tensor(1, hidden, &bias), 1e-5).unwrap();
            let mut out = k.make_buf();
            k.shape(&mut out, batch.tokens(), hidden).unwrap();
            k.embed(&batch, &word, &position, &token_type, &norm, &mut out);
            let values = read(k, &out, batch.tokens() * hidden);
            all.push(Output { op: "embed", case: format!("{hidden} {dtype:?}"), values });
        }
    }
}

fn attention<K: Kernels>(k: &mut K, sizes: &Sizes, all: &mut Vec<Output>) {
    let mut noise = Noise(4);
    let batch = batch(sizes.lengths, 8);
    let (tokens, sequences) = (batch.tokens(), batch.sequences());
    for &(hidden, heads) in sizes.heads {
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
        all.push(Output { op: "attention", case: case.clone(), values: read(k, &out, tokens * hidden) });

        let x = noise.values(tokens * hidden);
        let x = k.write(tokens, hidden, &x).unwrap();
        let mut first = k.make_buf();
        k.shape(&mut first, sequences, hidden).unwrap();
        k.first_tokens(&batch, &x, &mut first);
        let values = read(k, &first, sequences * hidden);
        all.push(Output { op: "first_tokens", case: case.clone(), values });

        let scale = (hidden as f32).powf(-0.5);
        let mut linear = || (noise.bytes(hidden * hidden, scale), noise.bytes(hidden, 1.0));
        let ((key, key_bias), (value, value_bias)) = (linear(), linear());
        let key = LinearPart {
            weight: tensor(hidden, hidden, &key),
            bias: tensor(1, hidden, &key_bias),
            scale: 1.0,
        };
        let value = LinearPart {
            weight: tensor(hidden, hidden, &value),
            bias: tensor(1, hidden, &value_bias),
            scale: 1.0,
        };
        let kv = k.make_key_value(key, value, heads).unwrap();
        let q = noise.values(sequences * hidden);
        let q = k.write(sequences, hidden, &q).unwrap();
        k.attention_first(&batch, &q, &x, &kv, &mut first);
        let values = read(k, &first, sequences * hidden);
        all.push(Output { op: "attention_first", case, values });
    }
}

/// Names the first element of each case that differs from the reference by more than its tolerance.
pub fn disagreements(outputs: &[Output], reference: &[Output], tolerance: fn(&Output) -> f32) -> Vec<String> {
    assert_eq!(outputs.len(), reference.len());
    let mut found: Vec<String> = Vec::new();
    for (ours, theirs) in outputs.iter().zip(reference) {
        assert_eq!((ours.op, &ours.case), (theirs.op, &theirs.case));
        let differs = |(a, b): (&f32, &f32)| (a - b).abs() > tolerance(ours) || a.is_nan() != b.is_nan();
        if let Some(i) = ours.values.iter().zip(&theirs.values).position(differs) {
            let (a, b) = (ours.values[i], theirs.values[i]);
            found.push(format!("{}: {}: element {i} is {a}, the reference has {b}", ours.op, ours.case));
        }
    }
    found
}
