//! A small pool of worker threads with their own stack size and floating-point mode, which sleep when there is nothing to do.
//!
//! One primitive: [`Pool::parallel_for`] calls a task for every index below a count and returns when all calls have
//! returned. It may be called from many threads at once, and from inside a task. The calling thread only waits, unless it is
//! a worker of this pool.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use super::simd::{in_default_float_mode, set_default_float_mode};
use super::sync::{
    AtomicBool, AtomicUsize, Builder, Cell, Condvar, Instant, JoinHandle, Mutex, MutexGuard, Ordering,
    Thread, available_parallelism, current, park, spin_loop,
};
use crate::error::{Error, Result};
use crate::options::Executor;

/// How long a thread spins for new work, or for the end of its work, before it sleeps: a few times what waking it costs.
const MAX_SPIN: Duration = Duration::from_micros(50);

/// Stack of a worker: the default of Rust's threads, whatever the host or the system would choose.
const STACK_BYTES: usize = 2 << 20;

/// A fixed number of worker threads, joined when the pool is dropped; or the host's threads.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    host: Option<Arc<dyn Executor>>,
    /// How long a caller that is not a worker spins for the end of its work; set by the first such caller.
    caller_spin_limit: OnceLock<Duration>,
}

/// State that workers and callers share.
struct Shared {
    queue: Mutex<Queue>,
    /// Jobs with indices that are not taken yet, so that a spinning worker need not take the lock.
    open_jobs: AtomicUsize,
    /// Workers wait here for jobs.
    work_available: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<JobPtr>,
    sleeping: usize,
    closed: bool,
}

/// One call of `parallel_for`, on the caller's stack.
struct Job<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    count: usize,
    /// The index to take next; guarded by the queue's lock.
    next: Cell<usize>,
    unfinished: AtomicUsize,
    /// Is unparked after each index. Not one condition variable for all callers: a thread that waits for a whole model would
    /// be woken, and take a core, at the end of each of that model's products.
    caller: Thread,
    /// The message of the first task that panicked.
    panic: Mutex<Option<String>>,
}

