//! include/crossrank.h is what src/capi/ says. `CROSSRANK_BLESS=1 cargo test --features capi --test header` writes it anew.

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

#[test]
fn the_committed_header_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/crossrank.h");
    let generated = generated();
    if std::env::var_os("CROSSRANK_BLESS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "include/crossrank.h is stale: bless it with CROSSRANK_BLESS=1");
}
