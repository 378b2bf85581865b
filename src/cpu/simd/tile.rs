//! The microkernel: one register tile of a matrix product.
//!
//! c[r, n] (+)= sum over k of a[r, k] * b[k, n], one fused multiply-add per k, in the order of k. That chain is the same
//! for every tile shape, edge and instruction set, which is why no bit of a score depends on any of them.

use super::view::MatMut;
use super::{LANES, Simd};

/// Most steps of k in one go. 384 x 32 floats of a weight panel are 48 KiB: the panel stays in L1 or close to it while
/// all rows of a group pass. Longer sums continue from the f32 partial sums in `c`, which changes no bit.
pub const DEPTH: usize = 384;

/// Floats from row to row of a copied left operand: a constant, so that the addresses of all rows of a tile are one
/// register plus a displacement, and an odd number of cache lines (25), so that the rows spread over all L1 sets.
pub const ROW_STRIDE: usize = DEPTH + 16;

/// Floats from key to key in a block of attention scores: the widest block of queries.
pub const SCORE_STRIDE: usize = 32;

/// How the left operand lies: a[r, k] is at `r * ROW + k * STEP`.
pub trait Layout {
    /// Floats from row to row.
    const ROW: usize;
    /// Floats from step to step.
    const STEP: usize;
}

/// Rows of a copied matrix.
pub struct ByRows;

impl Layout for ByRows {
    const ROW: usize = ROW_STRIDE;
    const STEP: usize = 1;
}

/// Columns of a block of attention scores.
pub struct ByColumns;

impl Layout for ByColumns {
    const ROW: usize = 1;
    const STEP: usize = SCORE_STRIDE;
}

/// The right operand.
#[derive(Clone, Copy)]
pub struct Right<'a, P> {
    /// b[k, n] is at `k * stride + n`, readable for whole vectors beyond the columns of the tile.
    pub values: &'a [f32],
    /// Floats from step to step.
    pub stride: usize,
    /// What is brought near meanwhile.
    pub ahead: P,
}

impl<'a> Right<'a, ()> {
    /// A right operand that is near already, as is what follows it.
    pub fn new(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride, ahead: () }
    }
}

/// What a tile's product fetches into the cache for whoever comes next.
pub trait Ahead: Copy {
    /// Called at step `k`.
    fn step<S: Simd>(self, simd: S, k: usize);
}

/// Nothing.
impl Ahead for () {
    #[inline(always)]
    fn step<S: Simd>(self, _: S, _: usize) {}
}

/// One cache line per step, so that fetching never holds up the loads of the product itself.
#[derive(Clone, Copy)]
pub struct Lines {
    /// Where the first line is.
    pub start: *const f32,
    /// Floats from one to the next.
    pub stride: usize,
}

impl Ahead for Lines {
    #[inline(always)]
    fn step<S: Simd>(self, simd: S, k: usize) {
        simd.prefetch(self.start.wrapping_add(k * self.stride));
    }
}

/// Computes the tile `c` = a b, at most `S::MR` rows and `S::NV * LANES` columns. `add` continues from what `c` holds.
#[inline(always)]
pub fn multiply<S: Simd, A: Layout>(
    simd: S,
    depth: usize,
    a: &[f32],
    b: Right<'_, impl Ahead>,
    mut c: MatMut<'_>,
    add: bool,
) {
    // The arms beyond S::MR fold away, as does the wide half where a tile is one vector wide.
    macro_rules! by_rows {
        ($($rows:literal)+) => {
            match c.rows() {
                $($rows if $rows <= S::MR => {
                    if S::NV > 1 && c.cols() > LANES {
                        tile::<S, A, $rows, 2>(simd, depth, a, b, &mut c, add)
                    } else {
                        tile::<S, A, $rows, 1>(simd, depth, a, b, &mut c, add)
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
fn tile<S: Simd, A: Layout, const R: usize, const NV: usize>(
    simd: S,
    depth: usize,
    a: &[f32],
    b: Right<'_, impl Ahead>,
    c: &mut MatMut<'_>,
    add: bool,
) {
    assert!(depth > 0 && c.rows() == R && c.cols() <= NV * LANES);
    assert!(a.len() > (R - 1) * A::ROW + (depth - 1) * A::STEP);
    assert!(b.values.len() >= (depth - 1) * b.stride + NV * LANES);
    let whole = c.cols() == NV * LANES;
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
    let (mut a, mut values) = (a.as_ptr(), b.values.as_ptr());
    for k in 0..depth {
        b.ahead.step(simd, k);
        // SAFETY: the asserts above cover every a[r, k] and NV whole vectors of every step of b.
        unsafe {
            let mut columns = [simd.splat(0.0); NV];
            for v in 0..NV {
                columns[v] = simd.load(&*values.add(v * LANES).cast());
            }
            for r in 0..R {
                let x = simd.splat(*a.add(r * A::ROW));
                for v in 0..NV {
                    sums[r][v] = simd.fma(x, columns[v], sums[r][v]);
                }
            }
            // One past the last step is never read; wrapping_add only computes the address.
            a = a.wrapping_add(A::STEP);
            values = values.wrapping_add(b.stride);
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let row = c.row(r);
        if whole {
            for (to, sum) in row.as_chunks_mut().0.iter_mut().zip(sums) {
                simd.store(*sum, to);
            }
        } else {
            for (to, sum) in row.chunks_mut(LANES).zip(sums) {
                simd.store_part(*sum, to);
            }
        }
    }
}