/// A job in the queue.
///
/// It is dereferenced only (1) under the queue's lock while it is in the queue, and (2) by a worker between taking an
/// index and counting it as finished. `parallel_for` returns only when every index is finished, and the job leaves the
/// queue when its last index is taken; so the job outlives every use.
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
    /// Starts `threads` workers, or as many as the system allows; with none, [`parallel_for`](Self::parallel_for) computes
    /// on the calling thread.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            open_jobs: AtomicUsize::new(0),
            work_available: Condvar::new(),
        });
        let workers = (0..threads)
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                let name = format!("crossrank-{index}");
                Builder::new()
                    .name(name)
                    .stack_size(STACK_BYTES)
                    .spawn(move || shared.work_until_closed())
                    .ok()
            })
            .collect();
        Self { shared, workers, host: None, caller_spin_limit: OnceLock::new() }
    }

    /// Computes on the host's threads and starts none.
    pub fn with_executor(host: Arc<dyn Executor>) -> Self {
        let mut pool = Self::new(0);
        pool.host = Some(host);
        pool
    }

    /// The number of threads that compute.
    pub fn threads(&self) -> usize {
        self.host.as_ref().map_or(self.workers.len(), |host| host.threads()).max(1)
    }

    /// Whether [`parallel_for`](Self::parallel_for) may be called from inside a task.
    pub fn supports_nesting(&self) -> bool {
        self.host.is_none()
    }

    /// Calls `task(0)` to `task(count - 1)`, each once, in any order and on any worker; a worker that calls this begins with
    /// `task(0)`. `on_progress` is called on the calling thread, from time to time while it waits and once at the end. A panic
    /// in a task becomes an error; the other indices are still computed.
    pub fn parallel_for(
        &self,
        count: usize,
        task: &(dyn Fn(usize) + Sync),
        mut on_progress: impl FnMut(),
    ) -> Result<()> {
        if let Some(host) = &self.host {
            return parallel_for_on_host(&**host, count, task, &mut on_progress);
        }
        let takes_part =
            self.workers.is_empty() || WORKER_OF.with(|pool| pool.get()) == Arc::as_ptr(&self.shared);
        // A caller that takes part computes index 0 itself; only the other indices are put into the queue. A caller takes
        // indices of its own job alone and then waits, while a worker that has finished an index takes the next one of any
        // job. So where index 0 hands out work of its own, the caller must have index 0: with a shorter task it would soon
        // wait and leave that work to fewer threads.
        let reserved = usize::from(takes_part).min(count);
        let job = Job {
            task,
            count,
            next: Cell::new(reserved),
            unfinished: AtomicUsize::new(count),
            caller: current(),
            panic: Mutex::new(None),
        };
        let pointer = JobPtr((&raw const job).cast());
        if count > reserved {
            self.shared.enqueue(pointer, count - reserved);
        }
        // A panic in `on_progress` must not unwind past a job that workers still use.
        let progress = catch_unwind(AssertUnwindSafe(|| {
            let mut next = (reserved > 0).then_some(0);
            while let Some(index) = next {
                job.call_task(index);
                job.unfinished.fetch_sub(1, Ordering::AcqRel);
                on_progress();
                next = self.shared.take_index(pointer);
            }
            job.wait(if takes_part { MAX_SPIN } else { self.caller_spin_limit() }, &mut on_progress);
            on_progress();
        }));
        if progress.is_err() && takes_part {
            while let Some(index) = self.shared.take_index(pointer) {
                job.call_task(index);
                job.unfinished.fetch_sub(1, Ordering::AcqRel);
            }
        }
        job.wait(Duration::ZERO, &mut || ());
        let panic = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (panic, progress) {
            (Some(message), _) => Err(Error::Internal { message }),
            (None, Err(payload)) => Err(Error::Internal { message: panic_message(&*payload) }),
            (None, Ok(())) => Ok(()),
        }
    }

    /// How long a caller that is not a worker spins: not at all where that would keep a worker off its core. Counting the
    /// cores reads several files on Linux, so it is done while the first work is under way.
    fn caller_spin_limit(&self) -> Duration {
        let cores = || available_parallelism().map_or(1, usize::from);
        *self
            .caller_spin_limit
            .get_or_init(|| if self.workers.len() < cores() { MAX_SPIN } else { Duration::ZERO })
    }

    /// Calls `f` once, on a worker, and returns its result.
    pub fn call_on_worker<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        let (f, value) = (Mutex::new(Some(f)), Mutex::new(None));
        let task = |_| {
            let f = f.lock().unwrap_or_else(PoisonError::into_inner).take();
            *value.lock().unwrap_or_else(PoisonError::into_inner) = f.map(|f| f());
        };
        self.parallel_for(1, &task, || ())?;
        let value = value.into_inner().unwrap_or_else(PoisonError::into_inner);
        value.ok_or_else(|| Error::Internal { message: "a task did not run".into() })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work_available.notify_all();
        for worker in self.workers.drain(..) {
            // A worker's tasks are wrapped in catch_unwind: it ends without a panic.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Locks the queue. Nothing panics while it holds the lock, so the queue is consistent even if the lock is poisoned.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job into the queue and wakes a sleeping worker for each of its `indices`, as far as there are any.
    fn enqueue(&self, job: JobPtr, indices: usize) {
        let mut queue = self.lock();
        queue.jobs.push_back(job);
        self.open_jobs.fetch_add(1, Ordering::Release);
        let wanted = indices.min(queue.sleeping);
        drop(queue);
        (0..wanted).for_each(|_| self.work_available.notify_one());
    }

    fn work_until_closed(&self) {
        set_default_float_mode();
        WORKER_OF.with(|pool| pool.set(self));
        while let Some((pointer, index)) = self.wait_for_index() {
            // SAFETY: `index` was taken and is not finished yet, see JobPtr.
            let job = unsafe { &*pointer.0 };
            job.call_task(index);
            let caller = job.caller.clone();
            // The job may cease to exist as soon as its last index is counted as finished.
            job.unfinished.fetch_sub(1, Ordering::AcqRel);
            caller.unpark();
        }
    }

    /// Takes the next index of the oldest job; spins, then sleeps until there is one. `None` when the pool closes.
    fn wait_for_index(&self) -> Option<(JobPtr, usize)> {
        let start = Instant::now();
        while self.open_jobs.load(Ordering::Acquire) == 0 && start.elapsed() < MAX_SPIN {
            spin_loop();
        }
        let mut queue = self.lock();
        loop {
            if let Some(pointer) = queue.jobs.front().copied() {
                let index = self.take_index_locked(&mut queue, pointer);
                return index.map(|index| (pointer, index));
            }
            if queue.closed {
                return None;
            }
            queue.sleeping += 1;
            queue = self.work_available.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.sleeping -= 1;
        }
    }

    /// Takes an index of one job, which is the calling thread's; `None` when all are taken.
    fn take_index(&self, pointer: JobPtr) -> Option<usize> {
        self.take_index_locked(&mut self.lock(), pointer)
    }

    fn take_index_locked(&self, queue: &mut Queue, pointer: JobPtr) -> Option<usize> {
        let position = queue.jobs.iter().position(|job| std::ptr::eq(job.0, pointer.0))?;
        // SAFETY: the job is in the queue and the lock is held, see JobPtr.
        let job = unsafe { &*pointer.0 };
        let index = job.next.get();
        job.next.set(index + 1);
        if index + 1 == job.count {
            queue.jobs.remove(position);
            self.open_jobs.fetch_sub(1, Ordering::Release);
        }
        Some(index)
    }
}

