//! Weights in the order in which the microkernel reads them.

use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::allocation::try_zeroed_vec;

use super::int8::{self, Int8};
use super::simd::{Int8Kernel, LANES, Simd};
use crate::error::{Error, Result};
use crate::kernels::{Dtype, LinearPart, Tensor, WeightStorage};
use crate::tensor::widen;

/// A linear layer: its weight `[out, in]` cut into panels of `NV * LANES` output features, each panel stored step by step
/// of k, `[panel][in][NV * LANES]`, the last panel filled up with zeros; and its bias, as long as the panels.
pub struct Packed<S> {
    panels: Panels,
    bias: Vec<f32>,
    inputs: usize,
    outputs: usize,
    isa: PhantomData<S>,
}

/// The weights in the numbers that they are kept in.
enum Panels {
    Wide(Vec<f32>),
    /// f16 or bf16, widened panel by panel when they are read, then multiplied by a factor for each output.
    Half(Vec<[u8; 2]>, Dtype, Vec<f64>),
    Int8(Int8),
}

impl<S: Simd> Packed<S> {
    /// Output features per panel of floats.
    pub const WIDTH: usize = S::NV * LANES;

    /// Stacks `parts` along their output features.
    pub fn new(
        s: S,
        parts: &[LinearPart<'_>],
        keep: WeightStorage,
        dot: &'static Int8Kernel,
    ) -> Result<Self> {
        let (inputs, dtype) = (parts[0].weight.cols, parts[0].weight.dtype);
        let outputs: usize = parts.iter().map(|part| part.weight.rows).sum();
        let alike = parts.iter().all(|part| part.weight.dtype == dtype);
        let kept = if keep == WeightStorage::AsStored && alike { dtype } else { Dtype::F32 };
        let rows = parts.iter().flat_map(|part| (0..part.weight.rows).map(move |row| (part, row)));
        let rows: Vec<_> = rows.collect();
        let mut bias = Vec::new();
        for part in parts {
            let mut values = part.bias.values();
            multiply(&mut values, part.scale);
            bias.extend(values);
        }
        let panels = match kept {
            Dtype::I8 if inputs <= int8::MAX_INPUTS => Panels::Int8(Int8::new(s, parts, dot)?),
            Dtype::F16 | Dtype::Bf16 => {
                let panels = Self::pack(inputs, outputs, [0; 2], |output, out| {
                    let (part, row) = rows[output];
                    out.copy_from_slice(part.weight.row(row).as_chunks().0);
                })?;
                let mut scales: Vec<f64> = rows.iter().map(|(part, _)| part.scale).collect();
                scales.resize(outputs.next_multiple_of(Self::WIDTH), 1.0);
                Panels::Half(panels, kept, scales)
            }
            Dtype::F32 | Dtype::I8 => Panels::Wide(Self::pack(inputs, outputs, 0.0, |output, wide| {
                let (part, row) = rows[output];
                part.weight.widen_row(row, wide);
                multiply(wide, part.scale);
            })?),
        };
        Ok(Self::finish(panels, bias, inputs, outputs, dot))
    }

    /// The transpose of `weight`'s rows `rows` as a layer without bias: outputs are the columns of `weight`.
    pub fn transposed(
        weight: Tensor<'_>,
        rows: Range<usize>,
        scale: f64,
        dot: &'static Int8Kernel,
    ) -> Result<Self> {
        let (inputs, outputs) = (rows.len(), weight.cols);
        let mut panels = zeros(outputs.next_multiple_of(Self::WIDTH) * inputs)?;
        let mut wide = vec![0.0; outputs];
        for (input, row) in rows.enumerate() {
            weight.widen_row(row, &mut wide);
            multiply(&mut wide, scale);
            for (panel, values) in wide.chunks(Self::WIDTH).enumerate() {
                panels[(panel * inputs + input) * Self::WIDTH..][..values.len()].copy_from_slice(values);
            }
        }
        Ok(Self::finish(Panels::Wide(panels), vec![], inputs, outputs, dot))
    }

    fn finish(panels: Panels, mut bias: Vec<f32>, inputs: usize, outputs: usize, dot: &Int8Kernel) -> Self {
        // Whole panels of either kind.
        bias.resize(outputs.next_multiple_of(Self::WIDTH.max(dot.columns)), 0.0);
        Self { panels, bias, inputs, outputs, isa: PhantomData }
    }

    /// Panels of the rows that `row` gives, the last one filled up with `zero`: a cache line of each row at a time, by way of
    /// a tile, so that fresh memory is written once and in order.
    fn pack<T: Copy>(
        inputs: usize,
        outputs: usize,
        zero: T,
        mut row: impl FnMut(usize, &mut [T]),
    ) -> Result<Vec<T>> {
        // The floats of a cache line.
        const STEPS: usize = 16;
        let mut panels = room(outputs.next_multiple_of(Self::WIDTH) * inputs)?;
        let mut rows = filled(Self::WIDTH * inputs, zero)?;
        let mut tile = vec![zero; STEPS * Self::WIDTH];
        for first in (0..outputs).step_by(Self::WIDTH) {
            let count = Self::WIDTH.min(outputs - first);
            for (output, out) in (first..first + count).zip(rows.chunks_exact_mut(inputs.max(1))) {
                row(output, out);
            }
            rows[count * inputs..].fill(zero);
            for start in (0..inputs).step_by(STEPS) {
                let steps = STEPS.min(inputs - start);
                for lane in 0..Self::WIDTH {
                    let values = &rows[lane * inputs + start..][..steps];
                    for (to, value) in tile[lane..].iter_mut().step_by(Self::WIDTH).zip(values) {
                        *to = *value;
                    }
                }
                panels.extend_from_slice(&tile[..steps * Self::WIDTH]);
            }
        }
        Ok(panels)
    }

    /// Input features (k).
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Output features.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The weights, where they are integers.
    pub fn int8(&self) -> Option<&Int8> {
        match &self.panels {
            Panels::Int8(int8) => Some(int8),
            _ => None,
        }
    }

    /// Bytes that a weight takes.
    pub fn bytes_per_weight(&self) -> usize {
        match self.panels {
            Panels::Wide(_) => 4,
            Panels::Half(..) => 2,
            Panels::Int8(_) => 1,
        }
    }

    /// Panels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(self.width())
    }

