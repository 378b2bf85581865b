//! Zeroed memory that begins at a cache line, for weights, activations and work space. Where there is no memory left, an
//! error is returned instead of ending the program.

use std::ops::{Deref, DerefMut};

use bytemuck::Zeroable;
use bytemuck::allocation::try_zeroed_vec;

use crate::error::{Error, Result};

/// Bytes of a cache line, and of the widest vector: a vector load that crosses a line costs twice as much.
const ALIGNMENT: usize = 64;

/// A slice of fixed length that begins at a multiple of 64 bytes, a cache line.
pub struct AlignedVec<T> {
    /// The slice, and before it what keeps it from beginning at the allocation's own address. A vector with the alignment
    /// in its type would get pages that the system's allocator has cleared once more.
    values: Vec<T>,
    start: usize,
}

impl<T> Default for AlignedVec<T> {
    fn default() -> Self {
        Self { values: Vec::new(), start: 0 }
    }
}

impl<T> Deref for AlignedVec<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.values[self.start..]
    }
}

impl<T> DerefMut for AlignedVec<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..]
    }
}

/// `count` zeros, or an error where the system has no memory left. Fresh pages are zeros already: each is touched first by
/// the thread that writes to it.
pub fn zeros<T: Zeroable>(count: usize) -> Result<AlignedVec<T>> {
    let bytes = || (count as u64).saturating_mul(size_of::<T>() as u64);
    let room = (ALIGNMENT / size_of::<T>()).saturating_sub(1);
    let mut values: Vec<T> = count
        .checked_add(room)
        .and_then(|total| try_zeroed_vec(total).ok())
        .ok_or_else(|| Error::OutOfMemory { bytes: bytes() })?;
    let start = values.as_ptr().align_offset(ALIGNMENT).min(room);
    values.truncate(start + count);
    Ok(AlignedVec { values, start })
}

/// Makes `values` at least `count` long; its old contents are lost if it grows. Allocates only where it has never been that
/// long before.
pub fn grow(values: &mut AlignedVec<f32>, count: usize) -> Result<()> {
    if values.len() < count {
        *values = AlignedVec::default();
        *values = zeros(count)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_begin_at_a_cache_line_and_are_as_many_as_asked_for() {
        fn check<T: Zeroable + PartialEq>() {
            for count in [0, 1, 15, 16, 17, 1000, 100_000] {
                let mut values = zeros::<T>(count).unwrap();
                assert_eq!(values.len(), count);
                assert_eq!(values.as_ptr().addr() % ALIGNMENT, 0, "{count}");
                assert!(values.iter_mut().all(|value| *value == T::zeroed()));
            }
        }
        check::<f32>();
        check::<i8>();
        check::<[u8; 2]>();
    }

    #[test]
    fn what_has_no_room_is_an_error() {
        for count in [usize::MAX, usize::MAX / 4, usize::MAX / 8] {
            let refused = zeros::<f32>(std::hint::black_box(count));
            assert!(matches!(refused.map(|values| values.len()), Err(Error::OutOfMemory { .. })));
        }
    }
}
