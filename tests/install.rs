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
    installed_in("a prefix")
}

/// Installs into a folder of that name.
fn installed_in(name: &str) -> Installed {
    if let Some(prefix) = std::env::var_os("CROSSRANK_PREFIX") {
        return Installed { prefix: prefix.into(), _folder: None };
    }
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join(name);
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
fn pkg_config_gives_what_both_examples_need_wherever_the_prefix_is_moved() {
    if !has("pkg-config") || !has("g++") {
        return;
    }
    // Characters that shells and sed take for their own.
    let installed = installed_in("a prefix & more|#");
    // A prefix of its own with the static library alone: a linker that sees both takes the shared one.
    let folder = tempfile::tempdir().unwrap();
    let only_static = folder.path().join("moved & |#");
    std::fs::create_dir_all(only_static.join("lib/pkgconfig")).unwrap();
    for file in ["include", "lib/libcrossrank.a", "lib/pkgconfig/crossrank.pc"] {
        std::os::unix::fs::symlink(installed.prefix.join(file), only_static.join(file)).unwrap();
    }
    for (shared, prefix) in [(true, &installed.prefix), (false, &only_static)] {
        let mut pkg_config = Command::new("pkg-config");
        pkg_config.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
        pkg_config.args(if shared { &[][..] } else { &["--static"] });
        let flags = succeeds(pkg_config.args(["--cflags", "--libs", "crossrank"]));
        for (compiler, source) in [("gcc", "examples/c/rank.c"), ("g++ -std=c++17", "examples/cpp/rank.cpp")]
        {
            let folder = tempfile::tempdir().unwrap();
            let program = folder.path().join("rank");
            let line = format!("{compiler} {source} {} -o '{}'", flags.trim(), program.display());
            succeeds(Command::new("sh").args(["-c", &line]).current_dir(root()));
            assert_eq!(is_shared(&program), shared, "{line}");
            ranks(&program, shared.then_some(&*prefix.join("lib")));
        }
    }
}

#[test]
fn the_lines_of_the_documentation_link_both_libraries() {
    if !has("pkg-config") || !has("cc") {
        return;
    }
    let installed = installed_in("prefix");
    let document = std::fs::read_to_string(root().join("docs/c.md")).unwrap();
    let lines: Vec<&str> = document.lines().filter(|line| line.starts_with("cc rank.c ")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, shared) in lines.into_iter().zip([true, false]) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(root().join("examples/c/rank.c"), folder.path().join("rank.c")).unwrap();
        let line = line.replace("PREFIX", installed.prefix.to_str().unwrap());
        let mut shell = Command::new("sh");
        shell.env("PKG_CONFIG_PATH", installed.prefix.join("lib/pkgconfig")).args(["-c", &line]);
        succeeds(shell.current_dir(folder.path()));
        let program = folder.path().join("rank");
        assert_eq!(is_shared(&program), shared, "{line}");
        ranks(&program, shared.then_some(&*installed.prefix.join("lib")));
    }
}

/// Runs install.sh where PATH leads to the tools it needs and to `cargo`, if that is given: the text of a script.
fn install_with(cargo: Option<&str>, arguments: &[&Path]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    for tool in ["sh", "uname", "sed", "dirname", "head", "tail", "mkdir", "install", "ln", "strip", "chmod"]
    {
        let at = succeeds(Command::new("sh").args(["-c", &format!("command -v {tool}")]));
        std::os::unix::fs::symlink(at.trim(), folder.path().join(tool)).unwrap();
    }
    if let Some(script) = cargo {
        let path = folder.path().join("cargo");
        std::fs::write(&path, script).unwrap();
        succeeds(Command::new("chmod").arg("+x").arg(path));
    }
    let mut command = Command::new(root().join("packaging/install.sh"));
    command.args(arguments).env("PATH", folder.path()).output().unwrap()
}

#[test]
fn the_script_explains_itself_and_what_it_lacks() {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("p");
    for help in ["--help", "-h"] {
        let output = install_with(None, &[Path::new(help)]);
        assert!(output.status.success() && output.stderr.is_empty());
        let usage = text(&output.stdout);
        assert!(
            usage.starts_with("Installs the C and C++ libraries") && usage.contains("DESTDIR"),
            "{usage}"
        );
    }
    for wrong in [&[][..], &[Path::new("--nonsense")], &[&prefix, Path::new("--from")]] {
        let output = install_with(None, wrong);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()), "{wrong:?}");
        assert!(text(&output.stderr).contains("PREFIX [--from"), "{wrong:?}");
    }
    for (arguments, message) in [
        (&[&*prefix][..], "there is no cargo in PATH"),
        (&[&*prefix, Path::new("--from"), Path::new("no/such")], "there is no folder 'no/such'"),
        (&[&*prefix, Path::new("--from"), folder.path()], "lacks libcrossrank.so"),
    ] {
        let output = install_with(None, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains(message), "{arguments:?}: {}", text(&output.stderr));
        assert!(!prefix.exists());
    }
}

#[test]
fn the_libraries_are_taken_from_where_cargo_has_put_them() {
    // What cargo prints for one crate, with a target folder that no variable names.
    let built = c_library::built();
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("of build.target-dir/x86_64/dist");
    std::fs::create_dir_all(&elsewhere).unwrap();
    for library in ["libcrossrank.so", "libcrossrank.a"] {
        std::os::unix::fs::symlink(built.join(library), elsewhere.join(library)).unwrap();
    }
    let at = elsewhere.display();
    let cargo = format!(
        "#!/bin/sh\n[ \"$1\" = rustc ] || exit 9\ncase \"$*\" in *--message-format=json*) ;; *) exit 8 ;; esac\n\
         echo '{{\"reason\":\"compiler-artifact\",\"filenames\":[\"/other/libother.rlib\"]}}'\n\
         echo '{{\"reason\":\"compiler-artifact\",\"filenames\":[\"{at}/libcrossrank.so\",\"{at}/libcrossrank.a\"],\"executable\":null}}'\n\
         echo '{{\"reason\":\"build-finished\",\"success\":true}}'\n"
    );
    let prefix = folder.path().join("prefix");
    let output = install_with(Some(&cargo), &[&prefix]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(prefix.join("lib/libcrossrank.a").is_file() && prefix.join("lib/libcrossrank.so").is_file());
    // A build that fails installs nothing.
    let output = install_with(Some("#!/bin/sh\nexit 101\n"), &[&folder.path().join("none")]);
    assert!(!output.status.success() && !folder.path().join("none").exists());
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
