//! Layer norm: two passes over a row, with sums in sixteen lanes that are added up in one fixed tree.

use super::simd::{LANES, MatMut, Simd, SimdKernel};

/// Gain, bias and epsilon of a layer norm.
pub struct Norm {
    /// Multiplied at the end, H values.
    pub gain: Vec<f32>,
    /// Added at the end, H values.
    pub bias: Vec<f32>,
    /// Added to the variance.
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

impl SimdKernel for NormRows<'_> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(mut self, s: S) {
        for (row, x) in self.x.chunks_exact(self.norm.gain.len()).enumerate() {
            norm_row(s, self.norm, x, self.out.row(row));
        }
    }
}

/// Normalizes one row.
#[inline(always)]
pub fn norm_row<S: Simd>(s: S, norm: &Norm, x: &[f32], out: &mut [f32]) {
    let count = x.len() as f32;
    // Whole vectors apart from the rest: one loop over both would branch in each iteration.
    let (vectors, rest) = x.as_chunks::<LANES>();
    let mut sum = s.splat(0.0);
    for x in vectors {
        sum = s.add(sum, s.load(x));
    }
    if !rest.is_empty() {
        sum = s.add(sum, s.load_part(rest));
    }
    let mean = s.splat(s.sum(sum) / count);
    let mut squares = s.splat(0.0);
    for x in vectors {
        let difference = s.sub(s.load(x), mean);
        squares = s.fma(difference, difference, squares);
    }
    if !rest.is_empty() {
        // The lanes beyond the row hold zero and no value of the row: they must not count.
        let mut lanes = s.lanes(s.sub(s.load_part(rest), mean));
        lanes[rest.len()..].fill(0.0);
        let difference = s.load(&lanes);
        squares = s.fma(difference, difference, squares);
    }
    let inverse = s.splat(1.0 / (s.sum(squares) / count + norm.epsilon).sqrt());
    let (gain, rest_gain) = norm.gain.as_chunks::<LANES>();
    let (bias, rest_bias) = norm.bias.as_chunks::<LANES>();
    let (out, rest_out) = out.as_chunks_mut::<LANES>();
    for (((x, gain), bias), out) in vectors.iter().zip(gain).zip(bias).zip(out) {
        let scaled = s.mul(s.sub(s.load(x), mean), inverse);
        s.store(s.fma(scaled, s.load(gain), s.load(bias)), out);
    }
    if !rest.is_empty() {
        let scaled = s.mul(s.sub(s.load_part(rest), mean), inverse);
        s.store_part(s.fma(scaled, s.load_part(rest_gain), s.load_part(rest_bias)), rest_out);
    }
}
