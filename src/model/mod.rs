//! What the network is: sizes, tensor names, and the order of its ops. Names no backend and no intrinsic.

pub mod checkpoint;
pub mod config;
mod convert;
pub mod files;
pub mod find;
pub mod forward;
pub mod hash;
mod header;
pub mod hub_cache;
mod io;
mod json;
mod math;
mod matrix;
pub mod modules;
pub mod names;
pub mod network;
pub mod plan;
mod position_tables;
pub mod prompts;
pub mod quantize;
mod reader;
pub mod score;
mod source;
pub mod spec;
mod staging;
pub mod weights;
