//! Statuses, and failures: a status with its message.

use std::ffi::{CStr, c_char};

use crate::error::Error;
use crate::ranking::PairStatus;

/// What a call returns. 0 is success. Codes are grouped, with gaps between the groups, and a code never changes its meaning.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum crossrank_status {
    /// Success.
    CROSSRANK_OK = 0,
    /// A pointer that must not be NULL is NULL.
    CROSSRANK_ERR_NULL = 1,
    /// A handle is null, stale, freed, forged or of another kind.
    CROSSRANK_ERR_HANDLE = 2,
    /// An argument or option has a value that is not allowed here.
    CROSSRANK_ERR_ARGUMENT = 3,
    /// A text is not UTF-8, and crossrank_options_set_strict_utf8 or the kind of text does not allow that.
    CROSSRANK_ERR_UTF8 = 4,
    /// The caller's memory is too small. No result was written.
    CROSSRANK_ERR_BUFFER = 5,
    /// There is no model with that name or path.
    CROSSRANK_ERR_NOT_FOUND = 20,
    /// The operating system could not read a file.
    CROSSRANK_ERR_IO = 21,
    /// A file is malformed.
    CROSSRANK_ERR_FORMAT = 22,
    /// A tensor is missing from the checkpoint.
    CROSSRANK_ERR_MISSING_TENSOR = 23,
    /// A tensor has the wrong shape.
    CROSSRANK_ERR_TENSOR_SHAPE = 24,
    /// A tensor is stored in a type that is not supported.
    CROSSRANK_ERR_TENSOR_TYPE = 25,
    /// The model is well-formed, or the feature exists, but this build does not support it.
    CROSSRANK_ERR_UNSUPPORTED = 26,
    /// The model would need more memory than the options allow.
    CROSSRANK_ERR_MEMORY_LIMIT = 40,
    /// The operating system refused memory.
    CROSSRANK_ERR_OUT_OF_MEMORY = 41,
    /// A pair is longer than the window, and truncation is CROSSRANK_TRUNCATION_ERROR.
    CROSSRANK_ERR_TOO_LONG = 60,
    /// The model computed NaN or infinity for a pair.
    CROSSRANK_ERR_NON_FINITE = 61,
    /// crossrank_rerank needs one score per pair, the model has several labels, and none was chosen.
    CROSSRANK_ERR_SEVERAL_LABELS = 62,
    /// The call was cancelled.
    CROSSRANK_ERR_CANCELLED = 63,
    /// The time limit passed before this pair was scored.
    CROSSRANK_ERR_NOT_SCORED = 64,
    /// The GPU or its driver failed. The model computes on the CPU until its device is opened again.
    CROSSRANK_ERR_GPU = 80,
    /// A defect of this library was caught: please report it.
    CROSSRANK_ERR_INTERNAL = 90,
}

use crossrank_status::*;

impl crossrank_status {
    /// Every status with its name.
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

impl From<&PairStatus> for crossrank_status {
    fn from(status: &PairStatus) -> Self {
        match status {
            PairStatus::Scored => CROSSRANK_OK,
            PairStatus::NotScored => CROSSRANK_ERR_NOT_SCORED,
            PairStatus::Failed(error) => error.into(),
        }
    }
}

/// Why a call fails: the status is for programs, the message is for people.
pub struct Failure {
    pub status: crossrank_status,
    pub message: String,
}

impl Failure {
    pub fn new(status: crossrank_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// A pointer that must not be NULL.
    pub fn null(name: &str) -> Self {
        Self::new(crossrank_status::CROSSRANK_ERR_NULL, format!("`{name}` is NULL"))
    }

    /// An argument with a value that is not allowed.
    pub fn argument(message: impl Into<String>) -> Self {
        Self::new(crossrank_status::CROSSRANK_ERR_ARGUMENT, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new((&error).into(), error.to_string())
    }
}

/// The name of a status, such as "CROSSRANK_ERR_HANDLE".
///
/// - `status`: any number, for example the status of a crossrank_ranked.
///
/// Returns a NUL-terminated string of the library, never NULL, which lives as long as the library: do not free it. It is
/// "unknown" for a number that is not a status. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_status_name(status: i32) -> *const c_char {
    let found = crossrank_status::ALL.iter().find(|(known, _)| *known as i32 == status);
    found.map_or(c"unknown", |(_, name)| name).as_ptr()
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
