//! Linear layers in 8-bit integers: out = epilogue((x - zero_point) w^T * scales + bias).
//!
//! Weights are signed bytes with a scale per output feature. Each row of x is quantized to bytes, with a scale and a zero
//! point of its own, when it is read. Sums are exact integers, so their order is free and every instruction set gives the
//! same bits.

use std::ops::Range;

use super::alloc::{AlignedVec, zeros};
use super::epilogue::{Accumulators, apply_epilogue};
use super::pack::stacked_bias;
use super::simd::{
    Int8Kernel, KC_BYTES, LANES, LHS_STRIDE, LhsFormat, MAX_MR, MAX_NR, MatMut, Simd, SimdKernel, as_bytes,
    even_tiles,
};
use crate::error::Result;
use crate::kernels::{Epilogue, LinearPart};
use crate::tensor::{QuantParams, ROUND_TO_INT};

/// Most inputs whose sums cannot leave an i32: 65 536 * 255 * 127 < 2^31.
pub const MAX_INPUTS: usize = 65_536;

/// The weight `[out, in]` of a linear layer as an [`Int8Kernel`] reads it: panels of NR output features, the last filled up
/// with zeros; and the bias, as long as all panels.
pub struct Int8Panels {
    kernel: &'static Int8Kernel,
    values: AlignedVec<i8>,
    /// Inputs of a panel: whole groups of KR, the last filled up with zeros.
    depth: usize,
    outputs: usize,
    /// Per output feature.
    scales: AlignedVec<f32>,
    /// The sum of each output feature's weights, by which a zero point other than the microkernel's own is multiplied.
    weight_sums: AlignedVec<i32>,
    bias: AlignedVec<f32>,
}

impl Int8Panels {
    /// Stacks `parts`, which are of [`Dtype::I8`](crate::kernels::Dtype::I8), along their output features.
    pub fn new<S: Simd>(s: S, parts: &[LinearPart<'_>], kernel: &'static Int8Kernel) -> Result<Self> {
        let inputs = parts[0].weight.cols;
        let outputs: usize = parts.iter().map(|part| part.weight.rows).sum();
        let (depth, padded) = (inputs.next_multiple_of(kernel.kr()), outputs.next_multiple_of(kernel.nr));
        let mut packed = Self {
            kernel,
            values: zeros(padded * depth)?,
            depth,
            outputs,
            scales: zeros(padded)?,
            weight_sums: zeros(padded)?,
            bias: stacked_bias(parts, kernel.nr)?,
        };
        let rows: Vec<_> =
            parts.iter().flat_map(|part| (0..part.weight.rows).map(move |row| (part, row))).collect();
        for (output, (part, row)) in rows.iter().enumerate() {
            packed.scales[output] = (f64::from(part.weight.scales[*row]) * part.scale) as f32;
            // Sums unsigned bytes: every instruction set has an instruction for that.
            let bytes = part.weight.row(*row);
            let shifted: u32 = bytes.iter().map(|b| u32::from(b ^ 128)).sum();
            packed.weight_sums[output] = shifted.cast_signed() - 128 * bytes.len() as i32;
        }
        // Packs into a buffer of one panel and copies it, so that fresh memory is written once.
        let mut panel = zeros(kernel.nr * depth)?;
        for (rows, to) in rows.chunks(kernel.nr).zip(packed.values.chunks_exact_mut(panel.len().max(1))) {
            let rows: Vec<&[u8]> = rows.iter().map(|(part, row)| part.weight.row(*row)).collect();
            kernel.pack_panel(s, &rows, &mut panel);
            to.copy_from_slice(&panel);
        }
        Ok(packed)
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(self.kernel.nr)
    }

    /// Output features per panel.
    pub fn panel_cols(&self) -> usize {
        self.kernel.nr
    }
}

/// Some panels of a linear layer in integers.
pub struct Int8Gemm<'a> {
    /// The input `[rows, inputs]`.
    pub x: &'a [f32],
    /// The weights and the bias.
    pub weights: &'a Int8Panels,
    /// What follows the sums.
    pub epilogue: Epilogue<'a, [f32]>,
    /// The panels to compute.
    pub panels: Range<usize>,
    /// The output columns of those panels.
    pub out: MatMut<'a>,
    /// Work space of [`scratch_floats`] floats.
    pub scratch: &'a mut [f32],
}

/// Work space that [`Int8Gemm`] needs for that many rows, in floats: for each row its `RowQuant` and a block of bytes.
pub fn scratch_floats(rows: usize) -> usize {
    rows * (ROW_QUANT_FLOATS + LHS_STRIDE / size_of::<f32>())
}

/// How a row of x is quantized, as it lies in work space: its scale, its zero point, one over the scale, and the bits of its
/// [`zero_point_correction`].
type RowQuant = [f32; ROW_QUANT_FLOATS];

const ROW_QUANT_FLOATS: usize = 4;

