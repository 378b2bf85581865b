//! include/crossrank.h is generated from src/capi/, and bindings/unity/Native.cs from the header.
//! `CROSSRANK_BLESS=1 cargo test --features capi --test header` writes both again.

mod csharp;
#[path = "../capi/header.rs"]
#[expect(dead_code, reason = "the test `capi` uses the rest")]
mod header;

use std::path::Path;

/// The header as cbindgen makes it from src/capi/.
fn generated() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("include/cbindgen.toml")).unwrap();
    // cbindgen follows the modules from here.
    let source = root.join("src/capi/mod.rs");
    let mut header = Vec::new();
    cbindgen::Builder::new().with_config(config).with_src(source).generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

/// Compares a committed file with the generated text; with CROSSRANK_BLESS=1 writes it first.
fn is_current(path: &str, generated: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("CROSSRANK_BLESS").is_some() {
        std::fs::write(&file, generated).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == generated, "{path} is stale: write it with CROSSRANK_BLESS=1");
}

#[test]
fn the_committed_header_is_the_generated_one() {
    is_current("include/crossrank.h", &generated());
}

#[test]
fn the_committed_declarations_for_c_sharp_are_the_generated_ones() {
    is_current("bindings/unity/Native.cs", &csharp::declarations(&generated()));
}
