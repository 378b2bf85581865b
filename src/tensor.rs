//! Numbers as checkpoints store them, and how they are widened, narrowed and quantized.

use std::borrow::Cow;
use std::ops::Range;

/// The type in which a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// A signed byte, times the scale of its row.
    I8,
}

impl Dtype {
    /// Bytes per number.
    pub fn elem_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::I8 => 1,
        }
    }
}

/// A matrix of a checkpoint as it is stored: row-major, little-endian, at any alignment. A vector has one row.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Rows; for a linear layer the output features.
    pub rows: usize,
    /// Columns; for a linear layer the input features.
    pub cols: usize,
    /// How the numbers are stored.
    pub dtype: Dtype,
    /// `rows * cols * dtype.elem_bytes()` bytes.
    pub bytes: &'a [u8],
    /// One scale per row for [`Dtype::I8`], else empty.
    pub scales: &'a [f32],
}

impl<'a> Tensor<'a> {
    /// A tensor without scales, of any type but [`Dtype::I8`].
    pub fn new(rows: usize, cols: usize, dtype: Dtype, bytes: &'a [u8]) -> Self {
        Self { rows, cols, dtype, bytes, scales: &[] }
    }

    /// Some of the rows.
    pub fn rows(&self, rows: Range<usize>) -> Tensor<'a> {
        let stride = self.cols * self.dtype.elem_bytes();
        let scales = if self.scales.is_empty() { self.scales } else { &self.scales[rows.clone()] };
        let bytes = &self.bytes[rows.start * stride..rows.end * stride];
        Tensor { rows: rows.len(), bytes, scales, ..*self }
    }

    /// Some of the values of a vector.
    pub fn slice(&self, cols: Range<usize>) -> Tensor<'a> {
        assert_eq!(self.rows, 1, "only a vector can be sliced");
        let elem_bytes = self.dtype.elem_bytes();
        let bytes = &self.bytes[cols.start * elem_bytes..cols.end * elem_bytes];
        Tensor { cols: cols.len(), bytes, ..*self }
    }

    /// One row as it is stored.
    pub fn row(&self, row: usize) -> &'a [u8] {
        let stride = self.cols * self.dtype.elem_bytes();
        &self.bytes[row * stride..(row + 1) * stride]
    }

    /// Widens one row into `out` (`cols` values): exact, except that a product with a scale is rounded once.
    pub fn widen_row(&self, row: usize, out: &mut [f32]) {
        widen(self.dtype, self.row(row), out);
        if let Some(scale) = self.scales.get(row) {
            out.iter_mut().for_each(|o| *o *= scale);
        }
    }

    /// All values, row after row.
    pub fn values(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        for (row, out) in out.chunks_exact_mut(self.cols.max(1)).enumerate() {
            self.widen_row(row, out);
        }
        out
    }
}

/// A table as it is stored, whose rows are looked up: its bytes were read for it, or live as long as the program.
#[derive(Clone, Debug)]
pub struct OwnedTensor {
    /// Rows.
    pub rows: usize,
    /// Numbers in a row.
    pub cols: usize,
    /// How the numbers are stored.
    pub dtype: Dtype,
    /// `rows * cols * dtype.elem_bytes()` bytes.
    pub bytes: Cow<'static, [u8]>,
    /// One scale per row for [`Dtype::I8`], else empty.
    pub scales: Vec<f32>,
}

impl OwnedTensor {
    /// A view that borrows the bytes.
    pub fn tensor(&self) -> Tensor<'_> {
        let Self { rows, cols, dtype, .. } = *self;
        Tensor { rows, cols, dtype, bytes: &self.bytes, scales: &self.scales }
    }
}

impl From<Tensor<'_>> for OwnedTensor {
    fn from(Tensor { rows, cols, dtype, bytes, scales }: Tensor<'_>) -> Self {
        Self { rows, cols, dtype, bytes: Cow::Owned(bytes.to_vec()), scales: scales.to_vec() }
    }
}

