//! Recording attention: the shader for the head dimension and for how scores depend on positions, and the four steps of
//! attention for first tokens.

use std::sync::Arc;

use super::adapter::MAX_WORKGROUPS;
use super::buffers::{Bias, Buf, KeyValue, Relative};
use super::fault::gpu_error;
use super::handle::BufferHandle;
use super::pack::COLUMN_TILE;
use super::params::QUERIES;
use super::recorder::{Gpu, ListKind};
use super::shaders::Kernel;
use crate::error::Error;
use crate::text::batch::PackedBatch;

/// The largest head dimension that attention has a shader for.
pub const MAX_HEAD_DIM: usize = 128;

/// Sequences of a workgroup of first_back.wgsl and first_out.wgsl.
const FIRST_TOKEN_SEQUENCES: usize = 4;
/// Invocations of each first_*.wgsl, along columns.
const FIRST_TOKEN_INVOCATIONS: usize = 64;

/// How scores depend on positions: the inputs of shaders/attention/general.wgsl. The default is no dependence.
#[derive(Default)]
pub(super) struct ScoreMod {
    /// The bias `[N,2L-1]`, or keys of relative positions `[R,H]`.
    keys: Option<Arc<BufferHandle>>,
    /// Queries of relative positions `[R,H]`.
    queries: Option<Arc<BufferHandle>>,
    /// The row of `keys` and `queries` for each relative position.
    row_of: Option<Arc<BufferHandle>>,
    /// L - 1, the index of relative position 0, where there is a table.
    center: usize,
    /// How far away a query sees keys; `None` sees every key.
    window_radius: Option<usize>,
    /// The override SCORE_MOD: a sum of the flags below.
    flags: u8,
}

/// A flag of SCORE_MOD: adds the bias.
const ADD_BIAS: u8 = 1;
/// A flag of SCORE_MOD: adds q K\[r\].
const ADD_POSITION_KEYS: u8 = 2;
/// A flag of SCORE_MOD: adds k Q\[r\].
const ADD_POSITION_QUERIES: u8 = 4;

impl ScoreMod {
    pub(super) fn bias(bias: &Bias) -> Self {
        let keys = Some(Arc::clone(&bias.values));
        Self { keys, center: bias.center, flags: ADD_BIAS, ..Self::default() }
    }

    pub(super) fn window(radius: usize) -> Self {
        Self { window_radius: Some(radius), ..Self::default() }
    }

    pub(super) fn relative(relative: &Relative) -> Self {
        let keys = relative.keys.as_ref().map(Buf::handle);
        let queries = relative.queries.as_ref().map(Buf::handle);
        let flags = if keys.is_some() { ADD_POSITION_KEYS } else { 0 }
            + if queries.is_some() { ADD_POSITION_QUERIES } else { 0 };
        Self {
            keys,
            queries,
            row_of: Some(Arc::clone(&relative.row_of)),
            center: relative.center,
            window_radius: None,
            flags,
        }
    }
}

impl Gpu {
    /// Records attention whose scores do not depend on positions.
    pub(super) fn record_plain_attention(
        &mut self,
        batch: &PackedBatch,
        qkv: &Buf,
        heads: usize,
        out: &mut Buf,
    ) {
        let hidden = out.cols;
        let kernel = match hidden / heads {
            32 => Kernel::Attention32,
            64 => Kernel::Attention64,
            _ => return self.record_attention(batch, qkv, &ScoreMod::default(), heads, out),
        };
        // A multiple of 32 or 64 is one of 16: the specialised shaders meet no padding.
        const { assert!(32 % COLUMN_TILE == 0 && QUERIES == 64) };
        let activations = [self.record_as_f32(qkv), self.list(ListKind::QueryBlocks), out.as_f32()];
        let grid = [self.query_block_count, heads, 1];
        self.record_dispatch(kernel, &[out.row_vec4s() as f64], &activations, &[], grid);
        let scores: f64 = batch.rows().map(|rows| (rows.len() * rows.len()) as f64).sum();
        self.recorded_flop += 4.0 * scores * hidden as f64;
    }

