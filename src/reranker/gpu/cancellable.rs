//! A mutex whose waiting callers still see cancellation and deadlines.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Result;

/// How often a waiting caller asks whether its call is cancelled or late; a release wakes it at once. A running call asks
/// between submissions of about 100 ms, so a tenth of that delays no cancellation noticeably, and the hundred wake-ups per
/// second of a waiting call cost no measurable time.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// A value that one caller at a time uses.
pub(super) struct CancellableMutex<T> {
    /// Whether a caller has the value, or is about to lock it.
    taken: Mutex<bool>,
    /// Notified whenever `taken` becomes false.
    released: Condvar,
    /// Locked only by the caller that has set `taken`.
    value: Mutex<T>,
}

/// The value, until it is dropped.
pub(super) struct Guard<'a, T> {
    owner: &'a CancellableMutex<T>,
    value: MutexGuard<'a, T>,
}

impl<T> CancellableMutex<T> {
    pub(super) fn new(value: T) -> Self {
        Self { taken: Mutex::new(false), released: Condvar::new(), value: Mutex::new(value) }
    }

    /// The value as soon as no other caller has it, or the first error of `stop`, which is asked while it waits.
    pub(super) fn lock(&self, stop: &dyn Fn() -> Result<()>) -> Result<Guard<'_, T>> {
        self.lock_checking_every(STOP_CHECK_INTERVAL, stop)
    }

    /// The value as soon as no other caller has it.
    pub(super) fn lock_uncancellable(&self) -> Guard<'_, T> {
        let taken = self.released.wait_while(lock_unpoisoned(&self.taken), |taken| *taken);
        self.take(taken.unwrap_or_else(PoisonError::into_inner))
    }

    fn lock_checking_every(&self, interval: Duration, stop: &dyn Fn() -> Result<()>) -> Result<Guard<'_, T>> {
        let mut taken = lock_unpoisoned(&self.taken);
        while *taken {
            stop()?;
            let woken = self.released.wait_timeout(taken, interval);
            // A woken caller looks at `taken` before it may give up, so no notification is lost to a cancelled call.
            taken = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(self.take(taken))
    }

    fn take(&self, mut taken: MutexGuard<'_, bool>) -> Guard<'_, T> {
        *taken = true;
        drop(taken);
        // At most waits for the last caller to finish dropping its guard.
        Guard { owner: self, value: lock_unpoisoned(&self.value) }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        *lock_unpoisoned(&self.owner.taken) = false;
        self.owner.released.notify_one();
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// Locks a mutex even if a caller panicked while it had it.
pub(super) fn lock_unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::error::Error;

    /// Longer than the test may take: a caller that only wakes up to ask `stop` fails it.
    const NEVER: Duration = Duration::from_secs(3600);
    /// Enough for any machine to wake a thread.
    const PATIENT: Duration = Duration::from_secs(30);

    #[test]
    fn a_release_wakes_each_waiting_caller_in_turn() {
        let (mutex, asked) = (Arc::new(CancellableMutex::new(0)), Arc::new(AtomicUsize::new(0)));
        let (woken, wakes) = mpsc::channel();
        let guard = mutex.lock_uncancellable();
        // Not in a scope, which would wait for callers that are never woken.
        for _ in 0..4 {
            let (mutex, asked, woken) = (Arc::clone(&mutex), Arc::clone(&asked), woken.clone());
            std::thread::spawn(move || {
                let stop = || {
                    asked.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                };
                *mutex.lock_checking_every(NEVER, &stop).unwrap() += 1;
                woken.send(()).unwrap();
            });
        }
        // `stop` is asked with `taken` locked, so a caller that has asked sleeps before `drop` can lock it.
        while asked.load(Ordering::SeqCst) < 4 {
            std::thread::yield_now();
        }
        drop(guard);
        for count in 0..4 {
            assert!(wakes.recv_timeout(PATIENT).is_ok(), "of four waiting callers {count} were woken");
        }
        assert_eq!(*mutex.lock_uncancellable(), 4);
    }

    #[test]
    fn a_waiting_caller_is_cancelled_and_leaves_the_value_to_the_next() {
        let (mutex, asked) = (CancellableMutex::new(0), AtomicUsize::new(0));
        let guard = mutex.lock(&|| Err(Error::Cancelled)).unwrap();
        let stop = || if asked.fetch_add(1, Ordering::SeqCst) < 2 { Ok(()) } else { Err(Error::Cancelled) };
        assert_eq!(mutex.lock(&stop).err(), Some(Error::Cancelled));
        assert_eq!(asked.load(Ordering::SeqCst), 3);
        drop(guard);
        *mutex.lock(&|| Err(Error::Cancelled)).unwrap() += 1;
        assert_eq!(*mutex.lock_uncancellable(), 1);
    }

    #[test]
    fn a_panic_with_the_value_releases_it() {
        let mutex = CancellableMutex::new(7);
        std::thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                let _guard = mutex.lock_uncancellable();
                panic!("planted");
            });
            assert!(panicking.join().is_err());
        });
        assert_eq!(*mutex.lock(&|| Err(Error::Cancelled)).unwrap(), 7);
    }
}
