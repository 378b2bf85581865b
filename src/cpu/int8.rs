//! Linear layers in 8-bit integers: out = then((x - zero) w^T * scales + bias).
//!
//! Weights are signed bytes with a scale per output feature. Each row of x is rounded to bytes of its own scale and zero
//! when it is read. Sums are exact integers, so their order is free and every instruction set gives the same bits.

use std::ops::Range;

use super::gemm::{Tile, TileEpilogue, finish};
use super::pack::{filled, room, zeros};
use super::simd::{
    BLOCK, Form, Int8Kernel, LANES, MAX_COLUMNS, MAX_ROWS, MatMut, ROW_BYTES, Simd, SimdKernel, as_bytes,
    even_tiles,
};
use crate::error::Result;
use crate::kernels::LinearPart;
use crate::options::Isa;
use crate::tensor::{QuantParams, ROUND_TO_INT};

/// Most inputs whose sums cannot leave an i32: 65 536 * 255 * 127 < 2^31.
pub const MAX_INPUTS: usize = 65_536;

/// Weights `[out, in]` as [`Int8Kernel`] reads them: panels of its columns, the last filled up with zeros.
pub struct Int8 {
    dot: &'static Int8Kernel,
    panels: Vec<i8>,
    /// Inputs of a panel: whole groups, the last filled up with zeros.
    depth: usize,
    outputs: usize,
    /// Per output feature.
    scales: Vec<f32>,
    /// Sums of an output feature's weights: what a zero other than the microkernel's own is worth.
    totals: Vec<i32>,
}

impl Int8 {
    /// Stacks `parts`, which are of [`Dtype::I8`](crate::kernels::Dtype::I8), along their output features.
    pub fn new<S: Simd>(s: S, parts: &[LinearPart<'_>], dot: &'static Int8Kernel) -> Result<Self> {
        let inputs = parts[0].weight.cols;
        let outputs: usize = parts.iter().map(|part| part.weight.rows).sum();
        let (depth, padded) = (inputs.next_multiple_of(dot.group), outputs.next_multiple_of(dot.columns));
        let mut made = Self {
            dot,
            panels: room(padded * depth)?,
            depth,
            outputs,
            scales: zeros(padded)?,
            totals: filled(padded, 0)?,
        };
        let rows: Vec<_> =
            parts.iter().flat_map(|part| (0..part.weight.rows).map(move |row| (part, row))).collect();
        for (output, (part, row)) in rows.iter().enumerate() {
            made.scales[output] = (f64::from(part.weight.scales[*row]) * part.scale) as f32;
            // Of unsigned bytes, for which there is an instruction everywhere.
            let bytes = part.weight.row(*row);
            let shifted: u32 = bytes.iter().map(|b| u32::from(b ^ 128)).sum();
            made.totals[output] = shifted.cast_signed() - 128 * bytes.len() as i32;
        }
        // By way of one panel, so that fresh memory is written once.
        let mut panel = filled(dot.columns * depth, 0)?;
        for rows in rows.chunks(dot.columns) {
            if rows.len() < dot.columns {
                panel.fill(0);
            }
            let mut rows: Vec<&[u8]> = rows.iter().map(|(part, row)| part.weight.row(*row)).collect();
            let columns = dot.columns;
            // Not where floats may be moved through registers that change the bits of a NaN.
            let done = match dot.group {
                4 if S::ISA != Isa::Scalar => {
                    s.dispatch(DealLines { rows: &rows, columns, panel: &mut panel })
                }
                _ => 0,
            };
            rows.iter_mut().for_each(|row| *row = &row[done..]);
            let rest = &mut panel[done * columns..];
            match dot.group {
                2 => deal::<2>(&rows, columns, rest),
                4 => deal::<4>(&rows, columns, rest),
                8 => deal::<8>(&rows, columns, rest),
                group => unreachable!("groups of {group}"),
            }
            made.panels.extend_from_slice(&panel);
        }
        Ok(made)
    }

    /// Output features per panel.
    pub fn width(&self) -> usize {
        self.dot.columns
    }
}

/// Writes rows to the columns of a panel by groups, of a length known here, or each would be a loop; a cache line of each row
/// at a time, for their groups lie far apart in the panel.
fn deal<const GROUP: usize>(rows: &[&[u8]], columns: usize, panel: &mut [i8]) {
    let panel = panel.as_chunks_mut::<GROUP>().0;
    let whole = rows[0].len() / GROUP;
    for start in (0..whole).step_by(LINE / GROUP) {
        let end = whole.min(start + LINE / GROUP);
        for (column, row) in rows.iter().enumerate() {
            let to = panel[start * columns + column..].iter_mut().step_by(columns);
            for (to, group) in to.zip(&row.as_chunks::<GROUP>().0[start..end]) {
                *to = group.map(u8::cast_signed);
            }
        }
    }
    if let Some(last) = panel.get_mut(whole * columns..) {
        for (to, row) in last.iter_mut().zip(rows) {
            let rest = row.as_chunks::<GROUP>().1;
            to.iter_mut().zip(rest).for_each(|(to, b)| *to = b.cast_signed());
        }
    }
}

/// Deals groups of four bytes, as many whole cache lines as the rows have: those of [`LANES`] rows at a time, transposed as if
/// they were floats. Gives the bytes of each row that it has dealt.
struct DealLines<'a> {
    rows: &'a [&'a [u8]],
    columns: usize,
    panel: &'a mut [i8],
}

