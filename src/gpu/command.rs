//! What is recorded on the caller's thread, for the device's thread to execute.

use std::sync::Arc;

use super::handle::BufferHandle;
use super::shaders::Kernel;
use crate::error::Error;

/// One recorded step.
pub enum Command {
    /// Writes bytes to the beginning of a buffer.
    Upload(Arc<BufferHandle>, Vec<u8>),
    /// Runs one shader.
    Dispatch(Dispatch),
    /// Fails the whole recording: an op that returns nothing met an error while it was recorded.
    Fail(Error),
}

/// One shader over a grid of workgroups.
pub struct Dispatch {
    /// The shader.
    pub kernel: Kernel,
    /// Values of its override constants, in the order of `Shader::overrides`.
    pub overrides: Vec<f64>,
    /// Bind group 0: activations and lists.
    pub activations: Vec<Arc<BufferHandle>>,
    /// Bind group 1: weights.
    pub weights: Vec<Arc<BufferHandle>>,
    /// Workgroups along x, y and z.
    pub grid: [usize; 3],
}
