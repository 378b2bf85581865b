//! The tile of each linear layer, as measured on the device: none is the fastest everywhere. All of them add in the order
//! of k, so what is measured changes no bit of a score.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::device::{Adapter, AdapterKind};
use super::pack::{OUTPUT_TILE, padded_cols};
use super::pipelines::write_anew;
use super::shaders::Tile;
use super::{Buf, Gpu, Linear};
use crate::error::{Error, Result};
use crate::kernels::{Epilogue, Kernels};

/// Inputs and outputs of a linear layer.
pub type Shape = (usize, usize);

/// Rows that are measured. A layer over other rows gets the tile of the next number up, or of the last.
const BUCKETS: [usize; 4] = [64, 256, 1024, 4096];

/// No measurement is begun after this long: whoever warms up waits for it.
const BUDGET: Duration = Duration::from_secs(2);

/// A submission is filled up to about this long, against the fixed costs of one, which are up to 0.1 ms.
const TIMED: Duration = Duration::from_millis(4);
const MAX_REPEATS: usize = 64;

/// The fastest tile by shape and bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tiles(BTreeMap<(Shape, usize), Tile>);

impl Tiles {
    /// The fastest tile, where it is known.
    pub fn get(&self, shape: Shape, rows: usize) -> Option<Tile> {
        let bucket = BUCKETS.into_iter().find(|bucket| rows <= *bucket).unwrap_or(BUCKETS[BUCKETS.len() - 1]);
        self.0.get(&(shape, bucket)).copied()
    }

    /// Fills in what is unknown, until `time` has no more time.
    fn measure(
        &mut self,
        shapes: &BTreeSet<Shape>,
        buckets: &[usize],
        mut time: impl FnMut(Shape, usize, Tile) -> Result<Option<Duration>>,
    ) -> Result<()> {
        for bucket in buckets {
            for shape in shapes.iter().copied() {
                if self.0.contains_key(&(shape, *bucket)) {
                    continue;
                }
                let mut times = [Duration::MAX; Tile::ALL.len()];
                for (least, tile) in times.iter_mut().zip(Tile::ALL) {
                    let Some(time) = time(shape, *bucket, tile)? else { return Ok(()) };
                    *least = time;
                }
                if let Some((_, fastest)) = times.into_iter().zip(Tile::ALL).min_by_key(|(time, _)| *time) {
                    self.0.insert((shape, *bucket), fastest);
                }
            }
        }
        Ok(())
    }

    /// What `write` left for this adapter; nothing where that is missing, damaged, or of another driver or other shaders.
    pub fn read(folder: &Path, adapter: &Adapter) -> Self {
        fs::read_to_string(file(folder, adapter))
            .ok()
            .and_then(|text| Self::parse(&text, adapter))
            .unwrap_or_default()
    }

    /// Writes the adapter's file anew, where anything is known.
    pub fn write(&self, folder: &Path, adapter: &Adapter) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            write_anew(&file(folder, adapter), self.text(adapter).as_bytes())
        }
    }

    /// A checksum, and a line of inputs, outputs, rows and side for each tile.
    fn text(&self, adapter: &Adapter) -> String {
        let line = |(((inputs, outputs), rows), tile): (&(Shape, usize), &Tile)| {
            format!("{inputs} {outputs} {rows} {}\n", tile.side())
        };
        let lines: String = self.0.iter().map(line).collect();
        format!("{:016x}\n{lines}", checksum(&lines, adapter))
    }

    fn parse(text: &str, adapter: &Adapter) -> Option<Self> {
        let (sum, lines) = text.split_once('\n')?;
        if sum != format!("{:016x}", checksum(lines, adapter)) {
            return None;
        }
        let entry = |line: &str| {
            let mut numbers = line.split(' ').map(|number| number.parse::<usize>().ok());
            let mut next = || numbers.next().flatten();
            let key = ((next()?, next()?), next()?);
            let side = next()?;
            Some((key, Tile::ALL.into_iter().find(|tile| tile.side() == side)?))
        };
        lines.lines().map(entry).collect::<Option<_>>().map(Self)
    }
}

