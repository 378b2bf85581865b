//! Packing and uploading weights, once per load.

use std::sync::Arc;

use super::buffers::{KeyValue, Linear, Norm, Relative};
use super::handle::BufferHandle;
use super::pack;
use super::recorder::Gpu;
use crate::error::{Error, Result};
use crate::kernels::{Epilogue, Kernels, LinearPart, RelativePositions, Tensor, WeightStorage};

impl Gpu {
    /// Makes a buffer of these values.
    pub(super) fn upload<T: bytemuck::Pod + Send>(
        &self,
        label: &'static str,
        values: Vec<T>,
    ) -> Result<Arc<BufferHandle>> {
        let id = self.thread.call(move |device| device.upload(label, bytemuck::cast_slice(&values)))?;
        Ok(Arc::new(self.thread.handle(id)))
    }

    pub(super) fn upload_linear(&self, parts: &[LinearPart<'_>]) -> Result<Linear> {
        let (weight, bias) = pack::pack_linear(parts)?;
        let weight = if self.uses_f16() {
            self.upload("linear weight", pack::round_f16(&weight)?)?
        } else {
            self.upload("linear weight", weight)?
        };
        let bias = self.upload("linear bias", bias)?;
        let outputs = parts.iter().map(|part| part.weight.rows).sum();
        Ok(Linear { weight, bias, inputs: parts[0].weight.cols, outputs })
    }

    pub(super) fn upload_norm(&self, gain: Tensor<'_>, bias: Tensor<'_>, epsilon: f32) -> Result<Norm> {
        let gain = self.upload("norm gain", pack::padded_vector(gain))?;
        let bias = self.upload("norm bias", pack::padded_vector(bias))?;
        Ok(Norm { gain, bias, epsilon })
    }

    pub(super) fn upload_key_value(
        &self,
        key: &LinearPart<'_>,
        value: &LinearPart<'_>,
        heads: usize,
    ) -> Result<KeyValue> {
        let key = self.upload("key by rows", pack::pack_rows(key)?)?;
        let (value, bias) = pack::pack_inputs(value)?;
        let (value, bias) = (self.upload("value by inputs", value)?, self.upload("value bias", bias)?);
        Ok(KeyValue { key, value, bias, heads })
    }

    /// Projects embeddings of relative positions on the device. Ops need the backend mutably, so a second one records them
    /// for the same device.
    pub(super) fn project_relative(&self, positions: RelativePositions<'_, Norm>) -> Result<Relative> {
        let Tensor { rows, cols, .. } = positions.rows;
        if positions.row_of.iter().any(|row| *row as usize >= rows) {
            return Err(Error::Internal { message: "a relative position has no row".into() });
        }
        let mut gpu = Self::with_thread(Arc::clone(&self.thread), self.options.clone());
        let mut embeddings = gpu.write(rows, cols, &positions.rows.values())?;
        if let Some(norm) = positions.norm {
            let mut normed = gpu.make_buf();
            gpu.shape(&mut normed, rows, cols)?;
            gpu.norm(&embeddings, norm, &mut normed);
            embeddings = normed;
        }
        let mut project = |part: LinearPart<'_>| {
            let mut out = gpu.make_buf();
            gpu.shape(&mut out, rows, part.weight.rows)?;
            let linear = gpu.make_linear(&[part], WeightStorage::F32)?;
            gpu.linear(&embeddings, &linear, Epilogue::Store, &mut out);
            Ok::<_, Error>(out)
        };
        let queries = positions.query.map(&mut project).transpose()?;
        let keys = positions.key.map(&mut project).transpose()?;
        gpu.flush()?;
        let row_of = positions.row_of.iter().map(|row| *row as f32).collect();
        let row_of = self.upload("rows of relative positions", row_of)?;
        Ok(Relative { keys, queries, row_of, center: positions.row_of.len() / 2 })
    }
}
