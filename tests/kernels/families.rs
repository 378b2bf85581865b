//! Ops that only some families need, at the sizes where their kernels may fail.

use crossrank::kernels::{Activation, Kernels, LinearPart, PoolMode, RelativePositions};

use super::ops::{Noise, Output, batch, read, tensor};

/// Runs every one of these ops.
pub fn outputs<K: Kernels>(k: &mut K) -> Vec<Output> {
    let mut all = Vec::new();
    attention_with_positions(k, &mut all);
    rotate(k, &mut all);
    gate(k, &mut all);
    pool(k, &mut all);
    all
}

/// Lengths around a block of queries and around the radius of a window, and a sequence as long as the tables allow.
fn attention_with_positions<K: Kernels>(k: &mut K, all: &mut Vec<Output>) {
    let short = [1, 2, 13, 15, 16, 17, 31, 32, 33, 64, 100];
    positions_of(k, all, &short, &[(64, 2), (40, 2), (66, 33), (400, 4)]);
    positions_of(k, all, &[200, 3], &[(32, 2)]);
}

fn positions_of<K: Kernels>(k: &mut K, all: &mut Vec<Output>, lengths: &[usize], sizes: &[(usize, usize)]) {
    let mut noise = Noise(5);
    let longest = *lengths.iter().max().unwrap();
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

        let bias = noise.bytes(heads * (2 * longest - 1), 2.0);
        let bias = k.make_bias(tensor(heads, 2 * longest - 1, &bias)).unwrap();
        k.attention_biased(&batch, &qkv, &bias, heads, &mut out);
        let values = read(k, &out, tokens * hidden);
        all.push(Output { op: "attention_biased", case: case.clone(), values });

        for radius in [0, 8, 16, 17, usize::MAX / 2] {
            k.attention_local(&batch, &qkv, radius, heads, &mut out);
            let values = read(k, &out, tokens * hidden);
            all.push(Output { op: "attention_local", case: format!("{case}, radius {radius}"), values });
        }

        for (rows, terms) in [(2 * longest - 1, 3), (40, 2), (40, 1), (1, 3)] {
            // Every relative position has a row of its own, or the farthest ones share a row.
            let (middle, last) = (longest as i64 - 1, rows as i64 - 1);
            let row = |i: i64| (i - middle + last / 2).clamp(0, last) as u32;
            let row_of: Vec<u32> = (0..2 * longest as i64 - 1).map(row).collect();
            let embeddings = noise.bytes(rows * hidden, 1.0);
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
            let positions = RelativePositions {
                rows: tensor(rows, hidden, &embeddings),
                norm: (rows == 40).then_some(&norm),
                query: (terms & 1 != 0).then(|| part(&query, &query_bias, scale)),
                key: (terms & 2 != 0).then(|| part(&key, &key_bias, 1.0)),
                row_of: &row_of,
            };
            let relative = k.make_relative(positions, heads).unwrap();
            k.attention_disentangled(&batch, &qkv, &relative, heads, &mut out);
            let values = read(k, &out, tokens * hidden);
            let case = format!("{case}, {rows} rows, terms {terms}");
            all.push(Output { op: "attention_disentangled", case, values });
        }
    }
}

fn rotate<K: Kernels>(k: &mut K, all: &mut Vec<Output>) {
    let mut noise = Noise(6);
    let batch = batch(&[1, 7, 20], 8);
    let tokens = batch.tokens();
    for (head_dim, heads) in [(2, 3), (30, 2), (32, 2), (34, 2), (64, 3), (66, 1)] {
        let hidden = head_dim * heads;
        k.begin(&batch, hidden, heads).unwrap();
        let cos_sin = noise.bytes(20 * head_dim, 1.0);
        let rotary = k.make_rotary(tensor(20, head_dim, &cos_sin)).unwrap();
        let qkv = noise.values(tokens * 3 * hidden);
        let mut qkv = k.write(tokens, 3 * hidden, &qkv).unwrap();
        k.rotate(&batch, &rotary, heads, &mut qkv);
        let case = format!("D {head_dim}, N {heads}");
        all.push(Output { op: "rotate", case, values: read(k, &qkv, tokens * 3 * hidden) });
    }
}

fn gate<K: Kernels>(k: &mut K, all: &mut Vec<Output>) {
    let mut noise = Noise(7);
    for features in [1, 15, 16, 17, 48, 100] {
        for f in [Activation::Gelu, Activation::Relu, Activation::Silu] {
            let rows = 5;
            k.begin(&batch(&[rows], 8), 16, 1).unwrap();
            let x: Vec<f32> = noise.values(rows * 2 * features).iter().map(|v| 4.0 * v).collect();
            let x = k.write(rows, 2 * features, &x).unwrap();
            let mut out = k.make_buf();
            k.shape(&mut out, rows, features).unwrap();
            k.gate(&x, f, &mut out);
            // Products of values up to 4 are scaled back to values around 1, for which the tolerance is meant.
            let values = read(k, &out, rows * features).iter().map(|v| v / 16.0).collect();
            all.push(Output { op: "gate", case: format!("{features} {f:?}"), values });
        }
    }
}

/// Sequences of one row and of many.
fn pool<K: Kernels>(k: &mut K, all: &mut Vec<Output>) {
    let mut noise = Noise(8);
    let batch = batch(&[1, 2, 33, 100], 8);
    let (tokens, sequences) = (batch.tokens(), batch.sequences());
    for hidden in [1, 15, 16, 17, 64, 300] {
        k.begin(&batch, hidden, 1).unwrap();
        let x = noise.values(tokens * hidden);
        let x = k.write(tokens, hidden, &x).unwrap();
        let mut out = k.make_buf();
        for mode in
            [PoolMode::Mean, PoolMode::MeanSqrtLen, PoolMode::WeightedMean, PoolMode::Max, PoolMode::Last]
        {
            k.shape(&mut out, sequences, hidden).unwrap();
            k.pool(&batch, mode, &x, &mut out);
            let values = read(k, &out, sequences * hidden);
            all.push(Output { op: "pool", case: format!("{hidden} {mode:?}"), values });
        }
    }
}
