//! Options: one object with a setter each, so that a new option breaks nobody.

use std::ffi::{c_char, c_void};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::cancel::{self, Watched, crossrank_cancel};
use super::guard::{Failure, guard};
use super::handle::Table;
use super::rank::crossrank_ranked;
use super::status::crossrank_status;
use super::text::{c_string, out};
use crate::options::{Backend, Executor, GpuPrecision, Isa, Precision};
use crate::rerank_options::{Label, RerankOptions, Truncation};
use crate::reranker::builder::RerankerBuilder;

/// Options of a load or of a call. {0}, CROSSRANK_DEFAULTS, stands for all defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_options {
    /// The library's own number for it.
    pub id: u64,
}

/// Backend: the fastest this machine has.
pub const CROSSRANK_BACKEND_AUTO: i32 = 0;
/// Backend: SIMD on the host processor.
pub const CROSSRANK_BACKEND_CPU: i32 = 1;
/// Backend: naive float64 loops, the yardstick.
pub const CROSSRANK_BACKEND_REFERENCE: i32 = 2;
/// Backend: shaders on a GPU, in libraries that were built with it. A call whose GPU fails is finished on the CPU, and its
/// usage says so.
pub const CROSSRANK_BACKEND_GPU: i32 = 3;

/// Precision: what the model's files hold.
pub const CROSSRANK_PRECISION_AUTO: i32 = 0;
/// Precision: float32, 4 bytes per weight.
pub const CROSSRANK_PRECISION_F32: i32 = 1;
/// Precision: float16, or bfloat16 where the files hold that: 2 bytes per weight, and the same bits as F32 for such files.
/// Rounding float32 files moves logits by about 1e-3.
pub const CROSSRANK_PRECISION_F16_WEIGHTS: i32 = 2;
/// Precision: 8-bit integers with a float32 scale per output: 1 byte per weight, two to three times as fast as float32, and
/// logits move by a few hundredths of their spread. Not for the GPU.
pub const CROSSRANK_PRECISION_INT8: i32 = 3;

/// GPU precision: float32, with logits within 1e-4 of the CPU's.
pub const CROSSRANK_GPU_PRECISION_F32: i32 = 0;
/// GPU precision: float16, with cooperative matrices where the GPU has them: faster, half the memory for weights, and logits
/// within 5e-3 of the CPU's.
pub const CROSSRANK_GPU_PRECISION_F16: i32 = 1;

/// Instruction set: the best this machine has; none, in results of the reference backend.
pub const CROSSRANK_ISA_AUTO: i32 = 0;
/// Instruction set: plain code.
pub const CROSSRANK_ISA_SCALAR: i32 = 1;
/// Instruction set: 64-bit Arm.
pub const CROSSRANK_ISA_NEON: i32 = 2;
/// Instruction set: x86-64 with AVX2 and FMA.
pub const CROSSRANK_ISA_AVX2: i32 = 3;
/// Instruction set: x86-64 with AVX-512.
pub const CROSSRANK_ISA_AVX512: i32 = 4;

/// Truncation: DOCUMENT_ONLY in crossrank_rerank, LONGEST_FIRST in crossrank_score.
pub const CROSSRANK_TRUNCATION_DEFAULT: i32 = 0;
/// Truncation: cut the longer side first, as Hugging Face does.
pub const CROSSRANK_TRUNCATION_LONGEST_FIRST: i32 = 1;
/// Truncation: keep the whole query where it fits.
pub const CROSSRANK_TRUNCATION_DOCUMENT_ONLY: i32 = 2;
/// Truncation: refuse the call with CROSSRANK_ERR_TOO_LONG.
pub const CROSSRANK_TRUNCATION_ERROR: i32 = 3;

/// Called on the thread of the call as pairs are scored: `done` of `total`, and the `count` pairs that were scored since the
/// last time, in no particular order. Must not unwind.
pub type crossrank_progress_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        done: usize,
        total: usize,
        partial: *const crossrank_ranked,
        count: usize,
    ),
>;

/// Calls `task(context, 0)` to `task(context, count - 1)`, each once, in any order and on any thread, and returns when all of
/// them have returned. A task needs about 256 KiB of stack. Must not unwind.
pub type crossrank_parallel_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        count: usize,
        task: unsafe extern "C" fn(context: *mut c_void, index: usize),
        context: *mut c_void,
    ),
