//! A forward pass of a warmed-up model allocates nothing, on any thread. In a file of its own, because it replaces the
//! allocator.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::golden;
use crossrank::cpu::simd::{self, Simd};
use crossrank::cpu::threads::Pool;
use crossrank::cpu::{Cpu, isa};
use crossrank::kernels::Kernels;
use crossrank::model::forward::{Activations, forward};
use crossrank::model::{config, weights};
use crossrank::text::batch::{PackedBatch, Pair};
use crossrank::{Isa, ModelFiles};

/// The system's allocator with a count of the allocations of all threads.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes every request on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's duties are the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's duties are the same.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs batches of several layouts until all buffers have grown, then counts the allocations of one more round.
fn count_allocations<S: Simd>(simd: S, files: &ModelFiles, pool: Option<&Arc<Pool>>) -> usize {
    let mut cpu = Cpu::new(simd);
    cpu.set_pool(pool.cloned());
    let spec = config::read_spec(files).unwrap();
    let weights = weights::load_f32(&cpu, &spec, files).unwrap();
    let cases = golden(&files.name).cases;
    let pairs: Vec<Pair> = cases
        .into_iter()
        .map(|case| Pair {
            token_types: vec![0; case.input_ids.len()],
            ids: case.input_ids,
            ..Pair::default()
        })
        .collect();
    // Long and short pairs mixed, a single pair, and two pairs: shorter layouts must reuse the buffers of longer ones.
    let batches: Vec<PackedBatch> =
        [&pairs[18..], &pairs[..1], &pairs[24..]].into_iter().map(|pairs| spec.pack(pairs)).collect();
    let mut logits = vec![f32::NAN; pairs.len()];
    let mut activations = Activations::new(&cpu);
    let mut round = || {
        for batch in &batches {
            let logits = &mut logits[..batch.sequences()];
            let between = &mut |_: &mut Cpu<S>, _, _: &<Cpu<S> as Kernels>::Buf| Ok(());
            forward(&mut cpu, &spec, &weights, &mut activations, batch, between, logits).unwrap();
        }
    };
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    round();
    assert_ne!(ALLOCATIONS.load(Ordering::Relaxed), before, "the first round fills the buffers");
    round();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    round();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

// The only test of this file: the allocations of a test that ran at the same time would be counted too.
#[test]
fn a_warmed_up_forward_pass_allocates_nothing() {
    let pool = Arc::new(Pool::new(3));
    for family in ["bert", "electra", "mpnet", "modernbert", "gte", "deberta-v2", "jinabert"] {
        let files = common::files(&format!("tests/fixtures/{family}"));
        for isa in isa::available() {
            for pool in [None, Some(&pool)] {
                let count = match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => count_allocations(simd::Avx2::detect().unwrap(), &files, pool),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => count_allocations(simd::Avx512::detect().unwrap(), &files, pool),
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => count_allocations(simd::Neon::detect().unwrap(), &files, pool),
                    _ => count_allocations(simd::Scalar, &files, pool),
                };
                assert_eq!(count, 0, "{family} on {} with a pool: {}", isa.name(), pool.is_some());
            }
        }
    }
}
