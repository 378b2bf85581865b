//! Loom's threads and locks under the names that threads.rs imports, and two checks that loom does not make by itself: a
//! `Thread` must not be used after it was dropped, and threads that still run are counted.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

pub use loom::cell::Cell;
pub use loom::hint::spin_loop;
pub use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub use loom::sync::{Condvar, Mutex, MutexGuard};

/// A clock by which a thread spins once: it stands still for the first look and is far ahead at the second.
pub struct Instant {
    looks: std::cell::Cell<u32>,
}

impl Instant {
    pub fn now() -> Self {
        Self { looks: std::cell::Cell::new(0) }
    }

    pub fn elapsed(&self) -> Duration {
        let looks = self.looks.replace(self.looks.get() + 1);
        if looks == 0 { Duration::ZERO } else { Duration::MAX }
    }
}

/// More cores than any pool here has workers: callers spin.
pub fn available_parallelism() -> std::io::Result<NonZero<usize>> {
    Ok(const { NonZero::new(8).unwrap() })
}

/// A thread's handle. Parking is a `Notify` of each thread, because loom's own `unpark` also wakes a thread that waits for a
/// mutex, which that thread takes for the mutex.
pub struct Thread {
    token: Arc<loom::sync::Notify>,
    /// Read at every use and written at the drop: loom refuses a use that is not ordered before the drop. So a worker that
    /// uses the `caller` of a job whose `parallel_for` may have returned is found.
    alive: loom::cell::UnsafeCell<()>,
}

// SAFETY: `alive` holds nothing, and its accesses are what loom checks.
unsafe impl Send for Thread {}
// SAFETY: as above.
unsafe impl Sync for Thread {}

impl Thread {
    fn new(token: Arc<loom::sync::Notify>) -> Self {
        Self { token, alive: loom::cell::UnsafeCell::new(()) }
    }

    pub fn unpark(&self) {
        self.alive.with(|_| ());
        self.token.notify();
    }
}

impl Clone for Thread {
    fn clone(&self) -> Self {
        self.alive.with(|_| ());
        Self::new(Arc::clone(&self.token))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // A failed model unwinds with its threads in any state; a second panic would hide the first.
        if !std::thread::panicking() {
            self.alive.with_mut(|_| ());
        }
    }
}

loom::thread_local! {
    static TOKEN: Arc<loom::sync::Notify> = Arc::new(loom::sync::Notify::new());
}

pub fn current() -> Thread {
    Thread::new(TOKEN.with(Arc::clone))
}

pub fn park() {
    TOKEN.with(Arc::clone).wait();
}

std::thread_local! {
    /// Workers that run, of the model on this thread of the operating system.
    static RUNNING: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Workers of all pools of this model that have not ended yet.
pub fn running_workers() -> usize {
    RUNNING.get()
}

pub struct Builder(loom::thread::Builder);

impl Builder {
    #[expect(clippy::new_without_default, reason = "std::thread::Builder has no default")]
    pub fn new() -> Self {
        Self(loom::thread::Builder::new())
    }

    pub fn name(self, name: String) -> Self {
        Self(self.0.name(name))
    }

    /// Loom's own size of stacks is enough here.
    pub fn stack_size(self, _bytes: usize) -> Self {
        self
    }

    pub fn spawn(self, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
        RUNNING.set(RUNNING.get() + 1);
        self.0.spawn(move || {
            work();
            RUNNING.set(RUNNING.get() - 1);
        })
    }
}

pub use loom::thread::JoinHandle;
