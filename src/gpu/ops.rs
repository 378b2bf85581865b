//! The op set of the GPU backend. Each op that computes records dispatches; `read` executes them.

use std::sync::Arc;

use super::adapter::MAX_WORKGROUPS;
use super::attention::ScoreMod;
use super::buffers::{Bias, Buf, KeyValue, Linear, Norm, Relative, Rotary};
use super::fault::gpu_error;
use super::linear::activation_code;
use super::pack::padded_cols;
use super::params::{QUERIES, Sequence, query_blocks};
use super::recorder::{FirstTokenSpace, Gpu, ListKind};
use super::shaders::Kernel;
use crate::error::{Error, Result};
use crate::kernels::{
    Activation, Epilogue, Kernels, LinearPart, OwnedTensor, PoolMode, RelativePositions, Tensor,
    WeightStorage,
};
use crate::text::batch::PackedBatch;

/// Invocations of a workgroup of gate.wgsl and pool.wgsl: each owns one vec4 of columns.
const COLUMN_INVOCATIONS: usize = 64;

impl Kernels for Gpu {
    type Buf = Buf;
    type Linear = Linear;
    /// A table stays in the host's memory.
    type Table = OwnedTensor;
    type Norm = Norm;
    type KeyValue = KeyValue;
    type Bias = Bias;
    type Rotary = Rotary;
    type Relative = Relative;

