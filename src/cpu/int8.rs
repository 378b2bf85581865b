//! Linear layers in 8-bit integers: out = then((x - zero) w^T * scales + bias).
//!
//! Weights are signed bytes with a scale per output feature. Each row of x is rounded to bytes of its own scale and zero
//! when it is read. Sums are exact integers, so their order is free and every instruction set gives the same bits.

use std::ops::Range;

use super::activation::activate;
use super::gemm::{Epilogue, even, load, store};
use super::pack::{filled, zeros};
use super::simd::{BLOCK, Dot, Form, LANES, MOST_COLUMNS, MOST_ROWS, MatMut, Op, ROW_BYTES, Simd, as_bytes};
use crate::error::Result;
use crate::kernels::{Activation, Part};
use crate::tensor::{ROUND, Rounding};

/// Most inputs whose sums cannot leave an i32: 65 536 * 255 * 127 < 2^31.
pub const MOST_INPUTS: usize = 65_536;

/// Weights `[out, in]` as [`Dot`] reads them: panels of its columns, the last filled up with zeros.
pub struct Int8 {
    dot: &'static Dot,
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
    pub fn new(parts: &[Part<'_>], dot: &'static Dot) -> Result<Self> {
        let inputs = parts[0].weight.cols;
        let outputs: usize = parts.iter().map(|part| part.weight.rows).sum();
        let (depth, padded) = (inputs.next_multiple_of(dot.group), outputs.next_multiple_of(dot.columns));
        let mut made = Self {
            dot,
            panels: filled(padded * depth, 0)?,
            depth,
            outputs,
            scales: zeros(padded)?,
            totals: filled(padded, 0)?,
        };
        let rows = parts.iter().flat_map(|part| (0..part.weight.rows).map(move |row| (part, row)));
        for (output, (part, row)) in rows.enumerate() {
            let bytes = part.weight.row(row);
            made.scales[output] = (f64::from(part.weight.scales[row]) * part.scale) as f32;
            made.totals[output] = bytes.iter().map(|b| i32::from(b.cast_signed())).sum();
            let panel = &mut made.panels[output / dot.columns * dot.columns * depth..];
            let column = output % dot.columns * dot.group;
            for (group, bytes) in bytes.chunks(dot.group).enumerate() {
                let to = &mut panel[group * dot.columns * dot.group + column..][..bytes.len()];
                to.iter_mut().zip(bytes).for_each(|(to, b)| *to = b.cast_signed());
            }
        }
        Ok(made)
    }

    /// Output features per panel.
    pub fn width(&self) -> usize {
        self.dot.columns
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
    pub then: Epilogue<'a>,
    /// The panels to compute.
    pub panels: Range<usize>,
    /// The output columns of those panels.
    pub out: MatMut<'a>,
    /// Work space of [`scratch`] floats.
    pub scratch: &'a mut [f32],
}

/// Work space that [`LinearInt8`] needs for that many rows, in floats: the rounding of each, and a block of it.
pub fn scratch(rows: usize) -> usize {
    rows * (3 + ROW_BYTES / size_of::<f32>())
}

impl Op for LinearInt8<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (rows, w, dot) = (self.out.rows(), self.w, self.w.dot);
        if rows == 0 {
            return;
        }
        let (inputs, outputs) = (self.x.len() / rows, w.outputs);
        let block = BLOCK / dot.form.bytes();
        let (roundings, bytes) = self.scratch.split_at_mut(3 * rows);
        let (roundings, bytes) = (roundings.as_chunks_mut::<3>().0, as_bytes(bytes));
        for (row, kept) in roundings.iter_mut().enumerate() {
            let rounding = rounding(s, &self.x[row * inputs..][..inputs]);
            *kept = [rounding.scale, rounding.zero, rounding.inverse];
        }
        let mut sums = [0; MOST_ROWS * MOST_COLUMNS];
        for start in (0..w.depth).step_by(block) {
            let (end, steps) = ((start + block).min(inputs), (w.depth - start).min(block) / dot.group);
            for (row, [scale, zero, inverse]) in roundings.iter().copied().enumerate() {
                let x = &self.x[row * inputs..][start..end];
                round(
                    s,
                    Rounding { scale, zero, inverse },
                    dot.form,
                    x,
                    &mut bytes[row * ROW_BYTES..][..BLOCK],
                );
            }
            for (column, panel) in self.panels.clone().enumerate() {
                let width = dot.columns;
                let columns = column * width..((column + 1) * width).min(self.out.cols());
                let of_panel = panel * width..(panel + 1) * width;
                let (scales, totals) = (&w.scales[of_panel.clone()], &w.totals[of_panel.clone()]);
                let b = &w.panels[(panel * w.depth + start) * width..];
                for tile in even(rows, dot.rows) {
                    let sums = &mut sums[..tile.len() * width];
                    let mut out = self.out.block(tile.clone(), columns.clone());
                    if start > 0 {
                        // The sums so far, which lie in the output as what they are: integers.
                        for (r, sums) in sums.chunks_exact_mut(width).enumerate() {
                            sums.iter_mut()
                                .zip(out.row(r))
                                .for_each(|(sum, o)| *sum = o.to_bits().cast_signed());
                        }
                    }
                    let a = &bytes[tile.start * ROW_BYTES..];
                    dot.multiply(tile.len(), steps, a, b, sums, start > 0);
                    for (r, sums) in sums.chunks_exact(width).enumerate() {
                        let row = out.row(r);
                        if start + block < w.depth {
                            row.iter_mut()
                                .zip(sums)
                                .for_each(|(o, sum)| *o = f32::from_bits(sum.cast_unsigned()));
                            continue;
                        }
                        let [scale, zero, _] = roundings[tile.start + r];
                        // The microkernel subtracts its own zero, or none, from each byte of x: this is the rest.
                        let missing = match dot.form {
                            Form::Unsigned => -(zero as i32),
                            Form::Signed => 128 - zero as i32,
                            Form::Wide => 0,
                        };
                        let at = (tile.start + r) * outputs + panel * width;
                        let end =
                            Ending { missing, scale, totals, scales, bias: &self.bias[of_panel.clone()] };
                        end.apply(s, sums, self.then, at, row);
                    }
                }
            }
        }
    }
}

