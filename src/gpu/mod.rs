//! The GPU backend: ops are recorded on the caller's thread and executed on the device's own thread when `read` asks for a
//! result.
//!
//! Matrices are padded (pack.rs), so that shaders check neither rows nor steps along k: every op that writes a row also
//! writes zeros to its padding columns. Shapes are never run-time values of a shader: numbers of columns are constants of its
//! pipeline, and numbers of rows are numbers of workgroups.
//!
//! On the caller's thread: recorder.rs keeps what is recorded; ops.rs is the op set, with linear.rs, attention.rs and
//! embedding.rs for the larger ops; weights.rs and transfer.rs move weights, activations and results; open.rs,
//! self_test.rs, tune.rs and tiles.rs choose tier and tiles; hardware.rs tells without a driver whether there may be a GPU. On
//! the device's thread (thread.rs): device.rs, buffer_store.rs, pipelines.rs and adapter.rs, the only files that call the
//! driver; shaders.rs is the table of what they run.

pub mod adapter;
mod attention;
mod buffer_store;
mod buffers;
mod command;
pub mod device;
mod embedding;
mod fault;
mod handle;
mod hardware;
mod linear;
mod open;
mod ops;
pub mod pack;
pub mod params;
pub mod pipelines;
mod recorder;
mod self_test;
pub mod shaders;
mod thread;
mod tiles;
mod transfer;
mod tune;
mod weights;

pub use attention::MAX_HEAD_DIM;
pub use buffers::{Bias, Buf, KeyValue, Linear, Norm, Relative, Rotary};
pub use hardware::may_have_gpu;
pub use recorder::{Gpu, GpuOptions};
pub use thread::adapters;
