//! Our own small pool: threads with their own stack and floating-point mode that sleep when there is nothing to do.
//!
//! One primitive: [`Pool::run`] calls a task for every index below a count and returns when all are done. It may be
//! called from many threads at once, and from inside a task. The calling thread only waits, unless it is a worker.

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::simd::{in_default_float_mode, set_default_float_mode};
use crate::error::{Error, Result};
use crate::options::Executor;

/// How long a thread looks for work, or for the end of its work, before it sleeps: a few times what waking it costs.
const SPIN: Duration = Duration::from_micros(50);

/// Stack of a worker in bytes: the default of Rust's threads, whatever the host or the system would choose.
const STACK: usize = 2 << 20;

/// A fixed number of worker threads, joined when dropped; or a host's threads.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    host: Option<Arc<dyn Executor>>,
    /// How long a caller that is no worker spins for the end of its work, once it has asked.
    patience: OnceLock<Duration>,
}

/// What workers and callers share.
struct Shared {
    queue: Mutex<Queue>,
    /// Jobs with indices to hand out, so that a spinning worker need not take the lock.
    open: AtomicUsize,
    /// Workers wait here for jobs.
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<JobPtr>,
    sleeping: usize,
    closed: bool,
}

/// One call of `run`, on the caller's stack.
struct Job<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    count: usize,
    /// Guarded by the queue's lock.
    next: Cell<usize>,
    unfinished: AtomicUsize,
    /// Is woken after each index. Not a condition variable for all callers: a thread that waits for a whole model would be
    /// woken, and take a core, at the end of each of its products.
    caller: Thread,
    /// The first panic of a task.
    panic: Mutex<Option<String>>,
}

/// A job in the queue.
///
/// It is dereferenced only (1) under the queue's lock while it is in the queue, and (2) by a worker between taking an
/// index and counting it as finished. `run` returns only when every index is finished, and the job leaves the queue when
/// its last index is taken; so the job outlives every use.
#[derive(Clone, Copy)]
struct JobPtr(*const Job<'static>);

// SAFETY: a Job is shared between threads as the type's comment says; its only unsynchronised field, `next`, is used under
// the queue's lock alone.
unsafe impl Send for JobPtr {}

thread_local! {
    /// The pool whose worker this thread is.
    static WORKER_OF: Cell<*const Shared> = const { Cell::new(std::ptr::null()) };
}

impl Pool {
    /// Starts `threads` workers, or as many as the system allows; with none, `run` computes on the calling thread.
    pub fn new(threads: usize) -> Self {
        let shared =
            Arc::new(Shared { queue: Mutex::default(), open: AtomicUsize::new(0), work: Condvar::new() });
        let workers = (0..threads)
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                let name = format!("crossrank-{index}");
                Builder::new().name(name).stack_size(STACK).spawn(move || shared.work_until_closed()).ok()
            })
            .collect();
        Self { shared, workers, host: None, patience: OnceLock::new() }
    }

    /// Computes on a host's threads and starts none.
    pub fn on(host: Arc<dyn Executor>) -> Self {
        let mut pool = Self::new(0);
        pool.host = Some(host);
        pool
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.host.as_ref().map_or(self.workers.len(), |host| host.threads()).max(1)
    }

    /// Whether [`run`](Self::run) may be called from inside a task.
    pub fn nests(&self) -> bool {
        self.host.is_none()
    }

    /// Calls `task(0)` to `task(count - 1)`, each once, in any order and on any worker; a worker that calls this begins with
    /// `task(0)`. `watch` is called on the calling thread, now and then while it waits and once at the end. A panic in a task becomes an error; the others still run.
    pub fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync), mut watch: impl FnMut()) -> Result<()> {
        if let Some(host) = &self.host {
            return run_on(&**host, count, task, &mut watch);
        }
        let helps = self.workers.is_empty() || WORKER_OF.get() == Arc::as_ptr(&self.shared);
        // Who helps begins with the first index, which is nobody else's: a thread only waits once its own indices are out, so
        // an index that hands out work of its own must not leave it with a smaller one.
        let own = usize::from(helps).min(count);
        let job = Job {
            task,
            count,
            next: Cell::new(own),
            unfinished: AtomicUsize::new(count),
            caller: std::thread::current(),
            panic: Mutex::new(None),
        };
        let pointer = JobPtr((&raw const job).cast());
        if count > own {
            let mut queue = self.shared.lock();
            queue.jobs.push_back(pointer);
            self.shared.open.fetch_add(1, Ordering::Release);
            let wanted = (count - own).min(queue.sleeping);
            drop(queue);
            (0..wanted).for_each(|_| self.shared.work.notify_one());
        }
        // A panic in `watch` must not unwind past a job that workers still use.
        let watched = catch_unwind(AssertUnwindSafe(|| {
            let mut next = (own > 0).then_some(0);
            while let Some(index) = next {
                job.call(index);
                job.unfinished.fetch_sub(1, Ordering::AcqRel);
                watch();
                next = self.shared.take(pointer);
            }
            job.wait(if helps { SPIN } else { self.patience() }, &mut watch);
            watch();
        }));
        if watched.is_err() && helps {
            while let Some(index) = self.shared.take(pointer) {
                job.call(index);
                job.unfinished.fetch_sub(1, Ordering::AcqRel);
            }
        }
        job.wait(Duration::ZERO, &mut || ());
        let panic = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (panic, watched) {
            (Some(message), _) => Err(Error::Internal { message }),
            (None, Err(payload)) => Err(Error::Internal { message: describe(&*payload) }),
            (None, Ok(())) => Ok(()),
        }
    }
}

