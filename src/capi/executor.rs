//! An executor that runs the model's work on the program's own threads.

use std::ffi::c_void;

use super::caller::User;
use crate::options::Executor;

/// Runs tasks on the program's threads: calls `task(context, 0)` to `task(context, count - 1)`, each once, in any order and on
/// any thread, and returns when all of them have returned. A task needs about 256 KiB of stack. Must not unwind.
pub type crossrank_parallel_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        count: usize,
        task: unsafe extern "C" fn(context: *mut c_void, index: usize),
        context: *mut c_void,
    ),
>;

/// The program's threads, through the function that the caller gave.
pub struct HostExecutor {
    pub threads: usize,
    pub parallel:
        unsafe extern "C" fn(*mut c_void, usize, unsafe extern "C" fn(*mut c_void, usize), *mut c_void),
    pub user: User,
}

type Task<'a> = &'a (dyn Fn(usize) + Sync);

impl Executor for HostExecutor {
    fn threads(&self) -> usize {
        self.threads
    }

    fn run(&self, count: usize, task: Task<'_>) {
        unsafe extern "C" fn call(context: *mut c_void, index: usize) {
            // SAFETY: `context` is the pointer that `run` passed to the caller's function, which the header obliges to return
            // only after every task, so `run` has not returned and its `task` is alive.
            let task = unsafe { *context.cast::<Task<'_>>() };
            task(index);
        }
        let mut task = task;
        let context = (&raw mut task).cast();
        // SAFETY: a function of the caller, called as the header says; the context lives until it returns.
        unsafe { (self.parallel)(self.user.0, count, call, context) };
    }
}
