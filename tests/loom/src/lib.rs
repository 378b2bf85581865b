//! `src/cpu/threads.rs` itself, not a copy, compiled with loom's threads and locks in place of the standard library's.
//!
//! threads.rs takes them from its sibling module `sync`; here that is the module below. The other modules provide the few
//! items of crossrank that threads.rs uses.

#![forbid(unsafe_op_in_unsafe_fn)]

/// `std::thread_local!` over loom's, which does not know the `const` form. It stands before the module that uses it and so
/// hides the one of the prelude.
macro_rules! thread_local {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = const { $value:expr };) => {
        loom::thread_local! { $(#[$attribute])* static $name: $type = $value; }
    };
}

#[path = "../../../src/cpu/threads.rs"]
pub mod threads;

pub mod sync;

pub mod error {
    /// As crossrank's, cut to the variant that threads.rs makes.
    #[derive(Debug, PartialEq)]
    pub enum Error {
        Internal { message: String },
    }

    pub type Result<T> = std::result::Result<T, Error>;
}

pub mod options {
    /// As crossrank's. No model uses it: a host's threads are not ours to model.
    pub trait Executor: Send + Sync {
        fn threads(&self) -> usize;
        fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync));
    }
}

/// The floating-point mode takes no part in synchronization.
mod simd {
    pub fn set_default_float_mode() {}

    pub fn in_default_float_mode<T>(f: impl FnOnce() -> T) -> T {
        f()
    }
}
