//! 64-bit Arm: four registers hold the lanes. Every 64-bit Arm processor has NEON, so the token needs no detection.

use core::arch::aarch64::*;

use super::lanes::{LANES, Simd, SimdKernel, lane_ops};
use crate::options::Isa;

/// Proof of NEON.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

impl Neon {
    /// The token.
    pub fn detect() -> Option<Self> {
        Some(Self(()))
    }
}

/// Lanes 0-3, 4-7, 8-11 and 12-15.
#[derive(Clone, Copy)]
pub struct Quad([float32x4_t; 4]);

/// `f` applied register by register.
macro_rules! each {
    ($f:ident($($v:ident),+)) => {
        Quad([$f($($v.0[0]),+), $f($($v.0[1]),+), $f($($v.0[2]),+), $f($($v.0[3]),+)])
    };
}

impl Simd for Neon {
    const ISA: Isa = Isa::Neon;
    // 6 x 16: 24 accumulators, 4 loads and 1 broadcast take 29 of 32 registers.
    const MR: usize = 6;
    const NV: usize = 1;
    type V = Quad;

    fn dispatch<K: SimdKernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "neon")]
        fn inside<K: SimdKernel>(token: Neon, kernel: K) -> K::Output {
            kernel.compute(token)
        }
        // SAFETY: `self` proves that this processor has the instructions.
        unsafe { inside(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Quad {
        // SAFETY: `self` proves that this processor has the instructions.
        Quad([unsafe { vdupq_n_f32(x) }; 4])
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Quad {
        let p = from.as_ptr();
        // SAFETY: `self` proves the instructions; the reference covers sixteen readable floats.
        unsafe { Quad([vld1q_f32(p), vld1q_f32(p.add(4)), vld1q_f32(p.add(8)), vld1q_f32(p.add(12))]) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[[u8; 2]; LANES]) -> Quad {
        let p = from.as_ptr().cast::<u16>();
        // SAFETY: `self` proves the instructions; the reference covers 32 readable bytes.
        let widen = |i: usize| unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p.add(i)))) };
        Quad([widen(0), widen(4), widen(8), widen(12)])
    }

    #[inline(always)]
    fn store(self, v: Quad, to: &mut [f32; LANES]) {
        let p = to.as_mut_ptr();
        // SAFETY: `self` proves the instructions; the reference covers sixteen writable floats.
        unsafe {
            vst1q_f32(p, v.0[0]);
            vst1q_f32(p.add(4), v.0[1]);
            vst1q_f32(p.add(8), v.0[2]);
            vst1q_f32(p.add(12), v.0[3]);
        }
    }

    #[inline(always)]
    fn low_bytes(self, v: Quad) -> [u8; LANES] {
        let mut bytes = [0; LANES];
        // SAFETY: `self` proves the instructions; the array is sixteen writable bytes.
        unsafe { vst1q_u8(bytes.as_mut_ptr(), low_bytes(v)) };
        bytes
    }

    #[inline(always)]
    fn transpose(self, rows: [Quad; LANES]) -> [Quad; LANES] {
        let mut columns = rows;
        for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
            // SAFETY: `self` proves that this processor has the instructions.
            let block = unsafe { transpose([0, 1, 2, 3].map(|r| rows[4 * i + r].0[j])) };
            for (column, values) in columns[4 * j..].iter_mut().zip(block) {
                column.0[i] = values;
            }
        }
        columns
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: a prefetch never faults and changes nothing but caches, whatever the address.
        unsafe {
            core::arch::asm!("prfm pldl2keep, [{}]", in(reg) at, options(nostack, readonly, preserves_flags))
        }
    }

    lane_ops! { Quad:
        add(a, b) = each!(vaddq_f32(a, b));
        sub(a, b) = each!(vsubq_f32(a, b));
        mul(a, b) = each!(vmulq_f32(a, b));
        div(a, b) = each!(vdivq_f32(a, b));
        fma(a, b, c) = each!(vfmaq_f32(c, a, b));
        max(a, b) = each!(greater(a, b));
        min(a, b) = each!(less(a, b));
        shift_to_exponent(v) = each!(shift(v));
    }
}

/// `a > b ? a : b`: NEON's own maximum treats NaN differently.
#[inline]
#[target_feature(enable = "neon")]
fn greater(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    vbslq_f32(vcgtq_f32(a, b), a, b)
}

/// `a < b ? a : b`: NEON's own minimum treats NaN differently.
#[inline]
#[target_feature(enable = "neon")]
fn less(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    vbslq_f32(vcltq_f32(a, b), a, b)
}

#[inline]
#[target_feature(enable = "neon")]
fn shift(v: float32x4_t) -> float32x4_t {
    vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(v)))
}

#[inline]
#[target_feature(enable = "neon")]
fn low_bytes(v: Quad) -> uint8x16_t {
    let [a, b, c, d] = v.0.map(|v| vmovn_u32(vreinterpretq_u32_f32(v)));
    vcombine_u8(vmovn_u16(vcombine_u16(a, b)), vmovn_u16(vcombine_u16(c, d)))
}

/// Interleaves floats, then pairs of floats.
#[inline]
#[target_feature(enable = "neon")]
fn transpose([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    let pairs = [vtrn1q_f32(a, b), vtrn2q_f32(a, b), vtrn1q_f32(c, d), vtrn2q_f32(c, d)];
    let [ab, ba, cd, dc] = pairs.map(|v| vreinterpretq_f64_f32(v));
    [vtrn1q_f64(ab, cd), vtrn1q_f64(ba, dc), vtrn2q_f64(ab, cd), vtrn2q_f64(ba, dc)]
        .map(|v| vreinterpretq_f32_f64(v))
}
