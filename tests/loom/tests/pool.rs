//! Models of the thread pool: loom runs each under every interleaving of its threads with at most [`MAX_PREEMPTIONS`]
//! preemptions, and with every value that the memory model lets an atomic load return.
//!
//! What is modelled: the queue and its lock, the condition variable of sleeping workers, the counters of a job on its
//! caller's stack, parking and unparking of callers, nesting, panics, and dropping a pool while it works.
//!
//! What is not: time (a thread spins once, then sleeps), spurious wake-ups of the condition variable, failure to start a thread,
//! stack sizes, floating-point modes, and hosts' executors. More threads or indices than a model has are left to the unit
//! tests, which run on real threads.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossrank_loom::error::Error;
use crossrank_loom::sync::running_workers;
use crossrank_loom::threads::Pool;
use loom::cell::UnsafeCell;

/// The largest models take 15 seconds each at this bound. LOOM_MAX_PREEMPTIONS sets another.
const MAX_PREEMPTIONS: usize = 2;

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(MAX_PREEMPTIONS);
    let executions = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&executions);
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        f();
    });
    println!("{} executions", executions.load(Ordering::Relaxed));
}

/// A place for what one index writes. Loom refuses accesses that are not ordered: two calls of an index, or a `parallel_for`
/// that returns before an index is finished or without having seen what it wrote.
struct Slot(UnsafeCell<u32>);

// SAFETY: loom checks every access, and unordered ones end the model.
unsafe impl Sync for Slot {}

impl Slot {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn increment(&self) {
        // SAFETY: loom has checked that no other access is under way.
        self.0.with_mut(|calls| unsafe { *calls += 1 });
    }

    fn calls(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|calls| unsafe { *calls })
    }
}

/// One `parallel_for` over `COUNT` indices; each must have been called once when it returns.
fn call_each_index_once<const COUNT: usize>(pool: &Pool) {
    let slots: [Slot; COUNT] = std::array::from_fn(|_| Slot::new());
    pool.parallel_for(COUNT, &|index| slots[index].increment(), || ()).unwrap();
    assert!(slots.iter().all(|slot| slot.calls() == 1));
    // The stack frame ends here: a late access races with this one.
    slots.iter().for_each(Slot::increment);
}

#[test]
fn a_call_returns_after_every_index_and_a_drop_after_every_worker() {
    model(|| {
        let pool = Pool::new(2);
        call_each_index_once::<2>(&pool);
        drop(pool);
        assert_eq!(running_workers(), 0);
    });
}

#[test]
fn one_worker_computes_one_job_after_another() {
    model(|| {
        let pool = Pool::new(1);
        call_each_index_once::<2>(&pool);
        call_each_index_once::<1>(&pool);
    });
}

#[test]
fn two_callers_share_the_workers() {
    model(|| {
        let pool = Arc::new(Pool::new(1));
        let other = {
            let pool = Arc::clone(&pool);
            loom::thread::spawn(move || call_each_index_once::<1>(&pool))
        };
        call_each_index_once::<1>(&pool);
        other.join().unwrap();
    });
}

/// A task on one of `workers` workers hands out two indices; the caller waits for it as for any other.
fn nest(workers: usize) {
    let pool = Pool::new(workers);
    let outer = Slot::new();
    let task = |_| {
        call_each_index_once::<2>(&pool);
        outer.increment();
    };
    pool.parallel_for(1, &task, || ()).unwrap();
    assert_eq!(outer.calls(), 1);
}

#[test]
fn an_only_worker_computes_the_indices_that_its_task_hands_out() {
    model(|| nest(1));
}

#[test]
fn another_worker_helps_with_the_indices_that_a_task_hands_out() {
    model(|| nest(2));
}

#[test]
fn a_pool_without_workers_computes_on_the_calling_thread() {
    model(|| {
        let pool = Pool::new(0);
        call_each_index_once::<2>(&pool);
        assert_eq!(pool.call_on_worker(|| 7).unwrap(), 7);
    });
}

#[test]
fn a_call_returns_what_the_worker_made() {
    model(|| assert_eq!(Pool::new(1).call_on_worker(|| 7).unwrap(), 7));
}

#[test]
fn a_panic_of_a_task_is_an_error_and_the_other_indices_are_computed() {
    model(|| {
        let pool = Pool::new(1);
        let slots = [Slot::new(), Slot::new()];
        let task = |index: usize| {
            slots[index].increment();
            if index == 0 {
                resume_unwind(Box::new("planted"));
            }
        };
        let error = pool.parallel_for(2, &task, || ()).unwrap_err();
        assert_eq!(error, Error::Internal { message: "a task panicked: planted".into() });
        assert!(slots.iter().all(|slot| slot.calls() == 1));
    });
}

#[test]
fn a_panic_in_on_progress_waits_for_the_workers() {
    model(|| {
        let pool = Pool::new(1);
        let slots = [Slot::new(), Slot::new()];
        let on_progress = || resume_unwind(Box::new("planted"));
        pool.parallel_for(2, &|index| slots[index].increment(), on_progress).unwrap_err();
        assert!(slots.iter().all(|slot| slot.calls() == 1));
    });
}

#[test]
fn a_drop_ends_workers_that_sleep_and_workers_that_have_not_begun() {
    model(|| {
        drop(Pool::new(2));
        assert_eq!(running_workers(), 0);
    });
}

#[test]
fn a_drop_while_another_owner_works_leaves_the_workers_to_it() {
    model(|| {
        let pool = Arc::new(Pool::new(1));
        let other = {
            let pool = Arc::clone(&pool);
            loom::thread::spawn(move || call_each_index_once::<2>(&pool))
        };
        // Whichever thread drops last joins the workers.
        drop(pool);
        other.join().unwrap();
        assert_eq!(running_workers(), 0);
    });
}
