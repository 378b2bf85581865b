//! [`Kernels`] for the host processor: packed weights, fused attention, and one register tile for every product.

pub mod activation;
pub mod attention;
pub mod embed;
pub mod first;
pub mod gate;
pub mod gemm;
pub mod int8;
pub mod isa;
pub mod mean;
pub mod norm;
pub mod pack;
pub mod relative_position;
pub mod rotary;
pub mod score_mod;
pub mod simd;
pub mod threads;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::error::Result;
use crate::kernels::{
    Activation, Epilogue, Kernels, LinearPart, OwnedTensor, RelativePositions, Tensor, WeightStorage,
};
use crate::text::batch::PackedBatch;
use attention::Attention;
use embed::Embed;
use first::{First, KeyValue};
use gate::Gate;
use gemm::{Linear, TileEpilogue};
use int8::LinearInt8;
use mean::Mean;
use norm::{Norm, NormRows};
use pack::{Packed, grow};
use relative_position::{DisentangledPositions, RelativeBias, SlidingWindow};
use rotary::{Rotary, Rotate};
use score_mod::{NoScoreMod, ScoreMod};
use simd::{Int8Kernel, LANES, MatMut, Simd};
use threads::Pool;

/// Most threads that share one product. More would wait for each other longer than they compute.
const MAX_SHARES: usize = 16;

/// Fewest rows of a norm that are worth a thread: 16 take about 2 microseconds, twice what handing them over does.
const MIN_ROWS: usize = 16;

/// Fewest rows for each byte of a weight where threads share a product by rows, and each of them reads all weights: with fewer,
/// weights do not come fast enough from the cache that cores share.
const MIN_ROWS_PER_BYTE: usize = 32;

/// Parts into which rows and columns are cut; the columns consist of `pieces`, `width` columns wide.
struct Grid {
    rows: usize,
    columns: usize,
    pieces: usize,
    width: usize,
}

/// What one thread computes.
struct Share {
    rows: Range<usize>,
    pieces: Range<usize>,
}

/// The CPU backend with one instruction set, and the work space of one run.
pub struct Cpu<S> {
    simd: S,
    /// The microkernel of integers.
    dot: &'static Int8Kernel,
    /// Where columns and heads are shared out; `None` computes on the calling thread alone.
    team: Option<Arc<Pool>>,
    /// Work space of each thread of the team.
    scratch: Vec<Mutex<Vec<f32>>>,
}

/// A row-major matrix; grows, never shrinks.
#[derive(Default)]
pub struct Buf {
    values: Vec<f32>,
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
        // Where there is no memory, it is left empty.
        (self.rows, self.cols) = (0, 0);
        grow(&mut self.values, rows * cols)?;
        (self.rows, self.cols) = (rows, cols);
        Ok(())
    }
}

impl<S: Simd> Cpu<S> {
    /// A backend that computes on the calling thread.
    pub fn new(simd: S) -> Self {
        Self::with_dot(simd, Int8Kernel::best(S::ISA))
    }

    /// [`new`](Self::new) with a microkernel of integers other than the best.
    pub fn with_dot(simd: S, dot: &'static Int8Kernel) -> Self {
        Self { simd, dot, team: None, scratch: vec![Mutex::default()] }
    }

    /// Shares each product out over the pool's threads, or stops doing so. No bit of a result depends on it.
    pub fn set_team(&mut self, team: Option<Arc<Pool>>) {
        self.team = team;
        self.scratch.resize_with(self.threads().max(self.scratch.len()), Mutex::default);
    }

    /// Makes every thread's work space at least `floats` long.
    fn reserve(&mut self, floats: usize) -> Result<()> {
        self.scratch.iter_mut().try_for_each(|s| grow(s.get_mut().unwrap_or_else(|e| e.into_inner()), floats))
    }

    /// Threads that can share a word.
    fn threads(&self) -> usize {
        self.team.as_ref().map_or(1, |pool| pool.threads().min(MAX_SHARES))
    }

    /// Threads that share `pieces` of work, of which fewer than `least` are not worth a thread.
    fn shares(&self, pieces: usize, least: usize) -> usize {
        self.threads().min(pieces / least).max(1)
    }

