//! The ways in which a command fails, with their messages and exit codes.

use std::fmt::Display;
use std::io;

use crossrank::Error;

/// A reason to end a command early.
#[derive(Debug)]
pub enum Failure {
    /// The library refused or failed.
    Library(Error),
    /// The command itself failed: a file, a line, the network.
    Message(String),
    /// The reader of standard output has closed it (`crossrank ... | head`), so the command ends quietly.
    BrokenPipe,
}

impl Failure {
    /// A failure of the command itself.
    pub fn new(message: impl Display) -> Self {
        Self::Message(message.to_string())
    }

    /// The message for standard error; `None` for a quiet end.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Library(Error::Cancelled) => Some("cancelled".to_owned()),
            Self::Library(error) => Some(format!("error: {}", in_flags(&error.to_string()))),
            Self::Message(message) => Some(format!("error: {message}")),
            Self::BrokenPipe => None,
        }
    }

    /// 2 for options the user should change, 130 (128 + SIGINT) for Ctrl-C, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Library(Error::Cancelled) => 130,
            Self::Library(Error::InvalidOption { .. }) => 2,
            Self::Library(_) | Self::Message(_) => 1,
            Self::BrokenPipe => 0,
        }
    }
}

/// A message of the library with its options as the flags of the same names.
pub fn in_flags(message: &str) -> String {
    let mut parts = message.split("option `");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if shown.ends_with("the ") {
            shown.truncate(shown.len() - "the ".len());
        }
        let (name, rest) = part.split_once('`').unwrap_or((part, ""));
        shown += &format!("`--{}`{rest}", name.replace('_', "-"));
    }
    shown
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

/// For writes to standard output: all other I/O errors of the commands are converted where they occur.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Message(format!("cannot write to standard output: {error}")),
        }
    }
}
