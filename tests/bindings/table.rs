//! bindings/cases.json as a C table: the same values in the types of bindings/c/cases.h.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    pub tolerance: f64,
    pub cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    name: String,
    pub call: String,
    pub model: Option<Model>,
    #[serde(default)]
    pub options: Map<String, Value>,
    #[serde(default)]
    cancelled: bool,
    pub query: Option<Text>,
    #[serde(default)]
    pub documents: Vec<Text>,
    #[serde(default)]
    pub sets: Vec<Set>,
    #[serde(default)]
    pub pairs: Vec<(Text, Text)>,
    text: Option<Value>,
    #[serde(default)]
    index: usize,
    code: Option<i32>,
    pub expect: Expect,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Model {
    Path(String),
    Memory(Memory),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    config: Content,
    tokenizer: Content,
    tokenizer_config: Option<Content>,
    weights: Vec<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Content {
    Path { path: String },
    Text(Text),
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Text {
    Utf8(String),
    Bytes { hex: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    pub query: Text,
    pub documents: Vec<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    #[serde(default = "ok")]
    pub status: String,
    pub results: Option<Results>,
    #[serde(default)]
    usage: Map<String, Value>,
    #[serde(default)]
    facts: Map<String, Value>,
    architecture: Option<String>,
    activation: Option<String>,
    #[serde(default)]
    labels: Vec<String>,
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Results {
    OneSet(Vec<Expected>),
    Sets(Vec<Vec<Expected>>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub index: Option<usize>,
    #[serde(default = "ok")]
    pub status: String,
    pub score: Option<f64>,
    #[serde(default)]
    pub logits: Vec<f64>,
    #[serde(default)]
    pub scores: Vec<f64>,
    tokens: u32,
    #[serde(default)]
    query_cut: u32,
    #[serde(default)]
    document_cut: u32,
    #[serde(default)]
    window: [u32; 2],
}

fn ok() -> String {
    "CROSSRANK_OK".into()
}

impl Text {
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Utf8(text) => text.clone().into_bytes(),
            Self::Bytes { hex } => {
                let digits: Vec<u8> = hex.bytes().map(|b| (b as char).to_digit(16).unwrap() as u8).collect();
                digits.chunks(2).map(|pair| 16 * pair[0] + pair[1]).collect()
            }
        }
    }
}

/// A C string literal. Octal escapes have three digits, the maximum, so that a following digit is not part of them.
fn literal(bytes: &[u8]) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b" .,:/_-{}[]".contains(&b);
    let text: String = bytes
        .iter()
        .map(|&b| if plain(b) { char::from(b).to_string() } else { format!("\\{b:03o}") })
        .collect();
    format!("\"{text}\"")
}

fn view(bytes: &[u8]) -> String {
    format!("{{{}, {}}}", literal(bytes), bytes.len())
}

/// Options whose strings are texts and not the names of constants.
const TEXT_OPTIONS: [&str; 2] = ["prompt", "prompt_name"];

/// The number of an option's value.
fn number(option: &str, value: &Value) -> String {
    match value {
        Value::String(name) => format!("CROSSRANK_{}_{name}", option.to_uppercase()),
        Value::Bool(flag) => u8::from(*flag).to_string(),
        Value::Number(number) => number.to_string(),
        _ => panic!("no number: {value}"),
    }
}

/// The table, array by array.
struct Table {
    code: String,
    arrays: usize,
}

impl Table {
    /// Defines an array and returns its pointer and length.
    fn array(&mut self, of: &str, items: impl IntoIterator<Item = String>) -> String {
        let items: Vec<String> = items.into_iter().collect();
        if items.is_empty() {
            return "NULL, 0".into();
        }
        let name = format!("array_{}", self.arrays);
        self.arrays += 1;
        writeln!(self.code, "static const {of} {name}[] = {{{}}};", items.join(", ")).unwrap();
        format!("{name}, {}", items.len())
    }

    fn numbers<'a>(&mut self, map: impl IntoIterator<Item = (&'a String, &'a Value)>) -> String {
        let items = map.into_iter().map(|(name, value)| format!("{{\"{name}\", {}}}", number(name, value)));
        self.array("struct number", items)
    }

    fn options(&mut self, options: &Map<String, Value>) -> String {
        let items = options.iter().map(|(name, value)| match value {
            Value::String(text) if TEXT_OPTIONS.contains(&&**name) => {
                format!("{{\"{name}\", 0, {}}}", view(text.as_bytes()))
            }
            value => format!("{{\"{name}\", {}, {{NULL, 0}}}}", number(name, value)),
        });
        self.array("struct option", items)
    }

    fn set<'a>(&mut self, query: &Text, documents: impl IntoIterator<Item = &'a Text>) -> String {
        let documents = self.array("crossrank_str", documents.into_iter().map(|d| view(&d.bytes())));
        format!("{{{}, {documents}}}", view(&query.bytes()))
    }

    fn sets(&mut self, case: &Case) -> String {
        let sets: Vec<String> = match &case.query {
            Some(query) => vec![self.set(query, &case.documents)],
            None => {
                let sets = case.sets.iter().map(|s| self.set(&s.query, &s.documents)).collect::<Vec<_>>();
                let pairs = case.pairs.iter().map(|(query, document)| self.set(query, [document]));
                sets.into_iter().chain(pairs).collect()
            }
        };
        self.array("crossrank_set", sets)
    }

    /// The address of a model in memory.
    fn memory(&mut self, memory: &Memory) -> String {
        let content = |content: &Content| match content {
            Content::Path { path } => format!("{{{}, {{NULL, 0}}}}", literal(path.as_bytes())),
            Content::Text(text) => format!("{{NULL, {}}}", view(&text.bytes())),
        };
        let weights = self.array("struct content", memory.weights.iter().map(content));
        let extra = memory.tokenizer_config.as_ref().map_or("{NULL, {NULL, 0}}".into(), content);
        let files =
            format!("{{{}, {}, {extra}, {weights}}}", content(&memory.config), content(&memory.tokenizer));
        let array = self.array("struct memory", [files]);
        array.split(',').next().unwrap().into()
    }

    /// The number of results of each set, and the results.
    fn results(&mut self, case: &Case) -> (String, String) {
        let expected: Vec<Vec<&Expected>> = match &case.expect.results {
            None => {
                let needs = ["rerank", "rerank_many", "score"].contains(&&*case.call);
                assert!(!needs || case.expect.status != ok(), "`{}` expects no results", case.name);
                return ("NULL".into(), "NULL, 0".into());
            }
            // A pair is treated as a set of one document.
            Some(Results::OneSet(pairs)) if case.query.is_none() => pairs.iter().map(|e| vec![e]).collect(),
            Some(Results::OneSet(results)) => vec![results.iter().collect()],
            Some(Results::Sets(sets)) => sets.iter().map(|set| set.iter().collect()).collect(),
        };
        let sets = if case.query.is_some() { 1 } else { case.sets.len() + case.pairs.len() };
        let counts = (0..sets).map(|i| expected.get(i).map_or(0, Vec::len).to_string());
        let found = self.array("size_t", counts);
        let mut results = Vec::new();
        for (position, set) in expected.iter().enumerate() {
            for e in set {
                let mut doubles = |of: &[f64]| self.array("double", of.iter().map(|x| format!("{x:?}")));
                let (logits, scores) = (doubles(&e.logits), doubles(&e.scores));
                let (index, score) = (e.index.unwrap_or(position), e.score.unwrap_or(0.0));
                let (tokens, query_cut, document_cut) = (e.tokens, e.query_cut, e.document_cut);
                let [start, end] = e.window;
                let status = &e.status;
                results.push(format!(
                    "{{{index}, {status}, {score:?}, {tokens}, {query_cut}, {document_cut}, {start}, {end}, {logits}, {scores}}}"
                ));
            }
        }
        (found.split(',').next().unwrap().into(), self.array("struct expected", results))
    }

    fn call(&mut self, case: &Case) -> String {
        let expect = &case.expect;
        let (path, memory) = match &case.model {
            None => ("NULL".into(), "NULL".into()),
            Some(Model::Path(path)) => (literal(path.as_bytes()), "NULL".into()),
            Some(Model::Memory(memory)) => ("NULL".into(), self.memory(memory)),
        };
        let options = self.options(&case.options);
        let sets = self.sets(case);
        let code = match &case.text {
            Some(text) => number("text", text),
            None => case.code.unwrap_or(0).to_string(),
        };
        let (found, results) = self.results(case);
        let facts = self.numbers(expect.facts.iter().chain(&expect.usage));
        let one = |text: &str, index: usize, value: &String| {
            format!("{{CROSSRANK_TEXT_{text}, {index}, {}}}", view(value.as_bytes()))
        };
        let architecture = expect.architecture.iter().map(|text| one("ARCHITECTURE", 0, text));
        let activation = expect.activation.iter().map(|text| one("ACTIVATION", 0, text));
        let labels = expect.labels.iter().enumerate().map(|(i, text)| one("LABEL", i, text));
        let labels = self.array("struct label", architecture.chain(activation).chain(labels));
        let (name, function) = (literal(case.name.as_bytes()), literal(case.call.as_bytes()));
        let (cancelled, index, status) = (case.cancelled, case.index, &expect.status);
        let text = view(expect.text.as_deref().unwrap_or_default().as_bytes());
        format!(
            "{{{name}, {function}, {path}, {memory}, {options}, {cancelled}, {sets}, {code}, {index}, {status}, \
             {found}, {results}, {facts}, {labels}, {text}}}"
        )
    }
}

/// The text of the file that bindings/c/cases.h includes.
pub fn table(cases: &Cases) -> String {
    let mut table = Table { code: String::new(), arrays: 0 };
    writeln!(table.code, "static const double TOLERANCE = {:?};", cases.tolerance).unwrap();
    let calls: Vec<String> = cases.cases.iter().map(|case| table.call(case)).collect();
    writeln!(table.code, "static const struct call calls[] = {{\n{}\n}};", calls.join(",\n")).unwrap();
    table.code
}