    /// Calls `work(share, part of out, scratch)` for the rows and pieces of each share, on as many threads.
    fn share<'a>(&self, grid: Grid, out: MatMut<'a>, work: impl Fn(Share, MatMut<'a>, &mut [f32]) + Sync) {
        let run = |index: usize, share: Share, out: MatMut<'a>| {
            let mut scratch = self.scratch[index].lock().unwrap_or_else(|e| e.into_inner());
            work(share, out, &mut scratch);
        };
        let (rows, shares) = (out.rows(), grid.rows * grid.columns);
        let Some(pool) = self.team.as_ref().filter(|_| shares > 1) else {
            return run(0, Share { rows: 0..rows, pieces: 0..grid.pieces }, out);
        };
        let cut = |count: usize, part: usize, parts: usize| count * part / parts..count * (part + 1) / parts;
        let mut parts: [Mutex<Option<(Share, MatMut<'a>)>>; MAX_SHARES] = Default::default();
        let mut below = out;
        for (row, parts) in parts.chunks_mut(grid.columns).take(grid.rows).enumerate() {
            let rows = cut(rows, row, grid.rows);
            let (mut right, rest) = below.split_rows(rows.len());
            below = rest;
            for (column, part) in parts.iter_mut().enumerate() {
                let pieces = cut(grid.pieces, column, grid.columns);
                let columns = (pieces.len() * grid.width).min(right.cols());
                let (mine, rest) = right.split_columns(columns);
                right = rest;
                *part = Mutex::new(Some((Share { rows: rows.clone(), pieces }, mine)));
            }
        }
        let task = |index: usize| {
            let part = parts[index].lock().unwrap_or_else(|e| e.into_inner()).take();
            if let Some((share, out)) = part {
                run(index, share, out);
            }
        };
        // A panic in a kernel goes on in the thread that asked for it, which is itself a task of the pool.
        if let Err(error) = pool.run(shares, &task, || ()) {
            std::panic::resume_unwind(Box::new(error.to_string()));
        }
    }

    /// [`share`](Self::share) by columns alone.
    fn share_columns<'a>(
        &self,
        pieces: usize,
        width: usize,
        out: MatMut<'a>,
        work: impl Fn(Range<usize>, MatMut<'a>, &mut [f32]) + Sync,
    ) {
        let grid = Grid { rows: 1, columns: self.shares(pieces, 1), pieces, width };
        self.share(grid, out, |share, out, scratch| work(share.pieces, out, scratch));
    }

    /// [`share`](Self::share) by rows alone.
    fn share_rows<'a>(&self, out: MatMut<'a>, work: impl Fn(Range<usize>, MatMut<'a>, &mut [f32]) + Sync) {
        let grid = Grid { rows: self.shares(out.rows(), MIN_ROWS), columns: 1, pieces: 1, width: out.cols() };
        self.share(grid, out, |share, out, scratch| work(share.rows, out, scratch));
    }

    /// How the threads share a product: by rows as long as each weight that a thread reads serves enough of them, for then a
    /// thread reads and rounds only its own rows, most of which it wrote itself; the rest by columns.
    fn grid(&self, rows: usize, w: &Packed<S>) -> Grid {
        let (pieces, width) = (w.panels(), w.width());
        let by_rows = self.shares(rows, MIN_ROWS_PER_BYTE * w.bytes_per_weight());
        Grid { rows: by_rows, columns: (self.threads() / by_rows).min(pieces).max(1), pieces, width }
    }

    /// Attention of every sequence, its heads shared out.
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
        self.share_columns(heads, head_dim, out.mat(), |heads, mut out, scratch| {
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
    type Linear = Packed<S>;
    type Table = OwnedTensor;
    type Norm = Norm;
    type KeyValue = KeyValue<S>;
    type Bias = RelativeBias;
    type Rotary = Rotary;
    type Relative = DisentangledPositions;

    fn make_linear(&self, parts: &[LinearPart<'_>], keep: WeightStorage) -> Result<Packed<S>> {
        Packed::new(self.simd, parts, keep, self.dot)
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
        KeyValue::new(self.simd, key, value, heads, self.dot)
    }

    fn make_bias(&self, bias: Tensor<'_>) -> Result<RelativeBias> {
        RelativeBias::new(bias)
    }

    fn make_rotary(&self, turns: Tensor<'_>) -> Result<Rotary> {
        Rotary::new(turns)
    }

    fn make_relative(
        &self,
        distances: RelativePositions<'_, Norm>,
        heads: usize,
    ) -> Result<DisentangledPositions> {
        // A run of its own: the words of this one may be in use.
        let mut cpu = Cpu::new(self.simd);
        let (rows, hidden) = (distances.rows.rows, distances.rows.cols);
        cpu.reserve(gemm::scratch(rows))?;
        let mut x = cpu.write(rows, hidden, &distances.rows.values())?;
        if let Some(norm) = distances.norm {
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
        let queries = distances.query.map(&mut project).transpose()?;
        let keys = distances.key.map(&mut project).transpose()?;
        let [keys, queries] = [&keys, &queries].map(|made| made.as_ref().map(Buf::get));
        DisentangledPositions::new(keys, queries, distances.row_of, rows, heads)
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
        let (longest, sequences) = (batch.longest(), batch.sequences());
        let heads_each = heads.div_ceil(self.shares(heads, 1));
        let floats = gemm::scratch(batch.tokens())
            .max(int8::scratch(batch.tokens()))
            .max(attention::scratch(longest, hidden / heads))
            .max(first::scratch(longest, sequences, heads_each, hidden))
            .max(2 * hidden);
        self.reserve(floats)
    }

    fn embed(
        &mut self,
        batch: &PackedBatch,
        word: &OwnedTensor,
        position: &OwnedTensor,
        kind: &OwnedTensor,
        norm: &Norm,
        out: &mut Buf,
    ) {
        self.share_rows(out.mat(), |rows, out, scratch| {
            let scratch = &mut scratch[..2 * out.cols()];
            self.simd.dispatch(Embed {
                batch,
                word,
                position,
                token_type: kind,
                norm,
                start: rows.start,
                out,
                scratch,
            });
        });
    }

    fn linear(&mut self, x: &Buf, w: &Packed<S>, then: Epilogue<'_, Buf>, out: &mut Buf) {
        let (x, inputs, outputs) = (x.get(), x.cols, out.cols);
        self.share(self.grid(out.rows, w), out.mat(), |Share { rows, pieces: panels }, out, scratch| {
            let x = &x[rows.start * inputs..rows.end * inputs];
            let then = match &then {
                Epilogue::Store => TileEpilogue::Bias,
                Epilogue::Activate(f) => TileEpilogue::Activate(*f),
                Epilogue::Add(residual) => {
                    TileEpilogue::Add(&residual.get()[rows.start * outputs..rows.end * outputs])
                }
            };
            match w.int8() {
                None => self.simd.dispatch(Linear { x, x_stride: inputs, w, then, panels, out, scratch }),
                Some(int8) => {
                    self.simd.dispatch(LinearInt8 { x, w: int8, bias: w.bias(), then, panels, out, scratch })
                }
            }
        });
    }

    fn norm(&mut self, x: &Buf, norm: &Norm, out: &mut Buf) {
        self.share_rows(out.mat(), |rows, out, _| {
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
        let width = out.cols;
        self.share_columns(width.div_ceil(LANES), LANES, out.mat(), |pieces, out, _| {
            self.simd.dispatch(Gate { x: x.get(), width, f, start: pieces.start * LANES, out });
        });
    }

    fn mean_tokens(&mut self, batch: &PackedBatch, x: &Buf, out: &mut Buf) {
        self.simd.dispatch(Mean { batch, x: x.get(), hidden: x.cols, out: out.get_mut() });
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
        self.share_columns(heads, hidden / heads, out.mat(), |heads, out, scratch| {
            self.simd.dispatch(First { batch, q, x, kv, heads, hidden, out, scratch });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_cannot_grow_is_an_error_and_empty_until_it_gets_a_shape_that_fits() {
        let mut buf = Buf::default();
        buf.shape(2, 3).unwrap();
        buf.get_mut().fill(7.0);
        // Half of the address space. Nobody looks into that memory, so an optimizer that may would not even ask for it.
        let refused = buf.shape(usize::MAX / 8, 1);
        std::hint::black_box(&mut buf);
        assert!(matches!(refused, Err(crate::error::Error::OutOfMemory { .. })));
        assert!(buf.get().is_empty());
        buf.shape(3, 2).unwrap();
        assert_eq!(buf.get().len(), 6);
    }
}
