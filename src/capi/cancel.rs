//! Cancels a call from another thread, and shows its progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::caller::out;
use super::guard::guard;
use super::handle::Table;
use super::status::{Failure, crossrank_status};
use crate::cancel::CancelToken;

/// Cancels the calls whose options hold it: see crossrank_options_set_cancel. {0} is the null handle.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_cancel {
    /// The library's number of the object.
    pub id: u64,
}

/// A cancel token, and the progress of the last call that used it.
#[derive(Default)]
pub struct Watched {
    pub token: CancelToken,
    pub done: AtomicUsize,
    pub total: AtomicUsize,
}

static CANCELS: Table<Watched> = Table::new(3, "cancel");

/// Makes a cancel object.
///
/// - `cancel`: receives the handle. Free it with crossrank_cancel_free.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_cancel_new(cancel: *mut crossrank_cancel) -> crossrank_status {
    guard(|| {
        // SAFETY: the header asks for writable memory or NULL.
        let cancel = unsafe { out(cancel, "cancel") }?;
        cancel.id = CANCELS.insert(Arc::default())?;
        Ok(())
    })
}

/// Cancels every call whose options hold this object: those that are running, which check it between the layers of every group
/// of pairs, and all later ones. They return CROSSRANK_ERR_CANCELLED. It cannot be undone: make another object instead.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_cancel_trigger(cancel: crossrank_cancel) -> crossrank_status {
    guard(|| {
        CANCELS.get(cancel.id)?.token.cancel();
        Ok(())
    })
}

/// Reads the progress of the running call whose options hold this object; for programs that poll instead of using a callback.
///
/// - `done`: receives the number of pairs scored; may be NULL.
/// - `total`: receives the number of pairs of the call; may be NULL.
///
/// Any thread. Since 0.1.
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

/// Frees a cancel object. Calls and options that hold it are not affected. Freeing twice is harmless and returns
/// CROSSRANK_ERR_HANDLE. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_cancel_free(cancel: crossrank_cancel) -> crossrank_status {
    guard(|| CANCELS.remove(cancel.id).map(drop))
}

/// The object behind a handle; none for the null handle.
pub fn optional(cancel: crossrank_cancel) -> Result<Option<Arc<Watched>>, Failure> {
    if cancel.id == 0 { Ok(None) } else { CANCELS.get(cancel.id).map(Some) }
}
