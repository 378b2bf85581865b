//! 64-bit Arm: `sdot` multiplies four signed bytes per lane, `smmla` two rows by two columns of eight. Their intrinsics are
//! not stable, hence assembly.

use core::arch::aarch64::*;
use core::arch::asm;
use std::arch::is_aarch64_feature_detected;

use super::kernel::{Int8Kernel, Kr, LHS_STRIDE, LhsFormat, tiles};
use crate::options::Isa;

/// The kernels whose instructions this processor has, slowest first.
pub fn available() -> impl Iterator<Item = &'static Int8Kernel> {
    let dotprod = is_aarch64_feature_detected!("dotprod");
    let i8mm = is_aarch64_feature_detected!("i8mm");
    [(dotprod, &DOTPROD), (i8mm, &I8MM)].into_iter().filter(|(has, _)| *has).map(|(_, kernel)| kernel)
}

static DOTPROD: Int8Kernel = Int8Kernel {
    name: "dotprod",
    isa: Isa::Neon,
    kr: Kr::Four,
    nr: 16,
    format: LhsFormat::I8,
    tiles: tiles!(sdot: 1 2 3 4 5 6),
};

static I8MM: Int8Kernel = Int8Kernel {
    name: "i8mm",
    isa: Isa::Neon,
    kr: Kr::Eight,
    nr: 16,
    format: LhsFormat::I8,
    tiles: tiles!(smmla: 1 2 3 4 5 6),
};

/// 6 x 16: 24 registers of sums, 4 of the rhs, 1 of the lhs.
#[inline]
#[target_feature(enable = "neon,dotprod")]
#[expect(clippy::needless_range_loop, reason = "constant indices are what keeps the sums in registers")]
unsafe fn sdot<const R: usize>(k_groups: usize, lhs: *const u8, rhs: *const i8, sums: *mut i32, add: bool) {
    // SAFETY: Int8Kernel::multiply_tile has checked the extents of the operands; the caller has the instructions.
    unsafe {
        let mut acc = [[vdupq_n_s32(0); 4]; R];
        if add {
            for r in 0..R {
                for v in 0..4 {
                    acc[r][v] = vld1q_s32(sums.add(r * 16 + v * 4));
                }
            }
        }
        for group in 0..k_groups {
            let mut columns = [vdupq_n_s8(0); 4];
            for v in 0..4 {
                columns[v] = vld1q_s8(rhs.add(group * 64 + v * 16));
            }
            for r in 0..R {
                let bytes = lhs.add(r * LHS_STRIDE + group * 4).cast::<i32>().read_unaligned();
                let x = vreinterpretq_s8_s32(vdupq_n_s32(bytes));
                for v in 0..4 {
                    asm!("sdot {c:v}.4s, {x:v}.16b, {w:v}.16b", c = inout(vreg) acc[r][v], x = in(vreg) x,
                        w = in(vreg) columns[v], options(pure, nomem, nostack, preserves_flags));
                }
            }
        }
        for r in 0..R {
            for v in 0..4 {
                vst1q_s32(sums.add(r * 16 + v * 4), acc[r][v]);
            }
        }
    }
}

/// Three pairs of rows by eight pairs of columns: 24 registers of sums, each 2 x 2; 3 of the lhs and 1 of the rhs. The last of
/// an odd number of rows is computed twice.
#[inline]
#[target_feature(enable = "neon,i8mm")]
#[expect(clippy::needless_range_loop, reason = "constant indices are what keeps the sums in registers")]
unsafe fn smmla<const R: usize>(k_groups: usize, lhs: *const u8, rhs: *const i8, sums: *mut i32, add: bool) {
    const MAX_PAIRS: usize = 3;
    // SAFETY: Int8Kernel::multiply_tile has checked the extents of the operands; the caller has the instructions.
    unsafe {
        let mut acc = [[vdupq_n_s32(0); 8]; MAX_PAIRS];
        for group in 0..k_groups {
            let mut rows = [vdupq_n_s8(0); MAX_PAIRS];
            for pair in 0..R.div_ceil(2) {
                let (first, second) = (2 * pair, (2 * pair + 1).min(R - 1));
                let row = |r: usize| vld1_s8(lhs.add(r * LHS_STRIDE + group * 8).cast());
                rows[pair] = vcombine_s8(row(first), row(second));
            }
            for v in 0..8 {
                let w = vld1q_s8(rhs.add(group * 128 + v * 16));
                for pair in 0..R.div_ceil(2) {
                    asm!("smmla {c:v}.4s, {x:v}.16b, {w:v}.16b", c = inout(vreg) acc[pair][v], x = in(vreg) rows[pair],
                        w = in(vreg) w, options(pure, nomem, nostack, preserves_flags));
                }
            }
        }
        for r in 0..R {
            for v in 0..8 {
                let sum = acc[r / 2][v];
                let row = if r % 2 == 0 { vget_low_s32(sum) } else { vget_high_s32(sum) };
                let to = sums.add(r * 16 + v * 2);
                vst1_s32(to, if add { vadd_s32(vld1_s32(to), row) } else { row });
            }
        }
    }
}
