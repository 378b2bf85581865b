//! The C interface: one file per noun. include/crossrank.h is generated from here, in the order of the modules below.
//!
//! Every export is one call of `guard`: nothing unwinds into C, every failure is a status, and its message is kept for
//! the thread's `crossrank_last_message`. Handles are ids in generational tables: stale, freed and forged ones give
//! `CROSSRANK_ERR_HANDLE`. Pointers are checked for NULL; that they point to what the header says is the only duty left
//! to the caller.
//!
//! Files import only from files above them in this list.
#![expect(non_camel_case_types, reason = "the names of the C header")]

pub mod version;

pub mod status;

pub mod guard;

mod handle;

pub mod caller;

pub mod enums;

pub mod log;

pub mod cancel;

pub mod executor;

pub mod ranked;

pub mod options;

pub mod load_options;

pub mod call_options;

pub mod model;

pub mod files;

pub mod usage;

pub mod rank;

pub mod texts;