    /// Records attention of any head dimension, whose scores may depend on positions.
    pub(super) fn record_attention(
        &mut self,
        batch: &PackedBatch,
        qkv: &Buf,
        score_mod: &ScoreMod,
        heads: usize,
        out: &mut Buf,
    ) {
        let (hidden, head_dim, longest) = (out.cols, out.cols / heads, batch.max_sequence_tokens());
        if head_dim > MAX_HEAD_DIM {
            let message = format!("attention with head_dim {head_dim}: the most is {MAX_HEAD_DIM}");
            return self.record_failure(gpu_error(message));
        }
        if score_mod.flags > 0 && longest > score_mod.center + 1 {
            let message = format!("{longest} tokens, and relative positions up to {}", score_mod.center);
            return self.record_failure(Error::Internal { message });
        }
        // MAX_WORKGROUPS is longer than every sequence of a batch, and far from overflow.
        let radius = score_mod.window_radius.unwrap_or(MAX_WORKGROUPS).min(MAX_WORKGROUPS);
        let [head_dim, hidden_cols, qkv_stride, out_stride, center, window] =
            [head_dim, hidden, qkv.stride(), out.stride(), score_mod.center, radius].map(|v| v as f64);
        let overrides =
            [head_dim, hidden_cols, qkv_stride, out_stride, center, window, f64::from(score_mod.flags)];
        // A table that is not read needs a buffer all the same.
        let table = |table: &Option<Arc<BufferHandle>>| table.clone().unwrap_or_else(|| qkv.handle());
        let weights = [table(&score_mod.keys), table(&score_mod.queries), table(&score_mod.row_of)];
        let activations = [self.record_as_f32(qkv), self.list(ListKind::QueryBlocks), out.as_f32()];
        let grid = [self.query_block_count, heads, QUERIES];
        self.record_dispatch(Kernel::AttentionGeneral, &overrides, &activations, &weights, grid);
        let scores = |rows: std::ops::Range<usize>| (rows.len() * rows.len().min(2 * radius + 1)) as f64;
        self.recorded_flop += 4.0 * batch.rows().map(scores).sum::<f64>() * hidden as f64;
    }

    /// Records attention of one query per sequence with absorbed key and value projections.
    pub(super) fn record_first_token_attention(
        &mut self,
        batch: &PackedBatch,
        q: &Buf,
        x: &Buf,
        kv: &KeyValue,
        out: &mut Buf,
    ) {
        let (sequences, heads, row_vec4s) = (batch.sequences(), kv.heads, x.row_vec4s());
        let head_dim = out.cols / heads;
        let sizes = [head_dim, heads, row_vec4s].map(|v| v as f64);
        let sequence_blocks = sequences.div_ceil(FIRST_TOKEN_SEQUENCES);
        let column_blocks = row_vec4s.div_ceil(FIRST_TOKEN_INVOCATIONS);
        let list = self.list(ListKind::Sequences);
        let absorbed_queries = self.first_token.absorbed_queries.handle();
        let mixed_inputs = self.first_token.mixed_inputs.handle();
        let attention_weights = self.first_token.attention_weights.handle();

        let activations = [self.record_as_f32(q), Arc::clone(&absorbed_queries)];
        let grid = [sequence_blocks, heads, column_blocks];
        self.record_dispatch(Kernel::FirstBack, &sizes, &activations, &[Arc::clone(&kv.key)], grid);

        let x = self.record_as_f32(x);
        let activations =
            [Arc::clone(&x), absorbed_queries, Arc::clone(&list), Arc::clone(&attention_weights)];
        self.record_dispatch(Kernel::FirstScores, &sizes[1..], &activations, &[], [sequences, heads, 1]);

        let activations = [x, attention_weights, list, Arc::clone(&mixed_inputs)];
        let grid = [sequences, heads, column_blocks];
        self.record_dispatch(Kernel::FirstMix, &sizes[1..], &activations, &[], grid);

        let value = [Arc::clone(&kv.value), Arc::clone(&kv.bias)];
        let grid = [sequence_blocks, (4 * row_vec4s).div_ceil(FIRST_TOKEN_INVOCATIONS), 1];
        self.record_dispatch(Kernel::FirstOut, &sizes, &[mixed_inputs, out.as_f32()], &value, grid);

        let hidden = out.cols as f64;
        self.recorded_flop +=
            4.0 * (batch.tokens() * heads) as f64 * hidden + 4.0 * sequences as f64 * hidden * hidden;
    }
}
