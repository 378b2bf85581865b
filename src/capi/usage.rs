//! What the last call of this thread cost.

use std::cell::Cell;

use super::guard::{Failure, guard};
use super::log::{CROSSRANK_LOG_WARNING, log};
use super::options::{
    CROSSRANK_BACKEND_AUTO, CROSSRANK_BACKEND_CPU, CROSSRANK_BACKEND_GPU, CROSSRANK_BACKEND_REFERENCE,
    CROSSRANK_ISA_AUTO, CROSSRANK_ISA_AVX2, CROSSRANK_ISA_AVX512, CROSSRANK_ISA_NEON, CROSSRANK_ISA_SCALAR,
    CROSSRANK_PRECISION_AUTO, CROSSRANK_PRECISION_F16_WEIGHTS, CROSSRANK_PRECISION_F32,
    CROSSRANK_PRECISION_INT8,
};
use super::status::crossrank_status;
use crate::options::{Backend, Isa, Precision};
use crate::ranking::Usage;

/// What one call cost and what ran.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct crossrank_usage {
    /// Set it to sizeof(crossrank_usage) before the call.
    pub size: u32,
    /// The CROSSRANK_BACKEND_ value that ran.
    pub backend: i32,
    /// The CROSSRANK_ISA_ value that ran.
    pub isa: i32,
    /// Groups of whole pairs that were computed together.
    pub groups: u32,
    /// Tokens the model read, special tokens included.
    pub tokens: u64,
    /// Tokens cut to fit the window.
    pub tokens_cut: u64,
    /// Milliseconds turning text into token ids.
    pub tokenize_ms: f64,
    /// Milliseconds computing logits.
    pub compute_ms: f64,
    /// Milliseconds of the whole call.
    pub total_ms: f64,
}

thread_local! {
    static LAST: Cell<crossrank_usage> = Cell::default();
}

pub fn backend_number(backend: Backend) -> i32 {
    match backend {
        Backend::Auto => CROSSRANK_BACKEND_AUTO,
        Backend::Cpu => CROSSRANK_BACKEND_CPU,
        Backend::Gpu => CROSSRANK_BACKEND_GPU,
        Backend::Reference => CROSSRANK_BACKEND_REFERENCE,
    }
}

pub fn isa_number(isa: Option<Isa>) -> i32 {
    match isa {
        None => CROSSRANK_ISA_AUTO,
        Some(Isa::Scalar) => CROSSRANK_ISA_SCALAR,
        Some(Isa::Neon) => CROSSRANK_ISA_NEON,
        Some(Isa::Avx2) => CROSSRANK_ISA_AVX2,
        Some(Isa::Avx512) => CROSSRANK_ISA_AVX512,
    }
}

pub fn precision_number(precision: Precision) -> i32 {
    match precision {
        Precision::Auto => CROSSRANK_PRECISION_AUTO,
        Precision::F32 => CROSSRANK_PRECISION_F32,
        Precision::F16Weights => CROSSRANK_PRECISION_F16_WEIGHTS,
        Precision::Int8 => CROSSRANK_PRECISION_INT8,
    }
}

/// Keeps the usage of a call for its thread, and tells the log why it was not the GPU, where it should have been.
pub fn remember(usage: &Usage) {
    if let Some(error) = &usage.gpu_failure {
        log(CROSSRANK_LOG_WARNING, &error.to_string());
    }
    let usage = crossrank_usage {
        size: size_of::<crossrank_usage>() as u32,
        backend: backend_number(usage.backend),
        isa: isa_number(usage.isa),
        groups: u32::try_from(usage.groups).unwrap_or(u32::MAX),
        tokens: usage.tokens as u64,
        tokens_cut: usage.truncated_tokens as u64,
        tokenize_ms: usage.tokenize_ms,
        compute_ms: usage.compute_ms,
        total_ms: usage.total_ms,
    };
    // Nothing to do for a thread that is being torn down.
    let _ = LAST.try_with(|last| last.set(usage));
}

/// Writes the fields that the caller's version of a struct has. `size` is the first field of the struct.
///
/// # Safety
/// `to` is NULL or points to writable memory of as many bytes as the u32 in front of it says.
pub unsafe fn write_sized<T: Copy>(to: *mut T, value: T, name: &str) -> Result<(), Failure> {
    if to.is_null() {
        return Err(Failure::null(name));
    }
    if !to.is_aligned() {
        return Err(Failure::argument(format!("`{name}` is not aligned")));
    }
    // SAFETY: not null and aligned; every such struct starts with its size.
    let size = unsafe { to.cast::<u32>().read() };
    // The fields of the first version of every struct take at least this much.
    if (size as usize) < 2 * size_of::<u32>() {
        return Err(Failure::argument(format!("set `{name}->size` to the size of the struct")));
    }
    let bytes = (size as usize).min(size_of::<T>());
    let from = (&raw const value).cast::<u8>();
    // SAFETY: `bytes` are readable in `value` and writable in `to`; the size in front stays the caller's.
    unsafe { std::ptr::copy_nonoverlapping(from.add(4), to.cast::<u8>().add(4), bytes - 4) };
    Ok(())
}

/// The usage of this thread's last crossrank_score, crossrank_rerank or crossrank_rerank_many that succeeded; zeros before the
/// first. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_last_usage(usage: *mut crossrank_usage) -> crossrank_status {
    guard(|| {
        let last = LAST.try_with(Cell::get).unwrap_or_default();
        // SAFETY: the header asks for memory with its size in front, or NULL.
        unsafe { write_sized(usage, last, "usage") }
    })
}
