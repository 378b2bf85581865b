//! Weights in the order in which the microkernel reads them.

use std::marker::PhantomData;
use std::ops::Range;

use super::int8::{self, Int8};
use super::simd::{Dot, LANES, Simd};
use crate::error::{Error, Result};
use crate::kernels::{Dtype, Keep, Part, Tensor};
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
    pub fn new(parts: &[Part<'_>], keep: Keep, dot: &'static Dot) -> Result<Self> {
        let (inputs, dtype) = (parts[0].weight.cols, parts[0].weight.dtype);
        let outputs: usize = parts.iter().map(|part| part.weight.rows).sum();
        let alike = parts.iter().all(|part| part.weight.dtype == dtype);
        let kept = if keep == Keep::Stored && alike { dtype } else { Dtype::F32 };
        let rows = parts.iter().flat_map(|part| (0..part.weight.rows).map(move |row| (part, row)));
        let mut bias = Vec::new();
        for part in parts {
            let mut values = part.bias.values();
            multiply(&mut values, part.scale);
            bias.extend(values);
        }
        let panels = match kept {
            Dtype::I8 if inputs <= int8::MOST_INPUTS => Panels::Int8(Int8::new(parts, dot)?),
            Dtype::F16 | Dtype::Bf16 => {
                let mut panels = filled(outputs.next_multiple_of(Self::WIDTH) * inputs, [0; 2])?;
                for (output, (part, row)) in rows.clone().enumerate() {
                    let values = part.weight.row(row).as_chunks().0;
                    Self::place(&mut panels, inputs, output, values);
                }
                let mut scales: Vec<f64> = rows.map(|(part, _)| part.scale).collect();
                scales.resize(outputs.next_multiple_of(Self::WIDTH), 1.0);
                Panels::Half(panels, kept, scales)
            }
            Dtype::F32 | Dtype::I8 => {
                let mut panels = zeros(outputs.next_multiple_of(Self::WIDTH) * inputs)?;
                let mut wide = vec![0.0; inputs];
                for (output, (part, row)) in rows.enumerate() {
                    part.weight.widen_row(row, &mut wide);
                    multiply(&mut wide, part.scale);
                    Self::place(&mut panels, inputs, output, &wide);
                }
                Panels::Wide(panels)
            }
        };
        Ok(Self::finish(panels, bias, inputs, outputs, dot))
    }

    /// The transpose of `weight`'s rows `rows` as a layer without bias: outputs are the columns of `weight`.
    pub fn transposed(weight: Tensor<'_>, rows: Range<usize>, scale: f64, dot: &'static Dot) -> Result<Self> {
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

    fn finish(panels: Panels, mut bias: Vec<f32>, inputs: usize, outputs: usize, dot: &Dot) -> Self {
        // Whole panels of either kind.
        bias.resize(outputs.next_multiple_of(Self::WIDTH.max(dot.columns)), 0.0);
        Self { panels, bias, inputs, outputs, isa: PhantomData }
    }

    fn place<T: Copy>(panels: &mut [T], inputs: usize, output: usize, values: &[T]) {
        let at = output / Self::WIDTH * inputs * Self::WIDTH + output % Self::WIDTH;
        for (to, value) in panels[at..].iter_mut().step_by(Self::WIDTH).zip(values) {
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

    /// The weights, where they are integers.
    pub fn int8(&self) -> Option<&Int8> {
        match &self.panels {
            Panels::Int8(int8) => Some(int8),
            _ => None,
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

    /// Some steps of one panel of floats; half-width ones are widened into `wide`, which has room for [`DEPTH`](super::simd::DEPTH) steps.
    #[inline(always)]
    pub fn panel<'a>(&'a self, panel: usize, steps: Range<usize>, wide: &'a mut [f32]) -> &'a [f32] {
        let start = (panel * self.inputs + steps.start) * Self::WIDTH;
        let range = start..start + steps.len() * Self::WIDTH;
        match &self.panels {
            Panels::Wide(panels) => &panels[range],
            Panels::Half(panels, dtype, scales) => {
                let wide = &mut wide[..range.len()];
                widen(*dtype, panels[range].as_flattened(), wide);
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

    /// The bias, as long as whole panels.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        let panels = match &self.panels {
            Panels::Wide(panels) => panels.len() * size_of::<f32>(),
            Panels::Half(panels, _, scales) => 2 * panels.len() + scales.len() * size_of::<f64>(),
            Panels::Int8(int8) => int8.bytes(),
        };
        panels + self.bias.len() * size_of::<f32>()
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
    filled(count, 0.0)
}

/// `count` times the same, or an error where the system has no memory left.
pub fn filled<T: Copy>(count: usize, value: T) -> Result<Vec<T>> {
    let mut values = Vec::new();
    grow(&mut values, count, value)?;
    Ok(values)
}

/// Makes `values` at least `count` long. Allocates only when it never was that long.
pub fn grow<T: Copy>(values: &mut Vec<T>, count: usize, value: T) -> Result<()> {
    if values.len() < count {
        values
            .try_reserve_exact(count - values.len())
            .map_err(|_| Error::OutOfMemory { bytes: (count * size_of::<T>()) as u64 })?;
        values.resize(count, value);
    }
    Ok(())
}
