//! Messages for the program's own log. Off until a function is set; never on stdout or stderr; never the user's text.

use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use super::caller::{User, crossrank_str};
use super::guard::guard;
use super::status::crossrank_status;

/// Log level: information for developers.
pub const CROSSRANK_LOG_INFO: i32 = 1;
/// Log level: something unexpected that is not an error.
pub const CROSSRANK_LOG_WARNING: i32 = 2;

/// Called with a CROSSRANK_LOG_ level and a message, on the thread of the call that logs it. `message` is valid until the
/// function returns. Must not call the library and must not unwind.
pub type crossrank_log_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, level: i32, message: crossrank_str)>;

static LOG: Mutex<(crossrank_log_fn, User)> = Mutex::new((None, User(std::ptr::null_mut())));

/// Sets the function that receives messages, one for the whole process. When this returns, no call of the former function is
/// in progress.
///
/// - `log`: the function; NULL turns messages off. Default: off.
/// - `user`: passed to every call of `log`; may be NULL.
///
/// `log` and `user` must stay valid until another function is set. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_set_log(log: crossrank_log_fn, user: *mut c_void) -> crossrank_status {
    guard(|| {
        *LOG.lock().unwrap_or_else(PoisonError::into_inner) = (log, User(user));
        Ok(())
    })
}

/// Sends a message to the program's log function.
pub fn log(level: i32, message: &str) {
    let sink = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    if let (Some(log), user) = *sink {
        let message = crossrank_str { data: message.as_ptr().cast(), len: message.len() };
        // SAFETY: a function of the caller, called as the header says.
        unsafe { log(user.0, level, message) };
    }
}
