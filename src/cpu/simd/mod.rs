//! Sixteen f32 lanes on every instruction set. The only place with intrinsics.
//!
//! Every instruction set has the same vector of [`LANES`] lanes: one register on AVX-512, two on AVX2, four on NEON, an array
//! in plain Rust. Kernels are written once over [`Simd`]. Every operation is an IEEE operation on each lane, a fused
//! multiply-add rounds once everywhere, and sums over lanes go through one fixed tree: so every instruction set computes the
//! same bits.
//!
//! A token that implements [`Simd`] exists only where detection found its instructions: that is what makes the
//! intrinsics sound.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dot;
mod float_mode;
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
pub mod peak;
mod scalar;
mod tile;
mod view;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use dot::{Int8Kernel, KC_BYTES, LHS_STRIDE, LhsFormat};
pub use float_mode::{in_default_float_mode, set_default_float_mode};
pub use lanes::{LANES, MAX_MR, MAX_NR, Simd, SimdKernel};
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use scalar::Scalar;
pub use tile::{
    ColMajor, KC, Lhs, PrefetchLines, Rhs, RowMajor, RowScale, SCORE_STRIDE, even_tiles, multiply_tile,
};
pub use view::{MatMut, as_bytes};
