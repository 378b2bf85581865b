//! Models: loading, facts, memory and the GPU.

use std::ffi::c_char;
use std::path::Path;
use std::sync::Arc;

use super::caller::{c_string, out, slice_mut, write_sized};
use super::enums::CValue;
use super::guard::guard;
use super::handle::Table;
use super::log::{CROSSRANK_LOG_INFO, CROSSRANK_LOG_WARNING, log};
use super::options::{self, Options, crossrank_options};
use super::status::{Failure, crossrank_status};
use crate::model::files::ModelFiles;
use crate::reranker::Reranker;

/// A loaded cross-encoder. It is immutable: any number of threads may use it at once. {0} is the null handle.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_model {
    /// The library's number of the object.
    pub id: u64,
}

/// Facts about a model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_info {
    /// Set this to sizeof(crossrank_info) before the call.
    pub size: u32,
    /// The CROSSRANK_BACKEND_ value that computes.
    pub backend: i32,
    /// The CROSSRANK_ISA_ value that computes.
    pub isa: i32,
    /// Number of threads that compute.
    pub threads: u32,
    /// Number of encoder layers.
    pub layers: u32,
    /// Hidden size: features per token between layers.
    pub hidden: u32,
    /// Number of attention heads.
    pub heads: u32,
    /// Number of outputs per pair.
    pub labels: u32,
    /// The longest input of a call, in tokens.
    pub max_tokens: u32,
    /// Number of tokens in the tokenizer's vocabulary.
    pub vocabulary: u32,
    /// Bytes of the weights in memory.
    pub weight_bytes: u64,
    /// Hash of all files of the model.
    pub hash: u64,
    /// Milliseconds that loading took.
    pub load_ms: f64,
    /// The CROSSRANK_PRECISION_ value of the weights on the CPU; never AUTO.
    pub precision: i32,
    /// For fields to come; 0.
    pub reserved: u32,
}

/// Text of crossrank_model_text: the name or path that the model was loaded by.
pub const CROSSRANK_TEXT_NAME: i32 = 0;
/// Text of crossrank_model_text: the architecture as config.json names it.
pub const CROSSRANK_TEXT_ARCHITECTURE: i32 = 1;
/// Text of crossrank_model_text: the activation function that turns logits into scores.
pub const CROSSRANK_TEXT_ACTIVATION: i32 = 2;
/// Text of crossrank_model_text: the name of output `index`.
pub const CROSSRANK_TEXT_LABEL: i32 = 3;
/// Text of crossrank_model_text: the GPU that computes; empty on the CPU.
pub const CROSSRANK_TEXT_ADAPTER: i32 = 4;
/// Text of crossrank_model_text: the set of shaders that runs on the GPU, `f32`, `f16` or `cooperative`; empty on the CPU.
pub const CROSSRANK_TEXT_TIER: i32 = 5;

/// Text of crossrank_model_text: the name of prompt `index`, for crossrank_options_set_prompt_name. CROSSRANK_ERR_ARGUMENT is
/// returned for an index after the last.
pub const CROSSRANK_TEXT_PROMPT_NAME: i32 = 6;
/// Text of crossrank_model_text: the name of the prompt that calls without one get; empty if there is none.
pub const CROSSRANK_TEXT_DEFAULT_PROMPT_NAME: i32 = 7;

pub static MODELS: Table<Reranker> = Table::new(1, "model");

/// Runs `body` on a thread with a stack of its own: parsing needs more stack than the threads of some programs have.
fn on_own_stack<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    // The default of Rust's threads, instead of one that depends on the program or the system.
    const STACK: usize = 2 << 20;
    let mut body = Some(body);
    let mut run = || body.take().map(|body| body());
    let done = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("crossrank-load".into()).stack_size(STACK);
        thread.spawn_scoped(scope, &mut run).ok().map(|thread| thread.join())
    });
    match done {
        Some(Ok(done)) => done,
        Some(Err(panic)) => std::panic::resume_unwind(panic),
        // The system refused a thread: run on the caller's.
        None => run(),
    }
    .expect("the body was not taken before")
}

