//! Strings and arrays that the caller owns.

use std::borrow::Cow;
use std::ffi::{CStr, c_char};

use super::guard::Failure;
use super::status::crossrank_status;

/// UTF-8 text or bytes of the caller: not NUL-terminated, and NUL is allowed inside. {NULL, 0} is empty. Nothing is kept
/// after the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_str {
    /// First byte; may be NULL where `len` is 0.
    pub data: *const c_char,
    /// Bytes.
    pub len: usize,
}

/// The elements of an array of the caller.
///
/// # Safety
/// `data` points to `count` valid elements that nobody writes to for the lifetime chosen by the caller.
pub unsafe fn slice<'a, T>(data: *const T, count: usize, name: &str) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Failure::null(name));
    }
    check_size::<T>(count, name)?;
    if !data.is_aligned() {
        return Err(Failure::argument(format!("`{name}` is not aligned")));
    }
    // SAFETY: not null, aligned and of a possible size; the rest is the caller's duty.
    Ok(unsafe { std::slice::from_raw_parts(data, count) })
}

/// An array of the caller to write to.
///
/// # Safety
/// `data` points to `count` writable elements that nobody else uses for the lifetime chosen by the caller.
pub unsafe fn slice_mut<'a, T>(data: *mut T, count: usize, name: &str) -> Result<&'a mut [T], Failure> {
    if count == 0 {
        return Ok(&mut []);
    }
    if data.is_null() {
        return Err(Failure::null(name));
    }
    check_size::<T>(count, name)?;
    if !data.is_aligned() {
        return Err(Failure::argument(format!("`{name}` is not aligned")));
    }
    // SAFETY: as in `slice`.
    Ok(unsafe { std::slice::from_raw_parts_mut(data, count) })
}

fn check_size<T>(count: usize, name: &str) -> Result<(), Failure> {
    let possible = count.checked_mul(size_of::<T>()).is_some_and(|bytes| bytes <= isize::MAX as usize);
    if possible { Ok(()) } else { Err(Failure::argument(format!("`{name}` cannot have {count} elements"))) }
}

/// A place for one output.
///
/// # Safety
/// `out` points to writable memory for a `T` that nobody else uses for the lifetime chosen by the caller.
pub unsafe fn out<'a, T>(out: *mut T, name: &str) -> Result<&'a mut T, Failure> {
    // SAFETY: handed on.
    unsafe { slice_mut(out, 1, name) }.map(|one| &mut one[0])
}

/// Bytes of the caller.
///
/// # Safety
/// As [`slice`].
pub unsafe fn bytes<'a>(text: crossrank_str, name: &str) -> Result<&'a [u8], Failure> {
    // SAFETY: handed on.
    unsafe { slice(text.data.cast(), text.len, name) }
}

/// Text of the caller; ill-formed UTF-8 becomes U+FFFD, or an error that names the index.
///
/// # Safety
/// As [`slice`].
pub unsafe fn utf8<'a>(
    text: crossrank_str,
    strict: bool,
    name: &str,
    index: usize,
) -> Result<Cow<'a, str>, Failure> {
    // SAFETY: handed on.
    let bytes = unsafe { bytes(text, name) }?;
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(_) if !strict => Ok(String::from_utf8_lossy(bytes)),
        Err(e) => {
            let message = format!("`{name}` {index} is not UTF-8 at byte {}", e.valid_up_to());
            Err(Failure::new(crossrank_status::CROSSRANK_ERR_UTF8, message))
        }
    }
}

/// A NUL-terminated string of the caller.
///
/// # Safety
/// `text` points to a NUL-terminated string that nobody writes to for the lifetime chosen by the caller.
pub unsafe fn c_string<'a>(text: *const c_char, name: &str) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::null(name));
    }
    // SAFETY: not null; the rest is the caller's duty.
    unsafe { CStr::from_ptr(text) }
        .to_str()
        .map_err(|_| Failure::new(crossrank_status::CROSSRANK_ERR_UTF8, format!("`{name}` is not UTF-8")))
}
