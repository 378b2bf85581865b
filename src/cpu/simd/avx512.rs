//! x86-64 with AVX-512: one register holds all lanes.

use core::arch::x86_64::*;

use super::{LANES, Op, Simd, lane_ops};
use crate::options::Isa;

/// Proof of AVX-512 F, VL, BW and DQ.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

impl Avx512 {
    /// The token, where this processor has the instructions.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq"))
        .then_some(Self(()))
    }
}

impl Simd for Avx512 {
    const ISA: Isa = Isa::Avx512;
    // 14 x 32: 28 accumulators, 2 loads and 1 broadcast take 31 of 32 registers.
    const MR: usize = 14;
    const NV: usize = 2;
    type V = __m512;

    fn run<O: Op>(self, op: O) -> O::Output {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
        fn inside<O: Op>(token: Avx512, op: O) -> O::Output {
            op.run(token)
        }
        // SAFETY: `self` proves that this processor has the instructions.
        unsafe { inside(self, op) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves that this processor has the instructions.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> __m512 {
        // SAFETY: `self` proves the instructions; the reference covers sixteen readable floats.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[[u8; 2]; LANES]) -> __m512 {
        // SAFETY: `self` proves the instructions; the reference covers 32 readable bytes.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store(self, v: __m512, to: &mut [f32; LANES]) {
        // SAFETY: `self` proves the instructions; the reference covers sixteen writable floats.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: a prefetch never faults and changes nothing but caches, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    lane_ops! { __m512:
        add(a, b) = _mm512_add_ps(a, b);
        sub(a, b) = _mm512_sub_ps(a, b);
        mul(a, b) = _mm512_mul_ps(a, b);
        div(a, b) = _mm512_div_ps(a, b);
        fma(a, b, c) = _mm512_fmadd_ps(a, b, c);
        max(a, b) = _mm512_max_ps(a, b);
        min(a, b) = _mm512_min_ps(a, b);
        shift_to_exponent(v) = _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(v)));
    }
}
