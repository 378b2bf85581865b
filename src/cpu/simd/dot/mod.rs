//! The microkernels for 8-bit integers, one per instruction. Sums are exact integers, so all kernels compute the same, and each
//! may order its operands as its instruction needs them: an [`Int8Kernel`] describes that order.

#[cfg(target_arch = "aarch64")]
mod arm;
mod kernel;
mod pack;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use kernel::{Int8Kernel, KC_BYTES, LHS_STRIDE, LhsFormat};

use crate::options::Isa;

impl Int8Kernel {
    /// Every kernel that runs here, slowest first.
    pub fn available() -> Vec<&'static Self> {
        let mut all = vec![&portable::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        all.extend(x86::available());
        #[cfg(target_arch = "aarch64")]
        all.extend(arm::available());
        all
    }

    /// The best kernel that runs here and belongs to `isa`.
    pub fn best(isa: Isa) -> &'static Self {
        Self::available().into_iter().rev().find(|kernel| kernel.isa <= isa).unwrap_or(&portable::PORTABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares every tile with plain sums, on the numbers that a saturating instruction would get wrong.
    #[test]
    fn every_tile_sums_exactly_at_every_height_and_length() {
        let mut state = 7_u64;
        let mut next = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        };
        for kernel in Int8Kernel::available() {
            for (rows, k_groups) in
                (1..=kernel.mr()).flat_map(|r| [1, 2, 3, 24, KC_BYTES / kernel.kr() / 2].map(|s| (r, s)))
            {
                let inputs = k_groups * kernel.kr();
                for extreme in [true, false] {
                    let bytes: Vec<u8> =
                        (0..rows * inputs).map(|_| if extreme { 255 } else { next() }).collect();
                    let zero_point = if extreme { 0 } else { 77 };
                    let mut a = vec![0; (rows - 1) * LHS_STRIDE + KC_BYTES];
                    for (i, byte) in bytes.iter().enumerate() {
                        let at = i / inputs * LHS_STRIDE + i % inputs * kernel.format.bytes();
                        match kernel.format {
                            LhsFormat::U8 => a[at] = *byte,
                            LhsFormat::I8 => a[at] = byte.wrapping_sub(128),
                            LhsFormat::I16 => {
                                a[at..at + 2].copy_from_slice(&(i16::from(*byte) - zero_point).to_le_bytes());
                            }
                        }
                    }
                    let offset = match kernel.format {
                        LhsFormat::U8 => 0,
                        LhsFormat::I8 => 128,
                        LhsFormat::I16 => i32::from(zero_point),
                    };
                    let weight = |_| if extreme { 127 } else { next().cast_signed().max(-127) };
                    let b: Vec<i8> = (0..inputs * kernel.nr).map(weight).collect();
                    let start: Vec<i32> = (0..rows * kernel.nr).map(|i| i as i32 - 5).collect();
                    let mut c = start.clone();
                    kernel.multiply_tile(rows, k_groups, &a, &b, &mut c, true);
                    let mut written = start.clone();
                    kernel.multiply_tile(rows, k_groups, &a, &b, &mut written, false);
                    for (i, found) in c.iter().enumerate() {
                        let (row, column) = (i / kernel.nr, i % kernel.nr);
                        let product = |k: usize| {
                            let at = (k / kernel.kr() * kernel.nr + column) * kernel.kr() + k % kernel.kr();
                            (i32::from(bytes[row * inputs + k]) - offset) * i32::from(b[at])
                        };
                        let expected = (0..inputs).map(product).sum::<i32>();
                        let case = format!("{}: {rows} rows, {k_groups} groups, element {i}", kernel.name);
                        assert_eq!((*found, written[i]), (start[i] + expected, expected), "{case}");
                    }
                }
            }
        }
    }
}