impl Job<'_> {
    fn call_task(&self, index: usize) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.task)(index))) {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| panic_message(&*payload));
        }
    }

    /// Spins for at most `spin_limit`, then sleeps until every index is finished.
    fn wait(&self, spin_limit: Duration, on_progress: &mut dyn FnMut()) {
        let finished = || self.unfinished.load(Ordering::Acquire) == 0;
        let start = Instant::now();
        while !finished() && start.elapsed() < spin_limit {
            spin_loop();
        }
        while !finished() {
            on_progress();
            if !finished() {
                // Returns at once where an index has been finished since the check.
                park();
            }
        }
    }
}

/// [`Pool::parallel_for`] on the host's threads. An executor that leaves indices out is an error, and one that repeats them
/// changes no result.
fn parallel_for_on_host(
    host: &dyn Executor,
    count: usize,
    task: &(dyn Fn(usize) + Sync),
    on_progress: &mut dyn FnMut(),
) -> Result<()> {
    let called: Vec<AtomicBool> = (0..count).map(|_| AtomicBool::new(false)).collect();
    let unfinished = AtomicUsize::new(count);
    let panic = Mutex::new(None);
    let once = |index: usize| {
        if called.get(index).is_some_and(|called| !called.swap(true, Ordering::Relaxed)) {
            let call = || in_default_float_mode(|| task(index));
            if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
                let mut first = panic.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| panic_message(&*payload));
            }
            unfinished.fetch_sub(1, Ordering::AcqRel);
        }
    };
    let returned = catch_unwind(AssertUnwindSafe(|| {
        if count > 0 {
            host.run(count, &once);
        }
        on_progress();
    }));
    let panic = panic.into_inner().unwrap_or_else(PoisonError::into_inner);
    let message = match (panic, returned, unfinished.into_inner()) {
        (Some(message), _, _) => message,
        (None, Err(payload), _) => panic_message(&*payload),
        (None, Ok(()), 0) => return Ok(()),
        (None, Ok(()), missing) => format!("the executor did not run {missing} of {count} tasks"),
    };
    Err(Error::Internal { message })
}

/// Physical cores that this process may use: two threads on one core share its multipliers and gain nothing.
pub fn physical_cores() -> usize {
    let usable = available_parallelism().map_or(1, usize::from);
    let siblings = |cpu: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        std::fs::read_to_string(path).ok()
    };
    // Only Linux has these files; elsewhere every usable thread counts.
    let cores: std::collections::BTreeSet<String> = (0..).map_while(siblings).collect();
    if cores.is_empty() { usable } else { usable.min(cores.len()) }
}

