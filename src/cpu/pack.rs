//! Weights in floats, in the order in which the microkernel reads them.

use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::Zeroable;

use super::alloc::{AlignedVec, zeros};
use super::simd::{LANES, Simd};
use crate::error::Result;
use crate::kernels::{Dtype, LinearPart, Tensor};
use crate::tensor::widen;

/// The weight `[out, in]` of a linear layer cut into panels of NR output features, each panel stored by rows of k,
/// `[panel][in][NR]`, the last panel filled up with zeros; and the bias, as long as all panels.
pub struct FloatPanels<S> {
    values: PanelValues,
    bias: AlignedVec<f32>,
    inputs: usize,
    outputs: usize,
    isa: PhantomData<S>,
}

/// The weights in the type that they are kept in.
enum PanelValues {
    F32(AlignedVec<f32>),
    /// f16 or bf16, widened panel by panel when they are read, then multiplied by a factor for each output.
    Half {
        values: AlignedVec<[u8; 2]>,
        dtype: Dtype,
        scales: Vec<f64>,
    },
}

impl<S: Simd> FloatPanels<S> {
    /// Output features per panel.
    pub const NR: usize = S::NV * LANES;

    /// Stacks `parts` along their output features. Parts that are all of one half-width `dtype` stay so; everything else is
    /// widened.
    pub fn new(parts: &[LinearPart<'_>], dtype: Dtype) -> Result<Self> {
        let inputs = parts[0].weight.cols;
        let outputs: usize = parts.iter().map(|part| part.weight.rows).sum();
        let rows = parts.iter().flat_map(|part| (0..part.weight.rows).map(move |row| (part, row)));
        let rows: Vec<_> = rows.collect();
        let values = match dtype {
            Dtype::F16 | Dtype::Bf16 => {
                let values = Self::pack_panels(inputs, outputs, |output, to| {
                    let (part, row) = rows[output];
                    to.copy_from_slice(part.weight.row(row).as_chunks().0);
                })?;
                let mut scales: Vec<f64> = rows.iter().map(|(part, _)| part.scale).collect();
                scales.resize(outputs.next_multiple_of(Self::NR), 1.0);
                PanelValues::Half { values, dtype, scales }
            }
            Dtype::F32 | Dtype::I8 => PanelValues::F32(Self::pack_panels(inputs, outputs, |output, to| {
                let (part, row) = rows[output];
                part.weight.widen_row(row, to);
                scale_in_place(to, part.scale);
            })?),
        };
        let bias = stacked_bias(parts, Self::NR)?;
        Ok(Self { values, bias, inputs, outputs, isa: PhantomData })
    }

    /// The transpose of some rows of `weight` as a layer without bias: its outputs are the columns of `weight`.
    pub fn transposed(weight: Tensor<'_>, rows: Range<usize>, scale: f64) -> Result<Self> {
        let (inputs, outputs) = (rows.len(), weight.cols);
        let padded = outputs.next_multiple_of(Self::NR);
        let mut panels = zeros(padded * inputs)?;
        let mut widened = vec![0.0; outputs];
        for (input, row) in rows.enumerate() {
            weight.widen_row(row, &mut widened);
            scale_in_place(&mut widened, scale);
            for (panel, values) in widened.chunks(Self::NR).enumerate() {
                panels[(panel * inputs + input) * Self::NR..][..values.len()].copy_from_slice(values);
            }
        }
        let bias = zeros(padded)?;
        Ok(Self { values: PanelValues::F32(panels), bias, inputs, outputs, isa: PhantomData })
    }

    /// Panels of the rows that `read_row` writes, the last one filled up with zeros. One cache line of each row at a time is
    /// transposed through a tile, so that fresh memory is written once and in order.
    fn pack_panels<T: Copy + Zeroable>(
        inputs: usize,
        outputs: usize,
        mut read_row: impl FnMut(usize, &mut [T]),
    ) -> Result<AlignedVec<T>> {
        // The floats of a cache line.
        const TILE_KS: usize = 16;
        let mut panels = zeros(outputs.next_multiple_of(Self::NR) * inputs)?;
        let mut rows = zeros(Self::NR * inputs)?;
        let mut tile = vec![T::zeroed(); TILE_KS * Self::NR];
        let mut unwritten = &mut panels[..];
        for first in (0..outputs).step_by(Self::NR) {
            let count = Self::NR.min(outputs - first);
            for (output, to) in (first..first + count).zip(rows.chunks_exact_mut(inputs.max(1))) {
                read_row(output, to);
            }
            rows[count * inputs..].fill(T::zeroed());
            for start in (0..inputs).step_by(TILE_KS) {
                let ks = TILE_KS.min(inputs - start);
                for lane in 0..Self::NR {
                    let values = &rows[lane * inputs + start..][..ks];
                    for (to, value) in tile[lane..].iter_mut().step_by(Self::NR).zip(values) {
                        *to = *value;
                    }
                }
                let (to, rest) = unwritten.split_at_mut(ks * Self::NR);
                to.copy_from_slice(&tile[..ks * Self::NR]);
                unwritten = rest;
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

    /// Number of panels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(Self::NR)
    }

    /// Bytes of one weight.
    pub fn bytes_per_weight(&self) -> usize {
        match self.values {
            PanelValues::F32(_) => size_of::<f32>(),
            PanelValues::Half { .. } => size_of::<u16>(),
        }
    }

    /// The bias, as long as all panels.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Rows `ks` of one panel. Half-width weights are widened into `widened`, which has room for
    /// [`KC`](super::simd::KC) rows.
    #[inline(always)]
    pub fn panel<'a, T: Simd>(
        &'a self,
        s: T,
        panel: usize,
        ks: Range<usize>,
        widened: &'a mut [f32],
    ) -> &'a [f32] {
        let range = self.panel_range(panel, ks);
        match &self.values {
            PanelValues::F32(values) => &values[range],
            PanelValues::Half { values, dtype, scales } => {
                let widened = &mut widened[..range.len()];
                if *dtype == Dtype::F16 {
                    let halves = values[range].as_chunks().0;
                    for (to, half) in widened.as_chunks_mut().0.iter_mut().zip(halves) {
                        s.store(s.load_f16(half), to);
                    }
                } else {
                    widen(*dtype, values[range].as_flattened(), widened);
                }
                let scales = &scales[panel * Self::NR..][..Self::NR];
                if scales.iter().any(|scale| *scale != 1.0) {
                    for row in widened.chunks_exact_mut(Self::NR) {
                        row.iter_mut().zip(scales).for_each(|(w, scale)| *w = (f64::from(*w) * scale) as f32);
                    }
                }
                widened
            }
        }
    }

    /// The address of rows `ks` of one panel, and how many floats would fill them.
    pub fn panel_address(&self, panel: usize, ks: Range<usize>) -> (*const f32, usize) {
        let range = self.panel_range(panel, ks);
        let count = range.len();
        match &self.values {
            PanelValues::F32(values) => (values[range].as_ptr(), count),
            PanelValues::Half { values, .. } => (values[range].as_ptr().cast(), count / 2),
        }
    }

    /// Where rows `ks` of one panel lie.
    #[inline(always)]
    fn panel_range(&self, panel: usize, ks: Range<usize>) -> Range<usize> {
        let start = (panel * self.inputs + ks.start) * Self::NR;
        start..start + ks.len() * Self::NR
    }
}

/// The biases of `parts`, scaled and one after the other, filled up with zeros to whole panels of `panel_cols` columns.
pub fn stacked_bias(parts: &[LinearPart<'_>], panel_cols: usize) -> Result<AlignedVec<f32>> {
    let outputs: usize = parts.iter().map(|part| part.bias.cols).sum();
    let mut bias = zeros(outputs.next_multiple_of(panel_cols))?;
    let mut unwritten = &mut bias[..];
    for part in parts {
        let (to, rest) = unwritten.split_at_mut(part.bias.cols);
        part.bias.widen_row(0, to);
        scale_in_place(to, part.scale);
        unwritten = rest;
    }
    Ok(bias)
}

/// Multiplies in f64 and rounds once.
fn scale_in_place(values: &mut [f32], scale: f64) {
    if scale != 1.0 {
        values.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::Scalar;
    use super::*;

    /// Weights whose values say where they come from: the row and the column.
    fn rows(rows: std::ops::Range<usize>, cols: usize) -> Vec<u8> {
        rows.flat_map(|row| (0..cols).flat_map(move |col| ((row * 1000 + col) as f32).to_le_bytes()))
            .collect()
    }

    fn tensor(rows: usize, cols: usize, bytes: &[u8]) -> Tensor<'_> {
        Tensor::new(rows, cols, Dtype::F32, bytes)
    }

    #[test]
    fn every_weight_is_where_the_microkernel_reads_it_and_zeros_are_elsewhere() {
        let nr = FloatPanels::<Scalar>::NR;
        // Around a panel's columns, and around the inputs that are transposed at a time.
        for (first, second) in [(1, 0), (nr - 1, 0), (nr, 0), (nr, 1), (5, nr), (2 * nr, 7)] {
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
                let packed = FloatPanels::<Scalar>::new(&parts, Dtype::F32).unwrap();

                let stacked = rows(0..outputs, inputs);
                let transposed =
                    FloatPanels::<Scalar>::transposed(tensor(outputs, inputs, &stacked), first..outputs, 2.0)
                        .unwrap();
                for panel in 0..packed.panels() {
                    let weights = packed.panel(Scalar, panel, 0..inputs, &mut []);
                    let bias = &packed.bias()[panel * nr..][..nr];
                    for (at, weight) in weights.iter().enumerate() {
                        let (input, output) = (at / nr, panel * nr + at % nr);
                        let value = (output * 1000 + input) as f32 * if output < first { 0.5 } else { 1.0 };
                        assert_eq!(*weight, if output < outputs { value } else { 0.0 }, "{output}, {input}");
                    }
                    for (lane, bias) in bias.iter().enumerate() {
                        let output = panel * nr + lane;
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
                        let (input, output) = (at / nr, panel * nr + at % nr);
                        let value = ((first + input) * 1000 + output) as f32 * 2.0;
                        assert_eq!(*weight, if output < inputs { value } else { 0.0 }, "{output}, {input}");
                    }
                    assert!(transposed.bias().iter().all(|b| *b == 0.0));
                }
            }
        }
    }
}
