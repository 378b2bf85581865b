//! What the network is: sizes, tensor names, and the order of its words. Names no backend and no intrinsic.

pub mod checkpoint;
pub mod config;
mod distance;
pub mod files;
pub mod find;
pub mod forward;
pub mod hash;
mod header;
mod io;
mod json;
mod math;
pub mod modules;
pub mod names;
mod network;
pub mod quantize;
mod rounded;
pub mod score;
mod source;
pub mod spec;
mod staging;
pub mod weights;
