//! Layer norm: two passes over a row, sums in sixteen lanes and one fixed tree.

use super::gemm::{load, store};
use super::simd::{LANES, MatMut, Op, Simd};

/// Gain, bias and epsilon of a layer norm.
pub struct Norm {
    /// Multiplies, H.
    pub gain: Vec<f32>,
    /// Is added, H.
    pub bias: Vec<f32>,
    /// Is added to the variance.
    pub epsilon: f32,
}

/// out = (x - mean) / sqrt(variance + epsilon) * gain + bias for whole rows.
pub struct NormRows<'a> {
    /// `[rows, H]`.
    pub x: &'a [f32],
    /// The norm.
    pub norm: &'a Norm,
    /// `[rows, H]`.
    pub out: MatMut<'a>,
}

impl Op for NormRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for (row, x) in self.x.chunks_exact(self.norm.gain.len()).enumerate() {
            let out = self.out.row(row);
            out.copy_from_slice(x);
            norm_row(s, self.norm, out);
        }
    }
}

/// Normalises one row in place.
#[inline(always)]
pub fn norm_row<S: Simd>(s: S, norm: &Norm, row: &mut [f32]) {
    let count = row.len() as f32;
    let mut sum = s.splat(0.0);
    for part in row.chunks(LANES) {
        sum = s.add(sum, load(s, part));
    }
    let mean = s.splat(s.sum(sum) / count);
    let mut squares = s.splat(0.0);
    for part in row.chunks(LANES) {
        let difference = match part.first_chunk() {
            Some(lanes) => s.sub(s.load(lanes), mean),
            // The lanes beyond the row hold zero, not a value: they must not count.
            None => {
                let mut lanes = s.lanes(s.sub(s.load_part(part), mean));
                lanes[part.len()..].fill(0.0);
                s.load(&lanes)
            }
        };
        squares = s.fma(difference, difference, squares);
    }
    let inverse = s.splat(1.0 / (s.sum(squares) / count + norm.epsilon).sqrt());
    for ((part, gain), bias) in
        row.chunks_mut(LANES).zip(norm.gain.chunks(LANES)).zip(norm.bias.chunks(LANES))
    {
        let scaled = s.mul(s.sub(load(s, part), mean), inverse);
        store(s, s.fma(scaled, load(s, gain), load(s, bias)), part);
    }
}
