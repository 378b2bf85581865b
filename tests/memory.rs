//! Loading takes hardly more memory than the loaded model. In a file of its own: it replaces the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use crossrank::{Backend, Precision, Reranker};

/// The system's allocator, counting the bytes that are out, and the most that ever were.
struct Counting;

static OUT: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn more(bytes: usize) {
    let out = OUT.fetch_add(bytes, Ordering::SeqCst) + bytes;
    PEAK.fetch_max(out, Ordering::SeqCst);
}

// SAFETY: hands every request to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        OUT.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller's duties are the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    // Without `realloc`: the default allocates, copies and frees, which counts both for the moment when both are there.
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Loads, and gives the bytes that stay and the most that were out meanwhile.
fn load(folder: &str, threads: usize, precision: Precision) -> (Reranker, usize, usize) {
    let path = format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"));
    let before = OUT.load(Ordering::SeqCst);
    PEAK.store(before, Ordering::SeqCst);
    let builder = Reranker::builder().backend(Backend::Cpu).threads(threads).precision(precision);
    let model = builder.load(path).unwrap();
    let (after, peak) = (OUT.load(Ordering::SeqCst), PEAK.load(Ordering::SeqCst));
    (model, after - before, peak - before)
}

// One test: what another one allocates at the same time would be counted too.
#[test]
fn loading_takes_hardly_more_memory_than_the_loaded_model() {
    // What is made once per process stays out of the count.
    drop(load("tests/fixtures/bert", 2, Precision::F32));
    let precisions = [Precision::F32, Precision::F16Weights, Precision::Int8];
    for (threads, precision) in [1, 2, 8].into_iter().flat_map(|n| precisions.map(|precision| (n, precision)))
    {
        let (model, stays, peak) = load("models/crossrank-mini", threads, precision);
        let weights = model.info().weight_bytes as usize;
        println!(
            "{precision:?}, {threads} threads: weights {weights}, all that stays {stays}, peak {peak} bytes"
        );
        assert!(stays as f64 <= 1.15 * weights as f64, "{stays} bytes stay for {weights} bytes of weights");
        // 8 MiB for what is being read and for the tokenizer's file.
        assert!(peak as f64 <= 1.03 * stays as f64 + f64::from(8 << 20), "{peak} bytes to keep {stays}");
    }
}
