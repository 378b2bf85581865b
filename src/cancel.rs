//! A flag by which one thread cancels calls that run on others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Cancels the calls it was passed to. A cancelled token stays cancelled. Clones share the flag, and
/// [`cancel`](Self::cancel) may be called before, during or after a call, from any thread.
///
/// A running call checks the token between the layers of every group and returns [`Error::Cancelled`](crate::Error::Cancelled).
///
/// ```
/// use crossrank::{CancelToken, RerankOptions};
///
/// let token = CancelToken::new();
/// let options = RerankOptions::new().cancel(token.clone());
/// // On any thread, while a call with these options runs:
/// token.cancel();
/// # assert!(options.cancel.unwrap().is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    cancelled: Arc<AtomicBool>,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels every call that holds a clone of this token.
    pub fn cancel(&self) {
        // Relaxed: the flag carries no data with it, and a reader that sees it one layer later is still right.
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called on this token or a clone.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
