//! Memory to read weights into, lent to one task after another: fresh memory costs more than reading does, and so little is
//! out at once that loading takes hardly more memory than the loaded model.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Memory that is enough for the threads of a small model.
const LEAST: usize = 4 << 20;

/// Lends memory to any number of threads.
#[derive(Default)]
pub(super) struct StagingPool {
    /// Bytes that may be out or idle, unless one task alone needs more.
    most: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes of all that is out.
    out: usize,
    idle: Vec<Vec<u8>>,
}

/// Memory that goes back when it is dropped.
pub(super) struct StagingBuf<'d> {
    /// Empty, with room for what was asked for.
    pub bytes: Vec<u8>,
    counted: usize,
    pool: &'d StagingPool,
}

impl StagingPool {
    /// For a model whose weight files have `total` bytes.
    pub fn new(total: u64) -> Self {
        Self { most: LEAST + (total / 100) as usize, ..Self::default() }
    }

    /// Memory for each of `counts` bytes, all at once: a task that holds some and waits for more could wait for ever.
    pub fn lend(&self, counts: impl Iterator<Item = usize> + Clone) -> Vec<StagingBuf<'_>> {
        let needed: usize = counts.clone().sum();
        let mut state = self.lock();
        while state.out > 0 && state.out + needed > self.most {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        counts
            .map(|count| {
                let bytes = state.take(count);
                let counted = bytes.capacity().max(count);
                state.out += counted;
                state.forget(self.most);
                StagingBuf { bytes, counted, pool: self }
            })
            .collect()
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The smallest idle memory with room for `count` bytes, or none yet.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let fitting = self.idle.iter().enumerate().filter(|(_, bytes)| bytes.capacity() >= count);
        let best = fitting.min_by_key(|(_, bytes)| bytes.capacity()).map(|(index, _)| index);
        best.map_or_else(Vec::new, |index| self.idle.swap_remove(index))
    }

    /// Frees idle memory until there is no more than `most` with what is out.
    fn forget(&mut self, most: usize) {
        let mut idle: usize = self.idle.iter().map(Vec::capacity).sum();
        while let Some(bytes) = self.idle.pop_if(|_| self.out + idle > most) {
            idle -= bytes.capacity();
        }
    }
}

impl Drop for StagingBuf<'_> {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut state = self.pool.lock();
        state.out -= self.counted;
        state.idle.push(bytes);
        state.forget(self.pool.most);
        drop(state);
        self.pool.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_is_out_at_once_than_may_be_but_for_one_task_that_needs_more() {
        let (desk, out, most) =
            (StagingPool { most: 100, ..StagingPool::default() }, AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (desk, out, most) = (&desk, &out, &most);
                scope.spawn(move || {
                    for round in 0..200 {
                        let counts = [[30, 20], [1, 0], [90, 90], [49, 2]][(thread + round) % 4];
                        let sum: usize = counts.iter().sum();
                        let mut lent = desk.lend(counts.into_iter());
                        let now = out.fetch_add(sum, Ordering::SeqCst) + sum;
                        assert!(now <= 100 || now == 180, "{now} bytes are out");
                        most.fetch_max(now, Ordering::SeqCst);
                        for (lent, count) in lent.iter_mut().zip(counts) {
                            assert!(lent.bytes.is_empty());
                            lent.bytes.resize(count, 7);
                        }
                        std::thread::yield_now();
                        out.fetch_sub(sum, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 180);
        let state = desk.lock();
        assert_eq!(state.out, 0);
        assert!(state.idle.iter().map(Vec::capacity).sum::<usize>() <= 100);
    }

    #[test]
    fn idle_memory_is_lent_again_the_smallest_that_is_enough() {
        let desk = StagingPool::new(0);
        let at = |lent: &mut StagingBuf<'_>, count| {
            lent.bytes.resize(count, 0);
            lent.bytes.as_ptr()
        };
        let mut three = desk.lend([1000, 10, 100].into_iter());
        let places: Vec<_> = three.iter_mut().zip([1000, 10, 100]).map(|(lent, n)| at(lent, n)).collect();
        drop(three);
        let mut again = desk.lend([50, 500].into_iter());
        assert_eq!(at(&mut again[0], 50), places[2]);
        assert_eq!(at(&mut again[1], 500), places[0]);
    }
}
