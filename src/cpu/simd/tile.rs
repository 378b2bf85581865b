//! The microkernel: one register tile of a matrix product.
//!
//! c[r, n] (+)= sum over k of a[r, k] * b[k, n], one fused multiply-add per k, in the order of k. That chain is the same
//! for every tile shape, edge and instruction set, which is why no bit of a score depends on any of them.

use std::ops::Range;

use super::view::MatMut;
use super::{LANES, Simd};

/// Most steps of k in one go. 384 x 32 floats of a weight panel are 48 KiB: the panel stays in L1 or close to it while
/// all rows of a group pass. Longer sums continue from the f32 partial sums in `c`, which changes no bit.
pub const KC: usize = 384;

/// Floats from key to key in a block of attention scores: the widest block of queries.
pub const SCORE_STRIDE: usize = 32;

/// Cuts `count` rows into the fewest tiles of at most `max` rows, as even as can be. Even tiles keep every call of the
/// microkernel tall enough to hide the latency of its fused multiply-adds, which a remainder of one or two rows would not be.
pub fn even_tiles(count: usize, max: usize) -> impl Iterator<Item = Range<usize>> {
    let tiles = count.div_ceil(max);
    (0..tiles).map(move |i| count * i / tiles..count * (i + 1) / tiles)
}

/// The left operand, where it lies.
#[derive(Clone, Copy)]
pub struct Lhs<'a, A> {
    /// The values.
    pub values: &'a [f32],
    /// How they lie.
    pub layout: A,
}

/// How a left operand lies: a[r, k] is at `r * row + k * step`.
pub trait Layout: Copy {
    /// Floats from row to row.
    fn row(self) -> usize;
    /// Floats from step to step.
    fn step(self) -> usize;
}

/// Rows, so many floats from one to the next.
#[derive(Clone, Copy)]
pub struct RowMajor(pub usize);

impl Layout for RowMajor {
    #[inline(always)]
    fn row(self) -> usize {
        self.0
    }

    #[inline(always)]
    fn step(self) -> usize {
        1
    }
}

/// Columns of a block of attention scores.
#[derive(Clone, Copy)]
pub struct ColMajor;

impl Layout for ColMajor {
    #[inline(always)]
    fn row(self) -> usize {
        1
    }

    #[inline(always)]
    fn step(self) -> usize {
        SCORE_STRIDE
    }
}

/// What becomes of a sum before it leaves its register.
pub trait AccScale: Copy {
    /// Of row `r`.
    fn end<S: Simd>(self, simd: S, r: usize, sum: S::V) -> S::V;
}

/// Nothing.
impl AccScale for () {
    #[inline(always)]
    fn end<S: Simd>(self, _: S, _: usize, sum: S::V) -> S::V {
        sum
    }
}

/// It is multiplied by a factor of its row.
#[derive(Clone, Copy)]
pub struct RowScale<'a>(pub &'a [f32]);

impl AccScale for RowScale<'_> {
    #[inline(always)]
    fn end<S: Simd>(self, simd: S, r: usize, sum: S::V) -> S::V {
        simd.mul(sum, simd.splat(self.0[r]))
    }
}

/// The right operand.
#[derive(Clone, Copy)]
pub struct Rhs<'a, P> {
    /// b[k, n] is at `k * stride + n`, readable for whole vectors beyond the columns of the tile.
    pub values: &'a [f32],
    /// Floats from step to step.
    pub stride: usize,
    /// What is brought near meanwhile.
    pub prefetch: P,
}

impl<'a> Rhs<'a, ()> {
    /// A right operand that is near already, as is what follows it.
    pub fn new(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride, prefetch: () }
    }
}

/// What a tile's product fetches into the cache for whoever comes next.
pub trait Prefetch: Copy {
    /// Called at step `k`.
    fn step<S: Simd>(self, simd: S, k: usize);
}

/// Nothing.
impl Prefetch for () {
    #[inline(always)]
    fn step<S: Simd>(self, _: S, _: usize) {}
}

/// One cache line per step, so that fetching never holds up the loads of the product itself.
#[derive(Clone, Copy)]
pub struct PrefetchLines {
    /// Where the first line is.
    pub start: *const f32,
    /// Floats from one to the next.
    pub stride: usize,
}

