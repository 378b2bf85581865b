//! The versions of the library and of its binary interface.

use std::ffi::c_char;

/// The binary interface that this header describes.
pub const CROSSRANK_ABI: u32 = 0;
/// Major version of the library that this header belongs to.
pub const CROSSRANK_VERSION_MAJOR: u32 = 0;
/// Minor version of the library that this header belongs to.
pub const CROSSRANK_VERSION_MINOR: u32 = 2;
/// Patch version of the library that this header belongs to.
pub const CROSSRANK_VERSION_PATCH: u32 = 0;

/// The number of the binary interface, the N of libcrossrank.so.N. A program works with every library whose number is the
/// CROSSRANK_ABI it was compiled with, and with no other: compare the two before any other call.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_abi() -> u32 {
    CROSSRANK_ABI
}

/// The version of the library, such as "0.2.0".
///
/// Returns a NUL-terminated string of the library, never NULL, which lives as long as the library: do not free it. Any
/// thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
