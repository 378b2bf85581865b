//! Nothing in src/ grows beyond what a reader takes in at once.

/// Lines that a file may have without saying why it has more.
const FILE_LINES: usize = 500;
/// Lines of a function, from its `fn` to its closing brace.
const FUNCTION_LINES: usize = 60;

/// What is too long in `code`, the text of `src/{path}`.
pub fn too_long(path: &str, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines: Vec<&str> = code.lines().collect();
    let head: String = lines.iter().take_while(|line| line.starts_with("//")).copied().collect();
    if lines.len() > FILE_LINES && !head.contains("One file because") {
        let message = "its first comment must say why: `One file because ...`";
        found.push(format!("src/{path}: {} lines: {message}", lines.len()));
    }
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines: Vec<&str> = code.lines().collect();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with("//")).collect();
        let modifiers = words.iter().take_while(|word| **word != "fn");
        let plain = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || "()\"C".contains(c));
        if !words.contains(&"fn") || !modifiers.clone().copied().all(|word| plain(&word)) {
            continue;
        }
        // rustfmt puts the closing brace below the first letter of the function.
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| *line == closing || line.trim_end().ends_with(';'));
        let body = lines[start..].iter().position(|line| *line == closing).map_or(0, |end| end + 1);
        // A declaration ends with a semicolon before any body begins.
        let declared =
            end.is_some_and(|end| !lines[start..=start + end].iter().any(|line| line.ends_with('{')));
        if !declared && body > FUNCTION_LINES {
            found.push(format!("src/{path}:{}: a function of {body} lines", start + 1));
        }
    }
    found
}

#[test]
fn long_files_and_functions_are_found() {
    let body = |lines: usize| "        let x = 1;\n".repeat(lines);
    let method = |lines: usize| {
        format!("impl X {{\n    pub(super) fn f(\n        &self,\n    ) {{\n{}    }}\n}}\n", body(lines))
    };
    assert!(too_long("a.rs", &method(56)).is_empty());
    assert_eq!(too_long("a.rs", &method(57)), ["src/a.rs:2: a function of 61 lines"]);
    let declared = format!("trait X {{\n    fn f(&self);\n}}\n{}", body(100));
    assert!(too_long("a.rs", &declared).is_empty());
    let file = "const X: u8 = 0;\n".repeat(501);
    assert_eq!(too_long("a.rs", &file).len(), 1);
    assert!(
        too_long("a.rs", &format!("//! Numbers. One file because they are one table.\n{file}")).is_empty()
    );
}
