//! No two files of src/ import each other, directly or over others.
//!
//! An edge leads from a file to the file that defines what it names: through `use` and through paths in the code, and
//! through the `pub use` of modules in between, which are addresses and no imports. Unit tests inside a module are free.

use std::collections::{BTreeMap, BTreeSet};

use super::{expand, without_comments_and_tests};

/// The files of a crate by their module path: `""` is the root, `"cpu::gemm"` is cpu/gemm.rs or cpu/gemm/mod.rs.
pub struct Files {
    code: BTreeMap<String, String>,
    /// Per module the names that it re-exports, and the paths behind them.
    exports: BTreeMap<String, BTreeMap<String, String>>,
}

impl Files {
    /// Files as (path below src/, text).
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut code = BTreeMap::new();
        for (path, text) in files {
            let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
            let module = if path == "lib" { String::new() } else { path.replace('/', "::") };
            code.insert(module, without_comments_and_tests(text));
        }
        let mut found = Self { code, exports: BTreeMap::new() };
        for (module, text) in &found.code {
            let mut names = BTreeMap::new();
            for (uses, _) in statements(text).filter(|(_, public)| *public) {
                for path in paths(uses) {
                    let absolute = found.absolute(module, &path);
                    let (_, name) = absolute.rsplit_once("::").unwrap_or(("", &absolute));
                    names.insert(name.to_owned(), absolute.clone());
                }
            }
            found.exports.insert(module.clone(), names);
        }
        found
    }

    /// A path written in `module`, from the root of the crate; one that leads elsewhere comes out as it is.
    fn absolute(&self, module: &str, path: &str) -> String {
        let mut at = module.to_owned();
        let mut rest = path;
        if let Some(path) = path.strip_prefix("crate::") {
            return path.to_owned();
        }
        let mut relative = false;
        while let Some(path) = rest.strip_prefix("super::") {
            at = at.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned());
            (rest, relative) = (path, true);
        }
        if let Some(path) = rest.strip_prefix("self::") {
            (rest, relative) = (path, true);
        }
        let joined = if at.is_empty() { rest.to_owned() } else { format!("{at}::{rest}") };
        let first = joined.len() - rest.len() + rest.find("::").unwrap_or(rest.len());
        // Without a keyword in front, only the name of a module below this one leads into the crate.
        if relative || self.code.contains_key(&joined[..first]) { joined } else { format!("::{path}") }
    }

    /// The module whose file defines what an absolute path names.
    fn definer(&self, path: &str) -> Option<String> {
        let mut module = String::new();
        let mut rest = path;
        // Re-exports may lead to others; a loop of them would not compile.
        for _ in 0..16 {
            let (name, after) = rest.split_once("::").unwrap_or((rest, ""));
            let child = if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") };
            if self.code.contains_key(&child) {
                (module, rest) = (child, after);
            } else if let Some(target) = self.exports[&module].get(name) {
                let target = if after.is_empty() { target.clone() } else { format!("{target}::{after}") };
                return self.definer_of_export(&target);
            } else {
                return Some(module);
            }
            if rest.is_empty() {
                return Some(module);
            }
        }
        None
    }

    fn definer_of_export(&self, target: &str) -> Option<String> {
        if target.starts_with("::") { None } else { self.definer(target) }
    }

    /// The modules that each module imports.
    fn edges(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let edges = |module: &str, text: &str| {
            let mut found = BTreeSet::new();
            let public: Vec<&str> =
                statements(text).filter(|(_, public)| *public).map(|(uses, _)| uses).collect();
            let text = public.iter().fold(text.to_owned(), |text, uses| text.replace(uses, ""));
            for path in paths(&text) {
                let absolute = self.absolute(module, &path);
                let definer = if absolute.starts_with("::") { None } else { self.definer(&absolute) };
                found.extend(definer.filter(|definer| definer != module));
            }
            found
        };
        self.code.iter().map(|(module, text)| (module.as_str(), edges(module, text))).collect()
    }

    /// Groups of modules that reach each other by imports, with the imports inside each group.
    pub fn cycles(&self) -> Vec<Vec<String>> {
        let edges = self.edges();
        let reachable_from: BTreeMap<&str, BTreeSet<&str>> =
            edges.keys().map(|module| (*module, reachable(&edges, module))).collect();
        let mut groups = BTreeSet::new();
        for (module, others) in &reachable_from {
            let group: BTreeSet<&str> =
                others.iter().filter(|other| reachable_from[**other].contains(module)).copied().collect();
            groups.insert(group);
        }
        let imports = |group: &BTreeSet<&str>| {
            let inside = |from: &str| {
                let to = edges[from].iter().filter(|to| group.contains(to.as_str()));
                to.map(|to| format!("{from} -> {to}")).collect::<Vec<_>>()
            };
            group.iter().flat_map(|module| inside(module)).collect::<Vec<_>>()
        };
        groups.iter().filter(|group| !group.is_empty()).map(imports).collect()
    }
}

