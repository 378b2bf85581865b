//! Memory of the caller: strings, arrays, outputs, and the pointers that its functions get back.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_void};

use super::status::{Failure, crossrank_status};

/// UTF-8 text, or bytes, of the caller: without a NUL at the end, and with NUL allowed inside. {NULL, 0} is empty. The library
/// does not keep the pointer after the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_str {
    /// The first byte; may be NULL if `len` is 0.
    pub data: *const c_char,
    /// Length in bytes.
    pub len: usize,
}

/// The elements of an array of the caller.
///
/// # Safety
/// `data` points to `count` valid elements that are not written to during the lifetime `'a`.
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
    // SAFETY: not null, aligned and no larger than memory can be; the rest is the caller's duty.
    Ok(unsafe { std::slice::from_raw_parts(data, count) })
}

/// An array of the caller, to write to.
///
/// # Safety
/// `data` points to `count` writable elements that are not used by other code during the lifetime `'a`.
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

/// The memory of one output.
///
/// # Safety
/// `out` points to writable memory for a `T` that is not used by other code during the lifetime `'a`.
pub unsafe fn out<'a, T>(out: *mut T, name: &str) -> Result<&'a mut T, Failure> {
    // SAFETY: the caller's duty, as above.
    unsafe { slice_mut(out, 1, name) }.map(|one| &mut one[0])
}

/// Bytes of the caller.
///
/// # Safety
/// As [`slice`].
pub unsafe fn bytes<'a>(text: crossrank_str, name: &str) -> Result<&'a [u8], Failure> {
    // SAFETY: the caller's duty, as above.
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
    // SAFETY: the caller's duty, as above.
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
/// `text` points to a NUL-terminated string that is not written to during the lifetime `'a`.
pub unsafe fn c_string<'a>(text: *const c_char, name: &str) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::null(name));
    }
    // SAFETY: not null; the rest is the caller's duty.
    unsafe { CStr::from_ptr(text) }
        .to_str()
        .map_err(|_| Failure::new(crossrank_status::CROSSRANK_ERR_UTF8, format!("`{name}` is not UTF-8")))
}

/// Writes those fields of a struct that the caller's version of it has. The first field is the size, which the caller sets.
///
/// # Safety
/// `to` is NULL or points to writable memory whose size in bytes is the u32 at its start.
pub unsafe fn write_sized<T: Copy>(to: *mut T, value: T, name: &str) -> Result<(), Failure> {
    if to.is_null() {
        return Err(Failure::null(name));
    }
    if !to.is_aligned() {
        return Err(Failure::argument(format!("`{name}` is not aligned")));
    }
    // SAFETY: not null and aligned; every such struct starts with its size.
    let size = unsafe { to.cast::<u32>().read() };
    // The fields of the first version of every struct take at least this much.
    if (size as usize) < 2 * size_of::<u32>() {
        return Err(Failure::argument(format!("set `{name}->size` to the size of the struct")));
    }
    let bytes = (size as usize).min(size_of::<T>());
    let from = (&raw const value).cast::<u8>();
    // SAFETY: `bytes` bytes are readable in `value` and writable in `to`. The size at the start stays what the caller set.
    unsafe { std::ptr::copy_nonoverlapping(from.add(4), to.cast::<u8>().add(4), bytes - 4) };
    Ok(())
}

/// A pointer of the caller that is passed back to the caller's functions.
#[derive(Clone, Copy)]
pub struct User(pub *mut c_void);

// SAFETY: the library never dereferences it, and the header says that the functions are called on other threads.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}