impl Pool {
    /// How long a caller that is no worker spins: not at all where that would keep a worker off its core. Counting the cores
    /// reads several files on Linux, so that is done while the first work is under way.
    fn patience(&self) -> Duration {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        *self.patience.get_or_init(|| if self.workers.len() < cores() { SPIN } else { Duration::ZERO })
    }

    /// Calls `f` once, on a worker, and gives what it returns.
    pub fn call<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        let (f, value) = (Mutex::new(Some(f)), Mutex::new(None));
        let task = |_| {
            let f = f.lock().unwrap_or_else(PoisonError::into_inner).take();
            *value.lock().unwrap_or_else(PoisonError::into_inner) = f.map(|f| f());
        };
        self.run(1, &task, || ())?;
        let value = value.into_inner().unwrap_or_else(PoisonError::into_inner);
        value.ok_or_else(|| Error::Internal { message: "a task did not run".into() })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker's tasks are wrapped in catch_unwind: it ends without a panic.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Nothing panics while it holds the lock, so a poisoned queue is still whole.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work_until_closed(&self) {
        set_default_float_mode();
        WORKER_OF.set(self);
        while let Some((pointer, index)) = self.next() {
            // SAFETY: `index` was taken and is not finished yet, see JobPtr.
            let job = unsafe { &*pointer.0 };
            job.call(index);
            let caller = job.caller.clone();
            // From here on the job may be gone.
            job.unfinished.fetch_sub(1, Ordering::AcqRel);
            caller.unpark();
        }
    }

    /// The next index of the oldest job; spins, then sleeps. `None` when the pool closes.
    fn next(&self) -> Option<(JobPtr, usize)> {
        let start = Instant::now();
        while self.open.load(Ordering::Acquire) == 0 && start.elapsed() < SPIN {
            std::hint::spin_loop();
        }
        let mut queue = self.lock();
        loop {
            if let Some(pointer) = queue.jobs.front().copied() {
                let index = self.take_locked(&mut queue, pointer);
                return index.map(|index| (pointer, index));
            }
            if queue.closed {
                return None;
            }
            queue.sleeping += 1;
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.sleeping -= 1;
        }
    }

    /// An index of one job of the calling thread.
    fn take(&self, pointer: JobPtr) -> Option<usize> {
        self.take_locked(&mut self.lock(), pointer)
    }

    fn take_locked(&self, queue: &mut Queue, pointer: JobPtr) -> Option<usize> {
        let position = queue.jobs.iter().position(|job| std::ptr::eq(job.0, pointer.0))?;
        // SAFETY: the job is in the queue and the lock is held, see JobPtr.
        let job = unsafe { &*pointer.0 };
        let index = job.next.replace(job.next.get() + 1);
        if index + 1 == job.count {
            queue.jobs.remove(position);
            self.open.fetch_sub(1, Ordering::Release);
        }
        Some(index)
    }
}

