//! One error type: one variant per thing a caller can act on.

use std::fmt;

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. Messages name the file, the tensor or the index and say what to do;
/// they never contain the text of a query or a document.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No model of that name or path. `hint` lists where it was looked for, or which name would work.
    NotFound {
        /// The name or path as it was given.
        name: String,
        /// Where it was looked for and what to do.
        hint: String,
    },
    /// The operating system could not read a file.
    Io {
        /// The file.
        path: String,
        /// What the system said, and what to do where we know.
        message: String,
    },
    /// A file is not what its name promises: broken JSON, a truncated checkpoint, a lying header.
    Format {
        /// The file, for example `model.safetensors`.
        file: String,
        /// What is wrong and where.
        message: String,
    },
    /// The checkpoint lacks a tensor that the configuration asks for.
    MissingTensor {
        /// The file that was searched.
        file: String,
        /// The tensor's name.
        tensor: String,
    },
    /// A tensor does not have the shape that the configuration asks for.
    TensorShape {
        /// The tensor's name.
        tensor: String,
        /// The shape derived from config.json.
        expected: Vec<usize>,
        /// The shape found in the file.
        found: Vec<usize>,
    },
    /// A tensor is stored in a type that is not F32, F16 or BF16.
    TensorType {
        /// The tensor's name.
        tensor: String,
        /// The type found in the file.
        found: String,
    },
    /// A well-formed model that this version cannot run: its architecture, activation, or file format.
    Unsupported {
        /// What is not supported, for example ``architecture `T5ForConditionalGeneration` ``.
        what: String,
        /// What to use instead.
        hint: String,
    },
    /// The model would need more memory than the limit in the options.
    MemoryLimit {
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The system refused memory.
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
    },
    /// An option's value makes no sense or cannot be had on this machine.
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// Why, and what would be accepted.
        message: String,
    },
    /// A pair is longer than the window and the truncation policy is [`Truncation::Error`](crate::Truncation::Error).
    TooLong {
        /// Index of the document (or pair) in the input.
        index: usize,
        /// Tokens of the whole pair, special tokens included; at least, for documents that were not read to their end.
        tokens: usize,
        /// The window.
        max_tokens: usize,
    },
    /// The model computed NaN or infinity for this pair: its weights hold such values or overflow.
    NonFinite {
        /// Index of the document (or pair) in the input.
        index: usize,
    },
    /// The call needs one score per pair, the model has several labels, and none was chosen.
    SeveralLabels {
        /// The number of labels.
        labels: usize,
    },
    /// The call was cancelled through its [`CancelToken`](crate::CancelToken).
    Cancelled,
    /// The GPU or its driver failed: an error, a lost device, a time-out. With [`Backend::Gpu`](crate::Backend::Gpu) a call
    /// is then finished on the CPU, and its usage says so.
    Gpu {
        /// What the driver said.
        message: String,
    },
    /// A defect of crossrank or of a library below it, caught before it could harm the host.
    Internal {
        /// What is known about it.
        message: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { name, hint } => write!(f, "no model `{name}`: {hint}"),
            Self::Io { path, message } => write!(f, "cannot read `{path}`: {message}"),
            Self::Format { file, message } => write!(f, "`{file}`: {message}"),
            Self::MissingTensor { file, tensor } => {
                write!(f, "`{file}`: tensor `{tensor}` is missing, though config.json asks for it")
            }
            Self::TensorShape { tensor, expected, found } => {
                write!(f, "tensor `{tensor}`: expected {expected:?}, found {found:?}")
            }
            Self::TensorType { tensor, found } => {
                write!(f, "tensor `{tensor}`: expected F32, F16 or BF16, found {found}")
            }
            Self::Unsupported { what, hint } => write!(f, "{what} is not supported: {hint}"),
            Self::MemoryLimit { needed, limit } => {
                write!(
                    f,
                    "the model needs {needed} bytes, the memory limit is {limit}: raise it or lower threads"
                )
            }
            Self::OutOfMemory { bytes } => write!(f, "the system refused {bytes} bytes of memory"),
            Self::InvalidOption { option, message } => write!(f, "option `{option}`: {message}"),
            Self::TooLong { index, tokens, max_tokens } => write!(
                f,
                "pair {index} has {tokens} tokens, the window is {max_tokens}: shorten it or choose another truncation"
            ),
            Self::NonFinite { index } => {
                write!(
                    f,
                    "pair {index}: the model computed NaN or infinity; check the checkpoint with `verify`"
                )
            }
            Self::SeveralLabels { labels } => {
                write!(
                    f,
                    "the model has {labels} labels and rerank needs one score: choose one with the option \
                     `label`, or use score, which returns them all"
                )
            }
            Self::Cancelled => write!(f, "the call was cancelled"),
            Self::Gpu { message } => write!(f, "the GPU failed: {message}; use the CPU backend"),
            Self::Internal { message } => write!(f, "internal error, please report it: {message}"),
        }
    }
}

impl std::error::Error for Error {}