/// Of the lines and of what they hold for: adapter, driver, tier and shaders.
fn checksum(lines: &str, adapter: &Adapter) -> u64 {
    let Adapter { name, driver, backend, tier, .. } = adapter;
    let shaders = [false, true].map(|half| Tile::ALL.map(|tile| tile.kernel(half).shader().source.text).concat());
    xxh3_64(format!("{name}\n{driver}\n{backend}\n{}\n{}\n{lines}", tier.name(), shaders.concat()).as_bytes())
}

/// A file for each adapter and tier that a machine may have side by side.
fn file(folder: &Path, adapter: &Adapter) -> PathBuf {
    let Adapter { name, backend, tier, .. } = adapter;
    folder.join(format!(
        "crossrank_tiles_{:016x}",
        xxh3_64(format!("{name}\n{backend}\n{}", tier.name()).as_bytes())
    ))
}

impl Gpu {
    /// Measures the tiles of every linear layer that has run, for up to so many rows. What does not fit into memory or
    /// into [`BUDGET`] keeps the tile of [`Tile::for_rows`].
    pub fn tune(&mut self, most_rows: usize) -> Result<()> {
        let start = Instant::now();
        self.tune_by(most_rows, |gpu, shape, rows, tile| {
            if start.elapsed() > BUDGET { Ok(None) } else { gpu.time_linear(shape, rows, tile).map(Some) }
        })
    }

