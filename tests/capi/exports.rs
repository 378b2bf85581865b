//! The source of every export is one call of the guard.

use std::collections::BTreeSet;

use crate::header;
use crate::toolbox::root;

/// Exports that cannot fail: they return a constant, or the message that the guard has kept and that a failure would replace.
const CONSTANTS: [&str; 5] = [
    "crossrank_abi",
    "crossrank_version",
    "crossrank_status_name",
    "crossrank_last_message",
    "crossrank_last_message_copy",
];

/// Splits a text after the bracket that closes the one at its start.
fn bracketed(text: &str) -> (&str, &str) {
    let mut depth = 0;
    for (i, letter) in text.char_indices() {
        match letter {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.split_at(i + 1);
        }
    }
    panic!("a bracket is not closed");
}

/// The name and the body, without its braces, of every function that follows `marker`.
fn bodies(marker: &str) -> Vec<(String, String)> {
    let mut bodies = Vec::new();
    for entry in std::fs::read_dir(root().join("src/capi")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for after in text.split(marker).skip(1) {
            let function = after.split_once("fn ").unwrap().1;
            let name = function.split_once('(').unwrap().0;
            let rest = bracketed(&function[name.len()..]).1;
            let body = bracketed(&rest[rest.find('{').unwrap()..]).0;
            bodies.push((name.to_owned(), body[1..body.len() - 1].trim().to_owned()));
        }
    }
    bodies
}

/// Whether a body is one call of `function` and nothing else.
fn is_one_call(body: &str, function: &str) -> bool {
    body.strip_prefix(function).is_some_and(|rest| rest.starts_with('(') && bracketed(rest).1.is_empty())
}

#[test]
fn every_exported_body_is_one_call_of_the_guard() {
    let exports = bodies("#[unsafe(no_mangle)]\n");
    for (name, body) in &exports {
        if name == "crossrank_test_panic_next" {
            continue;
        }
        if CONSTANTS.contains(&&**name) {
            assert!(!body.contains("guard("), "`{name}` is listed as a constant, and guarded: {body}");
        } else {
            let guarded = is_one_call(body, "guard") || is_one_call(body, "set");
            assert!(guarded, "the body of `{name}` is not one call of guard: {body}");
        }
    }
    // `set`, the body of the setters, is one call itself.
    let helpers = bodies("/// The body of every setter.\n");
    assert!(
        matches!(&helpers[..], [(name, body)] if name == "set" && is_one_call(body, "guard")),
        "{helpers:?}"
    );
    let mut names: BTreeSet<_> = exports.into_iter().map(|(name, _)| name).collect();
    assert!(names.remove("crossrank_test_panic_next"));
    assert_eq!(names, header::functions().into_iter().map(|f| f.name).collect());
}

#[test]
fn a_body_that_is_more_than_one_call_is_noticed() {
    assert!(is_one_call("guard(|| { f(); Ok(()) })", "guard"));
    assert!(!is_one_call("guard(|| Ok(())); other()", "guard"));
    assert!(!is_one_call("let x = 1; guard(|| Ok(()))", "guard"));
    assert!(!is_one_call("guarded(|| Ok(()))", "guard"));
}