/// The modules that `from` imports, directly or over others.
fn reachable<'a>(edges: &'a BTreeMap<&'a str, BTreeSet<String>>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        next.extend(edges[module].iter().map(String::as_str).filter(|to| seen.insert(*to)));
    }
    seen
}

/// The `use` statements of a text, and whether they re-export.
fn statements(text: &str) -> impl Iterator<Item = (&str, bool)> {
    text.match_indices("use ").filter_map(move |(at, _)| {
        let before = text[..at].rsplit('\n').next().unwrap_or_default().trim();
        let public = before.starts_with("pub");
        let all = &text[at..];
        (before.is_empty() || public).then(|| (&all[..all.find(';').unwrap_or(all.len())], public))
    })
}

/// Every path of two names or more that a text contains, those of use trees one by one.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    for (at, _) in text.match_indices("::") {
        let start = text[..at].rfind(|c| !inner(c)).map_or(0, |before| before + 1);
        // The front of a path is where no `::` precedes.
        if start < at && !text[..start].ends_with("::") {
            expand("", &text[start..], &mut found);
        }
    }
    for (uses, _) in statements(text) {
        // `use {a::b, c}` and `use a` have no `::` in front, or none at all.
        expand("", uses["use ".len()..].trim_start_matches("::"), &mut found);
    }
    found
}

#[test]
fn a_cycle_is_found_however_it_is_written() {
    let parents = [("lib.rs", "mod a; mod m;"), ("m/mod.rs", "pub mod x; pub mod y; pub use y::Y;")];
    let with = |a: &'static str, x: &'static str, y: &'static str| {
        let files = [("a.rs", a), ("m/x.rs", x), ("m/y.rs", y)];
        Files::new(parents.into_iter().chain(files)).cycles()
    };
    assert!(with("use crate::m::x::X;", "use super::y::Y;", "").is_empty());
    let two = [["m::x -> m::y", "m::y -> m::x"]];
    assert_eq!(with("", "use super::y::Y;", "use super::x::X;"), two);
    assert_eq!(with("", "use crate::m::{self, y::{Y, Z}};", "fn f(x: &crate::m::x::X) {}"), two);
    // Through a re-export of the parent.
    assert_eq!(with("", "use super::Y;", "use super::x;"), two);
    assert_eq!(with("", "use super::{Y as Other};", "fn f() { super::x::f() }"), two);
    // Through a third file, and between a module and the file below it.
    let three = [["a -> m::y", "m::x -> a", "m::y -> m::x"]];
    assert_eq!(with("use crate::m::y::f;", "use crate::a;", "use super::x::X;"), three);
    let below =
        [("lib.rs", "mod m;"), ("m/mod.rs", "mod x; use x::X; pub struct M;"), ("m/x.rs", "use super::M;")];
    assert_eq!(Files::new(below).cycles(), [["m -> m::x", "m::x -> m"]]);
    // Tests, comments and re-exports alone are no imports.
    let free = "// use super::x::X;\n#[cfg(test)]\nmod tests {\n    use crate::m::x::X;\n}";
    assert!(with("", "use super::Y;", free).is_empty());
}