impl SimdKernel for DealLines<'_> {
    type Output = usize;

    #[inline(always)]
    fn compute<S: Simd>(self, s: S) -> usize {
        let Self { rows, columns, panel } = self;
        let (blocks, rest) = rows.as_chunks::<LANES>();
        let lines = if rest.is_empty() { rows[0].len() / LINE } else { 0 };
        for (block, rows) in blocks.iter().enumerate() {
            for line in 0..lines {
                let mut tile = [s.splat(0.0); LANES];
                for (lanes, row) in tile.iter_mut().zip(rows) {
                    let groups = row[line * LINE..][..LINE].as_chunks().0;
                    *lanes = s.load(&std::array::from_fn(|i| f32::from_le_bytes(groups[i])));
                }
                for (step, lanes) in s.transpose(tile).into_iter().enumerate() {
                    let start = ((line * LANES + step) * columns + block * LANES) * size_of::<f32>();
                    let to = panel[start..start + LINE].as_chunks_mut().0;
                    for (to, group) in to.iter_mut().zip(s.lanes(lanes)) {
                        *to = group.to_le_bytes().map(u8::cast_signed);
                    }
                }
            }
        }
        lines * LINE
    }
}

/// Some panels of a linear layer.
pub struct LinearInt8<'a> {
    /// The input `[rows, inputs]`.
    pub x: &'a [f32],
    /// The weights.
    pub w: &'a Int8,
    /// The bias, as long as the panels.
    pub bias: &'a [f32],
    /// What follows the sum.
    pub then: TileEpilogue<'a>,
    /// The panels to compute.
    pub panels: Range<usize>,
    /// The output columns of those panels.
    pub out: MatMut<'a>,
    /// Work space of [`scratch`] floats.
    pub scratch: &'a mut [f32],
}

/// Work space that [`LinearInt8`] needs for that many rows, in floats: how each is rounded, and a block of it.
pub fn scratch(rows: usize) -> usize {
    rows * (KEPT + ROW_BYTES / size_of::<f32>())
}

/// What is kept of a row's rounding: scale, zero, one over the scale, and the bits of what [`missing`] gives.
const KEPT: usize = 4;

/// A microkernel subtracts a zero of its own, or none, from each byte of x. What is left to subtract, negated.
fn missing(form: Form, zero: f32) -> i32 {
    match form {
        Form::Unsigned => -(zero as i32),
        Form::Signed => 128 - zero as i32,
        Form::Wide => 0,
    }
}