/// What the sum of an output's weights is multiplied by and added to a sum of products. A microkernel computes with bytes of
/// which 0 or 128, or the zero point itself, has been subtracted: this is the rest of the zero point, negated.
fn zero_point_correction(format: LhsFormat, zero_point: f32) -> i32 {
    match format {
        LhsFormat::U8 => -(zero_point as i32),
        LhsFormat::I8 => 128 - zero_point as i32,
        LhsFormat::I16 => 0,
    }
}

impl SimdKernel for Int8Gemm<'_> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(mut self, s: S) {
        let (rows, depth, format) = (self.out.rows(), self.weights.depth, self.weights.kernel.format);
        if rows == 0 {
            return;
        }
        let inputs = self.x.len() / rows;
        let kc = KC_BYTES / format.bytes();
        let (row_quants, lhs) = std::mem::take(&mut self.scratch).split_at_mut(ROW_QUANT_FLOATS * rows);
        let (row_quants, lhs) = (row_quants.as_chunks_mut::<ROW_QUANT_FLOATS>().0, as_bytes(lhs));
        for (row, row_quant) in row_quants.iter_mut().enumerate() {
            let QuantParams { scale, zero_point, inverse } =
                quant_params(s, &self.x[row * inputs..][..inputs]);
            let correction = zero_point_correction(format, zero_point);
            *row_quant = [scale, zero_point, inverse, f32::from_bits(correction.cast_unsigned())];
        }
        let mut sums = [0; MAX_MR * MAX_NR];
        for start in (0..depth).step_by(kc) {
            let end = (start + kc).min(inputs);
            for (row, [scale, zero_point, inverse, _]) in row_quants.iter().copied().enumerate() {
                let x = &self.x[row * inputs..][start..end];
                let to = &mut lhs[row * LHS_STRIDE..][..KC_BYTES];
                quantize_row(s, QuantParams { scale, zero_point, inverse }, format, x, to);
            }
            let block = KBlock { start, end: (start + kc).min(depth), row_quants, lhs };
            for (index, panel) in self.panels.clone().enumerate() {
                self.multiply_panel(s, &block, index, panel, &mut sums);
            }
        }
    }
}

/// KC inputs of all rows of x, quantized.
struct KBlock<'a> {
    /// The first input.
    start: usize,
    /// Behind the last input, padding to whole groups of KR included.
    end: usize,
    row_quants: &'a [RowQuant],
    /// Rows of [`LHS_STRIDE`] bytes.
    lhs: &'a [u8],
}

impl Int8Gemm<'_> {
    /// Multiplies a block by one panel, the one with number `index` of the panels to compute. `sums` is work space.
    #[inline(always)]
    fn multiply_panel<S: Simd>(
        &mut self,
        s: S,
        block: &KBlock<'_>,
        index: usize,
        panel: usize,
        sums: &mut [i32],
    ) {
        let (rows, weights, kernel) = (self.out.rows(), self.weights, self.weights.kernel);
        let (nr, depth) = (kernel.nr, weights.depth);
        let (first, last) = (block.start == 0, block.end == depth);
        let k_groups = (block.end - block.start) / kernel.kr();
        let cols = index * nr..((index + 1) * nr).min(self.out.cols());
        let panel_cols = panel * nr..(panel + 1) * nr;
        let rhs_of = |panel: usize| {
            &weights.values[(panel * depth + block.start) * nr..][..k_groups * kernel.kr() * nr]
        };
        let rhs = rhs_of(panel);
        // The tiles prefetch the next panel together, each a part of it before it begins.
        let next = if panel + 1 < self.panels.end { rhs_of(panel + 1) } else { &[] };
        let tiles = rows.div_ceil(kernel.mr());
        for (tile_index, tile) in even_tiles(rows, kernel.mr()).enumerate() {
            let lines = next.len() * tile_index / tiles..next.len() * (tile_index + 1) / tiles;
            next[lines].iter().step_by(CACHE_LINE).for_each(|at| s.prefetch(std::ptr::from_ref(at).cast()));
            let sums = &mut sums[..tile.len() * nr];
            let mut out = self.out.block(tile.clone(), cols.clone());
            if !first {
                // The output holds the partial sums as the bits of integers.
                for (row, sums) in sums.chunks_exact_mut(nr).enumerate() {
                    let partial = out.row(row).iter().map(|sum| sum.to_bits().cast_signed());
                    sums.iter_mut().zip(partial).for_each(|(sum, partial)| *sum = partial);
                }
            }
            let lhs = &block.lhs[tile.start * LHS_STRIDE..];
            kernel.multiply_tile(tile.len(), k_groups, lhs, rhs, sums, !first);
            if last {
                let sums = Int8Sums {
                    sums,
                    row_quants: &block.row_quants[tile.clone()],
                    weight_sums: &weights.weight_sums[panel_cols.clone()],
                    scales: &weights.scales[panel_cols.clone()],
                    bias: &weights.bias[panel_cols.clone()],
                };
                let residual_start = tile.start * weights.outputs + panel * nr;
                apply_epilogue(s, &sums, self.epilogue, residual_start, weights.outputs, out);
            } else {
                for (row, sums) in sums.chunks_exact(nr).enumerate() {
                    let bits = sums.iter().map(|sum| f32::from_bits(sum.cast_unsigned()));
                    out.row(row).iter_mut().zip(bits).for_each(|(o, bits)| *o = bits);
                }
            }
        }
    }
}

