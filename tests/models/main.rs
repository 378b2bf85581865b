//! Model files, good and bad: what loads computes what transformers computes, and what does not load says why.

mod checkpoint;
mod config;
mod craft;
mod families;
mod files;
mod golden;
mod load;
mod quantize;
