//! The self-test: a tier above F32 is used on a device only after its linear shaders computed the right numbers there.

use half::f16;

use super::adapter::Tier;
use super::fault::gpu_error;
use super::recorder::Gpu;
use super::shaders::Tile;
use crate::error::Result;
use crate::kernels::{Activation, Dtype, Epilogue, Kernels, LinearPart, Tensor, WeightStorage};

/// Rows, inputs and outputs that fill no tile, no matrix and no vec4. The rows reach into a second tile of every shader
/// but the one with the largest tile.
const ROWS: usize = 67;
const INPUTS: usize = 45;
const OUTPUTS: usize = 70;

/// The largest difference that passes, relative to the result where that is larger than 1: four times the rounding of an
/// output that is stored as f16.
const MAX_DIFFERENCE: f64 = 2e-3;

impl Gpu {
    /// Tests every linear shader of the tier.
    pub(super) fn self_test(&mut self) -> Result<()> {
        let chosen = self.options.tile;
        let tiles: &[_] = match self.adapter().tier {
            Tier::None | Tier::F32 => &[],
            Tier::F16 => &Tile::ALL,
            // It has one tile for any number of rows.
            Tier::Cooperative => &[Tile::Small],
        };
        for tile in tiles {
            self.options.tile = Some(*tile);
            self.test_linear()?;
        }
        self.options.tile = chosen;
        Ok(())
    }

    /// Compares a linear layer with sums in f64 of the same rounded numbers, with a residual and without one.
    fn test_linear(&mut self) -> Result<()> {
        let tier = self.adapter().tier;
        // 97 values from -1.2 to 1.2 in a scrambled order. f16 holds few of them, so rounding is tested too.
        let noise = |count: usize, step: usize| -> Vec<f32> {
            (0..count).map(|i| (i * step % 97) as f32 * 0.025 - 1.2).collect()
        };
        let (x, weight, bias) = (noise(ROWS * INPUTS, 31), noise(OUTPUTS * INPUTS, 41), noise(OUTPUTS, 7));
        let residual = noise(ROWS * OUTPUTS, 13);
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        let (weight_bytes, bias_bytes) = (bytes(&weight), bytes(&bias));
        let tensor = |rows, cols, bytes| Tensor::new(rows, cols, Dtype::F32, bytes);
        let part = LinearPart {
            weight: tensor(OUTPUTS, INPUTS, &weight_bytes[..]),
            bias: tensor(1, OUTPUTS, &bias_bytes[..]),
            scale: 1.0,
        };
        let linear = self.make_linear(&[part], WeightStorage::F32)?;
        let input = self.write(ROWS, INPUTS, &x)?;
        let addend = self.write(ROWS, OUTPUTS, &residual)?;
        let mut out = self.make_buf();
        let mut found = vec![f32::NAN; ROWS * OUTPUTS];
        for add in [false, true] {
            self.shape(&mut out, ROWS, OUTPUTS)?;
            let epilogue = if add { Epilogue::Add(&addend) } else { Epilogue::Activate(Activation::Relu) };
            self.linear(&input, &linear, epilogue, &mut out);
            self.read(&out, &mut found)?;
            for (i, found) in found.iter().enumerate() {
                let (row, output) = (i / OUTPUTS, i % OUTPUTS);
                let rows = x[row * INPUTS..].iter().zip(&weight[output * INPUTS..]).take(INPUTS);
                let rounded = |v: &f32| f16::from_f32(*v).to_f64();
                let sum = rows.map(|(a, b)| rounded(a) * rounded(b)).sum::<f64>() + f64::from(bias[output]);
                let mut expected = if add { sum + f64::from(residual[i]) } else { sum.max(0.0) };
                if self.options.fail_self_test_from.is_some_and(|lowest| tier >= lowest) {
                    expected += 1.0;
                }
                let difference = (f64::from(*found) - expected).abs();
                // Not `difference > ..`, which is false for NaN.
                let near = difference <= MAX_DIFFERENCE * expected.abs().max(1.0);
                if !near {
                    let message = format!("its self-test computed {found} where {expected} is right");
                    return Err(gpu_error(message));
                }
            }
        }
        Ok(())
    }
}