    fn make_linear(&self, parts: &[LinearPart<'_>], _storage: WeightStorage) -> Result<Linear> {
        self.upload_linear(parts)
    }

    fn make_table(&self, table: OwnedTensor) -> Result<OwnedTensor> {
        Ok(table)
    }

    fn make_norm(&self, gain: Tensor<'_>, bias: Tensor<'_>, epsilon: f32) -> Result<Norm> {
        self.upload_norm(gain, bias, epsilon)
    }

    fn make_key_value(&self, key: LinearPart<'_>, value: LinearPart<'_>, heads: usize) -> Result<KeyValue> {
        self.upload_key_value(&key, &value, heads)
    }

    fn make_bias(&self, bias: Tensor<'_>) -> Result<Bias> {
        Ok(Bias { values: self.upload("attention bias", bias.values())?, center: bias.cols / 2 })
    }

    fn make_rotary(&self, cos_sin: Tensor<'_>) -> Result<Rotary> {
        let (positions, head_dim) = (cos_sin.rows, cos_sin.cols);
        Ok(Rotary { cos_sin: self.upload("rotations", cos_sin.values())?, positions, head_dim })
    }

    fn make_relative(&self, positions: RelativePositions<'_, Norm>, _heads: usize) -> Result<Relative> {
        self.project_relative(positions)
    }

    fn make_buf(&self) -> Buf {
        Buf::default()
    }

    fn shape(&mut self, buf: &mut Buf, rows: usize, cols: usize) -> Result<()> {
        // Memory for f32; an op that writes f16 uses half of it.
        buf.is_f16 = false;
        self.resize(buf, rows, cols)
    }

    fn write(&mut self, rows: usize, cols: usize, values: &[f32]) -> Result<Buf> {
        self.record_upload(rows, cols, values)
    }

    fn read(&mut self, buf: &Buf, out: &mut [f32]) -> Result<()> {
        self.read_back(buf, out)
    }

    fn begin(&mut self, batch: &PackedBatch, hidden: usize, heads: usize) -> Result<()> {
        let tokens = batch.tokens();
        if tokens > MAX_WORKGROUPS {
            return Err(gpu_error(format!("{tokens} tokens at once: the most is {MAX_WORKGROUPS}")));
        }
        // Below 2^16, as every row number is.
        let sequence =
            |rows: std::ops::Range<usize>| Sequence { start: rows.start as u32, len: rows.len() as u32 };
        let sequences: Vec<_> = batch.rows().map(sequence).collect();
        let blocks = query_blocks(&sequences);
        self.query_block_count = blocks.len();
        self.record_list(ListKind::QueryBlocks, &blocks)?;
        self.record_list(ListKind::Sequences, &sequences)?;
        let all_heads = heads * padded_cols(hidden);
        let FirstTokenSpace { mut absorbed_queries, mut mixed_inputs, mut attention_weights } =
            std::mem::take(&mut self.first_token);
        self.resize(&mut absorbed_queries, sequences.len(), all_heads)?;
        self.resize(&mut mixed_inputs, sequences.len(), all_heads)?;
        self.resize(&mut attention_weights, tokens, heads)?;
        self.first_token = FirstTokenSpace { absorbed_queries, mixed_inputs, attention_weights };
        Ok(())
    }

    fn embed(
        &mut self,
        batch: &PackedBatch,
        word: &OwnedTensor,
        position: &OwnedTensor,
        token_type: &OwnedTensor,
        norm: &Norm,
        out: &mut Buf,
    ) {
        if let Err(error) = self.record_embed(batch, [word, position, token_type], norm, out) {
            self.record_failure(error);
        }
    }

    fn linear(&mut self, x: &Buf, w: &Linear, epilogue: Epilogue<'_, Buf>, out: &mut Buf) {
        self.record_linear(x, w, epilogue, out);
    }

    fn norm(&mut self, x: &Buf, norm: &Norm, out: &mut Buf) {
        let overrides = [x.cols as f64, x.row_vec4s() as f64, norm.epsilon.into()];
        let weights = [Arc::clone(&norm.gain), Arc::clone(&norm.bias)];
        let activations = [self.record_as_f32(x), out.as_f32()];
        self.record_dispatch(Kernel::Norm, &overrides, &activations, &weights, [x.rows, 1, 1]);
    }

    fn attention(&mut self, batch: &PackedBatch, qkv: &Buf, heads: usize, out: &mut Buf) {
        self.record_plain_attention(batch, qkv, heads, out);
    }

    fn attention_biased(&mut self, batch: &PackedBatch, qkv: &Buf, bias: &Bias, heads: usize, out: &mut Buf) {
        self.record_attention(batch, qkv, &ScoreMod::bias(bias), heads, out);
    }

    fn attention_local(
        &mut self,
        batch: &PackedBatch,
        qkv: &Buf,
        radius: usize,
        heads: usize,
        out: &mut Buf,
    ) {
        self.record_attention(batch, qkv, &ScoreMod::window(radius), heads, out);
    }

    fn attention_disentangled(
        &mut self,
        batch: &PackedBatch,
        qkv: &Buf,
        relative: &Relative,
        heads: usize,
        out: &mut Buf,
    ) {
        self.record_attention(batch, qkv, &ScoreMod::relative(relative), heads, out);
    }

    fn rotate(&mut self, batch: &PackedBatch, rotary: &Rotary, heads: usize, qkv: &mut Buf) {
        if batch.max_sequence_tokens() > rotary.positions
            || qkv.cols != 3 * heads * rotary.head_dim
            || qkv.is_f16
        {
            let message = "rotary tables of other positions, head_dim or heads".into();
            return self.record_failure(Error::Internal { message });
        }
        let overrides = [rotary.head_dim / 2, heads, qkv.stride()].map(|v| v as f64);
        let activations = [qkv.handle(), self.list(ListKind::QueryBlocks)];
        let grid = [self.query_block_count, QUERIES, 1];
        self.record_dispatch(Kernel::Rotate, &overrides, &activations, &[Arc::clone(&rotary.cos_sin)], grid);
    }

    fn gate(&mut self, x: &Buf, f: Activation, out: &mut Buf) {
        if x.cols != 2 * out.cols || x.rows > out.rows {
            let message = format!("gates of {} columns for {}", x.cols, out.cols);
            return self.record_failure(Error::Internal { message });
        }
        let [cols, x_stride, out_stride] = [out.cols, x.stride(), out.stride()].map(|v| v as f64);
        let overrides = [cols, x_stride, out_stride, activation_code(f)];
        let grid = [x.rows, out.row_vec4s().div_ceil(COLUMN_INVOCATIONS), 1];
        let activations = [self.record_as_f32(x), out.as_f32()];
        self.record_dispatch(Kernel::Gate, &overrides, &activations, &[], grid);
    }

    fn pool(&mut self, batch: &PackedBatch, mode: PoolMode, x: &Buf, out: &mut Buf) {
        let code = match mode {
            PoolMode::Mean => 0.0,
            PoolMode::MeanSqrtLen => 1.0,
            PoolMode::WeightedMean => 2.0,
            PoolMode::Max => 3.0,
            PoolMode::Last => 4.0,
        };
        let activations = [self.record_as_f32(x), self.list(ListKind::Sequences), out.as_f32()];
        let grid = [batch.sequences(), x.row_vec4s().div_ceil(COLUMN_INVOCATIONS), 1];
        self.record_dispatch(Kernel::Pool, &[x.row_vec4s() as f64, code], &activations, &[], grid);
    }

    fn first_tokens(&mut self, batch: &PackedBatch, x: &Buf, out: &mut Buf) {
        let activations = [self.record_as_f32(x), self.list(ListKind::Sequences), out.as_f32()];
        let grid = [batch.sequences(), 1, 1];
        self.record_dispatch(Kernel::FirstTokens, &[x.row_vec4s() as f64], &activations, &[], grid);
    }

    fn attention_first(&mut self, batch: &PackedBatch, q: &Buf, x: &Buf, kv: &KeyValue, out: &mut Buf) {
        self.record_first_token_attention(batch, q, x, kv, out);
    }
}