    /// The same by another clock.
    pub(crate) fn tune_by(
        &mut self,
        most_rows: usize,
        mut time: impl FnMut(&mut Self, Shape, usize, Tile) -> Result<Option<Duration>>,
    ) -> Result<()> {
        if self.options.tile.is_some() || self.cooperative_sizes().is_some() {
            return Ok(());
        }
        let widest = self.linear_shapes.iter().map(|shape| shape.0.max(shape.1)).max().unwrap_or(1);
        let most_rows = most_rows.min(self.max_rows(widest));
        let mut buckets = BUCKETS.to_vec();
        buckets.retain(|bucket| *bucket <= most_rows);
        if self.adapter().kind == AdapterKind::Software {
            // One larger product takes longer than all of these.
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

    /// The tiles as measured.
    pub fn tiles(&self) -> &Tiles {
        &self.tiles
    }

    /// Forgets what was measured.
    #[cfg(test)]
    pub(crate) fn forget_tiles(&mut self) {
        self.tiles = Tiles::default();
    }

    /// Takes over what was measured on the same adapter.
    pub fn take_tiles(&mut self, of: &mut Self) {
        if self.adapter() == of.adapter() {
            self.tiles = std::mem::take(&mut of.tiles);
        }
    }

    /// How long one layer takes, of zeros, which are multiplied like any other number.
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
        let mut run = |repeats: usize| {
            for _ in 0..repeats {
                self.linear(&x, &linear, Epilogue::Store, &mut out);
            }
            let commands = std::mem::take(&mut self.recorded);
            self.thread.call(move |device| device.execute(&commands, None)).map(|(_, time)| time)
        };
        // The first time buffers are filled with zeros.
        run(1)?;
        let once = run(1)?.max(Duration::from_nanos(1));
        let repeats = (TIMED.as_nanos() / once.as_nanos()).clamp(1, MAX_REPEATS as u128) as usize;
        Ok(run(repeats)?.min(run(repeats)?) / repeats as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::super::device::Tier;
    use super::*;

    fn adapter() -> Adapter {
        Adapter {
            name: "A".into(),
            driver: "D 1".into(),
            kind: AdapterKind::Discrete,
            backend: "vulkan",
            max_buffer_bytes: 1 << 30,
            workgroup_bytes: 16 << 10,
            workgroup_invocations: 256,
            f16: false,
            subgroups: None,
            cooperative: None,
            tier: Tier::F32,
        }
    }

    /// Every shape in the two smaller buckets, with this tile the fastest.
    fn measured(fastest: impl Fn(Shape, usize) -> Tile) -> Tiles {
        let mut tiles = Tiles::default();
        let time = |shape, rows, tile| {
            Ok(Some(Duration::from_micros(if tile == fastest(shape, rows) { 10 } else { 11 })))
        };
        tiles.measure(&BTreeSet::from([(45, 135), (384, 1)]), &BUCKETS[..2], time).unwrap();
        tiles
    }

    fn varied() -> Tiles {
        measured(|shape, rows| match (shape.0, rows) {
            (45, 64) => Tile::Large,
            (45, _) => Tile::Small,
            _ => Tile::Medium,
        })
    }

    #[test]
    fn the_fastest_tile_is_found_for_every_shape_and_number_of_rows() {
        let tiles = varied();
        for (rows, tile) in
            [(1, Some(Tile::Large)), (64, Some(Tile::Large)), (65, Some(Tile::Small)), (257, None)]
        {
            assert_eq!(tiles.get((45, 135), rows), tile, "{rows}");
        }
        assert_eq!(tiles.get((384, 1), 200), Some(Tile::Medium));
        assert_eq!(tiles.get((45, 136), 1), None);
        let mut last = Tiles::default();
        last.measure(&BTreeSet::from([(1, 1)]), &[4096], |_, _, _| Ok(Some(Duration::ZERO))).unwrap();
        assert_eq!((last.get((1, 1), 60_000), last.get((1, 1), 1024)), (Some(Tile::Small), None));
    }

    #[test]
    fn what_is_known_is_not_measured_again_and_an_ended_budget_leaves_no_half_measured_shape() {
        let mut tiles = varied();
        let shapes = BTreeSet::from([(45, 135), (384, 1), (7, 7)]);
        let mut asked = Vec::new();
        let time = |shape, rows, tile| {
            asked.push((shape, rows, tile));
            Ok((asked.len() < 6).then_some(Duration::from_micros(1)))
        };
        tiles.measure(&shapes, &BUCKETS, time).unwrap();
        assert_eq!(asked.len(), 6);
        assert!(asked.iter().all(|(shape, ..)| *shape == (7, 7)), "{asked:?}");
        assert_eq!((tiles.get((7, 7), 64), tiles.get((7, 7), 256)), (Some(Tile::Small), None));
    }

    #[test]
    fn a_file_gives_back_what_was_measured() {
        let (folder, adapter) = (tempfile::tempdir().unwrap(), adapter());
        assert_eq!(Tiles::read(folder.path(), &adapter), Tiles::default());
        Tiles::default().write(folder.path(), &adapter).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        varied().write(folder.path(), &adapter).unwrap();
        assert_eq!(Tiles::read(folder.path(), &adapter), varied());
        // Written anew, with nothing left beside it.
        let other = measured(|_, _| Tile::Large);
        other.write(folder.path(), &adapter).unwrap();
        assert_eq!(Tiles::read(folder.path(), &adapter), other);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn damaged_files_and_those_of_other_adapters_drivers_and_tiers_are_ignored() {
        let (folder, own) = (tempfile::tempdir().unwrap(), adapter());
        varied().write(folder.path(), &own).unwrap();
        let kept = fs::read(file(folder.path(), &own)).unwrap();
        for changed in [
            Adapter { name: "B".into(), ..own.clone() },
            Adapter { driver: "D 2".into(), ..own.clone() },
            Adapter { backend: "dx12", ..own.clone() },
            Adapter { tier: Tier::F16, ..own.clone() },
        ] {
            // Even under its name.
            fs::write(file(folder.path(), &changed), &kept).unwrap();
            assert_eq!(Tiles::read(folder.path(), &changed), Tiles::default(), "{changed:?}");
        }
        for at in 0..kept.len() {
            let mut flipped = kept.clone();
            flipped[at] ^= 1;
            for bytes in [&flipped[..], &kept[..at]] {
                fs::write(file(folder.path(), &own), bytes).unwrap();
                assert_eq!(Tiles::read(folder.path(), &own), Tiles::default(), "{at}");
            }
        }
        // A checksum that is right makes no tile of what is none.
        for lines in ["1 2 64", "1 2 64 33", "1 2 64 x", "1 -2 64 32", "1 2", ""] {
            let text = format!("{:016x}\n{lines}\n", checksum(&format!("{lines}\n"), &own));
            assert_eq!(Tiles::parse(&text, &own), None, "{lines}");
        }
        fs::write(file(folder.path(), &own), &kept).unwrap();
        assert_eq!(Tiles::read(folder.path(), &own), varied());
    }
}