>;

/// A pointer of the caller that is handed back to the caller's functions.
#[derive(Clone, Copy)]
pub struct User(pub *mut c_void);

// SAFETY: the library never looks behind it; the header says that it may be used on other threads.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

/// What the setters have set.
#[derive(Clone, Default)]
pub struct Options {
    pub load: RerankerBuilder,
    pub gpu_cache: Option<PathBuf>,
    pub run: RerankOptions,
    pub time_limit: Option<Duration>,
    /// Most windows of a document; 0 for none.
    pub windows: usize,
    pub overlap: Option<usize>,
    pub cancel: Option<Arc<Watched>>,
    pub progress:
        Option<(unsafe extern "C" fn(*mut c_void, usize, usize, *const crossrank_ranked, usize), User)>,
    pub strict_utf8: bool,
}

pub static OPTIONS: Table<Mutex<Options>> = Table::new(2, "options object");

/// A copy of the options behind a handle; the defaults for the null handle.
pub fn read(options: crossrank_options) -> Result<Options, Failure> {
    if options.id == 0 {
        return Ok(Options::default());
    }
    Ok(OPTIONS.get(options.id)?.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// The body of every setter.
fn set(
    options: crossrank_options,
    change: impl FnOnce(&mut Options) -> Result<(), Failure>,
) -> crossrank_status {
    guard(|| change(&mut OPTIONS.get(options.id)?.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// The value that a number of the header stands for.
fn choose<T: Copy>(name: &str, number: i32, values: &[(i32, T)]) -> Result<T, Failure> {
    let found = values.iter().find(|(known, _)| *known == number);
    found.map(|(_, value)| *value).ok_or_else(|| Failure::argument(format!("{number} is no {name}")))
}

/// Makes options with all defaults. Free them with crossrank_options_free. Any thread; one object may be used by several
/// calls at once, each of which reads it when it starts. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_options_new(options: *mut crossrank_options) -> crossrank_status {
    guard(|| {
        // SAFETY: the header asks for writable memory or NULL.
        let options = unsafe { out(options, "options") }?;
        options.id = OPTIONS.insert(Arc::default())?;
        Ok(())
    })
}

/// Frees options. Freeing twice is harmless and returns CROSSRANK_ERR_HANDLE. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_free(options: crossrank_options) -> crossrank_status {
    guard(|| OPTIONS.remove(options.id).map(drop))
}

/// Which implementation computes, a CROSSRANK_BACKEND_ value. For loading. Default: AUTO. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_backend(
    options: crossrank_options,
    backend: i32,
) -> crossrank_status {
    set(options, |o| {
        let values = [
            (CROSSRANK_BACKEND_AUTO, Backend::Auto),
            (CROSSRANK_BACKEND_CPU, Backend::Cpu),
            (CROSSRANK_BACKEND_REFERENCE, Backend::Reference),
            (CROSSRANK_BACKEND_GPU, Backend::Gpu),
        ];
        o.load = o.load.clone().backend(choose("backend", backend, &values)?);
        Ok(())
    })
}

/// The highest instruction set to use, a CROSSRANK_ISA_ value. For loading. Default: AUTO. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_isa(options: crossrank_options, isa: i32) -> crossrank_status {
    set(options, |o| {
        let values = [
            (CROSSRANK_ISA_AUTO, None),
            (CROSSRANK_ISA_SCALAR, Some(Isa::Scalar)),
            (CROSSRANK_ISA_NEON, Some(Isa::Neon)),
            (CROSSRANK_ISA_AVX2, Some(Isa::Avx2)),
            (CROSSRANK_ISA_AVX512, Some(Isa::Avx512)),
        ];
        o.load = o.load.clone().isa(choose("instruction set", isa, &values)?);
        Ok(())
    })
}

/// Worker threads, at least 1. For loading. Default: one per physical core. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_threads(
    options: crossrank_options,
    threads: usize,
) -> crossrank_status {
    set(options, |o| {
        o.load = o.load.clone().threads(threads);
        Ok(())
    })
}

