//! The description of a microkernel for 8-bit integers: its shape, the layout of its operands, and its tiles.

use crate::options::Isa;

/// Bytes of a row of the lhs in one call of a microkernel: 1536 numbers of 8 bits, as many inputs as the widest
/// layer of small models has. A constant, so that the rows of a tile are one register plus a displacement.
pub const KC_BYTES: usize = 1536;

/// Bytes from row to row of the lhs: an odd number of cache lines, so that the rows spread over all L1 sets.
pub const LHS_STRIDE: usize = KC_BYTES + 64;

/// How a microkernel takes activations, which are quantized to bytes from 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LhsFormat {
    /// The bytes.
    U8,
    /// The bytes less 128.
    I8,
    /// The bytes less their zero point, as i16.
    I16,
}

impl LhsFormat {
    /// Bytes per activation.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 => 2,
        }
    }
}

/// KR: how many inputs lie side by side for each column of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kr {
    /// Pairs.
    Two = 2,
    /// Four bytes, which are the size of a float.
    Four = 4,
    /// Eight bytes.
    #[cfg_attr(not(target_arch = "aarch64"), expect(dead_code, reason = "only `smmla` takes eight"))]
    Eight = 8,
}

/// Computes or adds to a tile of some rows: (groups of KR inputs, lhs, rhs, sums, whether to add). Rows
/// of the lhs are [`LHS_STRIDE`] bytes apart, rows of sums NR sums.
pub type TileFn = unsafe fn(usize, *const u8, *const i8, *mut i32, bool);

/// An instruction set's microkernel of c\[m, n\] = (c\[m, n\] +) sum over k of a\[m, k\] * b\[k, n\].
pub struct Int8Kernel {
    /// For people: `avx512-vnni`, `avx-vnni`, `avx2`, `i8mm`, `dotprod` or `portable`.
    pub name: &'static str,
    /// The lowest [`Isa`] it belongs to.
    pub isa: Isa,
    /// KR. A panel of b is `[k / KR][NR][KR]`.
    pub(super) kr: Kr,
    /// NR: columns of the tile and of a panel.
    pub nr: usize,
    /// The format of activations.
    pub format: LhsFormat,
    /// One function for each number of rows from 1 to MR.
    pub(super) tiles: &'static [TileFn],
}

impl Int8Kernel {
    /// MR: most rows of a tile.
    #[inline(always)]
    pub fn mr(&self) -> usize {
        self.tiles.len()
    }

    /// KR: inputs that lie side by side for each column of a panel.
    #[inline(always)]
    pub fn kr(&self) -> usize {
        self.kr as usize
    }

    /// Writes to `rows` rows of `sums` the products of `k_groups` groups of KR inputs, or adds them.
    #[inline(always)]
    pub fn multiply_tile(
        &self,
        rows: usize,
        k_groups: usize,
        lhs: &[u8],
        rhs: &[i8],
        sums: &mut [i32],
        add: bool,
    ) {
        assert!((1..=self.mr()).contains(&rows) && k_groups * self.kr() * self.format.bytes() <= KC_BYTES);
        assert!(lhs.len() >= (rows - 1) * LHS_STRIDE + KC_BYTES);
        assert!(rhs.len() >= k_groups * self.nr * self.kr() && sums.len() >= rows * self.nr);
        let tile = self.tiles[rows - 1];
        // SAFETY: the asserts cover every element that a tile of that many rows and inputs reads or writes; a kernel is
        // listed as available only where its instructions were detected.
        unsafe { tile(k_groups, lhs.as_ptr(), rhs.as_ptr(), sums.as_mut_ptr(), add) }
    }
}

/// The functions `$tile::<R>` for these numbers of rows.
macro_rules! tiles {
    ($tile:ident: $($rows:literal)+) => {
        &[$($tile::<$rows>),+]
    };
}
pub(super) use tiles;
