//! The guard around the body of every export, and the message of the last failure.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::{Failure, crossrank_status};

thread_local! {
    /// The message of this thread's last failure.
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// Runs the body of an export. A panic becomes `CROSSRANK_ERR_INTERNAL`.
pub fn guard(body: impl FnOnce() -> Result<(), Failure>) -> crossrank_status {
    #[cfg(feature = "capi-panics")]
    let body = || {
        planted::maybe_panic();
        body()
    };
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return crossrank_status::CROSSRANK_OK,
        Ok(Err(failure)) => failure,
        Err(payload) => {
            // Not dropped: a payload whose own drop panics would unwind into C.
            std::mem::forget(payload);
            Failure::new(crossrank_status::CROSSRANK_ERR_INTERNAL, "a panic was caught: please report it")
        }
    };
    // A thread that is being torn down has no message any more.
    let _ = MESSAGE.try_with(|message| {
        let text: Vec<u8> = failure.message.into_bytes().into_iter().filter(|byte| *byte != 0).collect();
        *message.borrow_mut() = CString::new(text).unwrap_or_default();
    });
    failure.status
}

/// The message of this thread's last failed call, for people: it names the file, the tensor or the index and says what to do.
/// Programs decide by the status.
///
/// Returns a NUL-terminated UTF-8 string of the library, never NULL, empty before the first failure: do not free it. It is
/// valid until this thread's next call that fails. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_last_message() -> *const c_char {
    MESSAGE.try_with(|message| message.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Panics planted by the tests into every export.
#[cfg(feature = "capi-panics")]
pub mod planted {
    use std::cell::Cell;

    thread_local! {
        static ARMED: Cell<bool> = const { Cell::new(false) };
    }

    /// The next export that this thread calls panics. Only in builds for tests.
    #[unsafe(no_mangle)]
    pub extern "C" fn crossrank_test_panic_next() {
        ARMED.set(true);
    }

    pub fn maybe_panic() {
        if ARMED.replace(false) {
            // Without the hook, which would print.
            std::panic::resume_unwind(Box::new("planted"));
        }
    }
}
