//! Strings to integers. Knows nothing of tensors.

pub mod batch;
mod definition;
mod hf_tokenizer;
mod plain;
mod prefix;
pub mod template;
pub mod tokenizer;
pub mod truncation;
pub mod windows;
mod wordpiece;