impl SimdKernel for LinearInt8<'_> {
    type Output = ();

    #[inline(always)]
    fn compute<S: Simd>(mut self, s: S) {
        let (rows, w, dot) = (self.out.rows(), self.w, self.w.dot);
        if rows == 0 {
            return;
        }
        let (inputs, width) = (self.x.len() / rows, dot.columns);
        let block = BLOCK / dot.form.bytes();
        let (roundings, bytes) = self.scratch.split_at_mut(KEPT * rows);
        let (roundings, bytes) = (roundings.as_chunks_mut::<KEPT>().0, as_bytes(bytes));
        for (row, kept) in roundings.iter_mut().enumerate() {
            let QuantParams { scale, zero_point: zero, inverse } =
                rounding(s, &self.x[row * inputs..][..inputs]);
            *kept = [scale, zero, inverse, f32::from_bits(missing(dot.form, zero).cast_unsigned())];
        }
        let mut sums = [0; MAX_ROWS * MAX_COLUMNS];
        for start in (0..w.depth).step_by(block) {
            let last = start + block >= w.depth;
            let (end, steps) = ((start + block).min(inputs), (w.depth - start).min(block) / dot.group);
            for (row, [scale, zero, inverse, _]) in roundings.iter().copied().enumerate() {
                let x = &self.x[row * inputs..][start..end];
                let to = &mut bytes[row * ROW_BYTES..][..BLOCK];
                round(s, QuantParams { scale, zero_point: zero, inverse }, dot.form, x, to);
            }
            for (column, panel) in self.panels.clone().enumerate() {
                let columns = column * width..((column + 1) * width).min(self.out.cols());
                let of_panel = panel * width..(panel + 1) * width;
                let weights = |panel: usize| {
                    &w.panels[(panel * w.depth + start) * width..][..steps * dot.group * width]
                };
                let b = weights(panel);
                // The tiles fetch the next panel together, each a part of it before it begins.
                let next = if panel + 1 < self.panels.end { weights(panel + 1) } else { &[] };
                let tiles = rows.div_ceil(dot.rows);
                for (index, tile) in even_tiles(rows, dot.rows).enumerate() {
                    let lines = next.len() * index / tiles..next.len() * (index + 1) / tiles;
                    next[lines].iter().step_by(LINE).for_each(|at| s.prefetch(std::ptr::from_ref(at).cast()));
                    let sums = &mut sums[..tile.len() * width];
                    let mut out = self.out.block(tile.clone(), columns.clone());
                    if start > 0 {
                        // The sums so far, which lie in the output as what they are: integers.
                        for (r, sums) in sums.chunks_exact_mut(width).enumerate() {
                            let so_far = out.row(r).iter().map(|sum| sum.to_bits().cast_signed());
                            sums.iter_mut().zip(so_far).for_each(|(sum, so_far)| *sum = so_far);
                        }
                    }
                    dot.multiply(tile.len(), steps, &bytes[tile.start * ROW_BYTES..], b, sums, start > 0);
                    if last {
                        let sums = Sums {
                            sums,
                            rows: &roundings[tile.clone()],
                            totals: &w.totals[of_panel.clone()],
                            scales: &w.scales[of_panel.clone()],
                            bias: &self.bias[of_panel.clone()],
                        };
                        finish(s, &sums, self.then, tile.start * w.outputs + panel * width, w.outputs, out);
                    } else {
                        for (r, sums) in sums.chunks_exact(width).enumerate() {
                            let bits = sums.iter().map(|sum| f32::from_bits(sum.cast_unsigned()));
                            out.row(r).iter_mut().zip(bits).for_each(|(o, bits)| *o = bits);
                        }
                    }
                }
            }
        }
    }
}

/// Bytes that are fetched at once.
const LINE: usize = 64;

/// The integer sums of a tile, and what makes them numbers.
struct Sums<'a> {
    /// As wide as the other fields.
    sums: &'a [i32],
    /// Of each row.
    rows: &'a [[f32; KEPT]],
    totals: &'a [i32],
    scales: &'a [f32],
    bias: &'a [f32],
}

