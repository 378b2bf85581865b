//! Words that only some families need, on sizes that their kernels find hard.

use crossrank::kernels::{Activation, Kernels, LinearPart, RelativePositions};

use super::words::{Noise, Output, batch, read, tensor};

/// Runs every one of them.
pub fn outputs<K: Kernels>(k: &mut K) -> Vec<Output> {
    let mut all = Vec::new();
    attention_with_distances(k, &mut all);
    rotate(k, &mut all);
    gate(k, &mut all);
    mean_tokens(k, &mut all);
    all
}

/// Lengths around a block of queries, the reach of a neighbourhood, and a sequence that is as long as the tables allow.
fn attention_with_distances<K: Kernels>(k: &mut K, all: &mut Vec<Output>) {
    let short = [1, 2, 13, 15, 16, 17, 31, 32, 33, 64, 100];
    distances_of(k, all, &short, &[(64, 2), (40, 2), (66, 33), (400, 4)]);
    distances_of(k, all, &[200, 3], &[(32, 2)]);
}

fn distances_of<K: Kernels>(k: &mut K, all: &mut Vec<Output>, lengths: &[usize], sizes: &[(usize, usize)]) {
    let mut noise = Noise(5);
    let most = *lengths.iter().max().unwrap();
    let batch = batch(lengths, 8);
    let tokens = batch.tokens();
    for &(hidden, heads) in sizes {
        k.begin(&batch, hidden, heads).unwrap();
        let scale = 3.0 * ((hidden / heads) as f32).powf(-0.5);
        let mut qkv = noise.values(tokens * 3 * hidden);
        qkv.chunks_mut(3 * hidden).for_each(|row| row[..hidden].iter_mut().for_each(|q| *q *= scale));
        let qkv = k.write(tokens, 3 * hidden, &qkv).unwrap();
        let mut out = k.make_buf();
        k.shape(&mut out, tokens, hidden).unwrap();
        let case = format!("{tokens} tokens, H {hidden}, N {heads}");

        let bias = noise.bytes(heads * (2 * most - 1), 2.0);
        let bias = k.make_bias(tensor(heads, 2 * most - 1, &bias)).unwrap();
        k.attention_biased(&batch, &qkv, &bias, heads, &mut out);
        let values = read(k, &out, tokens * hidden);
        all.push(Output { word: "attention_biased", case: case.clone(), values });

        for reach in [0, 8, 16, 17, usize::MAX / 2] {
            k.attention_local(&batch, &qkv, reach, heads, &mut out);
            let values = read(k, &out, tokens * hidden);
            all.push(Output { word: "attention_local", case: format!("{case}, reach {reach}"), values });
        }

        for (rows, terms) in [(2 * most - 1, 3), (40, 2), (40, 1), (1, 3)] {
            // Every distance its own row, or the farthest sharing one.
            let (middle, last) = (most as i64 - 1, rows as i64 - 1);
            let row = |i: i64| (i - middle + last / 2).clamp(0, last) as u32;
            let row_of: Vec<u32> = (0..2 * most as i64 - 1).map(row).collect();
            let distances = noise.bytes(rows * hidden, 1.0);
            let (gain, bias) = (noise.bytes(hidden, 1.0), noise.bytes(hidden, 1.0));
            let norm = k.make_norm(tensor(1, hidden, &gain), tensor(1, hidden, &bias), 1e-5).unwrap();
            let mut linear =
                || (noise.bytes(hidden * hidden, (hidden as f32).powf(-0.5)), noise.bytes(hidden, 1.0));
            let ((query, query_bias), (key, key_bias)) = (linear(), linear());
            let part = |weight, bias, scale: f32| LinearPart {
                weight: tensor(hidden, hidden, weight),
                bias: tensor(1, hidden, bias),
                scale: scale.into(),
            };
            let distances = RelativePositions {
                rows: tensor(rows, hidden, &distances),
                norm: (rows == 40).then_some(&norm),
                query: (terms & 1 != 0).then(|| part(&query, &query_bias, scale)),
                key: (terms & 2 != 0).then(|| part(&key, &key_bias, 1.0)),
                row_of: &row_of,
            };
            let relative = k.make_relative(distances, heads).unwrap();
            k.attention_disentangled(&batch, &qkv, &relative, heads, &mut out);
            let values = read(k, &out, tokens * hidden);
            let case = format!("{case}, {rows} rows, terms {terms}");
            all.push(Output { word: "attention_disentangled", case, values });
        }
    }
}

fn rotate<K: Kernels>(k: &mut K, all: &mut Vec<Output>) {
    let mut noise = Noise(6);
    let batch = batch(&[1, 7, 20], 8);
    let tokens = batch.tokens();
    for (width, heads) in [(2, 3), (30, 2), (32, 2), (34, 2), (64, 3), (66, 1)] {
        let hidden = width * heads;
        k.begin(&batch, hidden, heads).unwrap();
        let turns = noise.bytes(20 * width, 1.0);
        let rotary = k.make_rotary(tensor(20, width, &turns)).unwrap();
        let qkv = noise.values(tokens * 3 * hidden);
        let mut qkv = k.write(tokens, 3 * hidden, &qkv).unwrap();
        k.rotate(&batch, &rotary, heads, &mut qkv);
        let case = format!("D {width}, N {heads}");
        all.push(Output { word: "rotate", case, values: read(k, &qkv, tokens * 3 * hidden) });
    }
}

fn gate<K: Kernels>(k: &mut K, all: &mut Vec<Output>) {
    let mut noise = Noise(7);
    for width in [1, 15, 16, 17, 48, 100] {
        for f in [Activation::Gelu, Activation::Relu, Activation::Silu] {
            let rows = 5;
            k.begin(&batch(&[rows], 8), 16, 1).unwrap();
            let x: Vec<f32> = noise.values(rows * 2 * width).iter().map(|v| 4.0 * v).collect();
            let x = k.write(rows, 2 * width, &x).unwrap();
            let mut out = k.make_buf();
            k.shape(&mut out, rows, width).unwrap();
            k.gate(&x, f, &mut out);
            // Products of values up to 4: back to values around 1, for which the tolerance is meant.
            let values = read(k, &out, rows * width).iter().map(|v| v / 16.0).collect();
            all.push(Output { word: "gate", case: format!("{width} {f:?}"), values });
        }
    }
}

fn mean_tokens<K: Kernels>(k: &mut K, all: &mut Vec<Output>) {
    let mut noise = Noise(8);
    let batch = batch(&[1, 2, 33, 100], 8);
    let (tokens, sequences) = (batch.tokens(), batch.sequences());
    for hidden in [1, 15, 16, 17, 64] {
        k.begin(&batch, hidden, 1).unwrap();
        let x = noise.values(tokens * hidden);
        let x = k.write(tokens, hidden, &x).unwrap();
        let mut out = k.make_buf();
        k.shape(&mut out, sequences, hidden).unwrap();
        k.mean_tokens(&batch, &x, &mut out);
        let values = read(k, &out, sequences * hidden);
        all.push(Output { word: "mean_tokens", case: hidden.to_string(), values });
    }
}
