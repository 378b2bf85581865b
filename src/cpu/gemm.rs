//! Linear layers in f32, out = epilogue(x w^T + bias): the loop nest around the microkernel.

use std::ops::Range;

use super::epilogue::{Accumulators, apply_epilogue};
use super::pack::FloatPanels;
use super::simd::{
    KC, LANES, Lhs, MAX_NR, MatMut, PrefetchLines, Rhs, RowMajor, Simd, SimdKernel, even_tiles, multiply_tile,
};
use crate::kernels::Epilogue;

/// Some panels of a linear layer.
pub struct Gemm<'a, S> {
    /// The input `[rows, inputs]`, `x_stride` floats from row to row.
    pub x: &'a [f32],
    /// At least the layer's inputs.
    pub x_stride: usize,
    /// The weights and the bias.
    pub weights: &'a FloatPanels<S>,
    /// What follows the sums.
    pub epilogue: Epilogue<'a, [f32]>,
    /// The panels to compute.
    pub panels: Range<usize>,
    /// The output columns of those panels.
    pub out: MatMut<'a>,
    /// Work space of [`scratch_floats`] floats.
    pub scratch: &'a mut [f32],
}

/// Work space that [`Gemm`] needs for that many rows, in floats: a copy of KC columns of x, and one widened panel.
pub fn scratch_floats(rows: usize) -> usize {
    rows * COPY_STRIDE + MAX_NR * KC
}

/// Rows that are this many floats apart, or a multiple of it, would all lie in the same set of a first-level cache of 64 sets
/// of 64 bytes, which holds fewer of them than a tile has rows: such rows are copied.
const CACHE_SET_PERIOD: usize = 1024;

/// Floats from row to row of the copy: an odd number of cache lines (25), so that the rows spread over all sets.
const COPY_STRIDE: usize = KC + 16;

impl<W: Simd> SimdKernel for Gemm<'_, W> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(mut self, s: S) {
        let (rows, inputs) = (self.out.rows(), self.weights.inputs());
        debug_assert_eq!(S::ISA, W::ISA);
        let (widened, copied) = self.scratch.split_at_mut(MAX_NR * KC);
        for ks in even_tiles(inputs, KC) {
            let (lhs, lhs_stride) = if self.x_stride.is_multiple_of(CACHE_SET_PERIOD) {
                for row in 0..rows {
                    let from = &self.x[row * self.x_stride..][ks.clone()];
                    copied[row * COPY_STRIDE..][..from.len()].copy_from_slice(from);
                }
                (&*copied, COPY_STRIDE)
            } else {
                (&self.x[ks.start..], self.x_stride)
            };
            for (index, panel) in self.panels.clone().enumerate() {
                let nr = FloatPanels::<W>::NR;
                let cols = index * nr..((index + 1) * nr).min(self.out.cols());
                let (next, next_floats) = next_panel(self.weights, &self.panels, panel, &ks);
                let rhs = self.weights.panel(s, panel, ks.clone(), widened);
                // The tiles prefetch the next panel together, each an equal share of it: at step k, one of T tiles fetches
                // the line of float k * NR / T of its share. Some lines are fetched twice, which costs nothing.
                let tiles = rows.div_ceil(S::MR);
                let stride = next_floats.div_ceil(ks.len() * tiles);
                for (tile_index, tile) in even_tiles(rows, S::MR).enumerate() {
                    let start = next.wrapping_add(next_floats * tile_index / tiles);
                    let rhs = Rhs { values: rhs, stride: nr, prefetch: PrefetchLines { start, stride } };
                    let mut out = self.out.block(tile.clone(), cols.clone());
                    let layout = RowMajor(lhs_stride);
                    let lhs = Lhs { values: &lhs[tile.start * lhs_stride..], layout };
                    let c = out.block(0..tile.len(), 0..cols.len());
                    multiply_tile(s, ks.len(), lhs, rhs, c, ks.start > 0, ());
                    if ks.end == inputs {
                        let outputs = self.weights.outputs();
                        let residual_start = tile.start * outputs + panel * nr;
                        let sums = BiasedSums { bias: &self.weights.bias()[panel * nr..(panel + 1) * nr] };
                        apply_epilogue(s, &sums, self.epilogue, residual_start, outputs, out);
                    }
                }
            }
        }
    }
}

/// The part of the weights that is multiplied after the rows `ks` of a panel: the same rows of the next panel, or the next
/// rows of the first panel; at the very end the same part again. Returns its address, and how many floats would fill it.
fn next_panel<W: Simd>(
    weights: &FloatPanels<W>,
    panels: &Range<usize>,
    panel: usize,
    ks: &Range<usize>,
) -> (*const f32, usize) {
    let (panel, start) = match (panel + 1 < panels.end, ks.end < weights.inputs()) {
        (true, _) => (panel + 1, ks.start),
        (false, true) => (panels.start, ks.end),
        (false, false) => (panel, ks.start),
    };
    weights.panel_address(panel, start..(start + ks.len()).min(weights.inputs()))
}

/// Sums that the microkernel has left in the output, and the bias of their columns.
struct BiasedSums<'a> {
    bias: &'a [f32],
}

impl<S: Simd> Accumulators<S> for BiasedSums<'_> {
    type ColumnParams = S::V;

    #[inline(always)]
    fn column_params(&self, s: S, col: usize) -> S::V {
        s.load_slice(&self.bias[col..col + LANES])
    }

    #[inline(always)]
    fn values(&self, s: S, bias: &S::V, _: usize, _: usize, out: &[f32]) -> S::V {
        s.add(s.load_slice(out), *bias)
    }
}
