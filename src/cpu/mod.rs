//! [`Kernels`] for the host processor: packed weights, fused attention, and one register tile for every product.

pub mod activation;
pub mod alloc;
pub mod attention;
pub mod embed;
pub mod epilogue;
pub mod first;
pub mod gate;
pub mod gemm;
pub mod int8;
pub mod isa;
pub mod linear;
pub mod norm;
pub mod pack;
pub mod parallel;
pub mod pool;
pub mod relative_position;
pub mod rotary;
pub mod score_mod;
pub mod simd;
mod sync;
pub mod threads;

use std::sync::Arc;

use crate::error::Result;
use crate::kernels::{
    Activation, Epilogue, Kernels, LinearPart, OwnedTensor, PoolMode, RelativePositions, Tensor,
    WeightStorage,
};
use crate::text::batch::PackedBatch;
use alloc::{AlignedVec, grow};
use attention::Attention;
use embed::Embed;
use first::{FirstAttention, KeyValue};
use gate::Gate;
use linear::PackedLinear;
use norm::{Norm, NormRows};
use parallel::{OutputPart, Parallel};
use pool::PoolTokens;
use relative_position::{DisentangledPositions, RelativeBias, SlidingWindow};
use rotary::{Rotary, Rotate};
use score_mod::{NoScoreMod, ScoreMod};
use simd::{Int8Kernel, LANES, MatMut, Simd};
use threads::Pool;

/// The CPU backend with one instruction set, and the work space of one forward pass.
pub struct Cpu<S> {
    simd: S,
    /// The microkernel for products of 8-bit integers.
    int8_kernel: &'static Int8Kernel,
    parallel: Parallel,
}

/// A row-major matrix; grows, never shrinks.
#[derive(Default)]
pub struct Buf {
    values: AlignedVec<f32>,
    rows: usize,
    cols: usize,
}

impl Buf {
    fn get(&self) -> &[f32] {
        &self.values[..self.rows * self.cols]
    }

    fn get_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.rows * self.cols]
    }

    fn mat(&mut self) -> MatMut<'_> {
        let (rows, cols) = (self.rows, self.cols);
        MatMut::new(self.get_mut(), rows, cols)
    }

    fn shape(&mut self, rows: usize, cols: usize) -> Result<()> {
        // The buffer is left empty where there is no memory.
        (self.rows, self.cols) = (0, 0);
        grow(&mut self.values, rows * cols)?;
        (self.rows, self.cols) = (rows, cols);
        Ok(())
    }
}

impl<S: Simd> Cpu<S> {
    /// A backend that computes on the calling thread.
    pub fn new(simd: S) -> Self {
        Self::with_int8_kernel(simd, Int8Kernel::best(S::ISA))
    }

    /// [`new`](Self::new) with another microkernel for 8-bit integers than the best.
    pub fn with_int8_kernel(simd: S, int8_kernel: &'static Int8Kernel) -> Self {
        Self { simd, int8_kernel, parallel: Parallel::default() }
    }

    /// Shares each op between the pool's threads, or stops doing so. No bit of a result depends on it.
    pub fn set_pool(&mut self, pool: Option<Arc<Pool>>) {
        self.parallel.set_pool(pool);
    }

    /// Attention of every sequence; threads share the heads.
    fn attend<M: ScoreMod>(
        &self,
        batch: &PackedBatch,
        qkv: &Buf,
        heads: usize,
        score_mod: impl Fn() -> M + Sync,
        out: &mut Buf,
    ) {
        let hidden = out.cols;
        let head_dim = hidden / heads;
        self.parallel.for_columns(heads, head_dim, out.mat(), |heads, mut out, scratch| {
            for rows in batch.rows() {
                let qkv = &qkv.get()[rows.start * qkv.cols..rows.end * qkv.cols];
                let columns = 0..out.cols();
                let (heads, score_mod, out) = (heads.clone(), score_mod(), out.block(rows, columns));
                self.simd.dispatch(Attention { qkv, hidden, head_dim, heads, score_mod, out, scratch });
            }
        });
    }
}

impl<S: Simd> Kernels for Cpu<S> {
    type Buf = Buf;
    type Linear = PackedLinear<S>;
    type Table = OwnedTensor;
    type Norm = Norm;
    type KeyValue = KeyValue<S>;
    type Bias = RelativeBias;
    type Rotary = Rotary;
    type Relative = DisentangledPositions;

