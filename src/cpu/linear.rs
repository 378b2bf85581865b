//! A linear layer as it is multiplied: in floats or in 8-bit integers. The only place that chooses between the two.

use std::ops::Range;

use super::gemm::{self, Gemm};
use super::int8::{self, Int8Gemm, Int8Panels};
use super::pack::FloatPanels;
use super::simd::{Int8Kernel, MatMut, Simd};
use crate::error::Result;
use crate::kernels::{Dtype, Epilogue, LinearPart, WeightStorage};

/// The packed weights of a linear layer, and its bias.
pub enum PackedLinear<S> {
    /// Multiplied in f32.
    Float(FloatPanels<S>),
    /// Multiplied in 8-bit integers.
    Int8(Int8Panels),
}

/// Work space that [`PackedLinear::apply`] needs for that many rows, in floats.
pub fn scratch_floats(rows: usize) -> usize {
    gemm::scratch_floats(rows).max(int8::scratch_floats(rows))
}

impl<S: Simd> PackedLinear<S> {
    /// Stacks `parts` along their output features. `int8_kernel` is the microkernel for weights that stay integers.
    pub fn new(
        s: S,
        parts: &[LinearPart<'_>],
        storage: WeightStorage,
        int8_kernel: &'static Int8Kernel,
    ) -> Result<Self> {
        let (inputs, dtype) = (parts[0].weight.cols, parts[0].weight.dtype);
        let stored_alike = parts.iter().all(|part| part.weight.dtype == dtype);
        let dtype = if storage == WeightStorage::AsStored && stored_alike { dtype } else { Dtype::F32 };
        Ok(match dtype {
            Dtype::I8 if inputs <= int8::MAX_INPUTS => Self::Int8(Int8Panels::new(s, parts, int8_kernel)?),
            _ => Self::Float(FloatPanels::new(parts, dtype)?),
        })
    }

    /// Number of panels.
    pub fn panels(&self) -> usize {
        match self {
            Self::Float(weights) => weights.panels(),
            Self::Int8(weights) => weights.panels(),
        }
    }

    /// Output features per panel.
    pub fn panel_cols(&self) -> usize {
        match self {
            Self::Float(_) => FloatPanels::<S>::NR,
            Self::Int8(weights) => weights.panel_cols(),
        }
    }

    /// Bytes of one weight.
    pub fn bytes_per_weight(&self) -> usize {
        match self {
            Self::Float(weights) => weights.bytes_per_weight(),
            Self::Int8(_) => 1,
        }
    }

    /// Computes out = epilogue(x w^T + bias) for some panels. x is `[rows, inputs]`, `out` holds the output columns of those
    /// panels, and `scratch` has [`scratch_floats`] floats.
    pub fn apply(
        &self,
        s: S,
        x: &[f32],
        epilogue: Epilogue<'_, [f32]>,
        panels: Range<usize>,
        out: MatMut<'_>,
        scratch: &mut [f32],
    ) {
        match self {
            Self::Float(weights) => {
                s.dispatch(Gemm { x, x_stride: weights.inputs(), weights, epilogue, panels, out, scratch });
            }
            Self::Int8(weights) => s.dispatch(Int8Gemm { x, weights, epilogue, panels, out, scratch }),
        }
    }
}
