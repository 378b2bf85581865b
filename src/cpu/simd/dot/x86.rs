//! x86-64: `vpdpbusd` multiplies unsigned by signed bytes, four at a time, and adds without saturating; before VNNI,
//! `vpmaddwd` does so with pairs of i16. (`vpmaddubsw`, on bytes, saturates: 2 * 255 * 127 is more than an i16 holds.)

use core::arch::x86_64::*;

use super::{Form, Int8Kernel, ROW_BYTES, by_rows};
use crate::options::Isa;

/// What this processor has, slowest first.
pub fn available() -> impl Iterator<Item = &'static Int8Kernel> {
    let avx2 = is_x86_feature_detected!("avx2");
    let vnni = avx2 && is_x86_feature_detected!("avxvnni");
    let vnni512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
    [(avx2, &AVX2), (vnni, &AVX_VNNI), (vnni512, &AVX512_VNNI)]
        .into_iter()
        .filter(|(has, _)| *has)
        .map(|(_, dot)| dot)
}

static AVX2: Int8Kernel = Int8Kernel {
    name: "avx2",
    isa: Isa::Avx2,
    group: 2,
    columns: 16,
    rows: 6,
    form: Form::Wide,
    tile: avx2_by_rows,
};

static AVX_VNNI: Int8Kernel = Int8Kernel {
    name: "avx-vnni",
    isa: Isa::Avx2,
    group: 4,
    columns: 16,
    rows: 6,
    form: Form::Unsigned,
    tile: vnni_by_rows,
};

static AVX512_VNNI: Int8Kernel = Int8Kernel {
    name: "avx512-vnni",
    isa: Isa::Avx512,
    group: 4,
    columns: 32,
    rows: 14,
    form: Form::Unsigned,
    tile: vnni512_by_rows,
};

by_rows! { #[target_feature(enable = "avx2")] avx2_by_rows = avx2: 1 2 3 4 5 6 }
by_rows! { #[target_feature(enable = "avx2,avxvnni")] vnni_by_rows = vnni: 1 2 3 4 5 6 }
by_rows! { #[target_feature(enable = "avx512f,avx512vnni")] vnni512_by_rows = vnni512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 }

/// Registers as the tiles of f32: `$rows` by 2 sums, two vectors of b and one broadcast group of a. Plain index loops, for
/// iterators leave the sums in memory.
macro_rules! tile {
    ($name:ident, $features:literal, $vector:ty, $zero:ident, $load:ident, $store:ident, $splat:ident,
     $columns:expr, $width:expr, |$b:ident| $widen:expr, |$c:ident, $x:ident, $w:ident| $dot:expr) => {
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $name<const R: usize>(steps: usize, a: *const u8, b: *const i8, c: *mut i32, add: bool) {
            const LANES: usize = size_of::<$vector>() / 4;
            // SAFETY: Int8Kernel::multiply has checked the extents of a, b and c; the caller has the instructions.
            unsafe {
                let mut sums = [[$zero(); 2]; R];
                if add {
                    for r in 0..R {
                        for v in 0..2 {
                            sums[r][v] = $load(c.add(r * $columns + v * LANES).cast());
                        }
                    }
                }
                for step in 0..steps {
                    let mut columns = [$zero(); 2];
                    for v in 0..2 {
                        let $b = b.add(step * $columns * $width + v * LANES * $width);
                        columns[v] = $widen;
                    }
                    for r in 0..R {
                        let $x = $splat(a.add(r * ROW_BYTES + step * 4).cast::<i32>().read_unaligned());
                        for v in 0..2 {
                            let ($c, $w) = (sums[r][v], columns[v]);
                            sums[r][v] = $dot;
                        }
                    }
                }
                for r in 0..R {
                    for v in 0..2 {
                        $store(c.add(r * $columns + v * LANES).cast(), sums[r][v]);
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
