//! The fastest tile of each linear layer as it was measured, and the file that keeps it from run to run. Every tile adds in
//! the order of k, so what is measured changes no bit of a score.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::adapter::Adapter;
use super::pipelines::replace_file;
use super::shaders::Tile;
use crate::error::Result;

/// Inputs and outputs of a linear layer.
pub type Shape = (usize, usize);

/// Numbers of rows that are measured. For any other number a layer uses the tile of the next larger one, or of the last.
pub const BUCKETS: [usize; 4] = [64, 256, 1024, 4096];

/// The fastest tile by shape and bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TileTable(BTreeMap<(Shape, usize), Tile>);

impl TileTable {
    /// The fastest tile, where it is known.
    pub fn get(&self, shape: Shape, rows: usize) -> Option<Tile> {
        let bucket = BUCKETS.into_iter().find(|bucket| rows <= *bucket).unwrap_or(BUCKETS[BUCKETS.len() - 1]);
        self.0.get(&(shape, bucket)).copied()
    }

    /// Measures what is unknown, until `time` returns `None` because its budget is spent.
    pub fn measure(
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
                for (shortest, tile) in times.iter_mut().zip(Tile::ALL) {
                    let Some(time) = time(shape, *bucket, tile)? else { return Ok(()) };
                    *shortest = time;
                }
                if let Some((_, fastest)) = times.into_iter().zip(Tile::ALL).min_by_key(|(time, _)| *time) {
                    self.0.insert((shape, *bucket), fastest);
                }
            }
        }
        Ok(())
    }

    /// Reads what `write` saved for this adapter. The table is empty where the file is missing or damaged, or belongs to
    /// another driver or to other shaders.
    pub fn read(folder: &Path, adapter: &Adapter) -> Self {
        fs::read_to_string(file(folder, adapter))
            .ok()
            .and_then(|text| Self::parse(&text, adapter))
            .unwrap_or_default()
    }

    /// Replaces the adapter's file, where anything is known.
    pub fn write(&self, folder: &Path, adapter: &Adapter) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            replace_file(&file(folder, adapter), self.text(adapter).as_bytes())
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

/// The checksum of the lines and of what they were measured with: adapter, driver, tier and shaders.
fn checksum(lines: &str, adapter: &Adapter) -> u64 {
    let Adapter { name, driver, backend, tier, .. } = adapter;
    let shaders = [false, true]
        .map(|reads_f16| Tile::ALL.map(|tile| tile.kernel(reads_f16).shader().source.text).concat());
    xxh3_64(format!("{name}\n{driver}\n{backend}\n{}\n{}\n{lines}", tier.name(), shaders.concat()).as_bytes())
}

/// The file of an adapter and tier: a machine may have several side by side.
fn file(folder: &Path, adapter: &Adapter) -> PathBuf {
    let Adapter { name, backend, tier, .. } = adapter;
    folder.join(format!(
        "crossrank_tiles_{:016x}",
        xxh3_64(format!("{name}\n{backend}\n{}", tier.name()).as_bytes())
    ))
}

#[cfg(test)]
mod tests {
    use super::super::adapter::{AdapterKind, Tier};
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
    fn measured(fastest: impl Fn(Shape, usize) -> Tile) -> TileTable {
        let mut tiles = TileTable::default();
        let time = |shape, rows, tile| {
            Ok(Some(Duration::from_micros(if tile == fastest(shape, rows) { 10 } else { 11 })))
        };
        tiles.measure(&BTreeSet::from([(45, 135), (384, 1)]), &BUCKETS[..2], time).unwrap();
        tiles
    }

    fn varied() -> TileTable {
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
        let mut last = TileTable::default();
        last.measure(&BTreeSet::from([(1, 1)]), &[4096], |_, _, _| Ok(Some(Duration::ZERO))).unwrap();
        assert_eq!((last.get((1, 1), 60_000), last.get((1, 1), 1024)), (Some(Tile::Small), None));
    }

    #[test]
    fn a_known_tile_is_not_measured_again_and_a_spent_budget_leaves_no_half_measured_shape() {
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
    fn a_written_file_reads_back_equal() {
        let (folder, adapter) = (tempfile::tempdir().unwrap(), adapter());
        assert_eq!(TileTable::read(folder.path(), &adapter), TileTable::default());
        TileTable::default().write(folder.path(), &adapter).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        varied().write(folder.path(), &adapter).unwrap();
        assert_eq!(TileTable::read(folder.path(), &adapter), varied());
        // It is replaced, with nothing left beside it.
        let other = measured(|_, _| Tile::Large);
        other.write(folder.path(), &adapter).unwrap();
        assert_eq!(TileTable::read(folder.path(), &adapter), other);
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
            // Ignored even under the other adapter's file name.
            fs::write(file(folder.path(), &changed), &kept).unwrap();
            assert_eq!(TileTable::read(folder.path(), &changed), TileTable::default(), "{changed:?}");
        }
        for at in 0..kept.len() {
            let mut flipped = kept.clone();
            flipped[at] ^= 1;
            for bytes in [&flipped[..], &kept[..at]] {
                fs::write(file(folder.path(), &own), bytes).unwrap();
                assert_eq!(TileTable::read(folder.path(), &own), TileTable::default(), "{at}");
            }
        }
        // A right checksum does not turn an invalid line into a tile.
        for lines in ["1 2 64", "1 2 64 33", "1 2 64 x", "1 -2 64 32", "1 2", ""] {
            let text = format!("{:016x}\n{lines}\n", checksum(&format!("{lines}\n"), &own));
            assert_eq!(TileTable::parse(&text, &own), None, "{lines}");
        }
        fs::write(file(folder.path(), &own), &kept).unwrap();
        assert_eq!(TileTable::read(folder.path(), &own), varied());
    }
}
