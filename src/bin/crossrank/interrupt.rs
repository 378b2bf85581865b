//! Ctrl-C: a running computation is cancelled through its token; anything else ends at once.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossrank::{CancelToken, Error};

use crate::failure::Failure;

/// What the handler of Ctrl-C and the commands share.
pub struct Interrupt {
    token: CancelToken,
    /// Whether someone looks at the token. While a file or standard input is read, or a model is loaded, nobody does.
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

    /// Runs `call`, which watches the token it is given, and returns [`Error::Cancelled`] if Ctrl-C came meanwhile.
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
