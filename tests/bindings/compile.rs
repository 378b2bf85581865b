//! C and C++ compilers, and the library under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::c_library::built;

/// Whether a program can be run. If it cannot, the skipped check is printed; with CROSSRANK_REQUIRE_TOOLS=1 it fails.
pub fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        assert!(std::env::var_os("CROSSRANK_REQUIRE_TOOLS").is_none(), "{program} is not installed");
        eprintln!("skipped: {program} is not installed");
    }
    found
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Makes `folder` hold the shared library under each name that a program may ask for.
pub fn link_library(folder: &Path) {
    for name in ["libcrossrank.so", "libcrossrank.so.0"] {
        std::os::unix::fs::symlink(built().join("libcrossrank.so"), folder.join(name)).unwrap();
    }
}

/// Runs a command in the repository's root, without cargo's library search path, which may lead to a library of an earlier
/// build.
pub fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(arguments[0]);
    command.args(&arguments[1..]).env_remove("LD_LIBRARY_PATH").current_dir(root()).output().unwrap()
}

/// [`run`]s a program that [`compile`] has made; under the command of CROSSRANK_RUNNER, where that is set.
pub fn run_program(arguments: &[&str]) -> Output {
    let runner = std::env::var("CROSSRANK_RUNNER").unwrap_or_default();
    let arguments: Vec<&str> = runner.split_whitespace().chain(arguments.iter().copied()).collect();
    run(&arguments)
}

/// The text of both output streams.
pub fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The strictest warnings that every source of ours passes.
pub const WARNINGS: [&str; 6] = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"];

/// Compiles `source` with `command`, links it with the library in `folder`, and returns the program.
pub fn compile(command: &[&str], source: &str, folder: &Path) -> PathBuf {
    let program = folder.join("program");
    let (at, program_at) = (folder.to_str().unwrap(), program.to_str().unwrap());
    let (include, table, rpath) = (format!("-I{at}"), format!("-L{at}"), format!("-Wl,-rpath,{at}"));
    let mut arguments = command.to_vec();
    arguments.extend(WARNINGS);
    let flags = std::env::var("CROSSRANK_CFLAGS").unwrap_or_default();
    arguments.extend(flags.split_whitespace());
    arguments.extend([source, "-Iinclude", "-Ibindings/c", "-Ibindings/cpp", &include, "-o", program_at]);
    arguments.extend([&*table, "-lcrossrank", "-lm", "-pthread", &rpath]);
    let output = run(&arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", printed(&output));
    program
}