/// Bytes that one prefetch fetches.
const CACHE_LINE: usize = 64;

/// The integer sums of a tile, and what turns them into floats.
struct Int8Sums<'a> {
    /// `[rows, NR]`.
    sums: &'a [i32],
    /// One per row.
    row_quants: &'a [RowQuant],
    /// One per column, as are the following.
    weight_sums: &'a [i32],
    scales: &'a [f32],
    bias: &'a [f32],
}

/// (sums + zero_point_correction * weight_sums) * scale of the row * scales + bias.
impl<'a, S: Simd> Accumulators<S> for Int8Sums<'a> {
    type ColumnParams = (&'a [i32; LANES], S::V, S::V);

    #[inline(always)]
    fn column_params(&self, s: S, col: usize) -> Self::ColumnParams {
        let weight_sums = self.weight_sums[col..].first_chunk().expect("whole vectors");
        let (scales, bias) = (&self.scales[col..col + LANES], &self.bias[col..col + LANES]);
        (weight_sums, s.load_slice(scales), s.load_slice(bias))
    }

    #[inline(always)]
    fn values(&self, s: S, params: &Self::ColumnParams, row: usize, col: usize, _: &[f32]) -> S::V {
        let (weight_sums, scales, bias) = params;
        let [scale, _, _, correction] = self.row_quants[row];
        let correction = correction.to_bits().cast_signed();
        let sums: &[i32; LANES] =
            self.sums[row * self.scales.len() + col..].first_chunk().expect("whole vectors");
        let mut lanes = [0.0; LANES];
        for lane in 0..LANES {
            lanes[lane] = sums[lane].wrapping_add(weight_sums[lane].wrapping_mul(correction)) as f32;
        }
        s.fma(s.load(&lanes), s.mul(s.splat(scale), *scales), *bias)
    }
}

/// [`QuantParams::of_row`], sixteen lanes at a time.
#[inline(always)]
fn quant_params<S: Simd>(s: S, x: &[f32]) -> QuantParams {
    let zero = s.splat(0.0);
    let (mut low, mut high, mut nan_guard) = (zero, zero, zero);
    let (vectors, rest) = x.as_chunks::<LANES>();
    let rest = &padded_vector(rest)[..usize::from(!rest.is_empty())];
    for x in vectors.iter().chain(rest) {
        let x = s.load(x);
        low = s.min(x, low);
        high = s.max(x, high);
        // Not fused: the whole loop waits for this sum, and an addition takes half as long.
        nan_guard = s.add(nan_guard, s.mul(x, zero));
    }
    let [low, high] = [s.lanes(low), s.lanes(high)];
    let low = low.into_iter().fold(0.0, f32::min);
    QuantParams::new(low, high.into_iter().fold(0.0, f32::max), s.sum(nan_guard))
}

/// A vector of less than [`LANES`] values and zeros.
#[inline(always)]
fn padded_vector(rest: &[f32]) -> [[f32; LANES]; 1] {
    let mut lanes = [0.0; LANES];
    lanes[..rest.len()].copy_from_slice(rest);
    [lanes]
}

/// Quantizes a row into `to` as `format` says, and fills the last vector up.
#[inline(always)]
fn quantize_row<S: Simd>(s: S, params: QuantParams, format: LhsFormat, x: &[f32], to: &mut [u8]) {
    let (base, inverse) = (s.splat(ROUND_TO_INT + params.zero_point), s.splat(params.inverse));
    let (min, max) = (s.splat(ROUND_TO_INT), s.splat(ROUND_TO_INT + 255.0));
    // The weights beyond the inputs are zero, so the values of x there do not matter.
    let (vectors, rest) = x.as_chunks::<LANES>();
    let rest = &padded_vector(rest)[..usize::from(!rest.is_empty())];
    // One loop for each format, without a branch in it.
    macro_rules! for_each_vector {
        ($bytes:literal, |$byte:ident| $value:expr) => {
            for (x, to) in vectors.iter().chain(rest).zip(to.as_chunks_mut::<{ $bytes * LANES }>().0) {
                let rounded = s.min(s.max(s.fma(s.load(x), inverse, base), min), max);
                *to.as_chunks_mut::<$bytes>().0.first_chunk_mut().expect("sixteen") =
                    s.low_bytes(rounded).map(|$byte| $value);
            }
        };
    }
    let zero_point = params.zero_point as i16;
    match format {
        LhsFormat::U8 => for_each_vector!(1, |byte| [byte]),
        LhsFormat::I8 => for_each_vector!(1, |byte| [byte ^ 128]),
        LhsFormat::I16 => for_each_vector!(2, |byte| (i16::from(byte) - zero_point).to_le_bytes()),
    }
}