/// Loads the files that `find` returns, and stores the model's handle in `model`.
pub fn load(
    find: impl FnOnce() -> Result<ModelFiles, Failure> + Send,
    options: &Options,
    model: &mut crossrank_model,
) -> Result<(), Failure> {
    let mut builder = options.load.clone();
    if let Some(folder) = &options.gpu_cache {
        builder = builder.gpu_cache(folder);
    }
    // Made in an Arc: moving the model by value would take kilobytes of the caller's stack.
    let reranker = on_own_stack(|| Ok::<_, Failure>(Arc::new(builder.load_files(find()?)?)))?;
    let info = reranker.info();
    for warning in &info.warnings {
        log(CROSSRANK_LOG_WARNING, warning);
    }
    log(CROSSRANK_LOG_INFO, &format!("loaded {} in {:.0} ms", info.name, info.load_ms));
    model.id = MODELS.insert(reranker)?;
    Ok(())
}

/// Loads a model from a directory.
///
/// - `path_or_name`: NUL-terminated UTF-8: a directory in Hugging Face layout, or a name that is looked up in ./models and in the
///   Hugging Face cache.
/// - `options`: options for loading, or CROSSRANK_DEFAULTS.
/// - `model`: receives the handle. Free it with crossrank_model_free.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_model_load(
    path_or_name: *const c_char,
    options: crossrank_options,
    model: *mut crossrank_model,
) -> crossrank_status {
    guard(|| {
        // SAFETY: the header asks for a NUL-terminated string or NULL, and for writable memory or NULL.
        let (path, model) = unsafe { (c_string(path_or_name, "path_or_name")?, out(model, "model")?) };
        let options = options::read(options)?;
        load(|| Ok(ModelFiles::find(Path::new(path))?), &options, model)
    })
}

/// Loads the model that is built into the library. Returns CROSSRANK_ERR_UNSUPPORTED in a build without one.
///
/// - `options`: options for loading, or CROSSRANK_DEFAULTS.
/// - `model`: receives the handle. Free it with crossrank_model_free.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_model_load_bundled(
    options: crossrank_options,
    model: *mut crossrank_model,
) -> crossrank_status {
    guard(|| {
        // SAFETY: the header asks for writable memory or NULL.
        let model = unsafe { out(model, "model") }?;
        let options = options::read(options)?;
        #[cfg(feature = "bundled-model")]
        return load(|| Ok(ModelFiles::bundled()), &options, model);
        #[cfg(not(feature = "bundled-model"))]
        {
            let _ = (model, options);
            let message = "this library was built without a model inside: load one from a directory";
            Err(Failure::new(crossrank_status::CROSSRANK_ERR_UNSUPPORTED, message))
        }
    })
}

/// Predicts the memory that a model would take, from its configuration and the headers of its files, without loading it.
///
/// - `path_or_name`: as in crossrank_model_load.
/// - `options`: options for loading, or CROSSRANK_DEFAULTS.
/// - `weight_bytes`: receives the size of the weights.
/// - `work_bytes`: receives the size of the work space after every thread has processed the longest input.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_model_plan(
    path_or_name: *const c_char,
    options: crossrank_options,
    weight_bytes: *mut u64,
    work_bytes: *mut u64,
) -> crossrank_status {
    guard(|| {
        // SAFETY: the header asks for a NUL-terminated string or NULL, and for writable memory or NULL.
        let path = unsafe { c_string(path_or_name, "path_or_name") }?;
        // SAFETY: as above.
        let (weights, work) = unsafe { (out(weight_bytes, "weight_bytes")?, out(work_bytes, "work_bytes")?) };
        let builder = options::read(options)?.load;
        let plan = on_own_stack(|| builder.plan(path))?;
        (*weights, *work) = (plan.weight_bytes, plan.work_bytes);
        Ok(())
    })
}

/// Frees a model. Calls that are using it finish, and its memory is freed when the last of them ends. Freeing twice is harmless
/// and returns CROSSRANK_ERR_HANDLE. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_model_free(model: crossrank_model) -> crossrank_status {
    guard(|| MODELS.remove(model.id).map(drop))
}

/// Frees work space that no call is using, for example on a memory warning. Later calls allocate it again. Any thread.
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_model_trim(model: crossrank_model) -> crossrank_status {
    guard(|| {
        MODELS.get(model.id)?.trim();
        Ok(())
    })
}

/// Prepares the GPU, so that the first call does not wait: compiles shaders and compares their results with the CPU's, which
/// takes up to a few seconds. Returns CROSSRANK_ERR_GPU if that fails; calls are computed on the CPU then. Does nothing for a
/// model on the CPU. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_model_warmup(model: crossrank_model) -> crossrank_status {
    guard(|| Ok(MODELS.get(model.id)?.warmup()?))
}

