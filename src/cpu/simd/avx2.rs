//! x86-64 with AVX2 and FMA: two registers hold the lanes.

use core::arch::x86_64::*;

use super::lanes::{LANES, Simd, SimdKernel, lane_ops};
use crate::options::Isa;

/// Proof of AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The token, where this processor has the instructions.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c"))
        .then_some(Self(()))
    }
}

/// Lanes 0-7 and 8-15.
#[derive(Clone, Copy)]
pub struct Pair(__m256, __m256);

impl Simd for Avx2 {
    const ISA: Isa = Isa::Avx2;
    // 6 x 16: 12 accumulators, 2 loads and 1 broadcast take 15 of 16 registers.
    const MR: usize = 6;
    const NV: usize = 1;
    type V = Pair;

    fn dispatch<K: SimdKernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inside<K: SimdKernel>(token: Avx2, kernel: K) -> K::Output {
            kernel.compute(token)
        }
        // SAFETY: `self` proves that this processor has the instructions.
        unsafe { inside(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        // SAFETY: `self` proves that this processor has the instructions.
        let v = unsafe { _mm256_set1_ps(x) };
        Pair(v, v)
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Pair {
        // SAFETY: `self` proves the instructions; the reference covers sixteen readable floats.
        unsafe { Pair(_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[[u8; 2]; LANES]) -> Pair {
        let p = from.as_ptr().cast::<__m128i>();
        // SAFETY: `self` proves the instructions; the reference covers 32 readable bytes.
        unsafe { Pair(_mm256_cvtph_ps(_mm_loadu_si128(p)), _mm256_cvtph_ps(_mm_loadu_si128(p.add(1)))) }
    }

    #[inline(always)]
    fn store(self, v: Pair, to: &mut [f32; LANES]) {
        // SAFETY: `self` proves the instructions; the reference covers sixteen writable floats.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), v.0);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), v.1);
        }
    }

    #[inline(always)]
    fn low_bytes(self, v: Pair) -> [u8; LANES] {
        let mut bytes = [0; LANES];
        // SAFETY: `self` proves the instructions; the array is sixteen writable bytes.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), low_bytes(v)) };
        bytes
    }

    #[inline(always)]
    fn transpose(self, rows: [Pair; LANES]) -> [Pair; LANES] {
        // SAFETY: `self` proves that this processor has the instructions.
        let eight = |rows: [__m256; 8]| unsafe { transpose(rows) };
        let [a, b] = [0, 8].map(|at| eight(std::array::from_fn(|i| rows[at + i].0)));
        let [c, d] = [0, 8].map(|at| eight(std::array::from_fn(|i| rows[at + i].1)));
        std::array::from_fn(|i| if i < 8 { Pair(a[i], b[i]) } else { Pair(c[i - 8], d[i - 8]) })
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: a prefetch never faults and changes nothing but caches, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    lane_ops! { Pair:
        add(a, b) = Pair(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1));
        sub(a, b) = Pair(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1));
        mul(a, b) = Pair(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1));
        div(a, b) = Pair(_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1));
        fma(a, b, c) = Pair(_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1));
        max(a, b) = Pair(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1));
        min(a, b) = Pair(_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1));
        shift_to_exponent(v) = Pair(shift(v.0), shift(v.1));
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn shift(v: __m256) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(v)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn low_bytes(v: Pair) -> __m128i {
    let byte = _mm256_set1_epi32(255);
    let (a, b) = (_mm256_castps_si256(v.0), _mm256_castps_si256(v.1));
    // Packing works within halves of a register: the quarters are put in order before they are packed again.
    let pairs = _mm256_packus_epi32(_mm256_and_si256(a, byte), _mm256_and_si256(b, byte));
    let pairs = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
    _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs))
}

/// Interleaves floats, then pairs of floats, then halves of the registers.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(mut rows: [__m256; 8]) -> [__m256; 8] {
    for i in (0..8).step_by(2) {
        let (a, b) = (rows[i], rows[i + 1]);
        (rows[i], rows[i + 1]) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    }
    for i in (0..8).step_by(4) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|j| _mm256_castps_pd(rows[i + j]));
        rows[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
        rows[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
        rows[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
        rows[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
    }
    let mut columns = rows;
    for j in 0..4 {
        columns[j] = _mm256_permute2f128_ps::<0x20>(rows[j], rows[j + 4]);
        columns[j + 4] = _mm256_permute2f128_ps::<0x31>(rows[j], rows[j + 4]);
    }
    columns
}