impl Prefetch for PrefetchLines {
    #[inline(always)]
    fn step<S: Simd>(self, simd: S, k: usize) {
        simd.prefetch(self.start.wrapping_add(k * self.stride));
    }
}

/// Computes the tile `c` = end(a b), at most `S::MR` rows and `S::NV * LANES` columns. `add` continues from what `c` holds.
#[inline(always)]
pub fn multiply_tile<S: Simd>(
    simd: S,
    depth: usize,
    a: Lhs<'_, impl Layout>,
    b: Rhs<'_, impl Prefetch>,
    mut c: MatMut<'_>,
    add: bool,
    end: impl AccScale,
) {
    // The arms beyond S::MR fold away, as does the wide half where a tile is one vector wide.
    macro_rules! by_rows {
        ($($rows:literal)+) => {
            match c.rows() {
                $($rows if $rows <= S::MR => {
                    if S::NV > 1 && c.cols() > LANES {
                        tile::<S, $rows, 2>(simd, depth, a, b, &mut c, add, end)
                    } else {
                        tile::<S, $rows, 1>(simd, depth, a, b, &mut c, add, end)
                    }
                })+
                rows => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "constant indices are what keeps the sums in registers")]
fn tile<S: Simd, const R: usize, const NV: usize>(
    simd: S,
    depth: usize,
    a: Lhs<'_, impl Layout>,
    b: Rhs<'_, impl Prefetch>,
    c: &mut MatMut<'_>,
    add: bool,
    end: impl AccScale,
) {
    let (row, step) = (a.layout.row(), a.layout.step());
    assert!(depth > 0 && c.rows() == R && c.cols() <= NV * LANES);
    assert!(a.values.len() > (R - 1) * row + (depth - 1) * step);
    assert!(b.values.len() >= (depth - 1) * b.stride + NV * LANES);
    let mut sums = [[simd.splat(0.0); NV]; R];
    if add {
        for (r, sums) in sums.iter_mut().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = match c.row(r)[v * LANES..].first_chunk() {
                    Some(lanes) => simd.load(lanes),
                    None => simd.load_part(&c.row(r)[v * LANES..]),
                };
            }
        }
    }
    let (mut a, mut values) = (a.values.as_ptr(), b.values.as_ptr());
    for k in 0..depth {
        b.prefetch.step(simd, k);
        // SAFETY: the asserts above cover every a[r, k] and NV whole vectors of every step of b.
        unsafe {
            let mut columns = [simd.splat(0.0); NV];
            for v in 0..NV {
                columns[v] = simd.load(&*values.add(v * LANES).cast());
            }
            for r in 0..R {
                let x = simd.splat(*a.add(r * row));
                for v in 0..NV {
                    sums[r][v] = simd.fma(x, columns[v], sums[r][v]);
                }
            }
            // One past the last step is never read; wrapping_add only computes the address.
            a = a.wrapping_add(step);
            values = values.wrapping_add(b.stride);
        }
    }
    // Constant indices again: a sum that is picked at run time would send all of them through memory.
    for r in 0..R {
        let row = c.row(r);
        for v in 0..NV {
            let sum = end.end(simd, r, sums[r][v]);
            if let Some(to) = row.get_mut(v * LANES..(v + 1) * LANES) {
                simd.store(sum, to.first_chunk_mut().expect("a vector"));
            } else if v * LANES < row.len() {
                simd.store_part(sum, &mut row[v * LANES..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::even_tiles;

    #[test]
    fn tiles_are_even_and_cover_every_row() {
        for count in 0..60 {
            let tiles: Vec<_> = even_tiles(count, 14).collect();
            let mut end = 0;
            for tile in &tiles {
                assert_eq!(tile.start, end);
                end = tile.end;
            }
            assert_eq!(end, count);
            let heights: Vec<_> = tiles.iter().map(|tile| tile.len()).collect();
            if let (Some(min), Some(max)) = (heights.iter().min(), heights.iter().max()) {
                assert!(*max <= 14 && max - min <= 1, "{heights:?}");
            }
        }
    }
}
