//! A backend that computes like the reference, except for one element of one op's output.

use crossrank::Result;
use crossrank::kernels::{
    Activation, Epilogue, Kernels, LinearPart, OwnedTensor, PoolMode, RelativePositions, Tensor,
    WeightStorage,
};
use crossrank::reference::{KeyValue, Linear, Matrix, Norm, Reference, Relative};
use crossrank::text::batch::PackedBatch;

pub struct Saboteur {
    op: &'static str,
    inner: Reference,
}

impl Saboteur {
    pub fn of(op: &'static str) -> Self {
        Self { op, inner: Reference }
    }

    /// Changes the last element of `out` by 1e-3, a hundred times what any tolerance of a small case allows.
    fn sabotage(&mut self, op: &str, out: &mut Matrix) {
        if op == self.op {
            let (rows, cols) = out.shape();
            let mut values = vec![0.0; rows * cols];
            self.inner.read(out, &mut values).unwrap();
            *values.last_mut().unwrap() += 1e-3;
            *out = self.inner.write(rows, cols, &values).unwrap();
        }
    }
}

impl Kernels for Saboteur {
    type Buf = Matrix;
    type Linear = Linear;
    type Table = Matrix;
    type Norm = Norm;
    type KeyValue = KeyValue;
    type Bias = Matrix;
    type Rotary = Matrix;
    type Relative = Relative;

    fn make_linear(&self, parts: &[LinearPart<'_>], storage: WeightStorage) -> Result<Linear> {
        self.inner.make_linear(parts, storage)
    }
    fn make_table(&self, table: OwnedTensor) -> Result<Matrix> {
        self.inner.make_table(table)
    }
    fn make_norm(&self, gain: Tensor<'_>, bias: Tensor<'_>, epsilon: f32) -> Result<Norm> {
        self.inner.make_norm(gain, bias, epsilon)
    }
    fn make_key_value(&self, key: LinearPart<'_>, value: LinearPart<'_>, heads: usize) -> Result<KeyValue> {
        self.inner.make_key_value(key, value, heads)
    }
    fn make_bias(&self, bias: Tensor<'_>) -> Result<Matrix> {
        self.inner.make_bias(bias)
    }
    fn make_rotary(&self, cos_sin: Tensor<'_>) -> Result<Matrix> {
        self.inner.make_rotary(cos_sin)
    }
    fn make_relative(&self, positions: RelativePositions<'_, Norm>, heads: usize) -> Result<Relative> {
        self.inner.make_relative(positions, heads)
    }
    fn make_buf(&self) -> Matrix {
        self.inner.make_buf()
    }
    fn shape(&mut self, buf: &mut Matrix, rows: usize, cols: usize) -> Result<()> {
        self.inner.shape(buf, rows, cols)
    }
    fn write(&mut self, rows: usize, cols: usize, values: &[f32]) -> Result<Matrix> {
        self.inner.write(rows, cols, values)
    }
    fn read(&mut self, buf: &Matrix, out: &mut [f32]) -> Result<()> {
        self.inner.read(buf, out)
    }
    fn begin(&mut self, batch: &PackedBatch, hidden: usize, heads: usize) -> Result<()> {
        self.inner.begin(batch, hidden, heads)
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
        self.inner.embed(batch, word, position, token_type, norm, out);
        self.sabotage("embed", out);
    }
    fn linear(&mut self, x: &Matrix, w: &Linear, epilogue: Epilogue<'_, Matrix>, out: &mut Matrix) {
        self.inner.linear(x, w, epilogue, out);
        self.sabotage("linear", out);
    }
    fn norm(&mut self, x: &Matrix, norm: &Norm, out: &mut Matrix) {
        self.inner.norm(x, norm, out);
        self.sabotage("norm", out);
    }
    fn attention(&mut self, batch: &PackedBatch, qkv: &Matrix, heads: usize, out: &mut Matrix) {
        self.inner.attention(batch, qkv, heads, out);
        self.sabotage("attention", out);
    }
    fn attention_biased(
        &mut self,
        batch: &PackedBatch,
        qkv: &Matrix,
        bias: &Matrix,
        heads: usize,
        out: &mut Matrix,
    ) {
        self.inner.attention_biased(batch, qkv, bias, heads, out);
        self.sabotage("attention_biased", out);
    }
    fn attention_local(
        &mut self,
        batch: &PackedBatch,
        qkv: &Matrix,
        radius: usize,
        heads: usize,
        out: &mut Matrix,
    ) {
        self.inner.attention_local(batch, qkv, radius, heads, out);
        self.sabotage("attention_local", out);
    }
    fn attention_disentangled(
        &mut self,
        batch: &PackedBatch,
        qkv: &Matrix,
        relative: &Relative,
        heads: usize,
        out: &mut Matrix,
    ) {
        self.inner.attention_disentangled(batch, qkv, relative, heads, out);
        self.sabotage("attention_disentangled", out);
    }
    fn rotate(&mut self, batch: &PackedBatch, rotary: &Matrix, heads: usize, qkv: &mut Matrix) {
        self.inner.rotate(batch, rotary, heads, qkv);
        self.sabotage("rotate", qkv);
    }
    fn gate(&mut self, x: &Matrix, f: Activation, out: &mut Matrix) {
        self.inner.gate(x, f, out);
        self.sabotage("gate", out);
    }
    fn pool(&mut self, batch: &PackedBatch, mode: PoolMode, x: &Matrix, out: &mut Matrix) {
        self.inner.pool(batch, mode, x, out);
        self.sabotage("pool", out);
    }
    fn first_tokens(&mut self, batch: &PackedBatch, x: &Matrix, out: &mut Matrix) {
        self.inner.first_tokens(batch, x, out);
        self.sabotage("first_tokens", out);
    }
    fn attention_first(
        &mut self,
        batch: &PackedBatch,
        q: &Matrix,
        x: &Matrix,
        kv: &KeyValue,
        out: &mut Matrix,
    ) {
        self.inner.attention_first(batch, q, x, kv, out);
        self.sabotage("attention_first", out);
    }
}
