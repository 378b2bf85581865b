//! Programs find what packaging/install.sh installs, build with it and run: with CMake and with pkg-config, shared and static,
//! in C and in C++.
//!
//! Installs the library of this build; with CROSSRANK_PREFIX=folder that prefix is tested instead.

#[path = "common/c_library.rs"]
mod c_library;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A prefix to test, and its temporary folder, which is removed on drop.
struct Installed {
    prefix: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn installed() -> Installed {
    if let Some(prefix) = std::env::var_os("CROSSRANK_PREFIX") {
        return Installed { prefix: prefix.into(), _folder: None };
    }
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("a prefix");
    let install = root().join("packaging/install.sh");
    succeeds(Command::new(install).arg(&prefix).arg("--from").arg(c_library::built()));
    Installed { prefix, _folder: Some(folder) }
}

/// Whether a program can be run. If it cannot, the skipped check is printed; with CROSSRANK_REQUIRE_TOOLS=1 it fails.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        assert!(std::env::var_os("CROSSRANK_REQUIRE_TOOLS").is_none(), "{program} is not installed");
        eprintln!("skipped: {program} is not installed");
    }
    found
}

fn succeeds(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// Runs an example that was built, and checks its ranking.
fn ranks(program: &Path, libraries: Option<&Path>) {
    let mut command = Command::new(program);
    command.arg(root().join("tests/fixtures/bert")).env_remove("LD_LIBRARY_PATH");
    if let Some(libraries) = libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    assert_eq!(succeeds(&mut command).lines().count(), 3);
}

/// Whether a program asks the loader for the shared library.
fn is_shared(program: &Path) -> bool {
    succeeds(Command::new("readelf").arg("--dynamic").arg(program)).contains("libcrossrank.so")
}

#[test]
fn the_prefix_holds_headers_libraries_and_their_links() {
    let installed = installed();
    let at = |path: &str| installed.prefix.join(path);
    for file in [
        "include/crossrank.h",
        "include/crossrank.hpp",
        "lib/libcrossrank.a",
        concat!("lib/libcrossrank.so.", env!("CARGO_PKG_VERSION")),
        "lib/pkgconfig/crossrank.pc",
        "lib/cmake/crossrank/crossrankConfig.cmake",
        "lib/cmake/crossrank/crossrankConfigVersion.cmake",
    ] {
        assert!(at(file).symlink_metadata().unwrap().is_file(), "{file}");
    }
    assert_eq!(std::fs::read_link(at("lib/libcrossrank.so")).unwrap(), Path::new("libcrossrank.so.0"));
    assert_eq!(
        std::fs::read_link(at("lib/libcrossrank.so.0")).unwrap(),
        Path::new(concat!("libcrossrank.so.", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn cmake_finds_both_libraries_and_builds_both_examples() {
    if !has("cmake") || !has("g++") {
        return;
    }
    let installed = installed();
    let build = tempfile::tempdir().unwrap();
    succeeds(
        Command::new("cmake")
            .args(["-S", "packaging/consumer", "-B"])
            .arg(build.path())
            .arg(format!("-DCMAKE_PREFIX_PATH={}", installed.prefix.display()))
            .current_dir(root()),
    );
    succeeds(Command::new("cmake").arg("--build").arg(build.path()));
    for (program, shared) in
        [("c_crossrank", true), ("cpp_crossrank", true), ("c_static", false), ("cpp_static", false)]
    {
        let program = build.path().join(program);
        assert_eq!(is_shared(&program), shared, "{program:?}");
        // CMake writes where the shared library is into the program.
        ranks(&program, None);
    }
}

#[test]
fn cmake_refuses_another_minor_version() {
    if !has("cmake") || !has("g++") {
        return;
    }
    let installed = installed();
    for (version, found) in [("0.2", true), ("0.2.0", true), ("0.2.9", false), ("0.3", false), ("1", false)] {
        let folder = tempfile::tempdir().unwrap();
        let project = format!(
            "cmake_minimum_required(VERSION 3.16)\nproject(p C)\nfind_package(crossrank {version} CONFIG REQUIRED)\n"
        );
        std::fs::write(folder.path().join("CMakeLists.txt"), project).unwrap();
        let output = Command::new("cmake")
            .arg(format!("-DCMAKE_PREFIX_PATH={}", installed.prefix.display()))
            .args(["-B", "build", "."])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.success(), found, "{version}");
    }
}

#[test]
fn pkg_config_gives_what_both_examples_need() {
    if !has("pkg-config") || !has("g++") {
        return;
    }
    let installed = installed();
    let lib = installed.prefix.join("lib");
    // A prefix of its own with the static library alone: a linker that sees both takes the shared one.
    let only_static = tempfile::tempdir().unwrap();
    std::fs::create_dir(only_static.path().join("lib")).unwrap();
    for (from, to) in [("include", "include"), ("lib/libcrossrank.a", "lib/libcrossrank.a")] {
        std::os::unix::fs::symlink(installed.prefix.join(from), only_static.path().join(to)).unwrap();
    }
    for (shared, prefix) in [(true, &*installed.prefix), (false, only_static.path())] {
        let mut pkg_config = Command::new("pkg-config");
        pkg_config.env("PKG_CONFIG_PATH", lib.join("pkgconfig"));
        pkg_config
            .arg(format!("--define-variable=prefix={}", prefix.display().to_string().replace(' ', "\\ ")));
        pkg_config.args(if shared { &[][..] } else { &["--static"] }).args([
            "--cflags",
            "--libs",
            "crossrank",
        ]);
        let flags = succeeds(&mut pkg_config);
        for (compiler, source) in [("gcc", "examples/c/rank.c"), ("g++ -std=c++17", "examples/cpp/rank.cpp")]
        {
            let folder = tempfile::tempdir().unwrap();
            let program = folder.path().join("rank");
            let line = format!("{compiler} {source} {} -o '{}'", flags.trim(), program.display());
            succeeds(Command::new("sh").args(["-c", &line]).current_dir(root()));
            assert_eq!(is_shared(&program), shared, "{line}");
            ranks(&program, shared.then_some(&*lib));
        }
    }
}

#[test]
fn pkg_config_lists_exactly_the_native_libraries_that_rust_needs() {
    if !has("pkg-config") {
        return;
    }
    let installed = installed();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty.rs"), "").unwrap();
    let output = Command::new("rustc")
        .args(["--crate-type=staticlib", "--print=native-static-libs", "empty.rs"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    let needed = printed.lines().find_map(|line| line.split_once("native-static-libs: ")).unwrap().1.trim();
    let mut pkg_config = Command::new("pkg-config");
    pkg_config.env("PKG_CONFIG_PATH", installed.prefix.join("lib/pkgconfig"));
    let listed = succeeds(pkg_config.args(["--static", "--libs-only-l", "crossrank"]));
    assert_eq!(listed.trim(), format!("-lcrossrank {needed}"));
}

#[test]
fn the_shared_library_has_grown_by_at_most_5_percent_over_its_stated_size() {
    // The library of a build for tests says nothing about the shipped one.
    let Some(prefix) = std::env::var_os("CROSSRANK_PREFIX").filter(|_| cfg!(target_arch = "x86_64")) else {
        eprintln!("skipped: CROSSRANK_PREFIX does not name an installed prefix");
        return;
    };
    let stated = std::fs::read(root().join("packaging/size.json")).unwrap();
    let stated: serde_json::Value = serde_json::from_slice(&stated).unwrap();
    let stated = stated["libcrossrank.so"].as_u64().unwrap();
    let found = std::fs::metadata(Path::new(&prefix).join("lib/libcrossrank.so")).unwrap().len();
    println!("{found} bytes, {stated} are stated");
    assert!(
        found * 100 <= stated * 105,
        "{found} bytes, {stated} are stated: find out why, or state it in packaging/size.json"
    );
}
