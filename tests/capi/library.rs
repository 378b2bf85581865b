//! What is inside libcrossrank.so and libcrossrank.a.

use std::collections::BTreeSet;
use std::process::Command;

use crate::toolbox::{WARNINGS, abi, built, folder, output, root, run};
use crate::{c_library, header, toolbox};

/// What a program that links libcrossrank.a must link too, on Linux.
pub const NATIVE_STATIC_LIBS: &str = "-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc";

fn readelf(options: &str) -> String {
    output(Command::new("readelf").arg(options).arg(built().join("libcrossrank.so")))
}

#[test]
fn the_shared_library_exports_the_functions_of_the_header_and_nothing_else() {
    let listed =
        output(Command::new("nm").args(["-D", "--defined-only"]).arg(built().join("libcrossrank.so")));
    let exported: BTreeSet<_> =
        listed.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect();
    let mut declared: BTreeSet<_> = header::functions().into_iter().map(|f| f.name).collect();
    if cfg!(feature = "capi-panics") {
        declared.insert("crossrank_test_panic_next".into());
    }
    assert_eq!(exported, declared);
}

#[test]
fn the_shared_library_is_named_by_its_binary_interface_and_stays_loaded() {
    let dynamic = readelf("-dW");
    assert!(dynamic.contains(&format!("Library soname: [libcrossrank.so.{}]", abi())), "{dynamic}");
    let flags = dynamic.lines().find(|line| line.contains("(FLAGS_1)")).unwrap_or_default();
    assert!(flags.contains("NODELETE"), "{dynamic}");
    assert!(!dynamic.contains("TEXTREL") && !dynamic.contains("RPATH") && !dynamic.contains("RUNPATH"));
}

#[test]
fn segments_are_aligned_for_pages_of_16_kib() {
    let headers = readelf("-lW");
    let alignments: Vec<_> = headers
        .lines()
        .filter(|line| line.trim_start().starts_with("LOAD"))
        .map(|line| line.split_whitespace().last().unwrap())
        .map(|number| u64::from_str_radix(number.trim_start_matches("0x"), 16).unwrap())
        .collect();
    assert!(alignments.len() >= 2, "{headers}");
    assert!(alignments.iter().all(|alignment| *alignment >= 16384), "{headers}");
}

#[test]
fn nothing_of_ours_runs_when_the_library_is_loaded() {
    let sections = readelf("-SW");
    // The start-up code of the C compiler has one entry, and Rust's standard library has one that notes argv.
    let size = |name: &str| {
        let line = sections.lines().find(|line| line.contains(name))?;
        let columns: Vec<_> = line.split_once(name).unwrap().1.split_whitespace().collect();
        // Type, address, offset, size.
        u64::from_str_radix(columns[3], 16).ok()
    };
    assert!(size(" .init_array ").unwrap_or(0) <= 16, "{sections}");
    assert_eq!(size(" .preinit_array "), None);
    assert_eq!(size(" .ctors "), None);
}

#[test]
fn a_static_program_needs_exactly_the_libraries_that_are_documented() {
    let messages = &c_library::build().messages;
    let printed = messages.lines().find_map(|line| line.split_once("native-static-libs: ")).unwrap().1;
    let unique = |list: &str| list.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(unique(printed), unique(NATIVE_STATIC_LIBS), "the documented list is another");
}

#[test]
fn a_program_linked_to_the_static_library_runs() {
    let program = folder("static").join("smoke");
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or("cc".into()));
    cc.args(["-std=gnu11", "-g", "-O1", "-pthread"]).args(WARNINGS);
    cc.args(std::env::var("CROSSRANK_CFLAGS").unwrap_or_default().split_whitespace());
    cc.arg("-I").arg(root().join("include")).arg(root().join("tests/c/smoke.c")).arg("-o").arg(&program);
    cc.arg(built().join("libcrossrank.a")).args(NATIVE_STATIC_LIBS.split(' '));
    output(&mut cc);
    let needed = output(Command::new("readelf").arg("-dW").arg(&program));
    assert!(!needed.contains("libcrossrank"), "{needed}");
    run(&program);
    let _ = std::fs::remove_file(program);
}

#[test]
fn the_numbers_of_the_version_are_those_of_the_package() {
    let constants = header::constants();
    let number = |name: &str| constants.iter().find(|(known, _)| known == name).unwrap().1;
    let [major, minor, patch] =
        ["MAJOR", "MINOR", "PATCH"].map(|n| number(&format!("CROSSRANK_VERSION_{n}")));
    assert_eq!(format!("{major}.{minor}.{patch}"), env!("CARGO_PKG_VERSION"));
    assert_eq!(toolbox::abi(), number("CROSSRANK_ABI"));
}
