//! The guard around the body of every export, and the message of the last failure.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
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

/// Copies the message of this thread's last failed call, for bindings that keep it longer than until the next failure.
///
/// - `buffer`: receives the message, UTF-8 with a NUL at the end; may be NULL if `capacity` is 0. A message that is too long is
///   cut between two characters.
/// - `capacity`: bytes of `buffer`.
///
/// Returns the length of the whole message in bytes, without the NUL: it was copied whole if that is less than `capacity`. 0
/// before the first failure. It never fails, and the message stays. Any thread. Since 0.2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_last_message_copy(buffer: *mut c_char, capacity: usize) -> usize {
    let buffer = if buffer.is_null() {
        &mut []
    } else {
        // SAFETY: not NULL, and the header asks for `capacity` writable bytes, of which no array has more than isize::MAX.
        unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), capacity.min(isize::MAX as usize)) }
    };
    MESSAGE.try_with(|message| copy_terminated(&message.borrow(), buffer)).unwrap_or(0)
}

/// Copies what fits of a message, in whole characters, and a NUL. Returns the length of the message.
fn copy_terminated(message: &CStr, buffer: &mut [u8]) -> usize {
    let bytes = message.to_bytes();
    if let Some(room) = buffer.len().checked_sub(1) {
        // A byte of the form 10xxxxxx continues a character.
        let starts_character = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
        let copied = (0..=room.min(bytes.len())).rev().find(starts_character).unwrap_or(0);
        buffer[..copied].copy_from_slice(&bytes[..copied]);
        buffer[copied] = 0;
    }
    bytes.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_two_characters_and_always_terminated() {
        let message = CString::new("a\u{e9}\u{1f600}").unwrap();
        for (capacity, copied) in
            [(1, ""), (2, "a"), (3, "a"), (4, "a\u{e9}"), (7, "a\u{e9}"), (8, "a\u{e9}\u{1f600}")]
        {
            let mut buffer = [b'x'; 9];
            assert_eq!(copy_terminated(&message, &mut buffer[..capacity]), 7);
            assert_eq!(CStr::from_bytes_until_nul(&buffer).unwrap().to_str().unwrap(), copied, "{capacity}");
            assert_eq!(buffer[capacity], b'x');
        }
        assert_eq!(copy_terminated(&message, &mut []), 7);
    }
}
