//! Sharing one op between the threads of a pool: by rows, by columns, or by a grid of both. No bit of a result depends on it,
//! because no sum is ever split.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::alloc::{AlignedVec, grow};
use super::simd::MatMut;
use super::threads::Pool;
use crate::error::Result;

/// Most threads that share one op. More would wait for each other longer than they compute.
const MAX_THREADS: usize = 16;

/// Fewest rows of a norm that are worth a thread: 16 take about 2 microseconds, twice what handing them over does.
const MIN_ROWS: usize = 16;

/// Fewest rows for each byte of a weight where threads share a product by rows, and each of them reads all weights: with
/// fewer, weights do not come fast enough from the cache that cores share.
const MIN_ROWS_PER_BYTE: usize = 32;

/// How many threads share the rows of an output and how many its columns. Columns are shared in whole blocks: the panels of a
/// weight, the heads of attention or vectors.
struct ThreadGrid {
    row_threads: usize,
    col_threads: usize,
    blocks: usize,
    block_cols: usize,
}

/// The part of an output that one thread computes.
pub struct OutputPart {
    /// Its rows.
    pub rows: Range<usize>,
    /// Its blocks of columns.
    pub blocks: Range<usize>,
}

/// The pool that shares ops, if any, and the work space of each thread.
pub struct Parallel {
    /// `None` computes on the calling thread alone.
    pool: Option<Arc<Pool>>,
    scratch: Vec<Mutex<AlignedVec<f32>>>,
}

impl Default for Parallel {
    fn default() -> Self {
        Self { pool: None, scratch: vec![Mutex::default()] }
    }
}

impl Parallel {
    /// Shares ops between the pool's threads, or stops doing so.
    pub fn set_pool(&mut self, pool: Option<Arc<Pool>>) {
        self.pool = pool;
        self.scratch.resize_with(self.threads().max(self.scratch.len()), Mutex::default);
    }

    /// Makes every thread's work space at least `floats` long.
    pub fn reserve(&mut self, floats: usize) -> Result<()> {
        self.scratch.iter_mut().try_for_each(|s| grow(s.get_mut().unwrap_or_else(|e| e.into_inner()), floats))
    }

    /// Threads that can share an op.
    fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.threads().min(MAX_THREADS))
    }

    /// Threads that share `count` rows or blocks, of which fewer than `min` are not worth a thread.
    pub fn threads_for(&self, count: usize, min: usize) -> usize {
        self.threads().min(count / min).max(1)
    }

    /// Calls `compute(blocks, part of out, scratch)` for the blocks of columns of each thread.
    pub fn for_columns<'a>(
        &self,
        blocks: usize,
        block_cols: usize,
        out: MatMut<'a>,
        compute: impl Fn(Range<usize>, MatMut<'a>, &mut [f32]) + Sync,
    ) {
        let grid =
            ThreadGrid { row_threads: 1, col_threads: self.threads_for(blocks, 1), blocks, block_cols };
        self.for_grid(grid, out, |part, out, scratch| compute(part.blocks, out, scratch));
    }

    /// Calls `compute(rows, part of out, scratch)` for the rows of each thread.
    pub fn for_rows<'a>(
        &self,
        out: MatMut<'a>,
        compute: impl Fn(Range<usize>, MatMut<'a>, &mut [f32]) + Sync,
    ) {
        let row_threads = self.threads_for(out.rows(), MIN_ROWS);
        let grid = ThreadGrid { row_threads, col_threads: 1, blocks: 1, block_cols: out.cols() };
        self.for_grid(grid, out, |part, out, scratch| compute(part.rows, out, scratch));
    }

    /// Calls `compute(part, part of out, scratch)` for each thread's part of a product with `panels` weight panels. Threads
    /// share the rows as long as each weight that a thread reads serves enough of them, for then a thread reads and quantizes
    /// only its own rows, most of which it wrote itself; the remaining threads share the columns.
    pub fn for_product<'a>(
        &self,
        panels: usize,
        panel_cols: usize,
        bytes_per_weight: usize,
        out: MatMut<'a>,
        compute: impl Fn(OutputPart, MatMut<'a>, &mut [f32]) + Sync,
    ) {
        let row_threads = self.threads_for(out.rows(), MIN_ROWS_PER_BYTE * bytes_per_weight);
        let col_threads = (self.threads() / row_threads).min(panels).max(1);
        let grid = ThreadGrid { row_threads, col_threads, blocks: panels, block_cols: panel_cols };
        self.for_grid(grid, out, compute);
    }

    /// Calls `compute(part, part of out, scratch)` for each thread of a grid.
    fn for_grid<'a>(
        &self,
        grid: ThreadGrid,
        out: MatMut<'a>,
        compute: impl Fn(OutputPart, MatMut<'a>, &mut [f32]) + Sync,
    ) {
        let compute = |index: usize, part: OutputPart, out: MatMut<'a>| {
            let mut scratch = self.scratch[index].lock().unwrap_or_else(|e| e.into_inner());
            compute(part, out, &mut scratch);
        };
        let (rows, threads) = (out.rows(), grid.row_threads * grid.col_threads);
        let Some(pool) = self.pool.as_ref().filter(|_| threads > 1) else {
            return compute(0, OutputPart { rows: 0..rows, blocks: 0..grid.blocks }, out);
        };
        let cut = |count: usize, part: usize, parts: usize| count * part / parts..count * (part + 1) / parts;
        let mut parts: [Mutex<Option<(OutputPart, MatMut<'a>)>>; MAX_THREADS] = Default::default();
        let mut below = out;
        for (row, parts) in parts.chunks_mut(grid.col_threads).take(grid.row_threads).enumerate() {
            let rows = cut(rows, row, grid.row_threads);
            let (mut right, rest) = below.split_rows(rows.len());
            below = rest;
            for (col, part) in parts.iter_mut().enumerate() {
                let blocks = cut(grid.blocks, col, grid.col_threads);
                let cols = (blocks.len() * grid.block_cols).min(right.cols());
                let (left, rest) = right.split_columns(cols);
                right = rest;
                *part = Mutex::new(Some((OutputPart { rows: rows.clone(), blocks }, left)));
            }
        }
        let task = |index: usize| {
            let part = parts[index].lock().unwrap_or_else(|e| e.into_inner()).take();
            if let Some((part, out)) = part {
                compute(index, part, out);
            }
        };
        // A panic in a kernel is raised again on the thread that called the op. That thread runs a task of the pool, which
        // turns the panic into an error.
        if let Err(error) = pool.parallel_for(threads, &task, || ()) {
            std::panic::resume_unwind(Box::new(error.to_string()));
        }
    }
}