/// What follows the integer sums of a row of a tile.
struct Ending<'a> {
    missing: i32,
    scale: f32,
    totals: &'a [i32],
    scales: &'a [f32],
    bias: &'a [f32],
}

impl Ending<'_> {
    /// row = then((sums + missing * totals) * scale * scales + bias); `at` says where the row lies in a residual.
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, sums: &[i32], then: Epilogue<'_>, at: usize, row: &mut [f32]) {
        // Each arm is a loop of its own without a choice in it: a closure would not be compiled for the instruction set.
        macro_rules! each {
            (|$v:ident, $y:ident| $then:expr) => {
                for $v in (0..row.len()).step_by(LANES) {
                    let $y = self.scaled(s, sums, $v);
                    let end = row.len().min($v + LANES);
                    store(s, $then, &mut row[$v..end]);
                }
            };
        }
        macro_rules! arms {
            ($($f:ident)+) => {
                match then {
                    Epilogue::Bias => each!(|v, y| y),
                    Epilogue::Add(residual) => {
                        let residual = &residual[at..][..row.len()];
                        each!(|v, y| s.add(y, load(s, &residual[v..residual.len().min(v + LANES)])));
                    }
                    $(Epilogue::Activate(Activation::$f) => each!(|v, y| activate(s, Activation::$f, y)),)+
                }
            };
        }
        arms!(Gelu GeluTanh Relu Silu Tanh)
    }

    /// The vector from column `v` on, before what follows.
    #[inline(always)]
    fn scaled<S: Simd>(&self, s: S, sums: &[i32], v: usize) -> S::V {
        let (sums, totals) = (&sums[v..v + LANES], &self.totals[v..v + LANES]);
        let mut lanes = [0.0; LANES];
        for lane in 0..LANES {
            lanes[lane] = sums[lane].wrapping_add(totals[lane].wrapping_mul(self.missing)) as f32;
        }
        let scale = s.mul(s.splat(self.scale), load(s, &self.scales[v..v + LANES]));
        s.fma(s.load(&lanes), scale, load(s, &self.bias[v..v + LANES]))
    }
}

/// [`Rounding::of`] a row, sixteen lanes at a time.
#[inline(always)]
fn rounding<S: Simd>(s: S, x: &[f32]) -> Rounding {
    let zero = s.splat(0.0);
    let (mut low, mut high, mut spoiled) = (zero, zero, zero);
    for x in x.chunks(LANES) {
        let x = load(s, x);
        low = s.min(x, low);
        high = s.max(x, high);
        spoiled = s.fma(x, zero, spoiled);
    }
    let [low, high] = [s.lanes(low), s.lanes(high)];
    let low = low.into_iter().fold(0.0, f32::min);
    Rounding::new(low, high.into_iter().fold(0.0, f32::max), s.sum(spoiled))
}

/// Rounds a row as `form` says into `to`, and fills it up with zeros to a whole group.
#[inline(always)]
fn round<S: Simd>(s: S, rounding: Rounding, form: Form, x: &[f32], to: &mut [u8]) {
    let (base, inverse) = (s.splat(ROUND + rounding.zero), s.splat(rounding.inverse));
    let (least, most) = (s.splat(ROUND), s.splat(ROUND + 255.0));
    // The weights beyond the inputs are zero: what x is there does not matter.
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut last = [0.0; LANES];
    last[..rest.len()].copy_from_slice(rest);
    let rest: &[[f32; LANES]] = if rest.is_empty() { &[] } else { &[last] };
    for (index, x) in whole.iter().chain(rest).enumerate() {
        let at = index * LANES;
        let rounded = s.lanes(s.min(s.max(s.fma(s.load(x), inverse, base), least), most));
        let bytes = rounded.map(|x| x.to_bits() as u8);
        match form {
            Form::Unsigned => to[at..at + LANES].copy_from_slice(&bytes),
            Form::Signed => to[at..at + LANES].copy_from_slice(&bytes.map(|b| b ^ 128)),
            Form::Wide => {
                let zero = rounding.zero as i16;
                let to = to[2 * at..2 * (at + LANES)].as_chunks_mut::<2>().0;
                to.iter_mut().zip(bytes).for_each(|(to, b)| *to = (i16::from(b) - zero).to_le_bytes());
            }
        }
    }
}