    fn make_linear(&self, parts: &[LinearPart<'_>], storage: WeightStorage) -> Result<PackedLinear<S>> {
        PackedLinear::new(self.simd, parts, storage, self.int8_kernel)
    }

    fn make_table(&self, table: OwnedTensor) -> Result<OwnedTensor> {
        Ok(table)
    }

    fn make_norm(&self, gain: Tensor<'_>, bias: Tensor<'_>, epsilon: f32) -> Result<Norm> {
        Ok(Norm { gain: gain.values(), bias: bias.values(), epsilon })
    }

    fn make_key_value(
        &self,
        key: LinearPart<'_>,
        value: LinearPart<'_>,
        heads: usize,
    ) -> Result<KeyValue<S>> {
        KeyValue::new(key, value, heads)
    }

    fn make_bias(&self, bias: Tensor<'_>) -> Result<RelativeBias> {
        RelativeBias::new(bias)
    }

    fn make_rotary(&self, cos_sin: Tensor<'_>) -> Result<Rotary> {
        Rotary::new(cos_sin)
    }

    fn make_relative(
        &self,
        positions: RelativePositions<'_, Norm>,
        heads: usize,
    ) -> Result<DisentangledPositions> {
        // Ops run on a backend of their own, because the work space of this one may be in use.
        let mut cpu = Cpu::new(self.simd);
        let (rows, hidden) = (positions.rows.rows, positions.rows.cols);
        cpu.parallel.reserve(linear::scratch_floats(rows))?;
        let mut x = cpu.write(rows, hidden, &positions.rows.values())?;
        if let Some(norm) = positions.norm {
            let mut normed = Buf::default();
            normed.shape(rows, hidden)?;
            cpu.norm(&x, norm, &mut normed);
            x = normed;
        }
        let mut project = |part: LinearPart<'_>| {
            let mut out = Buf::default();
            out.shape(rows, part.weight.rows)?;
            cpu.linear(&x, &cpu.make_linear(&[part], WeightStorage::F32)?, Epilogue::Store, &mut out);
            Ok(out)
        };
        let queries = positions.query.map(&mut project).transpose()?;
        let keys = positions.key.map(&mut project).transpose()?;
        let [keys, queries] = [&keys, &queries].map(|projected| projected.as_ref().map(Buf::get));
        DisentangledPositions::new(keys, queries, positions.row_of, rows, heads)
    }

    fn make_buf(&self) -> Buf {
        Buf::default()
    }

    fn shape(&mut self, buf: &mut Buf, rows: usize, cols: usize) -> Result<()> {
        buf.shape(rows, cols)
    }

    fn write(&mut self, rows: usize, cols: usize, values: &[f32]) -> Result<Buf> {
        let mut buf = Buf::default();
        buf.shape(rows, cols)?;
        buf.get_mut().copy_from_slice(values);
        Ok(buf)
    }

    fn read(&mut self, buf: &Buf, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(buf.get());
        Ok(())
    }

    fn begin(&mut self, batch: &PackedBatch, hidden: usize, heads: usize) -> Result<()> {
        let (longest, sequences) = (batch.max_sequence_tokens(), batch.sequences());
        let heads_per_thread = heads.div_ceil(self.parallel.threads_for(heads, 1));
        let floats = linear::scratch_floats(batch.tokens())
            .max(attention::scratch_floats(longest, hidden / heads))
            .max(first::scratch_floats(longest, sequences, heads_per_thread, hidden))
            .max(2 * hidden);
        self.parallel.reserve(floats)
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
        self.parallel.for_rows(out.mat(), |rows, out, scratch| {
            let scratch = &mut scratch[..2 * out.cols()];
            let first_token = rows.start;
            self.simd.dispatch(Embed { batch, word, position, token_type, norm, first_token, out, scratch });
        });
    }

