//! Sixteen f32 lanes on every instruction set: the operations that kernels are written over.

use crate::options::Isa;
use crate::tensor::{Dtype, widen};

/// Lanes of every vector. Part of the contract: sums over a row consist of sixteen partial sums.
pub const LANES: usize = 16;

/// Most rows of any microkernel's tile, in floats or in 8-bit integers.
pub const MAX_MR: usize = 14;

/// Most columns of any microkernel's tile.
pub const MAX_NR: usize = 32;

/// The body of a kernel, generic over the instruction set, with its arguments. Implementations of `compute` are
/// `#[inline(always)]`.
pub trait SimdKernel {
    /// The result.
    type Output;
    /// Computes with the lanes of one instruction set.
    fn compute<S: Simd>(self, simd: S) -> Self::Output;
}

/// A proof that this processor has an instruction set, and its lane operations.
pub trait Simd: Copy + Send + Sync + 'static {
    /// The name of the instruction set.
    const ISA: Isa;
    /// MR: rows of the GEMM register tile.
    const MR: usize;
    /// Vectors in a row of the GEMM register tile: a weight panel has NR = `NV * LANES` columns.
    const NV: usize;
    /// Sixteen lanes.
    type V: Copy;

    /// Runs a kernel compiled for this instruction set.
    fn dispatch<K: SimdKernel>(self, kernel: K) -> K::Output;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// Lanes from memory.
    fn load(self, from: &[f32; LANES]) -> Self::V;
    /// Lanes to memory.
    fn store(self, v: Self::V, to: &mut [f32; LANES]);
    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a - b
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a * b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a / b
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a * b + c with one rounding.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a > b ? a : b`: a NaN in `b` is passed on, a NaN in `a` is not.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a < b ? a : b`: a NaN in `b` is passed on, a NaN in `a` is not.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The bits of every lane shifted left by 23, which moves an integer into the exponent.
    fn shift_to_exponent(self, v: Self::V) -> Self::V;

    /// Lanes widened from f16, exactly.
    #[inline(always)]
    fn load_f16(self, from: &[[u8; 2]; LANES]) -> Self::V {
        let mut lanes = [0.0; LANES];
        widen(Dtype::F16, from.as_flattened(), &mut lanes);
        self.load(&lanes)
    }

    /// The lowest byte of each lane's bits.
    #[inline(always)]
    fn low_bytes(self, v: Self::V) -> [u8; LANES] {
        self.lanes(v).map(|x| x.to_bits() as u8)
    }

    /// Transposes sixteen rows: lane i of row j comes from lane j of row i.
    #[inline(always)]
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES] {
        let lanes = rows.map(|row| self.lanes(row));
        std::array::from_fn(|i| self.load(&std::array::from_fn(|j| lanes[j][i])))
    }

    /// Prefetches the cache line at any address, valid or not, into the second-level cache: a weight panel is as large as the
    /// first level.
    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}

    /// The first `from.len()` lanes from memory, zero in the others.
    #[inline(always)]
    fn load_part(self, from: &[f32]) -> Self::V {
        let mut lanes = [0.0; LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// The first `to.len()` lanes to memory.
    #[inline(always)]
    fn store_part(self, v: Self::V, to: &mut [f32]) {
        let count = to.len();
        to.copy_from_slice(&self.lanes(v)[..count]);
    }

    /// At most one vector from memory, zero in the lanes beyond it.
    #[inline(always)]
    fn load_slice(self, from: &[f32]) -> Self::V {
        match from.first_chunk() {
            Some(lanes) => self.load(lanes),
            None => self.load_part(from),
        }
    }

    /// At most one vector to memory.
    #[inline(always)]
    fn store_slice(self, v: Self::V, to: &mut [f32]) {
        match to.first_chunk_mut() {
            Some(lanes) => self.store(v, lanes),
            None => self.store_part(v, to),
        }
    }

    /// The lanes as an array.
    #[inline(always)]
    fn lanes(self, v: Self::V) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        self.store(v, &mut lanes);
        lanes
    }

    /// The sum of the lanes: the upper half is added to the lower half, 16 -> 8 -> 4 -> 2 -> 1.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut lanes = self.lanes(v);
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
            half /= 2;
        }
        lanes[0]
    }
}

/// Implements lane operations, each from one expression of intrinsics. Their safety is proved here once: intrinsics are unsafe
/// only because the processor might lack them, and a token exists only where it has them.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! lane_ops {
    ($vector:ty: $($name:ident($($arg:ident),+) = $body:expr;)+) => {
        $(
            #[inline(always)]
            fn $name(self, $($arg: $vector),+) -> $vector {
                // SAFETY: `self` proves that this processor has the instructions.
                unsafe { $body }
            }
        )+
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use lane_ops;
