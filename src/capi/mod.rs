//! The C interface: one file per noun. include/crossrank.h is generated from here.
//!
//! Every export is one call of `guard`: nothing unwinds into C, every failure is a status, and its
//! message waits for the thread in `crossrank_last_message`. Handles are ids in generational tables: stale, freed and
//! forged ones are `CROSSRANK_ERR_HANDLE`. Pointers are checked for NULL; that they point to what the header says is the
//! caller's duty, and the only one.
#![expect(non_camel_case_types, reason = "the names of the C header")]

pub mod cancel;
pub mod files;
mod guard;
mod handle;
pub mod log;
pub mod model;
pub mod options;
pub mod rank;
pub mod status;
pub mod text;
pub mod usage;
pub mod version;
