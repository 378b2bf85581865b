//! Measures on the device which tile is the fastest for each linear layer: none is the fastest everywhere.

use std::time::{Duration, Instant};

use super::adapter::AdapterKind;
use super::buffers::{Buf, Linear};
use super::pack::{OUTPUT_TILE, padded_cols};
use super::recorder::Gpu;
use super::shaders::Tile;
use super::tiles::{BUCKETS, Shape, TileTable};
use crate::error::{Error, Result};
use crate::kernels::{Epilogue, Kernels};

/// No measurement is begun after this long, because the caller of `warmup` waits for it.
const BUDGET: Duration = Duration::from_secs(2);

/// A submission is filled up to about this long, so that its fixed costs of up to 0.1 ms do not count.
const TIMED: Duration = Duration::from_millis(4);
const MAX_REPEATS: usize = 64;

impl Gpu {
    /// Measures the tiles of every linear layer that has run, for up to `max_rows` rows. A layer that does not fit into
    /// memory or into [`BUDGET`] keeps the tile of [`Tile::for_rows`].
    pub fn tune(&mut self, max_rows: usize) -> Result<()> {
        let start = Instant::now();
        self.tune_by(max_rows, |gpu, shape, rows, tile| {
            if start.elapsed() > BUDGET { Ok(None) } else { gpu.time_linear(shape, rows, tile).map(Some) }
        })
    }

    /// The same with another clock, for tests.
    pub(crate) fn tune_by(
        &mut self,
        max_rows: usize,
        mut time: impl FnMut(&mut Self, Shape, usize, Tile) -> Result<Option<Duration>>,
    ) -> Result<()> {
        if self.options.tile.is_some() || self.cooperative_sizes().is_some() {
            return Ok(());
        }
        let widest = self.linear_shapes.iter().map(|shape| shape.0.max(shape.1)).max().unwrap_or(1);
        let max_rows = max_rows.min(self.max_rows(widest));
        let mut buckets = BUCKETS.to_vec();
        buckets.retain(|bucket| *bucket <= max_rows);
        if self.adapter().kind == AdapterKind::Software {
            // One product of the next bucket takes longer than all of the first.
            buckets.truncate(1);
        }
        let (shapes, mut tiles) = (self.linear_shapes.clone(), std::mem::take(&mut self.tiles));
        let measured = tiles.measure(&shapes, &buckets, |shape, rows, tile| time(self, shape, rows, tile));
        self.tiles = tiles;
        self.options.tile = None;
        self.discard_recorded();
        match measured {
            Err(Error::OutOfMemory { .. }) => Ok(()),
            result => result,
        }
    }

    /// The measured tiles.
    pub fn tiles(&self) -> &TileTable {
        &self.tiles
    }

    /// Forgets what was measured.
    #[cfg(test)]
    pub(crate) fn forget_tiles(&mut self) {
        self.tiles = TileTable::default();
    }

    /// Takes over the tiles that another backend measured, if it was on the same adapter.
    pub fn take_tiles(&mut self, from: &mut Self) {
        if self.adapter() == from.adapter() {
            self.tiles = std::mem::take(&mut from.tiles);
        }
    }

    /// How long one layer takes. Its inputs and weights are zeros, which are multiplied like any other number.
    fn time_linear(&mut self, (inputs, outputs): Shape, rows: usize, tile: Tile) -> Result<Duration> {
        let (mut x, mut out) = (Buf::default(), Buf::default());
        self.resize(&mut x, rows, inputs)?;
        self.resize(&mut out, rows, outputs)?;
        x.is_f16 = self.uses_f16();
        let padded = outputs.next_multiple_of(OUTPUT_TILE) as u64;
        let weight = self.allocate("timed weight", padded * padded_cols(inputs) as u64 * x.elem_bytes())?;
        let bias = self.allocate("timed bias", padded * size_of::<f32>() as u64)?;
        let linear = Linear { weight, bias, inputs, outputs };
        self.options.tile = Some(tile);
        let mut time = |repeats: usize| {
            for _ in 0..repeats {
                self.linear(&x, &linear, Epilogue::Store, &mut out);
            }
            let commands = std::mem::take(&mut self.recorded);
            self.thread.call(move |device| device.execute(&commands, None)).map(|(_, time)| time)
        };
        // In its first run the driver fills the buffers with zeros.
        time(1)?;
        let once = time(1)?.max(Duration::from_nanos(1));
        let repeats = (TIMED.as_nanos() / once.as_nanos()).clamp(1, MAX_REPEATS as u128) as usize;
        Ok(time(repeats)?.min(time(repeats)?) / repeats as u32)
    }
}