/// Window in tokens, special tokens included; never more than the model's own. For loading, and per call. Default: the
/// model's own. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_max_tokens(
    options: crossrank_options,
    tokens: usize,
) -> crossrank_status {
    set(options, |o| {
        o.load = o.load.clone().max_tokens(tokens);
        o.run.max_tokens = Some(tokens);
        Ok(())
    })
}

/// The most bytes that weights and work space together may take. For loading. Default: no limit. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_memory_limit(
    options: crossrank_options,
    bytes: u64,
) -> crossrank_status {
    set(options, |o| {
        o.load = o.load.clone().memory_limit(bytes);
        Ok(())
    })
}

/// Whether CROSSRANK_BACKEND_GPU may use a processor that poses as a GPU: for tests, being slower than the CPU. For loading.
/// Default: false. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_allow_software_gpu(
    options: crossrank_options,
    allow: bool,
) -> crossrank_status {
    set(options, |o| {
        o.load = o.load.clone().allow_software_gpu(allow);
        Ok(())
    })
}

/// What the CPU keeps weights as, and whether it multiplies floats or integers, a CROSSRANK_PRECISION_ value. A load for
/// CROSSRANK_BACKEND_GPU refuses INT8 with CROSSRANK_ERR_ARGUMENT. For loading. Default: AUTO. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_precision(
    options: crossrank_options,
    precision: i32,
) -> crossrank_status {
    set(options, |o| {
        let values = [
            (CROSSRANK_PRECISION_AUTO, Precision::Auto),
            (CROSSRANK_PRECISION_F32, Precision::F32),
            (CROSSRANK_PRECISION_F16_WEIGHTS, Precision::F16Weights),
            (CROSSRANK_PRECISION_INT8, Precision::Int8),
        ];
        o.load = o.load.clone().precision(choose("precision", precision, &values)?);
        Ok(())
    })
}

/// What a GPU stores weights and the inputs of linear layers as, a CROSSRANK_GPU_PRECISION_ value. For loading. Default: F32.
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_gpu_precision(
    options: crossrank_options,
    precision: i32,
) -> crossrank_status {
    set(options, |o| {
        let values = [
            (CROSSRANK_GPU_PRECISION_F32, GpuPrecision::F32),
            (CROSSRANK_GPU_PRECISION_F16, GpuPrecision::F16),
        ];
        o.load = o.load.clone().gpu_precision(choose("GPU precision", precision, &values)?);
        Ok(())
    })
}

/// A folder, which exists, for compiled shaders: read at load, written by crossrank_model_warmup. Nobody else should be able to
/// write to it. NULL takes it back. Without effect on the CPU. For loading. Default: none. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_options_set_gpu_cache(
    options: crossrank_options,
    folder: *const c_char,
) -> crossrank_status {
    set(options, |o| {
        o.gpu_cache = if folder.is_null() {
            None
        } else {
            // SAFETY: the header asks for a NUL-terminated string or NULL.
            Some(unsafe { c_string(folder, "folder") }?.into())
        };
        Ok(())
    })
}

/// Computes on the program's own threads, for example a game engine's job system: `parallel` runs the tasks, `threads` of
/// them at once, and the library starts none. `user` is handed to every call of `parallel`; both must live as long as models
/// loaded with these options. NULL takes it back. For loading. Default: the library's own threads. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_executor(
    options: crossrank_options,
    threads: usize,
    parallel: crossrank_parallel_fn,
    user: *mut c_void,
) -> crossrank_status {
    set(options, |o| {
        let host = parallel
            .map(|parallel| -> Arc<dyn Executor> { Arc::new(Host { threads, parallel, user: User(user) }) });
        o.load = o.load.clone().executor(host);
        Ok(())
    })
}

/// What to do with pairs longer than the window, a CROSSRANK_TRUNCATION_ value. Per call. Default: DEFAULT. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_truncation(
    options: crossrank_options,
    truncation: i32,
) -> crossrank_status {
    set(options, |o| {
        let values = [
            (CROSSRANK_TRUNCATION_DEFAULT, None),
            (CROSSRANK_TRUNCATION_LONGEST_FIRST, Some(Truncation::LongestFirst)),
            (CROSSRANK_TRUNCATION_DOCUMENT_ONLY, Some(Truncation::DocumentOnly)),
            (CROSSRANK_TRUNCATION_ERROR, Some(Truncation::Error)),
        ];
        o.run.truncation = choose("truncation", truncation, &values)?;
        Ok(())
    })
}

