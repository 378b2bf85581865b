//! out = then(x w^T + bias): the loop nest around the microkernel.

use std::ops::Range;

use super::activation::activate;
use super::pack::Packed;
use super::simd::{
    KC, LANES, Lhs, MatMut, PrefetchLines, Rhs, RowMajor, Simd, SimdKernel, even_tiles, multiply_tile,
};
use crate::kernels::Activation;

/// What happens to a tile while it is still in L1.
#[derive(Clone, Copy)]
pub enum TileEpilogue<'a> {
    /// Adds the bias.
    Bias,
    /// Adds the bias, then an activation.
    Activate(Activation),
    /// Adds the bias and a residual `[rows, outputs]`.
    Add(&'a [f32]),
}

/// Some panels of a linear layer.
pub struct Linear<'a, S> {
    /// The input `[rows, inputs]`, `x_stride` floats from row to row.
    pub x: &'a [f32],
    /// At least the layer's inputs.
    pub x_stride: usize,
    /// The weights.
    pub w: &'a Packed<S>,
    /// What follows the sum.
    pub then: TileEpilogue<'a>,
    /// The panels to compute.
    pub panels: Range<usize>,
    /// The output columns of those panels.
    pub out: MatMut<'a>,
    /// Work space of [`scratch`] floats.
    pub scratch: &'a mut [f32],
}

/// Work space that [`Linear`] needs for that many rows, in floats: the rows, and a widened panel.
pub fn scratch(rows: usize) -> usize {
    rows * ROW_STRIDE + WIDEST * KC
}

/// Rows that are so many floats apart, or a multiple of it, would all lie in the same set of a first-level cache of 64 sets of
/// 64 bytes, which holds fewer of them than a tile has rows: such are copied.
const FLOATS_OF_ALL_SETS: usize = 1024;

/// Floats from row to row of the copy: an odd number of cache lines (25), so that the rows spread over all sets.
const ROW_STRIDE: usize = KC + 16;

/// Columns of the widest panel.
const WIDEST: usize = 32;

impl<W: Simd> SimdKernel for Linear<'_, W> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(mut self, s: S) {
        let (rows, inputs) = (self.out.rows(), self.w.inputs());
        debug_assert_eq!(S::ISA, W::ISA);
        let (wide, copied) = self.scratch.split_at_mut(WIDEST * KC);
        for steps in even_tiles(inputs, KC) {
            let (values, stride) = if self.x_stride.is_multiple_of(FLOATS_OF_ALL_SETS) {
                for row in 0..rows {
                    let from = &self.x[row * self.x_stride..][steps.clone()];
                    copied[row * ROW_STRIDE..][..from.len()].copy_from_slice(from);
                }
                (&*copied, ROW_STRIDE)
            } else {
                (&self.x[steps.start..], self.x_stride)
            };
            for (column, panel) in self.panels.clone().enumerate() {
                let width = Packed::<W>::WIDTH;
                let columns = column * width..((column + 1) * width).min(self.out.cols());
                let (next, length) = next(self.w, &self.panels, panel, &steps);
                let panel_steps = self.w.panel(s, panel, steps.clone(), wide);
                // The tiles fetch the next panel together, each the same part of it: step k of one of T tiles the line of
                // float k * width / T. Some lines are asked for twice, which costs nothing.
                let tiles = rows.div_ceil(S::MR);
                let fetch = length.div_ceil(steps.len() * tiles);
                for (index, tile) in even_tiles(rows, S::MR).enumerate() {
                    let start = next.wrapping_add(length * index / tiles);
                    let b = Rhs {
                        values: panel_steps,
                        stride: width,
                        prefetch: PrefetchLines { start, stride: fetch },
                    };
                    let mut out = self.out.block(tile.clone(), columns.clone());
                    let a = Lhs { values: &values[tile.start * stride..], layout: RowMajor(stride) };
                    let c = out.block(0..tile.len(), 0..columns.len());
                    multiply_tile(s, steps.len(), a, b, c, steps.start > 0, ());
                    if steps.end == inputs {
                        let at = tile.start * self.w.outputs() + panel * width;
                        let bias = &self.w.bias()[panel * width..(panel + 1) * width];
                        finish(s, &Biased(bias), self.then, at, self.w.outputs(), out);
                    }
                }
            }
        }
    }
}

/// The part of the weights that is multiplied after some steps of a panel: of the next panel, or the next steps of the first;
/// at the very end the same part again. Where it lies, and how many floats would fill it.
fn next<W: Simd>(
    w: &Packed<W>,
    panels: &Range<usize>,
    panel: usize,
    steps: &Range<usize>,
) -> (*const f32, usize) {
    let (panel, start) = match (panel + 1 < panels.end, steps.end < w.inputs()) {
        (true, _) => (panel + 1, steps.start),
        (false, true) => (panels.start, steps.end),
        (false, false) => (panel, steps.start),
    };
    w.lines(panel, start..(start + steps.len()).min(w.inputs()))
}

/// What a tile holds before what follows, a column of vectors at a time.
pub trait Tile<S: Simd> {
    /// What all rows of a column share, in registers.
    type Column;
    /// Of the column from `v` on.
    fn column(&self, s: S, v: usize) -> Self::Column;
    /// Row `r` of that column; `place` is where it goes.
    fn row(&self, s: S, column: &Self::Column, r: usize, v: usize, place: &[f32]) -> S::V;
}

/// Sums that stand in their place, and a bias.
struct Biased<'a>(&'a [f32]);

impl<S: Simd> Tile<S> for Biased<'_> {
    type Column = S::V;

    #[inline(always)]
    fn column(&self, s: S, v: usize) -> S::V {
        s.load_slice(&self.0[v..v + LANES])
    }

    #[inline(always)]
    fn row(&self, s: S, bias: &S::V, _: usize, _: usize, place: &[f32]) -> S::V {
        s.add(s.load_slice(place), *bias)
    }
}

/// Writes then(tile) to `out`; `at` and `stride` say where the tile lies in a residual.
#[inline(always)]
pub fn finish<S: Simd>(
    s: S,
    tile: &impl Tile<S>,
    then: TileEpilogue<'_>,
    at: usize,
    stride: usize,
    mut out: MatMut<'_>,
) {
    // Each arm is a loop of its own without a choice in it: a closure would not be compiled for the instruction set.
    macro_rules! each {
        (|$y:ident, $r:ident, $columns:ident| $f:expr) => {
            for v in (0..out.cols()).step_by(LANES) {
                let column = tile.column(s, v);
                let $columns = v..out.cols().min(v + LANES);
                for $r in 0..out.rows() {
                    let place = &mut out.row($r)[$columns.clone()];
                    let $y = tile.row(s, &column, $r, v, place);
                    s.store_slice($f, place);
                }
            }
        };
    }
    macro_rules! arms {
        ($($f:ident)+) => {
            match then {
                TileEpilogue::Bias => each!(|y, r, columns| y),
                TileEpilogue::Add(residual) => each!(|y, r, columns| {
                    s.add(y, s.load_slice(&residual[at + r * stride..][columns.clone()]))
                }),
                $(TileEpilogue::Activate(Activation::$f) => {
                    each!(|y, r, columns| activate(s, Activation::$f, y));
                })+
            }
        };
    }
    arms!(Gelu GeluTanh Relu Silu Tanh)
}
