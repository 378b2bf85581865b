//! Which library this is.

use std::ffi::c_char;

/// The number of the binary interface, the N of libcrossrank.so.N: programs built for one number run with every library of
/// that number. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_abi() -> u32 {
    CROSSRANK_ABI
}

/// The binary interface that this header describes.
pub const CROSSRANK_ABI: u32 = 0;
/// First number of the version that this header came with.
pub const CROSSRANK_VERSION_MAJOR: u32 = 0;
/// Second number of the version that this header came with.
pub const CROSSRANK_VERSION_MINOR: u32 = 1;
/// Third number of the version that this header came with.
pub const CROSSRANK_VERSION_PATCH: u32 = 0;

/// The version of the library, such as "0.1.0". Never NULL; lives as long as the library. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
