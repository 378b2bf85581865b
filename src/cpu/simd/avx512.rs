//! x86-64 with AVX-512: one register holds all lanes.

use core::arch::x86_64::*;

use super::lanes::{LANES, Simd, SimdKernel, lane_ops};
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

    fn dispatch<K: SimdKernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
        fn inside<K: SimdKernel>(token: Avx512, kernel: K) -> K::Output {
            kernel.compute(token)
        }
        // SAFETY: `self` proves that this processor has the instructions.
        unsafe { inside(self, kernel) }
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
    fn low_bytes(self, v: __m512) -> [u8; LANES] {
        let mut bytes = [0; LANES];
        // SAFETY: `self` proves the instructions; the array is sixteen writable bytes.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(_mm512_castps_si512(v))) };
        bytes
    }

    #[inline(always)]
    fn transpose(self, rows: [__m512; LANES]) -> [__m512; LANES] {
        // SAFETY: `self` proves that this processor has the instructions.
        unsafe { transpose(rows) }
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

/// Interleaves floats, then pairs of floats, then quarters of the registers, then halves.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(mut rows: [__m512; LANES]) -> [__m512; LANES] {
    for i in (0..LANES).step_by(2) {
        let (a, b) = (rows[i], rows[i + 1]);
        (rows[i], rows[i + 1]) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    }
    // Four rows become the first floats of each quarter, then the second, the third and the fourth floats.
    for i in (0..LANES).step_by(4) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|j| _mm512_castps_pd(rows[i + j]));
        rows[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        rows[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        rows[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        rows[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    let mut columns = rows;
    for j in 0..4 {
        let [a, b, c, d] = [rows[j], rows[j + 4], rows[j + 8], rows[j + 12]];
        // Quarters 0 and 2, and quarters 1 and 3, of rows 0 to 7 and of rows 8 to 15.
        let (even, odd) =
            (_mm512_shuffle_f32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b));
        let (even8, odd8) =
            (_mm512_shuffle_f32x4::<0b10_00_10_00>(c, d), _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d));
        columns[j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(even, even8);
        columns[j + 4] = _mm512_shuffle_f32x4::<0b10_00_10_00>(odd, odd8);
        columns[j + 8] = _mm512_shuffle_f32x4::<0b11_01_11_01>(even, even8);
        columns[j + 12] = _mm512_shuffle_f32x4::<0b11_01_11_01>(odd, odd8);
    }
    columns
}
