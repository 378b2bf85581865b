//! Ctrl-C: cancels a running computation through its token, and ends the process at once in every other phase.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossrank::{CancelToken, Error};

use crate::failure::Failure;

/// State shared by the handler of Ctrl-C and the commands.
pub struct Interrupt {
    token: CancelToken,
    /// Whether a computation checks the token. While a file or standard input is read, or a model is loaded, none does.
    computing: Arc<AtomicBool>,
}

impl Interrupt {
    /// Installs the handler; once per process.
    pub fn install() -> Result<Self, Failure> {
        let interrupt = Self { token: CancelToken::new(), computing: Arc::default() };
        let (token, computing) = (interrupt.token.clone(), interrupt.computing.clone());
        ctrlc::set_handler(move || {
            if computing.load(Ordering::SeqCst) && !token.is_cancelled() {
                token.cancel();
            } else {
                process::exit(130);
            }
        })
        .map_err(|error| Failure::new(format_args!("cannot handle Ctrl-C: {error}")))?;
        Ok(interrupt)
    }

    /// Calls `call` with a token that Ctrl-C cancels. Returns [`Error::Cancelled`] if Ctrl-C was pressed during the call.
    pub fn guard<T>(&self, call: impl FnOnce(CancelToken) -> crossrank::Result<T>) -> Result<T, Failure> {
        self.computing.store(true, Ordering::SeqCst);
        let result = call(self.token.clone());
        self.computing.store(false, Ordering::SeqCst);
        if self.token.is_cancelled() {
            return Err(Error::Cancelled.into());
        }
        Ok(result?)
    }
}
