//! Activations to the device and results back, without their padding.

use super::buffers::Buf;
use super::command::Command;
use super::recorder::Gpu;
use crate::error::Result;
use crate::kernels::Dtype;
use crate::tensor::widen;

impl Gpu {
    /// Records the upload of an activation `[rows, cols]`.
    pub(super) fn record_upload(&mut self, rows: usize, cols: usize, values: &[f32]) -> Result<Buf> {
        let mut buf = Buf::default();
        self.resize(&mut buf, rows, cols)?;
        let mut padded = vec![0.0_f32; rows * buf.stride()];
        for (to, from) in padded.chunks_exact_mut(buf.stride()).zip(values.chunks_exact(cols)) {
            to[..cols].copy_from_slice(from);
        }
        self.recorded.push(Command::Upload(buf.handle(), bytemuck::cast_slice(&padded).to_vec()));
        Ok(buf)
    }

    /// Executes the recorded commands and copies an activation into `out`, row after row.
    pub(super) fn read_back(&mut self, buf: &Buf, out: &mut [f32]) -> Result<()> {
        let dtype = if buf.is_f16 { Dtype::F16 } else { Dtype::F32 };
        let elem_bytes = buf.elem_bytes() as usize;
        let row_bytes = elem_bytes * buf.stride();
        let bytes = self.execute_recorded(Some((buf.handle(), (row_bytes * buf.rows) as u64)))?;
        for (to, from) in out.chunks_exact_mut(buf.cols).zip(bytes.chunks_exact(row_bytes)) {
            widen(dtype, &from[..elem_bytes * buf.cols], to);
        }
        Ok(())
    }
}
