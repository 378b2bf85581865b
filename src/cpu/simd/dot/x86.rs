//! x86-64: `vpdpbusd` multiplies unsigned by signed bytes, four at a time, and adds without saturating; before VNNI,
//! `vpmaddwd` does so with pairs of i16. (`vpmaddubsw`, on bytes, saturates: 2 * 255 * 127 is more than an i16 holds.)

use core::arch::x86_64::*;

use super::kernel::{Int8Kernel, Kr, LHS_STRIDE, LhsFormat, tiles};
use crate::options::Isa;

/// The kernels whose instructions this processor has, slowest first.
pub fn available() -> impl Iterator<Item = &'static Int8Kernel> {
    let avx2 = is_x86_feature_detected!("avx2");
    let vnni = avx2 && is_x86_feature_detected!("avxvnni");
    let vnni512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
    [(avx2, &AVX2), (vnni, &AVX_VNNI), (vnni512, &AVX512_VNNI)]
        .into_iter()
        .filter(|(has, _)| *has)
        .map(|(_, kernel)| kernel)
}

static AVX2: Int8Kernel = Int8Kernel {
    name: "avx2",
    isa: Isa::Avx2,
    kr: Kr::Two,
    nr: 16,
    format: LhsFormat::I16,
    tiles: tiles!(avx2: 1 2 3 4 5 6),
};

static AVX_VNNI: Int8Kernel = Int8Kernel {
    name: "avx-vnni",
    isa: Isa::Avx2,
    kr: Kr::Four,
    nr: 16,
    format: LhsFormat::U8,
    tiles: tiles!(vnni: 1 2 3 4 5 6),
};

static AVX512_VNNI: Int8Kernel = Int8Kernel {
    name: "avx512-vnni",
    isa: Isa::Avx512,
    kr: Kr::Four,
    nr: 32,
    format: LhsFormat::U8,
    tiles: tiles!(vnni512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
};

/// Registers as in the f32 tiles: R by 2 sums, two vectors of the rhs and one broadcast group of the lhs. Plain
/// index loops, for iterators leave the sums in memory.
macro_rules! tile {
    ($name:ident, $features:literal, $vector:ty, $zero:ident, $load:ident, $store:ident, $splat:ident,
     $nr:expr, $kr:expr, |$b:ident| $load_rhs:expr, |$c:ident, $x:ident, $w:ident| $multiply_add:expr) => {
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $name<const R: usize>(
            k_groups: usize,
            lhs: *const u8,
            rhs: *const i8,
            sums: *mut i32,
            add: bool,
        ) {
            const LANES: usize = size_of::<$vector>() / 4;
            // SAFETY: Int8Kernel::multiply_tile has checked the extents of the operands; the caller has the instructions.
            unsafe {
                let mut acc = [[$zero(); 2]; R];
                if add {
                    for r in 0..R {
                        for v in 0..2 {
                            acc[r][v] = $load(sums.add(r * $nr + v * LANES).cast());
                        }
                    }
                }
                for group in 0..k_groups {
                    let mut columns = [$zero(); 2];
                    for v in 0..2 {
                        let $b = rhs.add(group * $nr * $kr + v * LANES * $kr);
                        columns[v] = $load_rhs;
                    }
                    for r in 0..R {
                        let $x = $splat(lhs.add(r * LHS_STRIDE + group * 4).cast::<i32>().read_unaligned());
                        for v in 0..2 {
                            let ($c, $w) = (acc[r][v], columns[v]);
                            acc[r][v] = $multiply_add;
                        }
                    }
                }
                for r in 0..R {
                    for v in 0..2 {
                        $store(sums.add(r * $nr + v * LANES).cast(), acc[r][v]);
                    }
                }
            }
        }
    };
}

tile!(
    avx2,
    "avx2",
    __m256i,
    _mm256_setzero_si256,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_set1_epi32,
    16,
    2,
    |b| _mm256_cvtepi8_epi16(_mm_loadu_si128(b.cast())),
    |c, x, w| _mm256_add_epi32(c, _mm256_madd_epi16(x, w))
);

tile!(
    vnni,
    "avx2,avxvnni",
    __m256i,
    _mm256_setzero_si256,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_set1_epi32,
    16,
    4,
    |b| _mm256_loadu_si256(b.cast()),
    |c, x, w| _mm256_dpbusd_avx_epi32(c, x, w)
);

tile!(
    vnni512,
    "avx512f,avx512vnni",
    __m512i,
    _mm512_setzero_si512,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_set1_epi32,
    32,
    4,
    |b| _mm512_loadu_si512(b.cast()),
    |c, x, w| _mm512_dpbusd_epi32(c, x, w)
);
