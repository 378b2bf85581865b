//! [`Kernels`] as naive loops over f64, without unsafe code, threads or optimizations: the reference implementation that the
//! tests compare every other backend with.

use std::ops::Range;

use crate::error::Result;
use crate::kernels::{
    Activation, Dtype, Epilogue, Kernels, LinearPart, OwnedTensor, PoolMode, RelativePositions, Tensor,
    WeightStorage,
};
use crate::tensor::QuantParams;
use crate::text::batch::PackedBatch;

/// The reference backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

/// A row-major matrix.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// (rows, columns).
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.cols..(row + 1) * self.cols]
    }

    fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.cols..(row + 1) * self.cols]
    }
}

/// Weight `[out, in]` and bias `[out]`, and whether rows of x are quantized to 8 bits.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Matrix,
    bias: Vec<f64>,
    quantizes_rows: bool,
}

/// Gain, bias and epsilon.
#[derive(Clone, Debug)]
pub struct Norm {
    gain: Vec<f64>,
    bias: Vec<f64>,
    epsilon: f64,
}

/// Key and value projections, and the number of heads.
#[derive(Clone, Debug)]
pub struct KeyValue {
    key: Linear,
    value: Linear,
    heads: usize,
}

/// Queries and keys of relative positions `[R,H]`, and the row of each relative position.
#[derive(Clone, Debug)]
pub struct Relative {
    queries: Option<Matrix>,
    keys: Option<Matrix>,
    row_of: Vec<u32>,
}

