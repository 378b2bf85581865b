//! A small parser for include/crossrank.h, which cbindgen writes in one fixed style. The tests `capi` and `header` share it.

use std::path::Path;

pub struct Function {
    pub returns: String,
    pub name: String,
    pub parameters: Vec<Parameter>,
}

pub struct Parameter {
    /// Without `struct`: `const crossrank_str *`.
    pub kind: String,
    pub name: String,
}

impl Parameter {
    pub fn is_pointer(&self) -> bool {
        self.kind.ends_with('*') || self.kind.ends_with("_fn")
    }
}

/// The header as it was committed.
fn committed() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/crossrank.h");
    std::fs::read_to_string(path).unwrap()
}

/// A header without comments and without lines of the preprocessor.
fn code_of(header: &str) -> String {
    let code = without_comments(header);
    code.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line.trim(), " "]).collect()
}

pub fn without_comments(mut rest: &str) -> String {
    let mut code = String::new();
    while let Some((before, comment)) = rest.split_once("/*") {
        code += before;
        rest = comment.split_once("*/").unwrap().1;
    }
    code + rest
}

/// `const struct crossrank_str *documents` as its kind and its name.
pub fn declaration(text: &str) -> Parameter {
    let text = text.trim().replace("struct ", "");
    let start = text.rfind([' ', '*']).unwrap() + 1;
    Parameter { kind: text[..start].trim().to_owned(), name: text[start..].to_owned() }
}

/// Every function, in the header's order.
pub fn functions() -> Vec<Function> {
    functions_of(&committed())
}

/// Every function of another header.
pub fn functions_of(header: &str) -> Vec<Function> {
    let code = code_of(header);
    let prototypes = code.split(';').filter(|part| part.contains('(') && !part.contains("typedef"));
    prototypes
        .map(|prototype| {
            let (front, parameters) = prototype.trim().trim_end_matches(')').split_once('(').unwrap();
            let front = front.rsplit(['{', '}', '"']).next().unwrap();
            let Parameter { kind: returns, name } = declaration(front);
            let parameters = parameters.split(',').filter(|p| p.trim() != "void").map(declaration).collect();
            Function { returns, name, parameters }
        })
        .collect()
}

/// Every type of a function, as the header writes it.
pub fn callbacks() -> Vec<String> {
    callbacks_of(&committed())
}

pub fn callbacks_of(header: &str) -> Vec<String> {
    let code = code_of(header);
    let parts = code.split(';').filter(|part| part.contains("_fn)("));
    parts.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Every struct, with its fields.
pub fn structs() -> Vec<(String, Vec<Parameter>)> {
    structs_of(&committed())
}

pub fn structs_of(header: &str) -> Vec<(String, Vec<Parameter>)> {
    let code = code_of(header);
    let bodies = code.split("typedef struct ").skip(1);
    bodies
        .map(|text| {
            let (name, rest) = text.split_once('{').unwrap();
            let body = rest.split_once('}').unwrap().0;
            let fields = body.split(';').map(str::trim).filter(|field| !field.is_empty());
            (name.trim().to_owned(), fields.map(declaration).collect())
        })
        .collect()
}

/// Every number with a name: `#define`s and statuses.
pub fn constants() -> Vec<(String, i64)> {
    constants_of(&committed())
}

pub fn constants_of(header: &str) -> Vec<(String, i64)> {
    let defines = header.lines().filter_map(|line| line.strip_prefix("#define ")?.split_once(' '));
    let defines = defines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    defines.chain(statuses_of(header)).collect()
}

/// Every status.
pub fn statuses() -> Vec<(String, i64)> {
    statuses_of(&committed())
}

fn statuses_of(header: &str) -> Vec<(String, i64)> {
    let code = code_of(header);
    let body = code.split_once("enum crossrank_status").unwrap().1.split_once('{').unwrap().1;
    let body = body.split_once('}').unwrap().0;
    let entries = body.split(',').filter_map(|entry| entry.split_once('='));
    entries.map(|(name, value)| (name.trim().to_owned(), value.trim().parse().unwrap())).collect()
}

#[test]
fn the_parser_reads_the_whole_header() {
    let text = committed();
    // Every function's comment ends with the version that brought it.
    let functions = functions();
    assert_eq!(functions.len(), text.matches("Since 0.").count());
    let names: std::collections::BTreeSet<_> = functions.iter().map(|f| &f.name).collect();
    assert_eq!(names.len(), functions.len(), "a function is declared twice");
    assert!(names.iter().all(|name| name.starts_with("crossrank_")), "{names:?}");
    let rerank = functions.iter().find(|f| f.name == "crossrank_rerank").unwrap();
    let kinds: Vec<_> = rerank.parameters.iter().map(|p| (&*p.kind, &*p.name)).collect();
    assert_eq!(rerank.returns, "crossrank_status");
    assert_eq!(
        kinds[..3],
        [("crossrank_model", "model"), ("crossrank_str", "query"), ("const crossrank_str *", "documents")]
    );
    assert_eq!(structs().len(), text.matches("typedef struct").count());
    let (_, fields) = structs().into_iter().find(|(name, _)| name == "crossrank_set").unwrap();
    let names: Vec<_> = fields.iter().map(|field| &*field.name).collect();
    assert_eq!(names, ["query", "documents", "count"]);
    assert_eq!(callbacks().len(), text.matches("typedef void (*").count());
    assert_eq!(statuses().len(), text.lines().filter(|line| line.starts_with("  CROSSRANK_")).count());
    assert!(constants().contains(&("CROSSRANK_TRUNCATION_ERROR".into(), 3)));
}
