//! The microkernel of 8-bit integers, per instruction set. Sums are exact integers, so all of them are equal by nature, and
//! each may order its operands as its instructions like: that order is what a [`Int8Kernel`] describes.

#[cfg(target_arch = "aarch64")]
mod arm;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::options::Isa;

/// Bytes of a row of activations in one go: 1536 numbers of 8 bits, as many inputs as the widest layer of small models
/// has. A constant, so that the rows of a tile are one register plus a displacement.
pub const BLOCK: usize = 1536;

/// Bytes from row to row of a block: an odd number of cache lines, so that the rows spread over all L1 sets.
pub const ROW_BYTES: usize = BLOCK + 64;

/// Tallest and widest tile of all.
pub const MAX_ROWS: usize = 14;
/// See [`MAX_ROWS`].
pub const MAX_COLUMNS: usize = 32;

/// How activations, rounded to bytes from 0 to 255 of which `zero` stands for 0, are handed to a microkernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The bytes.
    Unsigned,
    /// The bytes less 128.
    Signed,
    /// The bytes less their zero, as i16.
    Wide,
}

impl Form {
    /// Bytes per activation.
    pub fn bytes(self) -> usize {
        match self {
            Self::Unsigned | Self::Signed => 1,
            Self::Wide => 2,
        }
    }
}

/// An instruction set's tile of c\[r, n\] = (c\[r, n\] +) sum over k of a\[r, k\] * b\[k, n\].
pub struct Int8Kernel {
    /// For people: `avx512-vnni`, `avx-vnni`, `avx2`, `i8mm`, `dotprod` or `portable`.
    pub name: &'static str,
    /// The lowest [`Isa`] it belongs to.
    pub isa: Isa,
    /// Inputs that lie side by side for each column of b: `[k / group][columns][group]`.
    pub group: usize,
    /// Columns of the tile.
    pub columns: usize,
    /// Most rows of the tile.
    pub rows: usize,
    /// What activations look like.
    pub form: Form,
    /// (rows, steps of `group` inputs, a, b, c, add to c): rows of `a` are [`ROW_BYTES`] apart, those of `c` `columns` sums.
    tile: unsafe fn(usize, usize, *const u8, *const i8, *mut i32, bool),
}

impl Int8Kernel {
    /// Every one that runs here, slowest first.
    pub fn available() -> Vec<&'static Int8Kernel> {
        let mut all = vec![&portable::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        all.extend(x86::available());
        #[cfg(target_arch = "aarch64")]
        all.extend(arm::available());
        all
    }

    /// The best that runs here and belongs to `isa`.
    pub fn best(isa: Isa) -> &'static Int8Kernel {
        Self::available().into_iter().rev().find(|dot| dot.isa <= isa).unwrap_or(&portable::PORTABLE)
    }

    /// Writes to `rows` rows of `c` the products of `steps` groups of inputs, or adds them.
    #[inline(always)]
    pub fn multiply(&self, rows: usize, steps: usize, a: &[u8], b: &[i8], c: &mut [i32], add: bool) {
        assert!((1..=self.rows).contains(&rows) && steps * self.group * self.form.bytes() <= BLOCK);
        assert!(a.len() >= (rows - 1) * ROW_BYTES + BLOCK && b.len() >= steps * self.columns * self.group);
        assert!(c.len() >= rows * self.columns);
        // SAFETY: the asserts cover every element that a tile of that many rows and steps reads or writes; `available`
        // lists a Int8Kernel only where its instructions were detected.
        unsafe { (self.tile)(rows, steps, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), add) }
    }
}

/// Defines a tile function that runs `$body::<R>` with the number of rows as a constant.
macro_rules! by_rows {
    ($(#[$attribute:meta])* $name:ident = $body:ident: $($rows:literal)+) => {
        $(#[$attribute])*
        unsafe fn $name(rows: usize, steps: usize, a: *const u8, b: *const i8, c: *mut i32, add: bool) {
            match rows {
                // SAFETY: the caller's duty, passed on.
                $($rows => unsafe { $body::<$rows>(steps, a, b, c, add) },)+
                _ => unreachable!("a tile of {rows} rows"),
            }
        }
    };
}
pub(crate) use by_rows;

#[cfg(test)]
mod tests {
    use super::*;

    /// Every tile against plain sums, with the numbers that a saturating instruction would get wrong.
    #[test]
    fn every_tile_sums_exactly_at_every_height_and_length() {
        let mut state = 7_u64;
        let mut next = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        };
        for dot in Int8Kernel::available() {
            for (rows, steps) in
                (1..=dot.rows).flat_map(|r| [1, 2, 3, 24, BLOCK / dot.group / 2].map(|s| (r, s)))
            {
                let inputs = steps * dot.group;
                for extreme in [true, false] {
                    let bytes: Vec<u8> =
                        (0..rows * inputs).map(|_| if extreme { 255 } else { next() }).collect();
                    let zero = if extreme { 0 } else { 77 };
                    let mut a = vec![0; (rows - 1) * ROW_BYTES + BLOCK];
                    for (i, byte) in bytes.iter().enumerate() {
                        let at = i / inputs * ROW_BYTES + i % inputs * dot.form.bytes();
                        match dot.form {
                            Form::Unsigned => a[at] = *byte,
                            Form::Signed => a[at] = byte.wrapping_sub(128),
                            Form::Wide => {
                                a[at..at + 2].copy_from_slice(&(i16::from(*byte) - zero).to_le_bytes());
                            }
                        }
                    }
                    let offset = match dot.form {
                        Form::Unsigned => 0,
                        Form::Signed => 128,
                        Form::Wide => i32::from(zero),
                    };
                    let weight = |_| if extreme { 127 } else { next().cast_signed().max(-127) };
                    let b: Vec<i8> = (0..inputs * dot.columns).map(weight).collect();
                    let start: Vec<i32> = (0..rows * dot.columns).map(|i| i as i32 - 5).collect();
                    let mut c = start.clone();
                    dot.multiply(rows, steps, &a, &b, &mut c, true);
                    let mut alone = start.clone();
                    dot.multiply(rows, steps, &a, &b, &mut alone, false);
                    for (i, found) in c.iter().enumerate() {
                        let (row, column) = (i / dot.columns, i % dot.columns);
                        let product = |k: usize| {
                            let at = (k / dot.group * dot.columns + column) * dot.group + k % dot.group;
                            (i32::from(bytes[row * inputs + k]) - offset) * i32::from(b[at])
                        };
                        let expected = (0..inputs).map(product).sum::<i32>();
                        let case = format!("{}: {rows} rows, {steps} steps, element {i}", dot.name);
                        assert_eq!((*found, alone[i]), (start[i] + expected, expected), "{case}");
                    }
                }
            }
        }
    }
}
