//! Packs weights into the order in which the shaders read them, and says how every matrix is padded.

use half::f16;

use crate::error::{Error, Result};
use crate::kernels::{LinearPart, Tensor};

/// Rows of an activation are padded to whole tiles of the largest linear shader, so that no shader checks a row.
pub const ROW_TILE: usize = 128;
/// Columns of an activation are padded with zeros to a multiple of KC, the depth that a linear shader stages at a time.
pub const COLUMN_TILE: usize = 16;
/// Outputs of a weight are padded with zeros to whole tiles of the largest linear shader.
pub const OUTPUT_TILE: usize = 128;
/// Outputs that lie side by side in a packed weight: the columns of the smallest tile.
pub const PANEL_COLS: usize = 32;

/// Rows in memory, padding included.
pub fn padded_rows(rows: usize) -> usize {
    rows.next_multiple_of(ROW_TILE)
}

/// Columns in memory, padding included.
pub fn padded_cols(cols: usize) -> usize {
    cols.next_multiple_of(COLUMN_TILE)
}

fn zeros(count: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| Error::OutOfMemory { bytes: 4 * count as u64 })?;
    values.resize(count, 0.0);
    Ok(values)
}

/// Packs parts, stacked along their outputs, as `[N/32][K][32]`, and their biases.
pub fn pack_linear(parts: &[LinearPart<'_>]) -> Result<(Vec<f32>, Vec<f32>)> {
    let outputs: usize = parts.iter().map(|p| p.weight.rows).sum();
    let inputs = parts[0].weight.cols;
    let (n, k) = (outputs.next_multiple_of(OUTPUT_TILE), padded_cols(inputs));
    let (mut weight, mut bias) = (zeros(n * k)?, zeros(n)?);
    let mut row = vec![0.0; inputs];
    let mut output = 0;
    for part in parts {
        for r in 0..part.weight.rows {
            read_scaled_row(part, r, &mut row);
            let panel = output / PANEL_COLS * k * PANEL_COLS + output % PANEL_COLS;
            for (i, v) in row.iter().enumerate() {
                weight[panel + i * PANEL_COLS] = *v;
            }
            output += 1;
        }
        let at = output - part.weight.rows;
        read_scaled_bias(part, &mut bias[at..output]);
    }
    Ok((weight, bias))
}

/// Rounds to f16. A number beyond the largest finite f16 becomes that one.
pub fn round_f16(values: &[f32]) -> Result<Vec<u16>> {
    let mut rounded = Vec::new();
    let bytes = 2 * values.len() as u64;
    rounded.try_reserve_exact(values.len()).map_err(|_| Error::OutOfMemory { bytes })?;
    let (min, max) = (f16::MIN.to_f32(), f16::MAX.to_f32());
    rounded.extend(values.iter().map(|v| f16::from_f32(v.clamp(min, max)).to_bits()));
    Ok(rounded)
}

/// Packs a key projection by rows `[H][H]`, columns padded.
pub fn pack_rows(part: &LinearPart<'_>) -> Result<Vec<f32>> {
    let (rows, cols) = (part.weight.rows, part.weight.cols);
    let stride = padded_cols(cols);
    let mut packed = zeros(rows * stride)?;
    for (r, to) in packed.chunks_exact_mut(stride).enumerate() {
        read_scaled_row(part, r, &mut to[..cols]);
    }
    Ok(packed)
}

/// Packs a value projection as `[H/4][outputs]` vec4s of inputs, and its bias.
pub fn pack_inputs(part: &LinearPart<'_>) -> Result<(Vec<f32>, Vec<f32>)> {
    let (outputs, inputs) = (part.weight.rows, part.weight.cols);
    let (n, k) = (padded_cols(outputs), padded_cols(inputs));
    let (mut weight, mut bias) = (zeros(n * k)?, zeros(n)?);
    let mut row = vec![0.0; inputs];
    for output in 0..outputs {
        read_scaled_row(part, output, &mut row);
        for (i, v) in row.iter().enumerate() {
            weight[(i / 4 * n + output) * 4 + i % 4] = *v;
        }
    }
    read_scaled_bias(part, &mut bias[..outputs]);
    Ok((weight, bias))
}

/// A vector, padded like the columns of an activation.
pub fn padded_vector(tensor: Tensor<'_>) -> Vec<f32> {
    let mut values = tensor.values();
    values.resize(padded_cols(values.len()), 0.0);
    values
}

fn read_scaled_row(part: &LinearPart<'_>, row: usize, out: &mut [f32]) {
    part.weight.widen_row(row, out);
    scale_in_place(out, part.scale);
}

fn read_scaled_bias(part: &LinearPart<'_>, out: &mut [f32]) {
    part.bias.widen_row(0, out);
    scale_in_place(out, part.scale);
}

/// Multiplies in f64 and rounds once.
fn scale_in_place(values: &mut [f32], scale: f64) {
    if scale != 1.0 {
        values.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
    }
}