/// Releases the GPU, as an app must before it goes to the background: calls are computed on the CPU until
/// crossrank_model_resume. For a model on the CPU, the same as crossrank_model_trim. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_model_suspend(model: crossrank_model) -> crossrank_status {
    guard(|| Ok(MODELS.get(model.id)?.suspend()?))
}

/// Opens the GPU again after crossrank_model_suspend. Returns CROSSRANK_ERR_GPU if that fails; calls are computed on the CPU
/// then, and it may be tried again. Does nothing for a model on the CPU. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_model_resume(model: crossrank_model) -> crossrank_status {
    guard(|| Ok(MODELS.get(model.id)?.resume()?))
}

/// Reads facts about a model.
///
/// - `info`: set its `size` first; receives the facts.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_model_info(
    model: crossrank_model,
    info: *mut crossrank_info,
) -> crossrank_status {
    guard(|| {
        let model = MODELS.get(model.id)?;
        let facts = model.info();
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let value = crossrank_info {
            size: size_of::<crossrank_info>() as u32,
            backend: facts.backend.to_c(),
            isa: facts.isa.to_c(),
            threads: number(facts.threads),
            layers: number(facts.layers),
            hidden: number(facts.hidden),
            heads: number(facts.heads),
            labels: number(facts.labels.len()),
            max_tokens: number(facts.max_tokens),
            vocabulary: number(facts.vocabulary),
            weight_bytes: facts.weight_bytes,
            hash: facts.hash,
            load_ms: facts.load_ms,
            precision: facts.precision.to_c(),
            reserved: 0,
        };
        // SAFETY: the header asks for memory whose size is set at its start, or NULL.
        unsafe { write_sized(info, value, "info") }
    })
}

fn nth<'a>(texts: &'a [String], index: usize, what: &str) -> Result<&'a str, Failure> {
    let count = texts.len();
    let missing = || Failure::argument(format!("there is no {what} {index}, only {count}"));
    texts.get(index).map(String::as_str).ok_or_else(missing)
}

/// Copies one of a model's texts. To learn its length first, call it with a `capacity` of 0.
///
/// - `text`: a CROSSRANK_TEXT_ value.
/// - `index`: the index of the label for CROSSRANK_TEXT_LABEL, of the prompt for CROSSRANK_TEXT_PROMPT_NAME, else ignored.
/// - `buffer`: receives the text, UTF-8 without a NUL at the end; may be NULL if `capacity` is 0.
/// - `capacity`: bytes of `buffer`.
/// - `length`: receives the length of the text in bytes, also if `buffer` is too small.
///
/// Returns CROSSRANK_ERR_BUFFER if `buffer` is too small: only `length` is written then. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_model_text(
    model: crossrank_model,
    text: i32,
    index: usize,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> crossrank_status {
    guard(|| {
        let model = MODELS.get(model.id)?;
        let info = model.info();
        let text = match text {
            CROSSRANK_TEXT_NAME => &info.name,
            CROSSRANK_TEXT_ARCHITECTURE => &info.architecture,
            CROSSRANK_TEXT_ACTIVATION => info.activation,
            CROSSRANK_TEXT_LABEL => nth(&info.labels, index, "label")?,
            CROSSRANK_TEXT_ADAPTER => info.adapter.as_deref().unwrap_or_default(),
            CROSSRANK_TEXT_TIER => info.tier.unwrap_or_default(),
            CROSSRANK_TEXT_PROMPT_NAME => nth(&info.prompt_names, index, "prompt")?,
            CROSSRANK_TEXT_DEFAULT_PROMPT_NAME => info.default_prompt_name.as_deref().unwrap_or_default(),
            _ => return Err(Failure::argument(format!("{text} is no text of a model"))),
        };
        // SAFETY: the header asks for writable memory or NULL.
        let (length, buffer) =
            unsafe { (out(length, "length")?, slice_mut(buffer.cast::<u8>(), capacity, "buffer")?) };
        *length = text.len();
        let Some(room) = buffer.get_mut(..text.len()) else {
            let message = format!("the text takes {} bytes, `buffer` has {capacity}", text.len());
            return Err(Failure::new(crossrank_status::CROSSRANK_ERR_BUFFER, message));
        };
        room.copy_from_slice(text.as_bytes());
        Ok(())
    })
}
