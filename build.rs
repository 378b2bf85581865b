//! Linker arguments of libcrossrank.so. A program that uses the crate as a Rust library is linked as without them.

/// The number of the binary interface: `CROSSRANK_ABI` of src/capi/version.rs, which a test compares.
const ABI: u32 = 0;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if !["linux", "android"].contains(&&*os) || std::env::var_os("CARGO_FEATURE_CAPI").is_none() {
        return;
    }
    // Android looks libraries up by file name alone: an application's library folder holds no versioned names.
    if os == "linux" {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcrossrank.so.{ABI}");
    }
    // Systems with pages of 16 KiB (Android 15) refuse segments that are aligned to less.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,max-page-size=16384");
    // Worker threads and thread-local destructors run the library's code: dlclose must leave it in memory.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