    /// Output features per panel.
    pub fn width(&self) -> usize {
        self.int8().map_or(Self::WIDTH, Int8::width)
    }

    /// Some steps of one panel of floats; half-width ones are widened into `wide`, which has room for
    /// [`KC`](super::simd::KC) steps.
    #[inline(always)]
    pub fn panel<'a, T: Simd>(
        &'a self,
        s: T,
        panel: usize,
        steps: Range<usize>,
        wide: &'a mut [f32],
    ) -> &'a [f32] {
        let start = (panel * self.inputs + steps.start) * Self::WIDTH;
        let range = start..start + steps.len() * Self::WIDTH;
        match &self.panels {
            Panels::Wide(panels) => &panels[range],
            Panels::Half(panels, dtype, scales) => {
                let wide = &mut wide[..range.len()];
                if *dtype == Dtype::F16 {
                    let halves = panels[range].as_chunks().0;
                    for (wide, half) in wide.as_chunks_mut().0.iter_mut().zip(halves) {
                        s.store(s.load_f16(half), wide);
                    }
                } else {
                    widen(*dtype, panels[range].as_flattened(), wide);
                }
                let scales = &scales[panel * Self::WIDTH..][..Self::WIDTH];
                if scales.iter().any(|scale| *scale != 1.0) {
                    for wide in wide.chunks_exact_mut(Self::WIDTH) {
                        wide.iter_mut()
                            .zip(scales)
                            .for_each(|(w, scale)| *w = (f64::from(*w) * scale) as f32);
                    }
                }
                wide
            }
            Panels::Int8(_) => unreachable!("integers are multiplied as such"),
        }
    }

    /// Where some steps of one panel of floats lie, and how many floats would fill them.
    pub fn lines(&self, panel: usize, steps: Range<usize>) -> (*const f32, usize) {
        let (start, count) = ((panel * self.inputs + steps.start) * Self::WIDTH, steps.len() * Self::WIDTH);
        match &self.panels {
            Panels::Wide(panels) => (panels[start..start + count].as_ptr(), count),
            Panels::Half(panels, ..) => (panels[start..start + count].as_ptr().cast(), count / 2),
            Panels::Int8(_) => unreachable!("integers are multiplied as such"),
        }
    }

    /// The bias, as long as whole panels.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }
}

/// Multiplies in f64 and rounds once.
fn multiply(values: &mut [f32], scale: f64) {
    if scale != 1.0 {
        values.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
    }
}

