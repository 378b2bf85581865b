//! Layer norm: two passes over a row, sums in sixteen lanes and one fixed tree.

use super::simd::{LANES, MatMut, Simd, SimdKernel};

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

impl SimdKernel for NormRows<'_> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(mut self, s: S) {
        for (row, x) in self.x.chunks_exact(self.norm.gain.len()).enumerate() {
            norm_row(s, self.norm, x, self.out.row(row));
        }
    }
}

/// Normalises one row.
#[inline(always)]
pub fn norm_row<S: Simd>(s: S, norm: &Norm, x: &[f32], out: &mut [f32]) {
    let count = x.len() as f32;
    // Whole vectors, and what is left: a loop with both in it would be one of choices.
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut sum = s.splat(0.0);
    for x in whole {
        sum = s.add(sum, s.load(x));
    }
    if !rest.is_empty() {
        sum = s.add(sum, s.load_part(rest));
    }
    let mean = s.splat(s.sum(sum) / count);
    let mut squares = s.splat(0.0);
    for x in whole {
        let difference = s.sub(s.load(x), mean);
        squares = s.fma(difference, difference, squares);
    }
    if !rest.is_empty() {
        // The lanes beyond the row hold zero, not a value: they must not count.
        let mut lanes = s.lanes(s.sub(s.load_part(rest), mean));
        lanes[rest.len()..].fill(0.0);
        let difference = s.load(&lanes);
        squares = s.fma(difference, difference, squares);
    }
    let inverse = s.splat(1.0 / (s.sum(squares) / count + norm.epsilon).sqrt());
    let (gain, last_gain) = norm.gain.as_chunks::<LANES>();
    let (bias, last_bias) = norm.bias.as_chunks::<LANES>();
    let (out, last) = out.as_chunks_mut::<LANES>();
    for (((x, gain), bias), out) in whole.iter().zip(gain).zip(bias).zip(out) {
        let scaled = s.mul(s.sub(s.load(x), mean), inverse);
        s.store(s.fma(scaled, s.load(gain), s.load(bias)), out);
    }
    if !rest.is_empty() {
        let scaled = s.mul(s.sub(s.load_part(rest), mean), inverse);
        s.store_part(s.fma(scaled, s.load_part(last_gain), s.load_part(last_bias)), last);
    }
}