/// The text of a panic.
fn panic_message(payload: &(dyn Any + Send)) -> String {
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
                                pool.parallel_for(3, &inner, || ()).unwrap();
                            };
                            pool.parallel_for(count, &outer, || ()).unwrap();
                            assert!(calls.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn a_calling_worker_computes_the_first_index_and_others_help_with_the_work_it_hands_out() {
        let pool = Pool::new(2);
        let me = || std::thread::current().id();
        let mut helped = 0;
        for _ in 0..500 {
            let (first, inner) = (Mutex::new(None), Mutex::new(std::collections::HashSet::new()));
            let caller = pool.call_on_worker(|| {
                let nested = |_: usize| {
                    inner.lock().unwrap().insert(me());
                    std::thread::sleep(Duration::from_micros(50));
                };
                let outer = |index: usize| {
                    if index == 0 {
                        *first.lock().unwrap() = Some(me());
                        // Long enough for the other worker to have ended its own index.
                        std::thread::sleep(Duration::from_micros(200));
                        pool.parallel_for(20, &nested, || ()).unwrap();
                    }
                };
                pool.parallel_for(2, &outer, || ()).unwrap();
                me()
            });
            assert_eq!(first.into_inner().unwrap(), Some(caller.unwrap()));
            helped += inner.into_inner().unwrap().len() - 1;
        }
        assert!(helped > 100, "the other worker helped {helped} times of 500");
    }

    #[test]
    fn a_panicking_task_is_an_error_and_the_pool_stays_usable() {
        let pool = Pool::new(2);
        let ran = AtomicU32::new(0);
        let task = |i: usize| {
            ran.fetch_add(1, Ordering::Relaxed);
            // Not panic!: the default hook would print.
            if i == 3 {
                std::panic::resume_unwind(Box::new("planted"));
            }
        };
        let error = pool.parallel_for(8, &task, || ()).unwrap_err();
        assert_eq!(error, Error::Internal { message: "a task panicked: planted".into() });
        assert_eq!(ran.load(Ordering::Relaxed), 8);
        pool.parallel_for(8, &|_| (), || ()).unwrap();
    }

    #[test]
    fn a_panic_in_on_progress_is_an_error_after_the_job_has_ended() {
        for threads in [0, 2] {
            let pool = Pool::new(threads);
            let ran = AtomicU32::new(0);
            let task = |_| {
                std::thread::sleep(Duration::from_millis(2));
                ran.fetch_add(1, Ordering::Relaxed);
            };
            let error =
                pool.parallel_for(4, &task, || std::panic::resume_unwind(Box::new("planted"))).unwrap_err();
            assert_eq!(error, Error::Internal { message: "a task panicked: planted".into() });
            assert_eq!(ran.load(Ordering::Relaxed), 4);
        }
    }

    /// A host that runs tasks one after another, leaves out the last `skipped` and repeats the first.
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
    fn a_host_runs_every_index_once_and_left_out_indices_are_errors() {
        let ran = AtomicU32::new(0);
        let task = |_| {
            ran.fetch_add(1, Ordering::Relaxed);
        };
        let mut progress_calls = 0;
        let pool = Pool::with_executor(Arc::new(Host { skipped: 0 }));
        assert_eq!((pool.threads(), pool.supports_nesting()), (3, false));
        pool.parallel_for(5, &task, || progress_calls += 1).unwrap();
        pool.parallel_for(0, &task, || progress_calls += 1).unwrap();
        assert_eq!((ran.load(Ordering::Relaxed), progress_calls), (5, 2));
        let error =
            Pool::with_executor(Arc::new(Host { skipped: 2 })).parallel_for(5, &task, || ()).unwrap_err();
        assert_eq!(error, Error::Internal { message: "the executor did not run 2 of 5 tasks".into() });
        let planted = |_| std::panic::resume_unwind(Box::new("planted"));
        let error = pool.parallel_for(2, &planted, || ()).unwrap_err();
        assert_eq!(error, Error::Internal { message: "a task panicked: planted".into() });
    }
}
