//! What `threads.rs` uses of the standard library's threads, locks and clocks. The model tests of the pool (tests/loom) compile
//! `threads.rs` with loom's versions in their place.

pub use std::cell::Cell;
pub use std::hint::spin_loop;
pub use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use std::thread::{Builder, JoinHandle, Thread, available_parallelism, current, park};
pub use std::time::Instant;
