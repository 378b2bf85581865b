//! Messages for the program's own log: off until asked for, never on stdout or stderr, never the user's text.

use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use super::guard::guard;
use super::options::User;
use super::status::crossrank_status;
use super::text::crossrank_str;

/// Log level: what a developer wants to know.
pub const CROSSRANK_LOG_INFO: i32 = 1;
/// Log level: what is odd without being an error.
pub const CROSSRANK_LOG_WARNING: i32 = 2;

/// Called with a CROSSRANK_LOG_ level and a message that lives until it returns, on the thread of the call that has something
/// to say. Must not call the library and must not unwind.
pub type crossrank_log_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, level: i32, message: crossrank_str)>;

static SINK: Mutex<(crossrank_log_fn, User)> = Mutex::new((None, User(std::ptr::null_mut())));

/// Sends messages to `log`, with `user`; NULL stops them, and when this function returns, no call of the former `log` is under
/// way. One for the whole process. Any thread. Default: none. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_set_log(log: crossrank_log_fn, user: *mut c_void) -> crossrank_status {
    guard(|| {
        *SINK.lock().unwrap_or_else(PoisonError::into_inner) = (log, User(user));
        Ok(())
    })
}

/// Says something.
pub fn log(level: i32, message: &str) {
    let sink = SINK.lock().unwrap_or_else(PoisonError::into_inner);
    if let (Some(log), user) = *sink {
        let message = crossrank_str { data: message.as_ptr().cast(), len: message.len() };
        // SAFETY: a function of the caller, called as the header says.
        unsafe { log(user.0, level, message) };
    }
}
