//! Allocations that return an error instead of ending the program where there is no memory: zeroed, filled and empty vectors,
//! and buffers that grow.

use bytemuck::allocation::try_zeroed_vec;

use crate::error::{Error, Result};

/// `count` zeros, or an error where the system has no memory left. Fresh pages are zeros already: each is touched first by
/// the thread that writes to it.
pub fn zeros(count: usize) -> Result<Vec<f32>> {
    try_zeroed_vec(count).map_err(|()| Error::OutOfMemory { bytes: (count * size_of::<f32>()) as u64 })
}

/// `count` copies of `value`, or an error where the system has no memory left.
pub fn filled<T: Copy>(count: usize, value: T) -> Result<Vec<T>> {
    let mut values = with_capacity(count)?;
    values.resize(count, value);
    Ok(values)
}

/// An empty vector with room for `count` values, or an error where the system has no memory left.
pub fn with_capacity<T>(count: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(count)
        .map_err(|_| Error::OutOfMemory { bytes: (count * size_of::<T>()) as u64 })?;
    Ok(values)
}

/// Makes `values` at least `count` long; its old contents are lost if it grows. Allocates only where it has never been that
/// long before.
pub fn grow(values: &mut Vec<f32>, count: usize) -> Result<()> {
    if values.len() < count {
        *values = Vec::new();
        *values = zeros(count)?;
    }
    Ok(())
}
