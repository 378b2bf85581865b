//! Activations and weights as the host holds them: numbers of buffers, shapes, and nothing of the driver.

use std::collections::HashMap;
use std::sync::Arc;

use super::pack::{padded_cols, padded_rows};
use super::thread::BufferHandle;
use crate::kernels::OwnedTensor;

/// An activation `[rows, cols]`, row-major, f32 or f16, padded to [`padded_rows`] x [`padded_cols`]. Padding columns hold zeros
/// wherever a word has written a row; padding rows hold anything.
#[derive(Default)]
pub struct Buf {
    pub(super) slot: Option<Arc<BufferHandle>>,
    /// Bytes that the slot has.
    pub(super) capacity: u64,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Whether its numbers are f16.
    pub(super) is_f16: bool,
}

impl Buf {
    /// Numbers from one row to the next.
    pub(super) fn stride(&self) -> usize {
        padded_cols(self.cols)
    }

    /// vec4s from one row to the next.
    pub(super) fn row_vec4s(&self) -> usize {
        self.stride() / 4
    }

    /// Bytes of a number.
    pub(super) fn elem_bytes(&self) -> u64 {
        if self.is_f16 { 2 } else { 4 }
    }

    /// Bytes with all padding.
    pub(super) fn bytes(&self) -> u64 {
        (self.elem_bytes() * padded_rows(self.rows) as u64).saturating_mul(self.stride() as u64)
    }

    /// The buffer, to be written in f32.
    pub(super) fn as_f32(&mut self) -> Arc<BufferHandle> {
        self.is_f16 = false;
        self.slot()
    }

    /// The buffer.
    pub(super) fn slot(&self) -> Arc<BufferHandle> {
        Arc::clone(self.slot.as_ref().expect("`shape` comes before every other word and makes the buffer"))
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

/// Gain, bias and epsilon.
pub struct Norm {
    pub(super) gain: Arc<BufferHandle>,
    pub(super) bias: Arc<BufferHandle>,
    pub(super) epsilon: f32,
}

/// What attention adds to its scores by head and distance, `[N, 2L-1]`.
pub struct Bias {
    pub(super) values: Arc<BufferHandle>,
    /// L - 1.
    pub(super) middle: usize,
}

/// Cosines and sines `[L,D]`.
pub struct Rotary {
    pub(super) cos_sin: Arc<BufferHandle>,
    /// L.
    pub(super) positions: usize,
    /// D.
    pub(super) head_dim: usize,
}

/// Distances as queries and keys, each `[R,H]` padded like an activation.
pub struct Relative {
    pub(super) keys: Option<Buf>,
    pub(super) queries: Option<Buf>,
    /// Row numbers `[2L-1]`, exact in f32.
    pub(super) row_of: Arc<BufferHandle>,
    /// L - 1.
    pub(super) middle: usize,
}

/// Key and value projections for first tokens.
pub struct KeyValue {
    pub(super) key: Arc<BufferHandle>,
    pub(super) value: Arc<BufferHandle>,
    pub(super) bias: Arc<BufferHandle>,
    pub(super) heads: usize,
}

/// Rows of one table that a batch needs, each once, and where they landed.
#[derive(Default)]
pub(super) struct RowGather {
    /// Row of the table -> row of the upload.
    uploaded_rows: HashMap<u32, u32>,
}

impl RowGather {
    /// Where row `id` of `table` lies in `rows`; it is widened and appended the first time.
    pub(super) fn uploaded_row(&mut self, table: &OwnedTensor, id: u32, rows: &mut Vec<f32>) -> u32 {
        let stride = padded_cols(table.cols);
        *self.uploaded_rows.entry(id).or_insert_with(|| {
            let start = rows.len();
            rows.resize(start + stride, 0.0);
            table.tensor().widen_row(id as usize, &mut rows[start..start + table.cols]);
            (start / stride) as u32
        })
    }
}