impl Job<'_> {
    fn call(&self, index: usize) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.task)(index))) {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| describe(&*payload));
        }
    }

    /// Spins, then sleeps until every index is finished.
    fn wait(&self, patience: Duration, watch: &mut dyn FnMut()) {
        let finished = || self.unfinished.load(Ordering::Acquire) == 0;
        let start = Instant::now();
        while !finished() && start.elapsed() < patience {
            std::hint::spin_loop();
        }
        while !finished() {
            watch();
            if !finished() {
                // Returns at once where an index has finished since the check.
                std::thread::park();
            }
        }
    }
}

/// [`Pool::run`] on a host's threads. What the host gets wrong is an error, not a wrong result.
fn run_on(
    host: &dyn Executor,
    count: usize,
    task: &(dyn Fn(usize) + Sync),
    watch: &mut dyn FnMut(),
) -> Result<()> {
    let called: Vec<AtomicBool> = (0..count).map(|_| AtomicBool::new(false)).collect();
    let unfinished = AtomicUsize::new(count);
    let panic = Mutex::new(None);
    let once = |index: usize| {
        if called.get(index).is_some_and(|called| !called.swap(true, Ordering::Relaxed)) {
            let run = || in_default_float_mode(|| task(index));
            if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
                let mut first = panic.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| describe(&*payload));
            }
            unfinished.fetch_sub(1, Ordering::AcqRel);
        }
    };
    let ran = catch_unwind(AssertUnwindSafe(|| {
        if count > 0 {
            host.run(count, &once);
        }
        watch();
    }));
    let panic = panic.into_inner().unwrap_or_else(PoisonError::into_inner);
    let message = match (panic, ran, unfinished.into_inner()) {
        (Some(message), _, _) => message,
        (None, Err(payload), _) => describe(&*payload),
        (None, Ok(()), 0) => return Ok(()),
        (None, Ok(()), missing) => format!("the executor did not run {missing} of {count} tasks"),
    };
    Err(Error::Internal { message })
}

/// Physical cores that this process may use: two threads on one core share its multipliers and gain nothing.
pub fn physical_cores() -> usize {
    let usable = std::thread::available_parallelism().map_or(1, |n| n.get());
    let siblings = |cpu: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        std::fs::read_to_string(path).ok()
    };
    // Only Linux tells; elsewhere every usable thread counts.
    let cores: std::collections::BTreeSet<String> = (0..).map_while(siblings).collect();
    if cores.is_empty() { usable } else { usable.min(cores.len()) }
}

