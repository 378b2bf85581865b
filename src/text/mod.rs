//! Strings to integers. Knows nothing of tensors.

pub mod batch;
pub mod tokenizer;
pub mod truncation;
