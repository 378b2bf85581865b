//! Plain Rust, for processors without a faster kernel; compilers turn it into multiplications of i16.

use super::kernel::{Int8Kernel, Kr, LHS_STRIDE, LhsFormat, tiles};
use crate::options::Isa;

/// Sixteen columns, pairs of inputs.
pub static PORTABLE: Int8Kernel = Int8Kernel {
    name: "portable",
    isa: Isa::Scalar,
    kr: Kr::Two,
    nr: NR,
    format: LhsFormat::I16,
    tiles: tiles!(tile: 1 2 3 4),
};

const NR: usize = 16;

#[inline(always)]
unsafe fn tile<const R: usize>(k_groups: usize, lhs: *const u8, rhs: *const i8, sums: *mut i32, add: bool) {
    // SAFETY: Int8Kernel::multiply_tile has checked these extents.
    let (rhs, sums) = unsafe {
        (
            std::slice::from_raw_parts(rhs.cast::<[[i8; 2]; NR]>(), k_groups),
            &mut *sums.cast::<[[i32; NR]; R]>(),
        )
    };
    let mut acc = if add { *sums } else { [[0; NR]; R] };
    for (group, rhs) in rhs.iter().enumerate() {
        for (row, acc) in acc.iter_mut().enumerate() {
            // SAFETY: as above; a row holds `k_groups` pairs of i16.
            let [x, y] = unsafe { lhs.add(row * LHS_STRIDE + group * 4).cast::<[i16; 2]>().read_unaligned() };
            for (sum, [v, w]) in acc.iter_mut().zip(rhs) {
                *sum += i32::from(x) * i32::from(*v) + i32::from(y) * i32::from(*w);
            }
        }
    }
    *sums = acc;
}
