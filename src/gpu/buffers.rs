//! Activations and weights as the host holds them: numbers of device buffers, shapes, and nothing of the driver.

use std::sync::Arc;

use super::handle::BufferHandle;
use super::pack::{padded_cols, padded_rows};

/// An activation `[rows, cols]`, row-major, f32 or f16, padded to [`padded_rows`] x [`padded_cols`]. Padding columns are
/// zeros in every row that an op has written; padding rows are unspecified.
#[derive(Default)]
pub struct Buf {
    pub(super) buffer: Option<Arc<BufferHandle>>,
    pub(super) capacity_bytes: u64,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Whether its elements are f16.
    pub(super) is_f16: bool,
}

impl Buf {
    /// Elements from one row to the next.
    pub(super) fn stride(&self) -> usize {
        padded_cols(self.cols)
    }

    /// vec4s from one row to the next.
    pub(super) fn row_vec4s(&self) -> usize {
        self.stride() / 4
    }

    /// Bytes of an element.
    pub(super) fn elem_bytes(&self) -> u64 {
        if self.is_f16 { 2 } else { 4 }
    }

    /// Bytes with all padding.
    pub(super) fn bytes(&self) -> u64 {
        (self.elem_bytes() * padded_rows(self.rows) as u64).saturating_mul(self.stride() as u64)
    }

    /// The buffer as the output of an op that writes f32.
    pub(super) fn as_f32(&mut self) -> Arc<BufferHandle> {
        self.is_f16 = false;
        self.handle()
    }

    /// The buffer.
    pub(super) fn handle(&self) -> Arc<BufferHandle> {
        Arc::clone(self.buffer.as_ref().expect("`shape` comes before every other op and makes the buffer"))
    }
}

/// A packed linear layer.
pub struct Linear {
    pub(super) weight: Arc<BufferHandle>,
    pub(super) bias: Arc<BufferHandle>,
    /// Input features.
    pub(super) inputs: usize,
    /// Output features.
    pub(super) outputs: usize,
}

/// Gain, bias and epsilon of a layer norm.
pub struct Norm {
    pub(super) gain: Arc<BufferHandle>,
    pub(super) bias: Arc<BufferHandle>,
    pub(super) epsilon: f32,
}

/// A bias of attention scores by head and relative position, `[N, 2L-1]`.
pub struct Bias {
    pub(super) values: Arc<BufferHandle>,
    /// L - 1, the column of relative position 0.
    pub(super) center: usize,
}

/// Cosines and sines by position, `[L,D]`.
pub struct Rotary {
    pub(super) cos_sin: Arc<BufferHandle>,
    /// L.
    pub(super) positions: usize,
    /// D.
    pub(super) head_dim: usize,
}

/// Relative positions as keys and queries, each `[R,H]` and padded like an activation.
pub struct Relative {
    pub(super) keys: Option<Buf>,
    pub(super) queries: Option<Buf>,
    /// Row numbers `[2L-1]` as f32, which holds them exactly.
    pub(super) row_of: Arc<BufferHandle>,
    /// L - 1, the index of relative position 0.
    pub(super) center: usize,
}

/// Key and value projections for attention of first tokens.
pub struct KeyValue {
    pub(super) key: Arc<BufferHandle>,
    pub(super) value: Arc<BufferHandle>,
    pub(super) bias: Arc<BufferHandle>,
    pub(super) heads: usize,
}
