//! The C interface from outside: the header, the binary interface, the libraries, and C programs that use them.
//!
//! Needs `gcc` with its `nm` and `readelf`; checks with `g++`, `clang` and `clang++` are skipped where they are missing,
//! unless `CROSSRANK_REQUIRE_COMPILERS=1`. For instrumented runs (.ci/capi.sh), `CC` compiles the C programs with
//! `CROSSRANK_CFLAGS` added, against the libraries in `CROSSRANK_BUILT`, and `CROSSRANK_RUNNER` is put before each run.
#![cfg(target_os = "linux")]

mod abi;
#[path = "../common/c_library.rs"]
mod c_library;
mod exports;
mod generated;
mod header;
mod library;
mod modes;
mod programs;
mod released;
mod toolbox;
