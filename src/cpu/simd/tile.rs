//! The microkernel: one register tile of a matrix product.
//!
//! c[m, n] (+)= sum over k of a[m, k] * b[k, n], one fused multiply-add per k, in the order of k. That chain is the same
//! for every tile shape, edge and instruction set, which is why no bit of a score depends on any of them.

use std::ops::Range;

use super::lanes::{LANES, MAX_MR, MAX_NR, Simd};
use super::view::MatMut;

/// KC: most values of k in one call. 384 x 32 floats of a weight panel are 48 KiB: the panel stays in L1 or close to it while
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

/// The left operand a, read where it lies.
#[derive(Clone, Copy)]
pub struct Lhs<'a, L> {
    /// The values.
    pub values: &'a [f32],
    /// The layout of the values.
    pub layout: L,
}

/// The layout of a left operand: a[m, k] is at `m * row_stride + k * k_stride`.
pub trait Layout: Copy {
    /// Floats from row to row.
    fn row_stride(self) -> usize;
    /// Floats from one k to the next.
    fn k_stride(self) -> usize;
}

/// Rows of consecutive floats, with this many floats from row to row.
#[derive(Clone, Copy)]
pub struct RowMajor(pub usize);

impl Layout for RowMajor {
    #[inline(always)]
    fn row_stride(self) -> usize {
        self.0
    }

    #[inline(always)]
    fn k_stride(self) -> usize {
        1
    }
}

/// Columns of consecutive floats, as in a block of attention scores: [`SCORE_STRIDE`] floats from column to column.
#[derive(Clone, Copy)]
pub struct ColMajor;

impl Layout for ColMajor {
    #[inline(always)]
    fn row_stride(self) -> usize {
        1
    }

    #[inline(always)]
    fn k_stride(self) -> usize {
        SCORE_STRIDE
    }
}

/// How a sum is scaled before it leaves its register.
pub trait AccScale: Copy {
    /// Scales a vector of sums of row `m`.
    fn scale<S: Simd>(self, simd: S, m: usize, sum: S::V) -> S::V;
}

/// No scale.
impl AccScale for () {
    #[inline(always)]
    fn scale<S: Simd>(self, _: S, _: usize, sum: S::V) -> S::V {
        sum
    }
}

/// One factor for each row.
#[derive(Clone, Copy)]
pub struct RowScale<'a>(pub &'a [f32]);

impl AccScale for RowScale<'_> {
    #[inline(always)]
    fn scale<S: Simd>(self, simd: S, m: usize, sum: S::V) -> S::V {
        simd.mul(sum, simd.splat(self.0[m]))
    }
}

/// The right operand b.
#[derive(Clone, Copy)]
pub struct Rhs<'a, P> {
    /// b[k, n] is at `k * stride + n`, readable for whole vectors beyond the columns of the tile.
    pub values: &'a [f32],
    /// Floats from one k to the next.
    pub stride: usize,
    /// What is prefetched during the product.
    pub prefetch: P,
}

impl<'a> Rhs<'a, ()> {
    /// A right operand without prefetching: it is in the cache already, as is what is read next.
    pub fn new(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride, prefetch: () }
    }
}

/// What the product of a tile prefetches for later products.
pub trait Prefetch: Copy {
    /// Called at each `k`.
    fn at_k<S: Simd>(self, simd: S, k: usize);
}

/// No prefetching.
impl Prefetch for () {
    #[inline(always)]
    fn at_k<S: Simd>(self, _: S, _: usize) {}
}

/// Prefetches one cache line at each k, so that prefetching never holds up the loads of the product itself.
#[derive(Clone, Copy)]
pub struct PrefetchLines {
    /// The address of the first line.
    pub start: *const f32,
    /// Floats from line to line.
    pub stride: usize,
}

impl Prefetch for PrefetchLines {
    #[inline(always)]
    fn at_k<S: Simd>(self, simd: S, k: usize) {
        simd.prefetch(self.start.wrapping_add(k * self.stride));
    }
}

/// Computes the tile `c` = scale(a b), at most `S::MR` rows and `S::NV * LANES` columns. `add` continues from what `c` holds.
/// Panics on a taller tile.
#[inline(always)]
pub fn multiply_tile<S: Simd>(
    simd: S,
    depth: usize,
    lhs: Lhs<'_, impl Layout>,
    rhs: Rhs<'_, impl Prefetch>,
    mut c: MatMut<'_>,
    add: bool,
    scale: impl AccScale,
) {
    const { assert!(S::MR <= MAX_MR && S::NV * LANES <= MAX_NR) };
    // The compiler removes the arms beyond S::MR, and the branch for two vectors where a tile has one.
    macro_rules! for_rows {
        ($($rows:literal)+) => {
            match c.rows() {
                $($rows if $rows <= S::MR => {
                    if S::NV > 1 && c.cols() > LANES {
                        multiply_rows::<S, $rows, 2>(simd, depth, lhs, rhs, &mut c, add, scale)
                    } else {
                        multiply_rows::<S, $rows, 1>(simd, depth, lhs, rhs, &mut c, add, scale)
                    }
                })+
                rows => panic!("a tile has 1 to {} rows, not {rows}", S::MR),
            }
        };
    }
    for_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
}

/// [`multiply_tile`] for `R` rows and `NV` vectors of columns.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "constant indices are what keeps the sums in registers")]
fn multiply_rows<S: Simd, const R: usize, const NV: usize>(
    simd: S,
    depth: usize,
    lhs: Lhs<'_, impl Layout>,
    rhs: Rhs<'_, impl Prefetch>,
    c: &mut MatMut<'_>,
    add: bool,
    scale: impl AccScale,
) {
    let (row_stride, k_stride) = (lhs.layout.row_stride(), lhs.layout.k_stride());
    assert!(depth > 0 && c.rows() == R && c.cols() <= NV * LANES);
    assert!(lhs.values.len() > (R - 1) * row_stride + (depth - 1) * k_stride);
    assert!(rhs.values.len() >= (depth - 1) * rhs.stride + NV * LANES);
    let mut acc = [[simd.splat(0.0); NV]; R];
    if add {
        for (m, acc) in acc.iter_mut().enumerate() {
            for (v, sum) in acc.iter_mut().enumerate() {
                *sum = match c.row(m)[v * LANES..].first_chunk() {
                    Some(lanes) => simd.load(lanes),
                    None => simd.load_part(&c.row(m)[v * LANES..]),
                };
            }
        }
    }
    let (mut a, mut b) = (lhs.values.as_ptr(), rhs.values.as_ptr());
    for k in 0..depth {
        rhs.prefetch.at_k(simd, k);
        // SAFETY: the asserts above cover every a[m, k], and NV whole vectors of b at every k.
        unsafe {
            let mut columns = [simd.splat(0.0); NV];
            for v in 0..NV {
                columns[v] = simd.load(&*b.add(v * LANES).cast());
            }
            for m in 0..R {
                let x = simd.splat(*a.add(m * row_stride));
                for v in 0..NV {
                    acc[m][v] = simd.fma(x, columns[v], acc[m][v]);
                }
            }
            // The address one past the last k is computed, which wrapping_add allows, and never read.
            a = a.wrapping_add(k_stride);
            b = b.wrapping_add(rhs.stride);
        }
    }
    // Constant indices again: a sum that is picked at run time would send all of them through memory.
    for m in 0..R {
        let row = c.row(m);
        for v in 0..NV {
            let sum = scale.scale(simd, m, acc[m][v]);
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
