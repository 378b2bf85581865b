//! include/crossrank.abi lists what compiled programs rely on. It only grows; `CROSSRANK_BLESS=1` adds to it.

use std::fmt::Write;
use std::process::Command;

use crate::header;
use crate::toolbox::{abi, folder, output, root};

/// Structs whose first field is the size of the caller's version: they may grow.
pub const SIZED: [&str; 2] = ["crossrank_info", "crossrank_usage"];

/// Every fact of the binary interface on a machine with 64-bit pointers, one per line.
fn facts() -> Vec<String> {
    let mut facts = vec![format!("abi {}", abi())];
    let volatile = ["CROSSRANK_ABI", "CROSSRANK_VERSION_"];
    let constants = header::constants();
    let constants = constants.iter().filter(|(name, _)| !volatile.iter().any(|v| name.starts_with(v)));
    facts.extend(constants.map(|(name, value)| format!("constant {name} {value}")));
    facts.extend(header::callbacks().iter().map(|callback| format!("callback {callback}")));
    for function in header::functions() {
        let kinds: Vec<_> = function.parameters.iter().map(|p| &*p.kind).collect();
        facts.push(format!("function {} {}({})", function.returns, function.name, kinds.join(", ")));
    }
    let mut source = String::from("#include <crossrank.h>\n#include <stdio.h>\nint main(void) {\n");
    for (name, fields) in header::structs() {
        writeln!(source, r#"printf("size {name} %zu\n", sizeof({name}));"#).unwrap();
        for header::Parameter { name: field, .. } in fields {
            let member = format!("sizeof((({name} *)0)->{field})");
            writeln!(
                source,
                r#"printf("field {name} {field} %zu %zu\n", offsetof({name}, {field}), {member});"#
            )
            .unwrap();
        }
    }
    source += "return 0; }\n";
    let folder = folder("abi");
    let (file, program) = (folder.join("sizes.c"), folder.join("sizes"));
    std::fs::write(&file, source).unwrap();
    output(Command::new("cc").arg("-I").arg(root().join("include")).arg(&file).arg("-o").arg(&program));
    facts.extend(output(&mut Command::new(program)).lines().map(str::to_owned));
    facts
}

/// Whether programs that rely on `fact` still work.
fn holds(fact: &str, facts: &[String]) -> bool {
    if facts.iter().any(|known| known == fact) {
        return true;
    }
    let size = |line: &str, name: &str| line.strip_prefix(&format!("size {name} "))?.parse::<usize>().ok();
    SIZED.iter().any(|name| {
        size(fact, name).is_some_and(|old| facts.iter().filter_map(|f| size(f, name)).any(|new| new >= old))
    })
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_binary_interface_only_grows() {
    let path = root().join("include/crossrank.abi");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let facts = facts();
    for fact in committed.lines() {
        assert!(
            holds(fact, &facts),
            "`{fact}` no longer holds: programs that were compiled with it break. Keep it."
        );
    }
    let text: String = facts.iter().flat_map(|fact| [fact, "\n"]).collect();
    if std::env::var_os("CROSSRANK_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    } else {
        assert!(
            committed == text,
            "include/crossrank.abi lacks something new: bless it with CROSSRANK_BLESS=1"
        );
    }
}

#[test]
fn a_fact_that_is_gone_or_changed_is_noticed() {
    let facts =
        ["size crossrank_info 80", "size crossrank_ranked 64", "constant CROSSRANK_A 1"].map(String::from);
    assert!(holds("constant CROSSRANK_A 1", &facts));
    assert!(!holds("constant CROSSRANK_A 2", &facts));
    assert!(!holds("function void crossrank_gone()", &facts));
    // Sized structs may grow, no struct may shrink, and the elements of arrays may not change at all.
    assert!(holds("size crossrank_info 72", &facts));
    assert!(!holds("size crossrank_info 88", &facts));
    assert!(!holds("size crossrank_ranked 48", &facts));
}
