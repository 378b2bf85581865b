//! Model files, valid and invalid: a model that loads computes what transformers computes, and one that does not load is an
//! error that says why.

mod checkpoint;
#[path = "../common/mod.rs"]
mod common;
mod config;
mod craft;
mod edited;
mod families;
mod files;
mod golden;
mod hub_cache;
mod load;
mod prompts;
mod quantize;
mod settings;
mod vocabulary;
