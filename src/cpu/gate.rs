//! Gated feed-forward: an activation of one half of the values, times the other half.

use super::activation::activate;
use super::simd::{LANES, MatMut, Simd, SimdKernel};
use crate::kernels::Activation;

/// out = f(first half of a row) * second half, for some columns.
pub struct Gate<'a> {
    /// `[rows, 2F]`.
    pub x: &'a [f32],
    /// F.
    pub features: usize,
    /// f.
    pub f: Activation,
    /// The first of the columns to compute.
    pub start: usize,
    /// The columns to compute, of `[rows, F]`.
    pub out: MatMut<'a>,
}

impl SimdKernel for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(mut self, s: S) {
        let columns = self.start..self.start + self.out.cols();
        for (row, x) in self.x.chunks_exact(2 * self.features).enumerate() {
            let (gates, values) = x.split_at(self.features);
            let vectors = gates[columns.clone()].chunks(LANES).zip(values[columns.clone()].chunks(LANES));
            for ((gate, value), out) in vectors.zip(self.out.row(row).chunks_mut(LANES)) {
                s.store_slice(s.mul(activate(s, self.f, s.load_slice(gate)), s.load_slice(value)), out);
            }
        }
    }
}