fn matrix(tensor: Tensor<'_>) -> Matrix {
    Matrix {
        rows: tensor.rows,
        cols: tensor.cols,
        values: tensor.values().into_iter().map(f64::from).collect(),
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn activate(f: Activation, x: f64) -> f64 {
    match f {
        Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
    }
}

/// The error function by its Maclaurin series for small arguments and by Lentz's continued fraction of erfc beyond
/// (Abramowitz and Stegun 7.1.5 and 7.1.14); both converge to double precision in the ranges used.
fn erf(x: f64) -> f64 {
    let z = x.abs();
    if z > 6.0 {
        return x.signum();
    }
    let two_over_sqrt_pi = std::f64::consts::FRAC_2_SQRT_PI;
    if z < 2.5 {
        // sum over n of (-1)^n z^(2n+1) / (n! (2n+1)); the terms fall below 1e-17 before n = 60.
        let (mut power, mut sum) = (z, z);
        for n in 1..60 {
            power *= -z * z / f64::from(n);
            sum += power / f64::from(2 * n + 1);
        }
        return x.signum() * two_over_sqrt_pi * sum;
    }
    // erfc(z) = exp(-z^2) / sqrt(pi) / (z + (1/2)/(z + (2/2)/(z + (3/2)/(z + ...)))), evaluated from the inside.
    let fraction = (1..200).rev().fold(z, |tail, n| z + f64::from(n) / 2.0 / tail);
    x.signum() * (1.0 - (-z * z).exp() * 0.5 * two_over_sqrt_pi / fraction)
}

impl Norm {
    fn apply(&self, row: &mut [f64]) {
        let count = row.len() as f64;
        let mean = row.iter().sum::<f64>() / count;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
        let inverse = 1.0 / (variance + self.epsilon).sqrt();
        for ((x, gain), bias) in row.iter_mut().zip(&self.gain).zip(&self.bias) {
            *x = (*x - mean) * inverse * gain + bias;
        }
    }
}

impl Linear {
    fn apply(&self, x: &[f64]) -> impl Iterator<Item = f64> {
        let mut x = x.to_vec();
        if self.quantizes_rows {
            let row: Vec<f32> = x.iter().map(|x| *x as f32).collect();
            let params = QuantParams::of_row(&row);
            for (x, value) in x.iter_mut().zip(row) {
                *x = (f64::from(params.quantize(value)) - f64::from(params.zero_point))
                    * f64::from(params.scale);
            }
        }
        (0..self.weight.rows).map(move |n| dot(&x, self.weight.row(n)) + self.bias[n])
    }
}

/// out [D] = softmax(q k^T + bias) v for one query over the keys given; `bias(i)` is that of key `i`.
fn attend(q: &[f64], keys: &[&[f64]], values: &[&[f64]], bias: impl Fn(usize) -> f64, out: &mut [f64]) {
    let scores: Vec<f64> = keys.iter().enumerate().map(|(i, k)| dot(q, k) + bias(i)).collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    for (d, o) in out.iter_mut().enumerate() {
        *o = weights.iter().zip(values).map(|(w, v)| w * v[d]).sum::<f64>() / total;
    }
}

/// Attention of every sequence and head. `visible_keys` takes a query and the length of its sequence and returns the keys it
/// sees; `bias` takes the head, a query and a key, and their rows, and returns what is added to their score. Queries and keys
/// are counted within the sequence.
fn attention(
    batch: &PackedBatch,
    qkv: &Matrix,
    heads: usize,
    visible_keys: impl Fn(usize, usize) -> Range<usize>,
    bias: impl Fn(usize, [usize; 2], [&[f64]; 2]) -> f64,
    out: &mut Matrix,
) {
    let (hidden, head_dim) = (out.cols, out.cols / heads);
    for rows in batch.rows() {
        for head in 0..heads {
            // Row `i` of the queries (0), keys (1) or values (2).
            let part = |third: usize, i: usize| {
                let at = third * hidden + head * head_dim;
                &qkv.row(rows.start + i)[at..at + head_dim]
            };
            for i in 0..rows.len() {
                let visible = visible_keys(i, rows.len());
                let keys: Vec<_> = visible.clone().map(|j| part(1, j)).collect();
                let values: Vec<_> = visible.clone().map(|j| part(2, j)).collect();
                let bias = |j: usize| bias(head, [i, visible.start + j], [part(0, i), keys[j]]);
                let o = &mut out.row_mut(rows.start + i)[head * head_dim..(head + 1) * head_dim];
                attend(part(0, i), &keys, &values, bias, o);
            }
        }
    }
}

impl Kernels for Reference {
    type Buf = Matrix;
    type Linear = Linear;
    type Table = Matrix;
    type Norm = Norm;
    type KeyValue = KeyValue;
    type Bias = Matrix;
    type Rotary = Matrix;
    type Relative = Relative;

    fn make_linear(&self, parts: &[LinearPart<'_>], storage: WeightStorage) -> Result<Linear> {
        let weight = Matrix { rows: 0, cols: parts[0].weight.cols, values: vec![] };
        let quantizes_rows =
            storage == WeightStorage::AsStored && parts.iter().all(|part| part.weight.dtype == Dtype::I8);
        let mut linear = Linear { weight, bias: vec![], quantizes_rows };
        for part in parts {
            let scaled = |t: Tensor<'_>| t.values().into_iter().map(|v| f64::from(v) * part.scale);
            linear.weight.rows += part.weight.rows;
            linear.weight.values.extend(scaled(part.weight));
            linear.bias.extend(scaled(part.bias));
        }
        Ok(linear)
    }

    fn make_table(&self, table: OwnedTensor) -> Result<Matrix> {
        Ok(matrix(table.tensor()))
    }

    fn make_norm(&self, gain: Tensor<'_>, bias: Tensor<'_>, epsilon: f32) -> Result<Norm> {
        Ok(Norm { gain: matrix(gain).values, bias: matrix(bias).values, epsilon: epsilon.into() })
    }

    fn make_key_value(&self, key: LinearPart<'_>, value: LinearPart<'_>, heads: usize) -> Result<KeyValue> {
        Ok(KeyValue {
            key: self.make_linear(&[key], WeightStorage::F32)?,
            value: self.make_linear(&[value], WeightStorage::F32)?,
            heads,
        })
    }

    fn make_bias(&self, bias: Tensor<'_>) -> Result<Matrix> {
        Ok(matrix(bias))
    }

    fn make_rotary(&self, cos_sin: Tensor<'_>) -> Result<Matrix> {
        Ok(matrix(cos_sin))
    }

    fn make_relative(&self, positions: RelativePositions<'_, Norm>, _heads: usize) -> Result<Relative> {
        let mut rows = matrix(positions.rows);
        if let Some(norm) = positions.norm {
            (0..rows.rows).for_each(|row| norm.apply(rows.row_mut(row)));
        }
        let project = |part: LinearPart<'_>| {
            let linear = self.make_linear(&[part], WeightStorage::F32)?;
            let values =
                (0..rows.rows).flat_map(|row| linear.apply(rows.row(row)).collect::<Vec<_>>()).collect();
            Ok(Matrix { rows: rows.rows, cols: linear.weight.rows, values })
        };
        Ok(Relative {
            queries: positions.query.map(project).transpose()?,
            keys: positions.key.map(project).transpose()?,
            row_of: positions.row_of.to_vec(),
        })
    }

    fn make_buf(&self) -> Matrix {
        Matrix::default()
    }

    fn shape(&mut self, buf: &mut Matrix, rows: usize, cols: usize) -> Result<()> {
        (buf.rows, buf.cols) = (rows, cols);
        buf.values.resize(rows * cols, 0.0);
        Ok(())
    }

    fn write(&mut self, rows: usize, cols: usize, values: &[f32]) -> Result<Matrix> {
        Ok(Matrix { rows, cols, values: values.iter().copied().map(f64::from).collect() })
    }

    fn read(&mut self, buf: &Matrix, out: &mut [f32]) -> Result<()> {
        for (o, v) in out.iter_mut().zip(&buf.values) {
            *o = *v as f32;
        }
        Ok(())
    }

    fn begin(&mut self, _batch: &PackedBatch, _hidden: usize, _heads: usize) -> Result<()> {
        Ok(())
    }

    fn embed(
        &mut self,
        batch: &PackedBatch,
        word: &Matrix,
        position: &Matrix,
        token_type: &Matrix,
        norm: &Norm,
        out: &mut Matrix,
    ) {
        for t in 0..batch.tokens() {
            let rows = [
                word.row(batch.ids[t] as usize),
                position.row(batch.positions[t] as usize),
                token_type.row(batch.token_types[t] as usize),
            ];
            for (h, o) in out.row_mut(t).iter_mut().enumerate() {
                *o = rows.iter().map(|row| row[h]).sum();
            }
            norm.apply(out.row_mut(t));
        }
    }

    fn linear(&mut self, x: &Matrix, w: &Linear, epilogue: Epilogue<'_, Matrix>, out: &mut Matrix) {
        for row in 0..x.rows {
            for (n, (o, y)) in out.row_mut(row).iter_mut().zip(w.apply(x.row(row))).enumerate() {
                *o = match epilogue {
                    Epilogue::Store => y,
                    Epilogue::Activate(f) => activate(f, y),
                    Epilogue::Add(residual) => y + residual.row(row)[n],
                };
            }
        }
    }

    fn norm(&mut self, x: &Matrix, norm: &Norm, out: &mut Matrix) {
        out.values.copy_from_slice(&x.values);
        for row in 0..out.rows {
            norm.apply(out.row_mut(row));
        }
    }

    fn attention(&mut self, batch: &PackedBatch, qkv: &Matrix, heads: usize, out: &mut Matrix) {
        attention(batch, qkv, heads, |_, len| 0..len, |_, _, _| 0.0, out);
    }

    fn attention_biased(
        &mut self,
        batch: &PackedBatch,
        qkv: &Matrix,
        bias: &Matrix,
        heads: usize,
        out: &mut Matrix,
    ) {
        // 2L - 1 columns, the middle one for relative position 0.
        let score_bias = |head: usize, [query, key]: [usize; 2], _: [&[f64]; 2]| {
            bias.row(head)[query + bias.cols / 2 - key]
        };
        attention(batch, qkv, heads, |_, len| 0..len, score_bias, out);
    }

    fn attention_local(
        &mut self,
        batch: &PackedBatch,
        qkv: &Matrix,
        radius: usize,
        heads: usize,
        out: &mut Matrix,
    ) {
        let visible_keys = |i: usize, len: usize| i.saturating_sub(radius)..len.min(i + radius + 1);
        attention(batch, qkv, heads, visible_keys, |_, _, _| 0.0, out);
    }

    fn attention_disentangled(
        &mut self,
        batch: &PackedBatch,
        qkv: &Matrix,
        relative: &Relative,
        heads: usize,
        out: &mut Matrix,
    ) {
        let head_dim = out.cols / heads;
        let score_bias = |head: usize, [i, j]: [usize; 2], [query, key]: [&[f64]; 2]| {
            let row = relative.row_of[i + relative.row_of.len() / 2 - j] as usize;
            let product = |rows: &Matrix, x: &[f64]| dot(x, &rows.row(row)[head * head_dim..][..head_dim]);
            relative.keys.as_ref().map_or(0.0, |keys| product(keys, query))
                + relative.queries.as_ref().map_or(0.0, |queries| product(queries, key))
        };
        attention(batch, qkv, heads, |_, len| 0..len, score_bias, out);
    }

    fn rotate(&mut self, batch: &PackedBatch, rotary: &Matrix, heads: usize, qkv: &mut Matrix) {
        let half = rotary.cols / 2;
        for rows in batch.rows() {
            for (position, row) in rows.enumerate() {
                let (cosines, sines) = rotary.row(position).split_at(half);
                // The heads of the queries, then those of the keys.
                for head in qkv.row_mut(row).chunks_exact_mut(2 * half).take(2 * heads) {
                    for i in 0..half {
                        let (x, y) = (head[i], head[i + half]);
                        head[i] = x * cosines[i] - y * sines[i];
                        head[i + half] = y * cosines[i] + x * sines[i];
                    }
                }
            }
        }
    }

    fn gate(&mut self, x: &Matrix, f: Activation, out: &mut Matrix) {
        for row in 0..x.rows {
            let (gates, values) = x.row(row).split_at(x.cols / 2);
            for ((o, gate), value) in out.row_mut(row).iter_mut().zip(gates).zip(values) {
                *o = activate(f, *gate) * value;
            }
        }
    }

    fn pool(&mut self, batch: &PackedBatch, mode: PoolMode, x: &Matrix, out: &mut Matrix) {
        for (s, rows) in batch.rows().enumerate() {
            let count = rows.len() as f64;
            for (h, o) in out.row_mut(s).iter_mut().enumerate() {
                let column = rows.clone().map(|row| x.row(row)[h]);
                *o = match mode {
                    PoolMode::Mean => column.sum::<f64>() / count,
                    PoolMode::MeanSqrtLen => column.sum::<f64>() / count.sqrt(),
                    PoolMode::WeightedMean => {
                        let weighted = column.zip(1..).map(|(value, weight)| value * f64::from(weight));
                        weighted.sum::<f64>() / (count * (count + 1.0) / 2.0)
                    }
                    PoolMode::Max => {
                        column.fold(f64::NEG_INFINITY, |max, x| if x > max || x.is_nan() { x } else { max })
                    }
                    PoolMode::Last => x.row(rows.end - 1)[h],
                };
            }
        }
    }

    fn first_tokens(&mut self, batch: &PackedBatch, x: &Matrix, out: &mut Matrix) {
        for (s, rows) in batch.rows().enumerate() {
            out.row_mut(s).copy_from_slice(x.row(rows.start));
        }
    }

    fn attention_first(
        &mut self,
        batch: &PackedBatch,
        q: &Matrix,
        x: &Matrix,
        kv: &KeyValue,
        out: &mut Matrix,
    ) {
        let head_dim = out.cols / kv.heads;
        for (s, rows) in batch.rows().enumerate() {
            let project =
                |w: &Linear| rows.clone().map(|r| w.apply(x.row(r)).collect()).collect::<Vec<Vec<_>>>();
            let (keys, values) = (project(&kv.key), project(&kv.value));
            for head in 0..kv.heads {
                let part = head * head_dim..(head + 1) * head_dim;
                let keys: Vec<_> = keys.iter().map(|k| &k[part.clone()]).collect();
                let values: Vec<_> = values.iter().map(|v| &v[part.clone()]).collect();
                attend(&q.row(s)[part.clone()], &keys, &values, |_| 0.0, &mut out.row_mut(s)[part.clone()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn erf_equals_the_published_values() {
        // DLMF table 7.23; both sides of the switch at 2.5 are covered.
        for (x, y) in [
            (0.0, 0.0),
            (0.5, 0.5204998778130465),
            (1.0, 0.8427007929497149),
            (2.0, 0.9953222650189527),
            (2.4999999, 0.999593047982555),
            (2.5, 0.999593047982555),
            (3.0, 0.9999779095030014),
        ] {
            let tolerance = if x == 2.4999999 { 1e-9 } else { 1e-15 };
            assert!((erf(x) - y).abs() < tolerance, "erf({x}) = {} instead of {y}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
    }
}
