//! One error type: one variant per thing a caller can act on.

use std::sync::Arc;
use std::{fmt, io};

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// By this name, because serde takes a `&'static str` for a part of what it reads.
type StaticStr = &'static str;

/// The names in [`Error::InvalidOption`].
#[cfg(feature = "serde")]
const OPTIONS: [&str; 10] = [
    "backend",
    "gpu_cache",
    "label",
    "max_tokens",
    "precision",
    "prompt_name",
    "seconds",
    "threads",
    "threshold",
    "windows",
];

#[cfg(feature = "serde")]
fn read_option<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<StaticStr, D::Error> {
    crate::serde_fields::one_of(deserializer, &OPTIONS)
}

/// Every error of this crate. Messages name the file, the tensor or the index and say what to do. They never contain the
/// text of a query or a document.
///
/// ```no_run
/// use crossrank::{Error, Reranker};
///
/// match Reranker::load("my-model") {
///     Ok(reranker) => println!("{} layers", reranker.info().layers),
///     Err(Error::NotFound { hint, .. }) => println!("no such model: {hint}"),
///     Err(error) => println!("{error}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "snake_case"))]
pub enum Error {
    /// No model of that name or path. `hint` lists where it was looked for, or which name would work.
    NotFound {
        /// The name or path as it was given.
        name: String,
        /// Where it was looked for and what to do.
        hint: String,
    },
    /// A file could not be read or written.
    Io {
        /// The file.
        path: String,
        /// The operating system's error, which [`std::error::Error::source`] returns too.
        source: IoSource,
    },
    /// A file does not have the content that its name promises: broken JSON, a truncated checkpoint, a header that
    /// contradicts its file.
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
    /// A tensor is stored in a type that is not F64, F32, F16 or BF16.
    TensorType {
        /// The tensor's name.
        tensor: String,
        /// The type found in the file.
        found: String,
    },
    /// A well-formed model that this version cannot run, because of its architecture, activation or file format.
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
    /// The operating system refused memory.
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
    },
    /// An option's value is out of range, or this machine or this build does not support it.
    InvalidOption {
        /// The option's name.
        #[cfg_attr(feature = "serde", serde(deserialize_with = "read_option"))]
        option: StaticStr,
        /// Why, and what would be accepted.
        message: String,
    },
    /// A pair is longer than the window and the truncation policy is [`Truncation::Error`](crate::Truncation::Error).
    TooLong {
        /// Index of the document (or pair) in the input.
        index: usize,
        /// Tokens of the whole pair, special tokens included. A lower bound for documents that were not read to their end, which
        /// count as longer than the window.
        tokens: usize,
        /// Maximum tokens of a pair in this call.
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
    /// The GPU or its driver failed: an error, a lost device, a time-out. With [`Backend::Gpu`](crate::Backend::Gpu) the
    /// call is then finished on the CPU, and [`Usage::gpu_failure`](crate::Usage::gpu_failure) holds this error.
    Gpu {
        /// The driver's message.
        message: String,
    },
    /// A bug of crossrank or of a library below it, caught before it could harm the host. Also a panic of the caller's own
    /// [`on_progress`](crate::RerankOptions::on_progress).
    Internal {
        /// Where it was caught, and its message.
        message: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { name, hint } => write!(f, "no model `{name}`: {hint}"),
            Self::Io { path, source } => write!(f, "cannot read `{path}`: {source}"),
            Self::Format { file, message } => write!(f, "`{file}`: {message}"),
            Self::MissingTensor { file, tensor } => {
                write!(f, "`{file}`: tensor `{tensor}` is missing, though config.json asks for it")
            }
            Self::TensorShape { tensor, expected, found } => {
                write!(f, "tensor `{tensor}`: expected {expected:?}, found {found:?}")
            }
            Self::TensorType { tensor, found } => {
                write!(f, "tensor `{tensor}`: expected F64, F32, F16 or BF16, found {found}")
            }
            Self::Unsupported { what, hint } => write!(f, "{what} is not supported: {hint}"),
            Self::MemoryLimit { needed, limit } => {
                write!(
                    f,
                    "the model needs {needed} bytes, the memory limit is {limit}: raise it, or lower the option `threads`"
                )
            }
            Self::OutOfMemory { bytes } => write!(f, "the system refused {bytes} bytes of memory"),
            Self::InvalidOption { option, message } => write!(f, "option `{option}`: {message}"),
            Self::TooLong { index, tokens, max_tokens } => write!(
                f,
                "pair {index} has {tokens} tokens or more, the window is {max_tokens}: shorten it, or choose another \
                 cut with the option `truncation`"
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
                     `label`, or use `score`, which returns them all"
                )
            }
            Self::Cancelled => write!(f, "the call was cancelled"),
            Self::Gpu { message } => {
                write!(f, "the GPU failed: {message}; choose the CPU with the option `backend`")
            }
            Self::Internal { message } => write!(f, "internal error, please report it: {message}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(&*source.0),
            _ => None,
        }
    }
}

/// The [`io::Error`] of an [`Error::Io`], shared so that errors can be cloned. Two are equal if their messages are.
#[derive(Clone, Debug)]
pub struct IoSource(Arc<io::Error>);

impl IoSource {
    /// The error itself.
    pub fn get(&self) -> &io::Error {
        &self.0
    }
}

impl From<io::Error> for IoSource {
    fn from(error: io::Error) -> Self {
        Self(Arc::new(error))
    }
}

/// Its message, which is what two of them are compared by.
#[cfg(feature = "serde")]
impl serde::Serialize for IoSource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for IoSource {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(io::Error::other(<String as serde::Deserialize>::deserialize(deserializer)?).into())
    }
}

impl fmt::Display for IoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialEq for IoSource {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_string() == other.0.to_string()
    }
}

impl Eq for IoSource {}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_io_error_keeps_the_systems_error_as_its_source() {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let error = Error::Io { path: "a".into(), source: missing().into() };
        let source = error.source().and_then(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind);
        assert_eq!(source, Some(io::ErrorKind::NotFound));
        assert_eq!(error.to_string(), format!("cannot read `a`: {}", missing()));
        assert_eq!(error, Error::Io { path: "a".into(), source: missing().into() });
        let other = io::Error::new(io::ErrorKind::NotFound, "it is not there any more");
        assert_ne!(error, Error::Io { path: "a".into(), source: other.into() });
        assert!(Error::Cancelled.source().is_none());
    }
}
