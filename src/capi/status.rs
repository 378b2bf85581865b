//! Statuses and messages.

use std::ffi::{CStr, c_char};

use super::guard::{self, Failure};
use crate::error::Error;

/// What a call returns. 0 is success; codes are grouped with gaps and never reused.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum crossrank_status {
    /// Success.
    CROSSRANK_OK = 0,
    /// A pointer that must not be NULL is NULL.
    CROSSRANK_ERR_NULL = 1,
    /// A handle is null, stale, freed, forged or of another kind.
    CROSSRANK_ERR_HANDLE = 2,
    /// An argument or option has a value that makes no sense here.
    CROSSRANK_ERR_ARGUMENT = 3,
    /// A text is not UTF-8 and the options ask for strictness.
    CROSSRANK_ERR_UTF8 = 4,
    /// The caller's memory is too small; nothing was written.
    CROSSRANK_ERR_BUFFER = 5,
    /// No model of that name or path.
    CROSSRANK_ERR_NOT_FOUND = 20,
    /// The operating system could not read a file.
    CROSSRANK_ERR_IO = 21,
    /// A file is broken.
    CROSSRANK_ERR_FORMAT = 22,
    /// The checkpoint lacks a tensor.
    CROSSRANK_ERR_MISSING_TENSOR = 23,
    /// A tensor has the wrong shape.
    CROSSRANK_ERR_TENSOR_SHAPE = 24,
    /// A tensor is stored in an unknown type.
    CROSSRANK_ERR_TENSOR_TYPE = 25,
    /// A well-formed model or a feature that this build does not support.
    CROSSRANK_ERR_UNSUPPORTED = 26,
    /// The model would need more memory than the options allow.
    CROSSRANK_ERR_MEMORY_LIMIT = 40,
    /// The system refused memory.
    CROSSRANK_ERR_OUT_OF_MEMORY = 41,
    /// A pair is longer than the window and the truncation policy is CROSSRANK_TRUNCATION_ERROR.
    CROSSRANK_ERR_TOO_LONG = 60,
    /// The model computed NaN or infinity for a pair.
    CROSSRANK_ERR_NON_FINITE = 61,
    /// crossrank_rerank needs one score per pair, the model has several labels, and none was chosen.
    CROSSRANK_ERR_SEVERAL_LABELS = 62,
    /// The call was cancelled.
    CROSSRANK_ERR_CANCELLED = 63,
    /// The deadline passed before this pair was scored.
    CROSSRANK_ERR_NOT_SCORED = 64,
    /// The GPU or its driver failed. Models go on with the CPU.
    CROSSRANK_ERR_GPU = 80,
    /// A defect of crossrank, caught.
    CROSSRANK_ERR_INTERNAL = 90,
}

use crossrank_status::*;

