//! Compiling and running C programs against the library.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub use crate::c_library::built;

/// What every C program of ours is compiled with.
pub const WARNINGS: [&str; 7] =
    ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wundef", "-Wredundant-decls", "-Werror"];

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A tiny model with one label.
pub fn tiny_model() -> PathBuf {
    root().join("tests/fixtures/bert")
}

/// A folder for what a test makes.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A folder with libcrossrank.so under the names that linkers and loaders look for.
pub fn libraries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = folder("lib");
        let soname = format!("libcrossrank.so.{}", abi());
        for name in ["libcrossrank.so", &soname] {
            let link = folder.join(name);
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(built().join("libcrossrank.so"), &link).unwrap();
        }
        folder
    })
}

/// The number of the binary interface, by the header.
pub fn abi() -> i64 {
    let constants = crate::header::constants();
    constants.iter().find(|(name, _)| name == "CROSSRANK_ABI").unwrap().1
}

/// The output of a command that must succeed.
pub fn output(command: &mut Command) -> String {
    let out = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (text, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {}\n{text}{errors}", out.status);
    text.into_owned()
}

/// Those of the compilers that this machine has.
pub fn compilers(names: [&'static str; 2]) -> Vec<&'static str> {
    let required = std::env::var_os("CROSSRANK_REQUIRE_COMPILERS").is_some();
    let has = |name: &&str| {
        let found = Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
        // The plain C compiler is what every test here needs.
        assert!(found || !(required || *name == "gcc"), "{name} is missing");
        if !found {
            eprintln!("skipped: no {name}");
        }
        found
    };
    names.into_iter().filter(has).collect()
}

/// Compiles a C program of tests/c, or one that a test has written, and links it to libcrossrank.so.
pub fn compile(source: &Path) -> PathBuf {
    let program = folder("bin").join(source.file_stem().unwrap());
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or("cc".into()));
    cc.args(["-std=gnu11", "-g", "-O1", "-pthread", "-Wstrict-prototypes"]).args(WARNINGS);
    cc.args(std::env::var("CROSSRANK_CFLAGS").unwrap_or_default().split_whitespace());
    cc.arg("-I").arg(root().join("include")).arg("-I").arg(root().join("tests/c"));
    cc.arg(source).arg("-o").arg(&program);
    cc.arg("-L").arg(libraries()).arg("-lcrossrank").arg(format!("-Wl,-rpath,{}", libraries().display()));
    cc.arg("-lm");
    output(&mut cc);
    program
}

/// Runs a C program with the tiny models and a folder for its files; the program checks itself.
pub fn run(program: &Path) -> String {
    let scratch = folder(&format!("run-{}", program.file_name().unwrap().display()));
    let runner = std::env::var("CROSSRANK_RUNNER").unwrap_or_default();
    let mut arguments = runner.split_whitespace();
    let mut command = match arguments.next() {
        None => Command::new(program),
        Some(first) => Command::new(first),
    };
    command.args(arguments);
    if !runner.is_empty() {
        command.arg(program);
    }
    command.arg(tiny_model()).arg(root().join("tests/fixtures/bert-3-labels")).arg(&scratch);
    output(command.current_dir(&scratch))
}
