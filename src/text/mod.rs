//! Texts to token ids and batches of them. Imports nothing about tensors.

pub mod batch;
mod definition;
mod encoded;
mod hf_tokenizer;
mod plain;
mod prefix;
pub mod settings;
mod settled;
pub mod template;
pub mod tokenizer;
pub mod truncation;
pub mod vocabulary;
pub mod windows;
mod wordpiece;