/// Reads documents longer than the window in at most this many overlapping windows, instead of cutting them; the best one scores
/// the document, and crossrank_ranked says which bytes it holds. A query longer than half of the window is cut to half. 0 takes
/// it back. Needs a model with one label. Per call. Default: 0. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_windows(
    options: crossrank_options,
    count: usize,
) -> crossrank_status {
    set(options, |o| {
        o.windows = count;
        Ok(())
    })
}

/// Tokens that neighbouring windows share, at most half of what a window holds of a document. Per call. Default: 64. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_window_overlap(
    options: crossrank_options,
    tokens: usize,
) -> crossrank_status {
    set(options, |o| {
        o.overlap = Some(tokens);
        Ok(())
    })
}

/// Rank at most this many documents. Per call. Default: as many as the results have room for. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_top_k(options: crossrank_options, count: usize) -> crossrank_status {
    set(options, |o| {
        o.run.top_k = Some(count);
        Ok(())
    })
}

/// Leave out documents whose score (not logit) is below this. Per call. Default: none. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_threshold(
    options: crossrank_options,
    score: f64,
) -> crossrank_status {
    set(options, |o| {
        if score.is_nan() {
            return Err(Failure::argument("the threshold is not a number"));
        }
        o.run.threshold = Some(score);
        Ok(())
    })
}

/// Rank by this label of a model with several, counted from 0. Per call. Default: the only one; of two that have no names and
/// no activation, the second, through a softmax. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_label(options: crossrank_options, label: usize) -> crossrank_status {
    set(options, |o| {
        o.run.label = Some(Label::Index(label));
        Ok(())
    })
}

/// Stop after this many milliseconds: pairs not scored by then have status CROSSRANK_ERR_NOT_SCORED and come last. Per call.
/// Default: never. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_time_limit(
    options: crossrank_options,
    milliseconds: u64,
) -> crossrank_status {
    set(options, |o| {
        o.time_limit = Some(Duration::from_millis(milliseconds));
        Ok(())
    })
}

/// Lets another thread cancel the call, or ask how far it is. The null handle takes it back. Per call. Default: none.
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_cancel(
    options: crossrank_options,
    cancel: crossrank_cancel,
) -> crossrank_status {
    set(options, |o| {
        o.cancel = cancel::optional(cancel)?;
        Ok(())
    })
}

/// Calls `progress` as pairs are scored, with `user`. Both must live as long as calls with these options. NULL takes it back.
/// Per call. Default: none. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_progress(
    options: crossrank_options,
    progress: crossrank_progress_fn,
    user: *mut c_void,
) -> crossrank_status {
    set(options, |o| {
        o.progress = progress.map(|progress| (progress, User(user)));
        Ok(())
    })
}

/// Whether ill-formed UTF-8 is refused with CROSSRANK_ERR_UTF8, whose message names the index, rather than read as U+FFFD.
/// Per call. Default: false. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_strict_utf8(
    options: crossrank_options,
    strict: bool,
) -> crossrank_status {
    set(options, |o| {
        o.strict_utf8 = strict;
        Ok(())
    })
}

/// The program's threads.
struct Host {
    threads: usize,
    parallel: unsafe extern "C" fn(*mut c_void, usize, unsafe extern "C" fn(*mut c_void, usize), *mut c_void),
    user: User,
}

type Task<'a> = &'a (dyn Fn(usize) + Sync);

impl Executor for Host {
    fn threads(&self) -> usize {
        self.threads
    }

    fn run(&self, count: usize, task: Task<'_>) {
        unsafe extern "C" fn call(context: *mut c_void, index: usize) {
            // SAFETY: `context` is the pointer that `run` handed out, and `run` has not returned: the header says so.
            let task = unsafe { *context.cast::<Task<'_>>() };
            task(index);
        }
        let mut task = task;
        let context = (&raw mut task).cast();
        // SAFETY: a function of the caller, called as the header says; the context lives until it returns.
        unsafe { (self.parallel)(self.user.0, count, call, context) };
    }
}
