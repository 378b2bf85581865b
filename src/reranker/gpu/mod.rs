//! A loaded model on the GPU, with its weights on the CPU as well: what the GPU does not finish is computed there.
//!
//! The CPU's weights are loaded at once and not when they are needed: by then the files may have changed, and when a device
//! was lost for want of memory no more of it should be asked for.

mod break_even;
mod cancellable;
mod choose;
mod engine;
mod fallback;
mod recovery;
#[cfg(test)]
mod tests;

pub use choose::{load, load_faster};
