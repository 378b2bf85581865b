//! Says in one sentence what the features with a model inside need, where the model's folder is not there.

use std::path::Path;

const MODEL: &str = "models/crossrank-mini-int8";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_BUNDLED_MODEL").is_none() {
        return;
    }
    println!("cargo::rerun-if-changed={MODEL}");
    if !Path::new(MODEL).join("model.safetensors").is_file() {
        println!(
            "cargo::error=the features `bundled-model` and `cli` embed {MODEL}, which is in the repository of crossrank \
             and not in its package: build them in a clone of the repository, or leave them out and load a model from \
             a folder with `Reranker::load`"
        );
    }
}