/// Widens stored numbers to f32, exactly; 8-bit integers as they are, without a scale.
pub fn widen(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::F32 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *o = f32::from_le_bytes(*b);
            }
        }
        Dtype::F16 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *o = widen_f16(u16::from_le_bytes(*b));
            }
        }
        Dtype::Bf16 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *o = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
            }
        }
        Dtype::I8 => {
            for (o, b) in out.iter_mut().zip(bytes) {
                *o = f32::from(b.cast_signed());
            }
        }
    }
}

/// Rounds to the nearest f16, ties to even; infinite from 65 520 on.
pub fn narrow_f16(x: f32) -> u16 {
    // From 2^-14 on f16 has its full precision; below, its steps are those of f32 numbers from 0.5 on.
    const NORMAL: u32 = (127 - 14) << 23;
    const INFINITE: u32 = (127 + 16) << 23;
    let (sign, magnitude) = (x.to_bits() >> 16 & 0x8000, x.to_bits() & 0x7fff_ffff);
    let half = if magnitude > 0x7f80_0000 {
        0x7e00
    } else if magnitude < NORMAL {
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits()
    } else {
        // Adds half a step minus 1, and 1 more where the last bit that is kept is odd; a carry moves on into the exponent.
        let rounded = magnitude.min(INFINITE) + 0xfff + (magnitude >> 13 & 1);
        (rounded - ((127 - 15) << 23)) >> 13
    };
    (sign | half) as u16
}

/// Adding this rounds a number between -2^22 and 2^22 to the nearest integer, ties to even, and leaves that integer in the
/// lowest bits of the fraction.
pub const ROUND_TO_INT: f32 = 12_582_912.0;

/// Quantizes one row of weights to signed bytes and returns their scale: the byte 127 stands for the greatest magnitude.
pub fn quantize_weights(row: &[f32], out: &mut [u8]) -> f32 {
    let max = row.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    // A row of smaller values becomes zeros: the inverse would overflow.
    let inverse = if max > MIN_RANGE { 127.0 / max } else { 0.0 };
    // Not fused: this code is compiled for processors without that instruction too.
    for (o, x) in out.iter_mut().zip(row) {
        *o = (x * inverse + ROUND_TO_INT).to_bits() as u8;
    }
    if inverse > 0.0 { max / 127.0 } else { 0.0 }
}

/// Rows whose values span a smaller range than this are quantized to zeros: the inverse of their scale would overflow.
const MIN_RANGE: f32 = 1e-35;

/// How a row of activations is quantized to 8 bits: x is about `(byte - zero_point) * scale`. The range includes 0, which is
/// exact; it need not be symmetric, because the outputs of GELU are not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantParams {
    /// The step between neighbouring values; 0 for a row of zeros, NaN where the row holds NaN or infinity.
    pub scale: f32,
    /// The byte that stands for 0, an integer from 0 to 255.
    pub zero_point: f32,
    /// One over `scale`.
    pub inverse: f32,
}

impl QuantParams {
    /// For values between `low` and `high`. `nan_guard` is 0, or NaN where the row is not finite: it makes the scale NaN.
    #[inline(always)]
    pub fn new(low: f32, high: f32, nan_guard: f32) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let range = high - low;
        if range < MIN_RANGE {
            return Self { scale: nan_guard, zero_point: 0.0, inverse: 0.0 };
        }
        let inverse = 255.0 / range;
        Self {
            scale: range / 255.0 + nan_guard,
            zero_point: (-low).mul_add(inverse, ROUND_TO_INT) - ROUND_TO_INT,
            inverse,
        }
    }

    /// For one row.
    pub fn of_row(row: &[f32]) -> Self {
        let (mut low, mut high, mut nan_guard) = (0.0, 0.0, 0.0);
        for x in row {
            low = x.min(low);
            high = x.max(high);
            nan_guard = x.mul_add(0.0, nan_guard);
        }
        Self::new(low, high, nan_guard)
    }

    /// The byte that stands for a value.
    pub fn quantize(&self, x: f32) -> u8 {
        let base = ROUND_TO_INT + self.zero_point;
        x.mul_add(self.inverse, base).clamp(ROUND_TO_INT, ROUND_TO_INT + 255.0).to_bits() as u8
    }
}

