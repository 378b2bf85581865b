//! Packs weights of 8 bits into the panels that a microkernel reads.

use super::super::lanes::{LANES, Simd, SimdKernel};
use super::kernel::{Int8Kernel, Kr};
use crate::options::Isa;

/// Bytes of a cache line.
const LINE: usize = 64;

impl Int8Kernel {
    /// Interleaves at most NR rows of weights, the columns of the panel, to `[k / KR][NR][KR]`. Columns without a row become
    /// zeros; what lies behind the last input stays as it is.
    pub fn pack_panel<S: Simd>(&self, s: S, rows: &[&[u8]], panel: &mut [i8]) {
        let nr = self.nr;
        if rows.len() < nr {
            panel.fill(0);
        }
        let packed = match self.kr {
            // Not in plain Rust, which may move floats through registers that change the bits of a NaN.
            Kr::Four if S::ISA != Isa::Scalar => s.dispatch(InterleaveLines { rows, nr, panel }),
            _ => 0,
        };
        let rows: Vec<&[u8]> = rows.iter().map(|row| &row[packed..]).collect();
        let rest = &mut panel[packed * nr..];
        match self.kr {
            Kr::Two => interleave::<2>(&rows, nr, rest),
            Kr::Four => interleave::<4>(&rows, nr, rest),
            Kr::Eight => interleave::<8>(&rows, nr, rest),
        }
    }
}

/// Writes rows to the columns of a panel by groups of KR, which is a constant so that no group is a loop; one cache line of
/// each row at a time, for the groups of a row lie far apart in the panel.
fn interleave<const KR: usize>(rows: &[&[u8]], nr: usize, panel: &mut [i8]) {
    let panel = panel.as_chunks_mut::<KR>().0;
    let groups = rows[0].len() / KR;
    for start in (0..groups).step_by(LINE / KR) {
        let end = groups.min(start + LINE / KR);
        for (column, row) in rows.iter().enumerate() {
            let to = panel[start * nr + column..].iter_mut().step_by(nr);
            for (to, group) in to.zip(&row.as_chunks::<KR>().0[start..end]) {
                *to = group.map(u8::cast_signed);
            }
        }
    }
    if let Some(last) = panel.get_mut(groups * nr..) {
        for (to, row) in last.iter_mut().zip(rows) {
            let rest = row.as_chunks::<KR>().1;
            to.iter_mut().zip(rest).for_each(|(to, b)| *to = b.cast_signed());
        }
    }
}

/// Interleaves groups of four bytes, for as many cache lines as the rows fill: the lines of [`LANES`] rows at a time,
/// transposed as if the groups were floats. Returns the number of bytes of each row that it has packed.
struct InterleaveLines<'a> {
    rows: &'a [&'a [u8]],
    nr: usize,
    panel: &'a mut [i8],
}

impl SimdKernel for InterleaveLines<'_> {
    type Output = usize;

    #[inline(always)]
    fn compute<S: Simd>(self, s: S) -> usize {
        let Self { rows, nr, panel } = self;
        let (blocks, rest) = rows.as_chunks::<LANES>();
        let lines = if rest.is_empty() { rows[0].len() / LINE } else { 0 };
        for (block, rows) in blocks.iter().enumerate() {
            for line in 0..lines {
                let mut tile = [s.splat(0.0); LANES];
                for (lanes, row) in tile.iter_mut().zip(rows) {
                    let groups = row[line * LINE..][..LINE].as_chunks().0;
                    *lanes = s.load(&std::array::from_fn(|i| f32::from_le_bytes(groups[i])));
                }
                for (group, lanes) in s.transpose(tile).into_iter().enumerate() {
                    let start = ((line * LANES + group) * nr + block * LANES) * size_of::<f32>();
                    let to = panel[start..start + LINE].as_chunks_mut().0;
                    for (to, group) in to.iter_mut().zip(s.lanes(lanes)) {
                        *to = group.to_le_bytes().map(u8::cast_signed);
                    }
                }
            }
        }
        lines * LINE
    }
}