impl crossrank_status {
    const ALL: [(Self, &'static CStr); 22] = [
        (CROSSRANK_OK, c"CROSSRANK_OK"),
        (CROSSRANK_ERR_NULL, c"CROSSRANK_ERR_NULL"),
        (CROSSRANK_ERR_HANDLE, c"CROSSRANK_ERR_HANDLE"),
        (CROSSRANK_ERR_ARGUMENT, c"CROSSRANK_ERR_ARGUMENT"),
        (CROSSRANK_ERR_UTF8, c"CROSSRANK_ERR_UTF8"),
        (CROSSRANK_ERR_BUFFER, c"CROSSRANK_ERR_BUFFER"),
        (CROSSRANK_ERR_NOT_FOUND, c"CROSSRANK_ERR_NOT_FOUND"),
        (CROSSRANK_ERR_IO, c"CROSSRANK_ERR_IO"),
        (CROSSRANK_ERR_FORMAT, c"CROSSRANK_ERR_FORMAT"),
        (CROSSRANK_ERR_MISSING_TENSOR, c"CROSSRANK_ERR_MISSING_TENSOR"),
        (CROSSRANK_ERR_TENSOR_SHAPE, c"CROSSRANK_ERR_TENSOR_SHAPE"),
        (CROSSRANK_ERR_TENSOR_TYPE, c"CROSSRANK_ERR_TENSOR_TYPE"),
        (CROSSRANK_ERR_UNSUPPORTED, c"CROSSRANK_ERR_UNSUPPORTED"),
        (CROSSRANK_ERR_MEMORY_LIMIT, c"CROSSRANK_ERR_MEMORY_LIMIT"),
        (CROSSRANK_ERR_OUT_OF_MEMORY, c"CROSSRANK_ERR_OUT_OF_MEMORY"),
        (CROSSRANK_ERR_TOO_LONG, c"CROSSRANK_ERR_TOO_LONG"),
        (CROSSRANK_ERR_NON_FINITE, c"CROSSRANK_ERR_NON_FINITE"),
        (CROSSRANK_ERR_SEVERAL_LABELS, c"CROSSRANK_ERR_SEVERAL_LABELS"),
        (CROSSRANK_ERR_CANCELLED, c"CROSSRANK_ERR_CANCELLED"),
        (CROSSRANK_ERR_NOT_SCORED, c"CROSSRANK_ERR_NOT_SCORED"),
        (CROSSRANK_ERR_GPU, c"CROSSRANK_ERR_GPU"),
        (CROSSRANK_ERR_INTERNAL, c"CROSSRANK_ERR_INTERNAL"),
    ];
}

impl From<&Error> for crossrank_status {
    fn from(error: &Error) -> Self {
        match error {
            Error::NotFound { .. } => CROSSRANK_ERR_NOT_FOUND,
            Error::Io { .. } => CROSSRANK_ERR_IO,
            Error::Format { .. } => CROSSRANK_ERR_FORMAT,
            Error::MissingTensor { .. } => CROSSRANK_ERR_MISSING_TENSOR,
            Error::TensorShape { .. } => CROSSRANK_ERR_TENSOR_SHAPE,
            Error::TensorType { .. } => CROSSRANK_ERR_TENSOR_TYPE,
            Error::Unsupported { .. } => CROSSRANK_ERR_UNSUPPORTED,
            Error::MemoryLimit { .. } => CROSSRANK_ERR_MEMORY_LIMIT,
            Error::OutOfMemory { .. } => CROSSRANK_ERR_OUT_OF_MEMORY,
            Error::InvalidOption { .. } => CROSSRANK_ERR_ARGUMENT,
            Error::TooLong { .. } => CROSSRANK_ERR_TOO_LONG,
            Error::NonFinite { .. } => CROSSRANK_ERR_NON_FINITE,
            Error::SeveralLabels { .. } => CROSSRANK_ERR_SEVERAL_LABELS,
            Error::Cancelled => CROSSRANK_ERR_CANCELLED,
            Error::Gpu { .. } => CROSSRANK_ERR_GPU,
            Error::Internal { .. } => CROSSRANK_ERR_INTERNAL,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new((&error).into(), error.to_string())
    }
}

/// The name of a status, such as "CROSSRANK_ERR_HANDLE"; "unknown" for a number that is none. Never NULL; lives as long as
/// the library. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_status_name(status: i32) -> *const c_char {
    let found = crossrank_status::ALL.iter().find(|(known, _)| *known as i32 == status);
    found.map_or(c"unknown", |(_, name)| name).as_ptr()
}

/// What went wrong in this thread's last call that failed, for people: it names the file, the tensor or the index and says
/// what to do; programs go by the status. Empty before the first failure. Never NULL; valid until this thread's next call
/// that fails. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_last_message() -> *const c_char {
    guard::last_message()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_failed_has_a_status_of_its_own() {
        let status = crossrank_status::from(&Error::Gpu { message: "lost".into() });
        assert_eq!(status, CROSSRANK_ERR_GPU);
    }
}