/// The text of a panic.
fn describe(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("a task panicked: {}", text.unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn every_index_runs_exactly_once_from_many_callers_and_from_inside_tasks() {
        for threads in [0, 1, 2, 5] {
            let pool = Pool::new(threads);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for count in [0, 1, 2, 7, 100] {
                            let calls: Vec<AtomicU32> = (0..count * 3).map(|_| AtomicU32::new(0)).collect();
                            let outer = |i: usize| {
                                let inner = |j: usize| {
                                    calls[i * 3 + j].fetch_add(1, Ordering::Relaxed);
                                };
                                pool.run(3, &inner, || ()).unwrap();
                            };
                            pool.run(count, &outer, || ()).unwrap();
                            assert!(calls.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn a_worker_that_calls_takes_the_first_index_itself_and_others_help_with_what_that_hands_out() {
        let pool = Pool::new(2);
        let me = || std::thread::current().id();
        let mut helped = 0;
        for _ in 0..500 {
            let (first, inner) = (Mutex::new(None), Mutex::new(std::collections::HashSet::new()));
            let caller = pool.call(|| {
                let nested = |_: usize| {
                    inner.lock().unwrap().insert(me());
                    std::thread::sleep(Duration::from_micros(50));
                };
                let outer = |index: usize| {
                    if index == 0 {
                        *first.lock().unwrap() = Some(me());
                        // Long enough for the other worker to have ended its own index.
                        std::thread::sleep(Duration::from_micros(200));
                        pool.run(20, &nested, || ()).unwrap();
                    }
                };
                pool.run(2, &outer, || ()).unwrap();
                me()
            });
            assert_eq!(first.into_inner().unwrap(), Some(caller.unwrap()));
            helped += inner.into_inner().unwrap().len() - 1;
        }
        assert!(helped > 100, "the other worker helped {helped} times of 500");
    }

    #[test]
    fn a_panicking_task_is_an_error_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        let ran = AtomicU32::new(0);
        let task = |i: usize| {
            ran.fetch_add(1, Ordering::Relaxed);
            // Not panic!: the default hook would print.
            if i == 3 {
                std::panic::resume_unwind(Box::new("planted"));
            }
        };
        let error = pool.run(8, &task, || ()).unwrap_err();
        assert_eq!(error, Error::Internal { message: "a task panicked: planted".into() });
        assert_eq!(ran.load(Ordering::Relaxed), 8);
        pool.run(8, &|_| (), || ()).unwrap();
    }

    #[test]
    fn a_panicking_watcher_is_an_error_after_the_job_has_ended() {
        for threads in [0, 2] {
            let pool = Pool::new(threads);
            let ran = AtomicU32::new(0);
            let task = |_| {
                std::thread::sleep(Duration::from_millis(2));
                ran.fetch_add(1, Ordering::Relaxed);
            };
            let error = pool.run(4, &task, || std::panic::resume_unwind(Box::new("planted"))).unwrap_err();
            assert_eq!(error, Error::Internal { message: "a task panicked: planted".into() });
            assert_eq!(ran.load(Ordering::Relaxed), 4);
        }
    }

    /// A host that runs tasks in turn, skipping the last `skipped` and repeating the first.
    struct Host {
        skipped: usize,
    }

    impl Executor for Host {
        fn threads(&self) -> usize {
            3
        }

        fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
            (0..count - self.skipped).for_each(task);
            task(0);
        }
    }

    #[test]
    fn a_host_runs_every_index_once_and_its_mistakes_are_errors() {
        let ran = AtomicU32::new(0);
        let task = |_| {
            ran.fetch_add(1, Ordering::Relaxed);
        };
        let mut watched = 0;
        let pool = Pool::on(Arc::new(Host { skipped: 0 }));
        assert_eq!((pool.threads(), pool.nests()), (3, false));
        pool.run(5, &task, || watched += 1).unwrap();
        pool.run(0, &task, || watched += 1).unwrap();
        assert_eq!((ran.load(Ordering::Relaxed), watched), (5, 2));
        let error = Pool::on(Arc::new(Host { skipped: 2 })).run(5, &task, || ()).unwrap_err();
        assert_eq!(error, Error::Internal { message: "the executor did not run 2 of 5 tasks".into() });
        let planted = |_| std::panic::resume_unwind(Box::new("planted"));
        let error = pool.run(2, &planted, || ()).unwrap_err();
        assert_eq!(error, Error::Internal { message: "a task panicked: planted".into() });
    }
}
