//! Compares the header with that of the newest release by abidiff, if abigail-tools is installed. It finds changes that
//! include/crossrank.abi does not list, such as the types of a struct's fields.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::abi::SIZED;
use crate::header::{self, without_comments};
use crate::toolbox::{folder, output, root};

fn has_abidiff() -> bool {
    let found = Command::new("abidiff").arg("--version").output().is_ok();
    if !found {
        assert!(std::env::var_os("CROSSRANK_REQUIRE_COMPILERS").is_none(), "abidiff is not installed");
        eprintln!("skipped: abidiff of abigail-tools is not installed");
    }
    found
}

/// A shared library of empty functions with the types of a header.
fn shape(name: &str, text: &str) -> PathBuf {
    let folder = folder("released").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("crossrank.h"), text).unwrap();
    let mut source = String::from("#include \"crossrank.h\"\n#include <stdlib.h>\n");
    for function in header::functions_of(text) {
        let parameters: Vec<_> =
            function.parameters.iter().map(|p| format!("{} {}", p.kind, p.name)).collect();
        let parameters = if parameters.is_empty() { "void".into() } else { parameters.join(", ") };
        writeln!(source, "{} {}({parameters}) {{ abort(); }}", function.returns, function.name).unwrap();
    }
    std::fs::write(folder.join("shape.c"), source).unwrap();
    let library = folder.join("shape.so");
    let mut cc = Command::new("cc");
    cc.args(["-g", "-shared", "-fPIC", "-w"]).arg(folder.join("shape.c")).arg("-o").arg(&library);
    output(&mut cc);
    library
}

/// Splits a header into the parts before, in and after the fields of a struct.
fn fields<'a>(header: &'a str, name: &str) -> (&'a str, &'a str, &'a str) {
    let (start, end) = (format!("typedef struct {name} {{"), format!("}} {name};"));
    let from = header.find(&start).unwrap() + start.len();
    let to = from + header[from..].find(&end).unwrap();
    (&header[..from], &header[from..to], &header[to..])
}

/// The header `new`, with the fields of sized structs that are not in `old` removed.
fn without_growth(old: &str, new: &str) -> String {
    let (old, mut new) = (without_comments(old), without_comments(new));
    for name in SIZED {
        let count = fields(&old, name).1.matches(';').count();
        let (before, body, after) = fields(&new, name);
        let kept: String = body.split_inclusive(';').take(count).collect();
        new = [before, &kept, after].concat();
    }
    new
}

/// A report of the changes that break programs compiled with the header `old`; none if there are none.
fn broken(old: &str, new: &str) -> Option<String> {
    let mut abidiff = Command::new("abidiff");
    abidiff.arg("--no-added-syms").arg(shape("old", old)).arg(shape("new", &without_growth(old, new)));
    let out = abidiff.output().unwrap();
    // The two low bits mean errors of abidiff itself.
    let code = out.status.code().unwrap();
    assert!(code & 3 == 0, "{abidiff:?}: {}", String::from_utf8_lossy(&out.stderr));
    (code != 0).then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

fn committed() -> String {
    std::fs::read_to_string(root().join("include/crossrank.h")).unwrap()
}

/// The header of the newest release, which is the newest tag that begins with `v`.
fn released() -> Option<String> {
    let git = |arguments: &[&str]| {
        let out = Command::new("git").args(arguments).current_dir(root()).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let tag = git(&["describe", "--tags", "--abbrev=0", "--match", "v*"])?;
    git(&["show", &format!("{}:include/crossrank.h", tag.trim())])
}

#[test]
fn programs_of_the_newest_release_still_run() {
    if !has_abidiff() {
        return;
    }
    let Some(text) = released() else {
        eprintln!("nothing is released yet: there is no header to compare with");
        return;
    };
    let report = broken(&text, &committed());
    assert!(report.is_none(), "{}", report.unwrap());
}

#[test]
fn abidiff_reports_what_breaks_programs_and_nothing_else() {
    if !has_abidiff() {
        return;
    }
    let text = committed();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "the header has no `{from}`");
        broken(&text, &text.replacen(from, to, 1))
    };
    assert_eq!(broken(&text, &text), None);
    assert_eq!(changed("#ifdef __cplusplus\n}", "void crossrank_more(void);\n#ifdef __cplusplus\n}"), None);
    assert_eq!(changed("uint32_t reserved;", "uint32_t reserved; double more;"), None);
    // Another type of the same size: crossrank.abi does not list types of fields.
    assert!(changed("double load_ms;", "uint64_t load_ms;").is_some());
    assert!(changed("uint32_t query_cut;", "int32_t query_cut;").is_some());
    assert!(
        changed("crossrank_status crossrank_model_trim(", "crossrank_status crossrank_model_trims(")
            .is_some()
    );
}