    fn linear(&mut self, x: &Buf, w: &PackedLinear<S>, epilogue: Epilogue<'_, Buf>, out: &mut Buf) {
        let (x, inputs, outputs) = (x.get(), x.cols, out.cols);
        let (panels, panel_cols, bytes) = (w.panels(), w.panel_cols(), w.bytes_per_weight());
        self.parallel.for_product(panels, panel_cols, bytes, out.mat(), |part, out, scratch| {
            let OutputPart { rows, blocks: panels } = part;
            let x = &x[rows.start * inputs..rows.end * inputs];
            let epilogue = match epilogue {
                Epilogue::Store => Epilogue::Store,
                Epilogue::Activate(f) => Epilogue::Activate(f),
                Epilogue::Add(residual) => {
                    Epilogue::Add(&residual.get()[rows.start * outputs..rows.end * outputs])
                }
            };
            w.apply(self.simd, x, epilogue, panels, out, scratch);
        });
    }

    fn norm(&mut self, x: &Buf, norm: &Norm, out: &mut Buf) {
        self.parallel.for_rows(out.mat(), |rows, out, _| {
            let x = &x.get()[rows.start * x.cols..rows.end * x.cols];
            self.simd.dispatch(NormRows { x, norm, out });
        });
    }

    fn attention(&mut self, batch: &PackedBatch, qkv: &Buf, heads: usize, out: &mut Buf) {
        self.attend(batch, qkv, heads, || NoScoreMod, out);
    }

    fn attention_biased(
        &mut self,
        batch: &PackedBatch,
        qkv: &Buf,
        bias: &RelativeBias,
        heads: usize,
        out: &mut Buf,
    ) {
        self.attend(batch, qkv, heads, || bias, out);
    }

    fn attention_local(
        &mut self,
        batch: &PackedBatch,
        qkv: &Buf,
        radius: usize,
        heads: usize,
        out: &mut Buf,
    ) {
        self.attend(batch, qkv, heads, || SlidingWindow { radius }, out);
    }

    fn attention_disentangled(
        &mut self,
        batch: &PackedBatch,
        qkv: &Buf,
        relative: &DisentangledPositions,
        heads: usize,
        out: &mut Buf,
    ) {
        self.attend(batch, qkv, heads, || relative, out);
    }

    fn rotate(&mut self, batch: &PackedBatch, rotary: &Rotary, heads: usize, qkv: &mut Buf) {
        let stride = qkv.cols;
        self.simd.dispatch(Rotate { batch, rotary, heads, qkv: qkv.get_mut(), stride });
    }

    fn gate(&mut self, x: &Buf, f: Activation, out: &mut Buf) {
        let features = out.cols;
        self.parallel.for_columns(features.div_ceil(LANES), LANES, out.mat(), |vectors, out, _| {
            self.simd.dispatch(Gate { x: x.get(), features, f, start: vectors.start * LANES, out });
        });
    }

    fn pool(&mut self, batch: &PackedBatch, mode: PoolMode, x: &Buf, out: &mut Buf) {
        self.simd.dispatch(PoolTokens { batch, mode, x: x.get(), hidden: x.cols, out: out.get_mut() });
    }

    fn first_tokens(&mut self, batch: &PackedBatch, x: &Buf, out: &mut Buf) {
        let cols = x.cols;
        for (rows, to) in batch.rows().zip(out.get_mut().chunks_exact_mut(cols)) {
            to.copy_from_slice(&x.get()[rows.start * cols..][..cols]);
        }
    }

    fn attention_first(&mut self, batch: &PackedBatch, q: &Buf, x: &Buf, kv: &KeyValue<S>, out: &mut Buf) {
        let (hidden, heads) = (out.cols, kv.keys.len());
        let (q, x) = (q.get(), x.get());
        self.parallel.for_columns(heads, hidden / heads, out.mat(), |heads, out, scratch| {
            self.simd.dispatch(FirstAttention { batch, q, x, kv, heads, hidden, out, scratch });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_cannot_grow_gives_an_error_and_stays_empty_until_it_gets_a_shape_that_fits() {
        let mut buf = Buf::default();
        buf.shape(2, 3).unwrap();
        buf.get_mut().fill(7.0);
        // Half of the address space. `black_box` keeps an optimizer from removing an allocation that is never read.
        let refused = buf.shape(usize::MAX / 8, 1);
        std::hint::black_box(&mut buf);
        assert!(matches!(refused, Err(crate::error::Error::OutOfMemory { .. })));
        assert!(buf.get().is_empty());
        buf.shape(3, 2).unwrap();
        assert_eq!(buf.get().len(), 6);
    }
}
