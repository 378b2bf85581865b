//! What the network is: sizes, tensor names, and the order of its words. Names no backend and no intrinsic.

pub mod checkpoint;
pub mod config;
mod desk;
mod distance;
pub mod files;
pub mod forward;
mod json;
mod math;
pub mod modules;
pub mod names;
mod network;
pub mod quantize;
pub mod score;
mod source;
pub mod spec;
pub mod weights;
