//! Why a command ended early, what it prints and which code it exits with.

use std::fmt::Display;
use std::io;

use crossrank::Error;

/// Everything that ends a command.
#[derive(Debug)]
pub enum Failure {
    /// The library refused or failed.
    Library(Error),
    /// The command itself failed: a file, a line, the network.
    Message(String),
    /// Whoever read our output has closed it (`crossrank ... | head`): nobody is left to tell.
    BrokenPipe,
}

impl Failure {
    /// A failure of the command itself.
    pub fn new(message: impl Display) -> Self {
        Self::Message(message.to_string())
    }

    /// What standard error is told; `None` ends quietly.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Library(Error::Cancelled) => Some("cancelled".to_owned()),
            Self::Library(error) => Some(format!("error: {error}")),
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

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

/// Of writes to standard output, the only bare I/O errors in the commands.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Message(format!("cannot write to standard output: {error}")),
        }
    }
}