/// Shifts exponent and fraction into place and rescales by 2^112, the difference of the two exponent biases (127 - 15): this
/// is right for normal numbers, zero and subnormals. Without branches, so that it vectorizes.
fn widen_f16(half: u16) -> f32 {
    const RESCALE: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(half);
    let magnitude = (f32::from_bits((bits & 0x7fff) << 13) * RESCALE).to_bits();
    // Infinity and NaN have all exponent bits set in both formats.
    let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude | special | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_rounds_to_the_nearest_f16_and_ties_to_even() {
        for half in 0..0x7c00u16 {
            let (this, next) = (widen_f16(half), f64::from(widen_f16(half + 1)));
            assert_eq!(narrow_f16(this), half);
            assert_eq!(narrow_f16(-this), half | 0x8000);
            // Beyond the greatest f16, as if another one followed.
            let next = if next.is_infinite() { 65536.0 } else { next };
            let middle = ((f64::from(this) + next) / 2.0) as f32;
            assert_eq!(narrow_f16(middle), half + half % 2, "{middle}");
            assert_eq!(narrow_f16(middle.next_down()), half, "{middle}");
            assert_eq!(narrow_f16(middle.next_up()), half + 1, "{middle}");
        }
        assert_eq!(narrow_f16(1e30), 0x7c00);
        assert_eq!(narrow_f16(f32::NEG_INFINITY), 0xfc00);
        assert!(widen_f16(narrow_f16(f32::NAN)).is_nan());
    }

    #[test]
    fn a_row_of_weights_is_quantized_by_its_greatest_magnitude() {
        let mut bytes = [0; 5];
        let scale = quantize_weights(&[-2.54, 1.28, 0.021, 0.0, 0.031], &mut bytes);
        assert_eq!(bytes.map(|b| b.cast_signed()), [-127, 64, 1, 0, 2]);
        assert!((scale - 0.02).abs() < 1e-8);
        assert_eq!(quantize_weights(&[0.0, -1e-38], &mut bytes[..2]), 0.0);
        assert_eq!(bytes[..2], [0, 0]);
    }

    #[test]
    fn a_row_of_activations_is_quantized_within_half_a_step_and_zero_exactly() {
        for row in
            [&[0.3, -0.17, 2.5, 0.0, 1.0][..], &[5.0, 4.0], &[-1.0, -1e-20], &[3e-39], &[0.0], &[1e20, -7.0]]
        {
            let params = QuantParams::of_row(row);
            assert_eq!(params.quantize(0.0), params.zero_point as u8);
            for x in row {
                let back = (f32::from(params.quantize(*x)) - params.zero_point) * params.scale;
                assert!((back - x).abs() <= params.scale * 0.50001 + 1e-30, "{x} of {row:?} became {back}");
            }
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(QuantParams::of_row(&[1.0, bad, 2.0]).scale.is_nan());
        }
    }

    #[test]
    fn every_f16_widens_exactly() {
        for half in 0..=u16::MAX {
            let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
            let (exponent, fraction) = (i32::from(half >> 10 & 31), f64::from(half & 0x3ff));
            let wide = widen_f16(half);
            match exponent {
                0 => assert_eq!(f64::from(wide), sign * fraction * 2f64.powi(-24)),
                31 if fraction == 0.0 => assert_eq!(f64::from(wide), sign * f64::INFINITY),
                31 => assert!(wide.is_nan()),
                _ => assert_eq!(f64::from(wide), sign * (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15)),
            }
        }
    }
}
