//! The header compiles in every version of C and C++.

use std::process::Command;

use crate::toolbox::{WARNINGS, compilers, folder, output, root};

fn header_alone(compiler: &str, standard: &str, extra: &[&str]) {
    let name = format!("alone-{compiler}-{standard}").replace("++", "pp");
    let source = folder("modes").join(format!("{name}.c"));
    // Included twice, to test the include guard.
    std::fs::write(&source, "#include <crossrank.h>\n#include <crossrank.h>\n").unwrap();
    let language = if standard.contains("++") { "c++" } else { "c" };
    let mut command = Command::new(compiler);
    command.args(["-x", language, "-fsyntax-only", &format!("-std={standard}")]).args(WARNINGS).args(extra);
    output(command.arg("-I").arg(root().join("include")).arg(&source));
}

#[test]
fn the_header_compiles_alone_in_every_c() {
    for compiler in compilers(["gcc", "clang"]) {
        for standard in ["c99", "c11", "c17", "c2x"] {
            header_alone(compiler, standard, &["-Wstrict-prototypes", "-Wmissing-prototypes"]);
        }
    }
}

#[test]
fn the_header_compiles_alone_in_every_cpp() {
    for compiler in compilers(["g++", "clang++"]) {
        for standard in ["c++11", "c++14", "c++17", "c++20", "c++2b"] {
            header_alone(compiler, standard, &["-Wold-style-cast", "-fno-exceptions", "-fno-rtti"]);
        }
    }
}

#[test]
fn the_macros_compile_in_c_and_cpp() {
    let uses = "#include <crossrank.h>\n\
        size_t use(void);\n\
        size_t use(void) {\n\
            crossrank_options options = CROSSRANK_DEFAULTS;\n\
            crossrank_str texts[2] = { CROSSRANK_STR(\"a\\0b\"), CROSSRANK_STR(\"\") };\n\
            return texts[0].len + texts[1].len + (size_t)options.id;\n\
        }\n";
    let source = folder("modes").join("macros.c");
    std::fs::write(&source, uses).unwrap();
    for (language, names, standards) in
        [("c", ["gcc", "clang"], ["c99", "c17"]), ("c++", ["g++", "clang++"], ["c++11", "c++20"])]
    {
        for compiler in compilers(names) {
            for standard in standards {
                let mut command = Command::new(compiler);
                command.args(["-x", language, "-fsyntax-only", &format!("-std={standard}")]).args(WARNINGS);
                output(command.arg("-I").arg(root().join("include")).arg(&source));
            }
        }
    }
}

#[test]
fn the_header_includes_nothing_but_three_standard_headers() {
    let header = std::fs::read_to_string(root().join("include/crossrank.h")).unwrap();
    let included: Vec<_> = header.lines().filter(|line| line.contains("#include")).collect();
    assert_eq!(included, ["#include <stdbool.h>", "#include <stddef.h>", "#include <stdint.h>"]);
}
