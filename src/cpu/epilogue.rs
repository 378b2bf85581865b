//! What follows the sums of a linear layer: scales and bias, then an activation or a residual. It is applied to one tile at
//! a time, while the tile is still in L1.

use super::activation::activate;
use super::simd::{LANES, MatMut, Simd};
use crate::kernels::{Activation, Epilogue};

/// The sums of one tile of a product, as floats or as integers. They are read one column of vectors at a time, so that what
/// all rows of the column share stays in registers.
pub trait Accumulators<S: Simd> {
    /// What all rows of a column of vectors share: bias and scales.
    type ColumnParams;

    /// Loads what the rows share in the [`LANES`] columns from `col` on.
    fn column_params(&self, s: S, col: usize) -> Self::ColumnParams;

    /// Row `row` of those columns, scaled and with the bias added. `out` holds what the output holds there so far.
    fn values(&self, s: S, params: &Self::ColumnParams, row: usize, col: usize, out: &[f32]) -> S::V;
}

/// Writes epilogue(tile) to `out`. The tile's first element is element `residual_start` of a residual, whose rows are
/// `residual_stride` floats apart.
#[inline(always)]
pub fn apply_epilogue<S: Simd>(
    s: S,
    tile: &impl Accumulators<S>,
    epilogue: Epilogue<'_, [f32]>,
    residual_start: usize,
    residual_stride: usize,
    mut out: MatMut<'_>,
) {
    // Each arm is a loop of its own without a branch in it: a closure would not be compiled for the instruction set.
    macro_rules! for_each_vector {
        (|$y:ident, $row:ident, $cols:ident| $f:expr) => {
            for col in (0..out.cols()).step_by(LANES) {
                let params = tile.column_params(s, col);
                let $cols = col..out.cols().min(col + LANES);
                for $row in 0..out.rows() {
                    let to = &mut out.row($row)[$cols.clone()];
                    let $y = tile.values(s, &params, $row, col, to);
                    s.store_slice($f, to);
                }
            }
        };
    }
    macro_rules! for_each_epilogue {
        ($($activation:ident)+) => {
            match epilogue {
                Epilogue::Store => for_each_vector!(|y, row, cols| y),
                Epilogue::Add(residual) => for_each_vector!(|y, row, cols| {
                    let start = residual_start + row * residual_stride;
                    s.add(y, s.load_slice(&residual[start..][cols.clone()]))
                }),
                $(Epilogue::Activate(Activation::$activation) => {
                    for_each_vector!(|y, row, cols| activate(s, Activation::$activation, y));
                })+
            }
        };
    }
    for_each_epilogue!(Gelu GeluTanh Relu Silu Tanh)
}
