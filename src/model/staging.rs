//! Buffers that weights are read into before they are packed, lent to one task after another: fresh memory costs more than
//! reading does. The pool limits how much is lent at once, so that loading takes hardly more memory than the loaded model.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Enough for all threads that load a small model.
const MIN_LIMIT: usize = 4 << 20;

/// Lends buffers to any number of threads.
#[derive(Default)]
pub(super) struct StagingPool {
    /// Bytes that may be lent or idle, unless a single task needs more.
    limit: usize,
    state: Mutex<PoolState>,
    returned: Condvar,
}

#[derive(Default)]
struct PoolState {
    /// Bytes of all buffers that are lent.
    lent_bytes: usize,
    idle: Vec<Vec<u8>>,
}

/// A buffer that goes back to its pool when it is dropped.
pub(super) struct StagingBuf<'p> {
    /// Empty, with the capacity that was asked for.
    pub bytes: Vec<u8>,
    /// What `lent_bytes` counts for it.
    counted_bytes: usize,
    pool: &'p StagingPool,
}

impl StagingPool {
    /// For a model whose weight files have `total` bytes.
    pub fn new(total: u64) -> Self {
        Self { limit: MIN_LIMIT + (total / 100) as usize, ..Self::default() }
    }

    /// Lends one buffer for each of `capacities`, all at once: a task that held some and waited for more could wait for ever.
    pub fn lend(&self, capacities: impl Iterator<Item = usize> + Clone) -> Vec<StagingBuf<'_>> {
        let needed: usize = capacities.clone().sum();
        let mut state = self.lock();
        while state.lent_bytes > 0 && state.lent_bytes + needed > self.limit {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        capacities
            .map(|capacity| {
                let bytes = state.take_idle(capacity);
                let counted_bytes = bytes.capacity().max(capacity);
                state.lent_bytes += counted_bytes;
                state.free_idle(self.limit);
                StagingBuf { bytes, counted_bytes, pool: self }
            })
            .collect()
    }

    /// Nothing panics while it holds the lock, so a poisoned lock is used as it is.
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolState {
    /// The smallest idle buffer with at least this capacity, or an unallocated one.
    fn take_idle(&mut self, capacity: usize) -> Vec<u8> {
        let fitting = self.idle.iter().enumerate().filter(|(_, bytes)| bytes.capacity() >= capacity);
        let smallest = fitting.min_by_key(|(_, bytes)| bytes.capacity()).map(|(index, _)| index);
        smallest.map_or_else(Vec::new, |index| self.idle.swap_remove(index))
    }

    /// Frees idle buffers until they and the lent ones together have at most `limit` bytes.
    fn free_idle(&mut self, limit: usize) {
        let mut idle: usize = self.idle.iter().map(Vec::capacity).sum();
        while let Some(bytes) = self.idle.pop_if(|_| self.lent_bytes + idle > limit) {
            idle -= bytes.capacity();
        }
    }
}

impl Drop for StagingBuf<'_> {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut state = self.pool.lock();
        state.lent_bytes -= self.counted_bytes;
        state.idle.push(bytes);
        state.free_idle(self.pool.limit);
        drop(state);
        self.pool.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_than_the_limit_is_lent_at_once_unless_one_task_needs_more() {
        let (pool, lent_bytes, max) =
            (StagingPool { limit: 100, ..StagingPool::default() }, AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (pool, lent_bytes, max) = (&pool, &lent_bytes, &max);
                scope.spawn(move || {
                    for round in 0..200 {
                        let capacities = [[30, 20], [1, 0], [90, 90], [49, 2]][(thread + round) % 4];
                        let sum: usize = capacities.iter().sum();
                        let mut buffers = pool.lend(capacities.into_iter());
                        let now = lent_bytes.fetch_add(sum, Ordering::SeqCst) + sum;
                        assert!(now <= 100 || now == 180, "{now} bytes are lent");
                        max.fetch_max(now, Ordering::SeqCst);
                        for (buffer, capacity) in buffers.iter_mut().zip(capacities) {
                            assert!(buffer.bytes.is_empty());
                            buffer.bytes.resize(capacity, 7);
                        }
                        std::thread::yield_now();
                        lent_bytes.fetch_sub(sum, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(max.into_inner(), 180);
        let state = pool.lock();
        assert_eq!(state.lent_bytes, 0);
        assert!(state.idle.iter().map(Vec::capacity).sum::<usize>() <= 100);
    }

    #[test]
    fn the_smallest_idle_buffer_that_is_large_enough_is_lent_again() {
        let pool = StagingPool::new(0);
        let address = |buffer: &mut StagingBuf<'_>, bytes| {
            buffer.bytes.resize(bytes, 0);
            buffer.bytes.as_ptr()
        };
        let mut three = pool.lend([1000, 10, 100].into_iter());
        let addresses: Vec<_> =
            three.iter_mut().zip([1000, 10, 100]).map(|(buffer, bytes)| address(buffer, bytes)).collect();
        drop(three);
        let mut again = pool.lend([50, 500].into_iter());
        assert_eq!(address(&mut again[0], 50), addresses[2]);
        assert_eq!(address(&mut again[1], 500), addresses[0]);
    }
}
