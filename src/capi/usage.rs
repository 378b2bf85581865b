//! The cost of this thread's last call.

use std::cell::Cell;

use super::caller::write_sized;
use super::enums::CValue;
use super::guard::guard;
use super::log::{CROSSRANK_LOG_WARNING, log};
use super::status::crossrank_status;
use crate::ranking::Usage;

/// The cost of one call, and where it ran.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct crossrank_usage {
    /// Set this to sizeof(crossrank_usage) before the call.
    pub size: u32,
    /// The CROSSRANK_BACKEND_ value that ran.
    pub backend: i32,
    /// The CROSSRANK_ISA_ value that ran.
    pub isa: i32,
    /// Number of groups of pairs that were computed together.
    pub groups: u32,
    /// Tokens that the model read, special tokens included.
    pub tokens: u64,
    /// Tokens cut to fit the window; a lower bound where a text was not tokenized to its end.
    pub tokens_cut: u64,
    /// Milliseconds of tokenization.
    pub tokenize_ms: f64,
    /// Milliseconds of computing logits.
    pub compute_ms: f64,
    /// Milliseconds of the whole call.
    pub total_ms: f64,
}

thread_local! {
    static LAST: Cell<crossrank_usage> = Cell::default();
}

/// Keeps the usage of a call for its thread, and logs why the GPU did not finish a call that it should have.
pub fn store(usage: &Usage) {
    if let Some(error) = &usage.gpu_failure {
        log(CROSSRANK_LOG_WARNING, &error.to_string());
    }
    let usage = crossrank_usage {
        size: size_of::<crossrank_usage>() as u32,
        backend: usage.backend.to_c(),
        isa: usage.isa.to_c(),
        groups: u32::try_from(usage.groups).unwrap_or(u32::MAX),
        tokens: usage.tokens as u64,
        tokens_cut: usage.truncated_tokens as u64,
        tokenize_ms: usage.tokenize_ms,
        compute_ms: usage.compute_ms,
        total_ms: usage.total_ms,
    };
    // A thread that is being torn down keeps nothing.
    let _ = LAST.try_with(|last| last.set(usage));
}

/// Reads the usage of this thread's last crossrank_score, crossrank_rerank or crossrank_rerank_many that succeeded.
///
/// - `usage`: set its `size` first; receives the usage, zeros before the first call.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_last_usage(usage: *mut crossrank_usage) -> crossrank_status {
    guard(|| {
        let last = LAST.try_with(Cell::get).unwrap_or_default();
        // SAFETY: the header asks for memory whose size is set at its start, or NULL.
        unsafe { write_sized(usage, last, "usage") }
    })
}
