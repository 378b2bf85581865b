//! The options object. Each option has a setter, so that a new option changes no existing function.

use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::caller::{User, out};
use super::cancel::Watched;
use super::guard::guard;
use super::handle::Table;
use super::ranked::crossrank_ranked;
use super::status::{Failure, crossrank_status};
use crate::rerank_options::RerankOptions;
use crate::reranker::builder::RerankerBuilder;

/// Options of a load or of a call. {0}, CROSSRANK_DEFAULTS, stands for all defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_options {
    /// The library's number of the object.
    pub id: u64,
}

/// The values that were set.
#[derive(Clone, Default)]
pub struct Options {
    pub load: RerankerBuilder,
    pub gpu_cache: Option<PathBuf>,
    pub rerank: RerankOptions,
    pub time_limit: Option<Duration>,
    /// Maximum number of windows per document; 0 for truncation instead.
    pub windows: usize,
    /// Tokens that neighbouring windows share.
    pub overlap: Option<usize>,
    pub cancel: Option<Arc<Watched>>,
    pub progress:
        Option<(unsafe extern "C" fn(*mut c_void, usize, usize, *const crossrank_ranked, usize), User)>,
    pub strict_utf8: bool,
}

static OPTIONS: Table<Mutex<Options>> = Table::new(2, "options object");

/// A copy of the options behind a handle; the defaults for the null handle.
pub fn read(options: crossrank_options) -> Result<Options, Failure> {
    if options.id == 0 {
        return Ok(Options::default());
    }
    Ok(OPTIONS.get(options.id)?.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// The body of every setter.
pub fn set(
    options: crossrank_options,
    change: impl FnOnce(&mut Options) -> Result<(), Failure>,
) -> crossrank_status {
    guard(|| change(&mut OPTIONS.get(options.id)?.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Makes an options object with all defaults.
///
/// - `options`: receives the handle. Free it with crossrank_options_free.
///
/// One object may be used by several calls at once; each call reads it when it starts. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_options_new(options: *mut crossrank_options) -> crossrank_status {
    guard(|| {
        // SAFETY: the header asks for writable memory or NULL.
        let options = unsafe { out(options, "options") }?;
        options.id = OPTIONS.insert(Arc::default())?;
        Ok(())
    })
}

/// Frees an options object. Freeing twice is harmless and returns CROSSRANK_ERR_HANDLE. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_free(options: crossrank_options) -> crossrank_status {
    guard(|| OPTIONS.remove(options.id).map(drop))
}

/// For loading, and per call: sets the window, the longest input that the model reads.
///
/// - `tokens`: window in tokens, special tokens included; never more than the model's own. Default: the model's own.
///   A window without room for a token of the query and one of the document beside the special tokens is refused.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_max_tokens(
    options: crossrank_options,
    tokens: usize,
) -> crossrank_status {
    set(options, |o| {
        o.load = o.load.clone().max_tokens(tokens);
        o.rerank.max_tokens = Some(tokens);
        Ok(())
    })
}
