//! Recording linear layers: the choice of the shader, and the precision of what it reads and writes.

use std::sync::Arc;

use super::adapter::Tier;
use super::buffers::{Buf, Linear};
use super::recorder::Gpu;
use super::shaders::{Kernel, Tile};
use super::tiles::Shape;
use crate::error::Error;
use crate::kernels::{Activation, Epilogue};

/// A linear shader as chosen for one layer.
struct LinearShader {
    kernel: Kernel,
    /// Rows and columns of the tile that a workgroup owns.
    tile_side: usize,
    /// The value of the override LANES, where the shader has it.
    lanes: Option<u32>,
}

/// The value of the override ACTIVATION.
pub(super) fn activation_code(f: Activation) -> f64 {
    match f {
        Activation::Gelu => 1.0,
        Activation::GeluTanh => 2.0,
        Activation::Relu => 3.0,
        Activation::Silu => 4.0,
        Activation::Tanh => 5.0,
    }
}

impl Gpu {
    /// The side of the cooperative matrices and the subgroup size, if the tier is Cooperative: it has one linear shader.
    pub(super) fn cooperative_sizes(&self) -> Option<(u32, u32)> {
        let adapter = self.adapter();
        let lanes = adapter.subgroups.map(|(_, lanes)| lanes);
        adapter.cooperative.zip(lanes).filter(|_| adapter.tier == Tier::Cooperative)
    }

    fn linear_shader(&self, shape: Shape, rows: usize) -> LinearShader {
        if let Some((side, lanes)) = self.cooperative_sizes() {
            let kernel = if side == 8 { Kernel::LinearCoop8 } else { Kernel::LinearCoop16 };
            // A tile is 4 x 4 matrices.
            return LinearShader { kernel, tile_side: 4 * side as usize, lanes: Some(lanes) };
        }
        let tile = self.options.tile.or_else(|| self.tiles.get(shape, rows));
        let tile = tile.unwrap_or_else(|| Tile::for_rows(rows));
        LinearShader { kernel: tile.kernel(self.uses_f16()), tile_side: tile.side(), lanes: None }
    }

    /// Records out = epilogue(x w^T + bias).
    pub(super) fn record_linear(&mut self, x: &Buf, w: &Linear, epilogue: Epilogue<'_, Buf>, out: &mut Buf) {
        // The shader checks no index, so these must hold whatever the forward pass asks for.
        if w.inputs != x.cols || w.outputs != out.cols || x.rows > out.rows {
            let (found, made) = ([x.cols, out.cols], [w.inputs, w.outputs]);
            let message = format!("a linear layer {made:?} was used as {found:?}");
            return self.record_failure(Error::Internal { message });
        }
        let shape = (w.inputs, w.outputs);
        self.linear_shapes.insert(shape);
        let shader = self.linear_shader(shape, x.rows);
        let (activation, adds) = match epilogue {
            Epilogue::Store => (0.0, false),
            Epilogue::Add(_) => (0.0, true),
            Epilogue::Activate(f) => (activation_code(f), false),
        };
        let mut overrides =
            vec![x.stride() as f64, out.stride() as f64, activation, f64::from(u8::from(adds))];
        let input = if self.uses_f16() {
            // An activated output is either read by the next linear layer alone, or small.
            out.is_f16 = matches!(epilogue, Epilogue::Activate(_));
            overrides.push(f64::from(u8::from(out.is_f16)));
            self.record_as_f16(x)
        } else {
            x.handle()
        };
        overrides.extend(shader.lanes.map(f64::from));
        // Without an addition the residual is not read, but the binding needs a buffer.
        let residual =
            if let Epilogue::Add(residual) = epilogue { self.record_as_f32(residual) } else { x.handle() };
        let weights = [Arc::clone(&w.weight), Arc::clone(&w.bias)];
        let grid = [out.cols.div_ceil(shader.tile_side), x.rows.div_ceil(shader.tile_side), 1];
        self.record_dispatch(shader.kernel, &overrides, &[input, residual, out.handle()], &weights, grid);
        self.recorded_flop += 2.0 * x.rows as f64 * x.cols as f64 * out.cols as f64;
    }
}
