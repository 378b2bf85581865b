//! A flag that one thread raises and the threads of a running call see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Cancels the calls it was given to. Sticky: once cancelled, always cancelled. Clones share the flag, and it may be
/// raised before, during or after a call, from any thread.
///
/// A running call looks at it between the layers of every group and returns [`Error::Cancelled`](crate::Error::Cancelled).
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    raised: Arc<AtomicBool>,
}

impl CancelToken {
    /// A token nobody has cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels every call that holds a clone of this token.
    pub fn cancel(&self) {
        // Relaxed: the flag carries no data with it, and a reader that sees it one layer later is still right.
        self.raised.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called on this token or a clone.
    pub fn is_cancelled(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }
}
