//! What stands between every export and its caller.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::crossrank_status;

/// Why a call fails: the code is the contract, the message is for people.
pub struct Failure {
    status: crossrank_status,
    message: String,
}

impl Failure {
    pub fn new(status: crossrank_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// A pointer that must not be NULL.
    pub fn null(name: &str) -> Self {
        Self::new(crossrank_status::CROSSRANK_ERR_NULL, format!("`{name}` is NULL"))
    }

    /// An argument with a value that makes no sense.
    pub fn argument(message: impl Into<String>) -> Self {
        Self::new(crossrank_status::CROSSRANK_ERR_ARGUMENT, message)
    }
}

thread_local! {
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
            // A payload whose own drop panics must not get a second chance.
            std::mem::forget(payload);
            Failure::new(crossrank_status::CROSSRANK_ERR_INTERNAL, "a panic was caught: please report it")
        }
    };
    // Nothing to do for a thread that is being torn down.
    let _ = MESSAGE.try_with(|message| {
        let text: Vec<u8> = failure.message.into_bytes().into_iter().filter(|byte| *byte != 0).collect();
        *message.borrow_mut() = CString::new(text).unwrap_or_default();
    });
    failure.status
}

/// The message of this thread's last failure.
pub fn last_message() -> *const c_char {
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
