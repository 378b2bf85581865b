//! Plain Rust, for processors without a better one; compilers turn it into multiplications of i16.

use super::{Form, Int8Kernel, ROW_BYTES, by_rows};
use crate::options::Isa;

/// Sixteen columns, pairs of inputs.
pub static PORTABLE: Int8Kernel = Int8Kernel {
    name: "portable",
    isa: Isa::Scalar,
    group: 2,
    columns: COLUMNS,
    rows: 4,
    form: Form::Wide,
    tile: by_rows,
};

const COLUMNS: usize = 16;

by_rows! { by_rows = tile: 1 2 3 4 }

#[inline(always)]
unsafe fn tile<const R: usize>(steps: usize, a: *const u8, b: *const i8, c: *mut i32, add: bool) {
    // SAFETY: Int8Kernel::multiply has checked these extents.
    let (b, c) = unsafe {
        (
            std::slice::from_raw_parts(b.cast::<[[i8; 2]; COLUMNS]>(), steps),
            &mut *c.cast::<[[i32; COLUMNS]; R]>(),
        )
    };
    let mut sums = if add { *c } else { [[0; COLUMNS]; R] };
    for (step, b) in b.iter().enumerate() {
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above; a row holds `steps` pairs of i16.
            let [x, y] = unsafe { a.add(r * ROW_BYTES + step * 4).cast::<[i16; 2]>().read_unaligned() };
            for (sum, [v, w]) in sums.iter_mut().zip(b) {
                *sum += i32::from(x) * i32::from(*v) + i32::from(y) * i32::from(*w);
            }
        }
    }
    *c = sums;
}