/// `count` zeros, or an error where the system has no memory left. Fresh pages are zeros already: each is touched first by
/// the thread that writes to it.
pub fn zeros(count: usize) -> Result<Vec<f32>> {
    try_zeroed_vec(count).map_err(|()| Error::OutOfMemory { bytes: (count * size_of::<f32>()) as u64 })
}

/// `count` times the same, or an error where the system has no memory left.
pub fn filled<T: Copy>(count: usize, value: T) -> Result<Vec<T>> {
    let mut values = room(count)?;
    values.resize(count, value);
    Ok(values)
}

/// An empty vector with room for `count` values, or an error where the system has no memory left.
pub fn room<T>(count: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(count)
        .map_err(|_| Error::OutOfMemory { bytes: (count * size_of::<T>()) as u64 })?;
    Ok(values)
}

/// Makes `values` at least `count` long; what they were is lost. Allocates only when they never were that long.
pub fn grow(values: &mut Vec<f32>, count: usize) -> Result<()> {
    if values.len() < count {
        *values = Vec::new();
        *values = zeros(count)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::simd::Scalar;
    use super::*;
    use crate::options::Isa;

    /// Weights that tell where they come from: the row and the column.
    fn rows(rows: std::ops::Range<usize>, cols: usize) -> Vec<u8> {
        rows.flat_map(|row| (0..cols).flat_map(move |col| ((row * 1000 + col) as f32).to_le_bytes()))
            .collect()
    }

    fn tensor(rows: usize, cols: usize, bytes: &[u8]) -> Tensor<'_> {
        Tensor::new(rows, cols, Dtype::F32, bytes)
    }

    #[test]
    fn every_weight_is_where_the_microkernel_reads_it_and_zeros_are_elsewhere() {
        let width = Packed::<Scalar>::WIDTH;
        // Around the panel's width, and around the steps that are transposed at a time.
        for (first, second) in [(1, 0), (width - 1, 0), (width, 0), (width, 1), (5, width), (2 * width, 7)] {
            for inputs in [1, 15, 16, 17, 40] {
                let outputs = first + second;
                let (a, b) = (rows(0..first, inputs), rows(first..outputs, inputs));
                let (a_bias, b_bias) = (rows(7..8, first), rows(8..9, second));
                let part = |rows, weight, bias, scale| LinearPart {
                    weight: tensor(rows, inputs, weight),
                    bias: tensor(1, rows, bias),
                    scale,
                };
                let mut parts = vec![part(first, &a, &a_bias, 0.5)];
                parts.extend((second > 0).then(|| part(second, &b, &b_bias, 1.0)));
                let packed =
                    Packed::new(Scalar, &parts, WeightStorage::F32, Int8Kernel::best(Isa::Scalar)).unwrap();

                let whole = rows(0..outputs, inputs);
                let transposed = Packed::<Scalar>::transposed(
                    tensor(outputs, inputs, &whole),
                    first..outputs,
                    2.0,
                    Int8Kernel::best(Isa::Scalar),
                )
                .unwrap();
                for panel in 0..packed.panels() {
                    let weights = packed.panel(Scalar, panel, 0..inputs, &mut []);
                    let bias = &packed.bias()[panel * width..][..width];
                    for (at, weight) in weights.iter().enumerate() {
                        let (input, output) = (at / width, panel * width + at % width);
                        let value = (output * 1000 + input) as f32 * if output < first { 0.5 } else { 1.0 };
                        assert_eq!(*weight, if output < outputs { value } else { 0.0 }, "{output}, {input}");
                    }
                    for (lane, bias) in bias.iter().enumerate() {
                        let output = panel * width + lane;
                        let value = match output {
                            _ if output < first => (7000 + output) as f32 * 0.5,
                            _ if output < outputs => (8000 + output - first) as f32,
                            _ => 0.0,
                        };
                        assert_eq!(*bias, value, "{output}");
                    }
                }
                for panel in 0..transposed.panels() {
                    for (at, weight) in
                        transposed.panel(Scalar, panel, 0..transposed.inputs(), &mut []).iter().enumerate()
                    {
                        let (input, output) = (at / width, panel * width + at % width);
                        let value = ((first + input) * 1000 + output) as f32 * 2.0;
                        assert_eq!(*weight, if output < inputs { value } else { 0.0 }, "{output}, {input}");
                    }
                    assert!(transposed.bias().iter().all(|b| *b == 0.0));
                }
            }
        }
    }
}