/// (sums + missing * totals) * scale * scales + bias.
impl<'a, S: Simd> Tile<S> for Sums<'a> {
    type Column = (&'a [i32; LANES], S::V, S::V);

    #[inline(always)]
    fn column(&self, s: S, v: usize) -> Self::Column {
        let totals = self.totals[v..].first_chunk().expect("whole vectors");
        (totals, s.load_slice(&self.scales[v..v + LANES]), s.load_slice(&self.bias[v..v + LANES]))
    }

    #[inline(always)]
    fn row(&self, s: S, (totals, scales, bias): &Self::Column, r: usize, v: usize, _: &[f32]) -> S::V {
        let [scale, _, _, missing] = self.rows[r];
        let missing = missing.to_bits().cast_signed();
        let sums: &[i32; LANES] =
            self.sums[r * self.scales.len() + v..].first_chunk().expect("whole vectors");
        let mut lanes = [0.0; LANES];
        for lane in 0..LANES {
            lanes[lane] = sums[lane].wrapping_add(totals[lane].wrapping_mul(missing)) as f32;
        }
        s.fma(s.load(&lanes), s.mul(s.splat(scale), *scales), *bias)
    }
}

/// [`Rounding::of`] a row, sixteen lanes at a time.
#[inline(always)]
fn rounding<S: Simd>(s: S, x: &[f32]) -> QuantParams {
    let zero = s.splat(0.0);
    let (mut low, mut high, mut spoiled) = (zero, zero, zero);
    let (whole, rest) = x.as_chunks::<LANES>();
    let rest = &filled_up(rest)[..usize::from(!rest.is_empty())];
    for x in whole.iter().chain(rest) {
        let x = s.load(x);
        low = s.min(x, low);
        high = s.max(x, high);
        // Not fused, for all wait for this sum: adding takes half as long.
        spoiled = s.add(spoiled, s.mul(x, zero));
    }
    let [low, high] = [s.lanes(low), s.lanes(high)];
    let low = low.into_iter().fold(0.0, f32::min);
    QuantParams::new(low, high.into_iter().fold(0.0, f32::max), s.sum(spoiled))
}

/// Less than a vector, and zeros.
#[inline(always)]
fn filled_up(rest: &[f32]) -> [[f32; LANES]; 1] {
    let mut lanes = [0.0; LANES];
    lanes[..rest.len()].copy_from_slice(rest);
    [lanes]
}

/// Rounds a row as `form` says into `to`, and fills it up with zeros to a whole group.
#[inline(always)]
fn round<S: Simd>(s: S, rounding: QuantParams, form: Form, x: &[f32], to: &mut [u8]) {
    let (base, inverse) = (s.splat(ROUND_TO_INT + rounding.zero_point), s.splat(rounding.inverse));
    let (least, most) = (s.splat(ROUND_TO_INT), s.splat(ROUND_TO_INT + 255.0));
    // The weights beyond the inputs are zero: what x is there does not matter.
    let (whole, rest) = x.as_chunks::<LANES>();
    let rest = &filled_up(rest)[..usize::from(!rest.is_empty())];
    // A loop for each form, without a choice in it.
    macro_rules! each {
        ($bytes:literal, |$byte:ident| $form:expr) => {
            for (x, to) in whole.iter().chain(rest).zip(to.as_chunks_mut::<{ $bytes * LANES }>().0) {
                let rounded = s.min(s.max(s.fma(s.load(x), inverse, base), least), most);
                *to.as_chunks_mut::<$bytes>().0.first_chunk_mut().expect("sixteen") =
                    s.low_bytes(rounded).map(|$byte| $form);
            }
        };
    }
    let zero = rounding.zero_point as i16;
    match form {
        Form::Unsigned => each!(1, |byte| [byte]),
        Form::Signed => each!(1, |byte| [byte ^ 128]),
        Form::Wide => each!(2, |byte| (i16::from(byte) - zero).to_le_bytes()),
    }
}
