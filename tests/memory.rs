//! Loading takes hardly more memory than the loaded model. In a file of its own, because it replaces the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use crossrank::{Backend, Precision, Reranker};

/// The system's allocator with a count of the bytes that are allocated, and the maximum of that count.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count_allocation(bytes: usize) {
    let allocated = ALLOCATED.fetch_add(bytes, Ordering::SeqCst) + bytes;
    PEAK.fetch_max(allocated, Ordering::SeqCst);
}

// SAFETY: passes every request on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_allocation(layout.size());
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_allocation(layout.size());
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller's duties are the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    // `realloc` is left to the default, which allocates, copies and frees: both blocks are counted while both exist.
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Loads a model, and returns it with the bytes that stay allocated and the peak while it was loaded.
fn load(folder: &str, threads: usize, precision: Precision) -> (Reranker, usize, usize) {
    let path = format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"));
    let before = ALLOCATED.load(Ordering::SeqCst);
    PEAK.store(before, Ordering::SeqCst);
    let builder = Reranker::builder().backend(Backend::Cpu).threads(threads).precision(precision);
    let model = builder.load(path).unwrap();
    let (after, peak) = (ALLOCATED.load(Ordering::SeqCst), PEAK.load(Ordering::SeqCst));
    (model, after - before, peak - before)
}

// The only test of this file: the allocations of a test that ran at the same time would be counted too.
#[test]
fn loading_takes_hardly_more_memory_than_the_loaded_model() {
    // The first load also allocates what is made once per process; it is not counted.
    drop(load("tests/fixtures/bert", 2, Precision::F32));
    let precisions = [Precision::F32, Precision::F16Weights, Precision::Int8];
    for (threads, precision) in [1, 2, 8].into_iter().flat_map(|n| precisions.map(|precision| (n, precision)))
    {
        let (model, kept, peak) = load("models/crossrank-mini", threads, precision);
        let weights = model.info().weight_bytes as usize;
        println!("{precision:?}, {threads} threads: weights {weights}, kept {kept}, peak {peak} bytes");
        assert!(kept as f64 <= 1.15 * weights as f64, "{kept} bytes are kept for {weights} bytes of weights");
        // 8 MiB for the tensors that are being read and for the tokenizer's file.
        assert!(
            peak as f64 <= 1.03 * kept as f64 + f64::from(8 << 20),
            "a peak of {peak} bytes to keep {kept}"
        );
    }
}
