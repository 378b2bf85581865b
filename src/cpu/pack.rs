//! Weights in the order in which the microkernel reads them.

use std::marker::PhantomData;

use super::simd::{LANES, Simd};
use crate::error::{Error, Result};
use crate::kernels::{Part, Tensor};

/// A linear layer: its weight `[out, in]` cut into panels of `NV * LANES` output features, each panel stored step by step
/// of k, `[panel][in][NV * LANES]`, the last panel filled up with zeros; and its bias, as long as the panels.
pub struct Packed<S> {
    panels: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
    outputs: usize,
    isa: PhantomData<S>,
}

impl<S: Simd> Packed<S> {
    /// Output features per panel.
    pub const WIDTH: usize = S::NV * LANES;

    /// Stacks `parts` along their output features.
    pub fn new(parts: &[Part<'_>]) -> Result<Self> {
        let rows: Vec<_> =
            parts.iter().flat_map(|p| (0..p.weight.rows).map(move |row| (p.weight, row, p.scale))).collect();
        let mut packed = Self::zeros(parts[0].weight.cols, rows.len())?;
        let mut wide = vec![0.0; packed.inputs];
        for (output, (weight, row, scale)) in rows.into_iter().enumerate() {
            weight.widen_row(row, &mut wide);
            multiply(&mut wide, scale);
            packed.set_output(output, &wide);
        }
        let mut bias = Vec::with_capacity(packed.outputs);
        for part in parts {
            let mut values = part.bias.values();
            multiply(&mut values, part.scale);
            bias.extend(values);
        }
        packed.bias[..bias.len()].copy_from_slice(&bias);
        Ok(packed)
    }

    /// The transpose of `weight`'s rows `rows` as a layer without bias: outputs are the columns of `weight`.
    pub fn transposed(weight: Tensor<'_>, rows: std::ops::Range<usize>, scale: f64) -> Result<Self> {
        let mut packed = Self::zeros(rows.len(), weight.cols)?;
        let mut wide = vec![0.0; weight.cols];
        for (input, row) in rows.enumerate() {
            weight.widen_row(row, &mut wide);
            multiply(&mut wide, scale);
            for (output, value) in wide.iter().enumerate() {
                let at = packed.at(output, input);
                packed.panels[at] = *value;
            }
        }
        Ok(packed)
    }

    fn zeros(inputs: usize, outputs: usize) -> Result<Self> {
        let padded = outputs.next_multiple_of(Self::WIDTH);
        Ok(Self { panels: zeros(padded * inputs)?, bias: zeros(padded)?, inputs, outputs, isa: PhantomData })
    }

    fn at(&self, output: usize, input: usize) -> usize {
        (output / Self::WIDTH * self.inputs + input) * Self::WIDTH + output % Self::WIDTH
    }

    fn set_output(&mut self, output: usize, values: &[f32]) {
        let at = self.at(output, 0);
        for (to, value) in self.panels[at..].iter_mut().step_by(Self::WIDTH).zip(values) {
            *to = *value;
        }
    }

    /// Input features (k).
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Output features.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Panels.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(Self::WIDTH)
    }

    /// One panel from step `k` on.
    pub fn panel(&self, panel: usize, k: usize) -> &[f32] {
        &self.panels[(panel * self.inputs + k) * Self::WIDTH..(panel + 1) * self.inputs * Self::WIDTH]
    }

    /// The bias of one panel.
    pub fn bias(&self, panel: usize) -> &[f32] {
        &self.bias[panel * Self::WIDTH..(panel + 1) * Self::WIDTH]
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        (self.panels.len() + self.bias.len()) * size_of::<f32>()
    }
}

/// Multiplies in f64 and rounds once.
fn multiply(values: &mut [f32], scale: f64) {
    if scale != 1.0 {
        values.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
    }
}

/// `count` zeros, or an error where the system has no memory left.
pub fn zeros(count: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    grow(&mut values, count)?;
    Ok(values)
}

/// Makes `values` at least `count` long. Allocates only when it never was that long.
pub fn grow(values: &mut Vec<f32>, count: usize) -> Result<()> {
    if values.len() < count {
        values
            .try_reserve_exact(count - values.len())
            .map_err(|_| Error::OutOfMemory { bytes: (count * size_of::<f32>()) as u64 })?;
        values.resize(count, 0.0);
    }
    Ok(())
}
