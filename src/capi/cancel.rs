//! Cancelling a call from another thread, and watching it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::guard::{Failure, guard};
use super::handle::Table;
use super::status::crossrank_status;
use super::text::out;
use crate::cancel::CancelToken;

/// Cancels the calls it was given to through crossrank_options_set_cancel. {0} is the null handle.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_cancel {
    /// The library's own number for it.
    pub id: u64,
}

/// A token, and how far the last call that holds it has come.
#[derive(Default)]
pub struct Watched {
    pub token: CancelToken,
    pub done: AtomicUsize,
    pub total: AtomicUsize,
}

pub static CANCELS: Table<Watched> = Table::new(3, "cancel");

/// Makes a cancel. Free it with crossrank_cancel_free. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_cancel_new(cancel: *mut crossrank_cancel) -> crossrank_status {
    guard(|| {
        // SAFETY: the header asks for writable memory or NULL.
        let cancel = unsafe { out(cancel, "cancel") }?;
        cancel.id = CANCELS.insert(Arc::default())?;
        Ok(())
    })
}

/// Cancels every call that holds this cancel, before, during or after; sticky. A running call looks at it between the layers
/// of every group and returns CROSSRANK_ERR_CANCELLED. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_cancel_trigger(cancel: crossrank_cancel) -> crossrank_status {
    guard(|| {
        CANCELS.get(cancel.id)?.token.cancel();
        Ok(())
    })
}

/// How many pairs the running call that holds this cancel has scored, of how many; for programs that would rather ask than
/// be called. Both pointers may be NULL. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_cancel_progress(
    cancel: crossrank_cancel,
    done: *mut usize,
    total: *mut usize,
) -> crossrank_status {
    guard(|| {
        let watched = CANCELS.get(cancel.id)?;
        for (pointer, value) in [(done, &watched.done), (total, &watched.total)] {
            if !pointer.is_null() {
                // SAFETY: the header asks for writable memory or NULL.
                *unsafe { out(pointer, "done or total") }? = value.load(Ordering::Relaxed);
            }
        }
        Ok(())
    })
}

/// Frees a cancel; calls that hold it go on. Freeing twice is harmless and returns CROSSRANK_ERR_HANDLE. Any thread.
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_cancel_free(cancel: crossrank_cancel) -> crossrank_status {
    guard(|| CANCELS.remove(cancel.id).map(drop))
}

/// The cancel behind a handle, or none for the null handle.
pub fn optional(cancel: crossrank_cancel) -> Result<Option<Arc<Watched>>, Failure> {
    if cancel.id == 0 { Ok(None) } else { CANCELS.get(cancel.id).map(Some) }
}
