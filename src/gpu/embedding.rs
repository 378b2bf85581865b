//! Gathering embeddings: tables stay in the host's memory, and each row that a batch needs is uploaded once.

use std::collections::HashMap;
use std::sync::Arc;

use super::buffers::{Buf, Norm};
use super::pack::padded_cols;
use super::params::TokenRows;
use super::recorder::{Gpu, ListKind};
use super::shaders::Kernel;
use crate::error::Result;
use crate::kernels::OwnedTensor;
use crate::text::batch::PackedBatch;

/// The rows of one table that a batch needs, each once.
#[derive(Default)]
struct RowGather {
    /// Row of the table -> row of the upload.
    uploaded: HashMap<u32, u32>,
}

impl RowGather {
    /// The index in `rows` of row `id` of `table`, which is widened and appended where it is not there yet.
    fn index_of(&mut self, table: &OwnedTensor, id: u32, rows: &mut Vec<f32>) -> u32 {
        let stride = padded_cols(table.cols);
        *self.uploaded.entry(id).or_insert_with(|| {
            let start = rows.len();
            rows.resize(start + stride, 0.0);
            table.tensor().widen_row(id as usize, &mut rows[start..start + table.cols]);
            (start / stride) as u32
        })
    }
}

impl Gpu {
    /// Records out = norm(sum of each token's rows of the word, position and token-type tables).
    pub(super) fn record_embed(
        &mut self,
        batch: &PackedBatch,
        [word, position, token_type]: [&OwnedTensor; 3],
        norm: &Norm,
        out: &mut Buf,
    ) -> Result<()> {
        let mut rows = Vec::new();
        let [mut words, mut positions, mut token_types]: [RowGather; 3] = Default::default();
        let tokens: Vec<_> = (0..batch.tokens())
            .map(|t| TokenRows {
                word: words.index_of(word, batch.ids[t], &mut rows),
                position: positions.index_of(position, batch.positions[t], &mut rows),
                token_type: token_types.index_of(token_type, batch.token_types[t], &mut rows),
            })
            .collect();
        self.record_list(ListKind::TokenRows, &tokens)?;
        self.record_list(ListKind::TableRows, &rows)?;
        let overrides = [out.cols as f64, out.row_vec4s() as f64, norm.epsilon.into()];
        let activations = [self.list(ListKind::TableRows), self.list(ListKind::TokenRows), out.as_f32()];
        let weights = [Arc::clone(&norm.gain), Arc::clone(&norm.bias)];
        self.record_dispatch(Kernel::EmbedNorm, &overrides, &activations, &weights, [batch.tokens(), 1, 1]);
        Ok(())
    }
}
