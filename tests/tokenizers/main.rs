//! Token ids and token type ids of models whose files beside the weights are edited, against Hugging Face transformers, which
//! `.ci/tokenizers.sh` asks. `CROSSRANK_TOKENIZER_CASES` names the folder with its answers.
//!
//! A model is read as transformers reads it, or it does not load and the error names the key.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crossrank::{Backend, Error, RerankOptions, Reranker};
use serde_json::{Map, Value};

/// The share of a family's variants that may be refused: those whose tokenizer is built anew by transformers, or that give a token
/// an id outside of the word table.
const MAX_REFUSED: f64 = 0.25;
/// The share that transformers itself may refuse: at most 2 of 100 are, and without answers nothing would be compared.
const MAX_NO_TRUTH: f64 = 0.05;
/// Variants that differ are printed up to this many per family.
const MAX_PRINTED: usize = 12;

/// Query, document, and the window of the call.
type TextPair = (String, String, Option<usize>);

/// Token ids and token type ids of a pair.
type Tokens = (Vec<u32>, Option<Vec<u32>>);

/// One variant, and what transformers makes of it.
#[derive(serde::Deserialize)]
struct Case {
    family: String,
    index: usize,
    edits: Vec<String>,
    /// Top-level keys that replace those of the family's tokenizer.json.
    tokenizer: Map<String, Value>,
    /// Files by their names.
    files: BTreeMap<String, Value>,
    /// For every pair; `None` where transformers refuses the files.
    tokens: Option<Vec<Tokens>>,
}

/// How a variant ended.
enum Outcome {
    Same,
    /// Refused by both, or by transformers alone: there is no truth.
    NoTruth,
    Refused(String),
    Differs(String),
}

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

/// Loads a variant as a user would: from a folder, which holds the fixture's weights.
fn load(case: &Case, tokenizer: &Map<String, Value>, folder: &Path) -> Result<Reranker, Error> {
    let fixture = fixture(&case.family);
    let weights = fixture.join("model.safetensors");
    let mut tokenizer = tokenizer.clone();
    tokenizer.extend(case.tokenizer.clone());
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("tokenizer.json"), serde_json::to_vec(&tokenizer).unwrap()).unwrap();
    if fs::hard_link(&weights, folder.join("model.safetensors")).is_err() {
        // The temporary folder is on another disk.
        fs::copy(&weights, folder.join("model.safetensors")).unwrap();
    }
    for (name, content) in &case.files {
        fs::write(folder.join(name), serde_json::to_vec(content).unwrap()).unwrap();
    }
    let loaded = Reranker::builder().backend(Backend::Cpu).threads(1).load(folder);
    fs::remove_dir_all(folder).unwrap();
    loaded
}

/// Every key of the files that a variant replaces, and `token id`, which an error about the word table says.
fn keys(case: &Case) -> BTreeSet<&str> {
    let objects = case.files.values().filter_map(Value::as_object).chain([&case.tokenizer]);
    objects.flat_map(|map| map.keys().map(String::as_str)).chain(["token id", "added_tokens"]).collect()
}

fn run(case: &Case, pairs: &[TextPair], tokenizer: &Map<String, Value>, folder: &Path) -> Outcome {
    let loaded = load(case, tokenizer, folder);
    let Some(expected) = &case.tokens else { return Outcome::NoTruth };
    let model = match loaded {
        Ok(model) => model,
        Err(error @ (Error::Unsupported { .. } | Error::Format { .. })) => {
            let message = error.to_string();
            let named = keys(case).iter().any(|key| message.contains(key));
            return if named {
                Outcome::Refused(message)
            } else {
                Outcome::Differs(format!("names no key: {message}"))
            };
        }
        Err(error) => return Outcome::Differs(format!("another kind of error: {error}")),
    };
    // Models with fewer than two token types do not distinguish them.
    let token_types = case.files["config.json"]["type_vocab_size"].as_u64().unwrap_or(0) > 1;
    for ((query, document, max_tokens), (ids, types)) in pairs.iter().zip(expected) {
        let options = RerankOptions::new();
        let options = max_tokens.map_or(options.clone(), |tokens| options.max_tokens(tokens));
        let pair = match model.tokenize(query, document, &options) {
            Ok(pair) => pair,
            Err(error) => return Outcome::Differs(format!("{query:?}, {document:?}: {error}")),
        };
        let types = types.clone().filter(|_| token_types).unwrap_or(vec![0; ids.len()]);
        if (&pair.ids, &pair.token_types) != (ids, &types) {
            return Outcome::Differs(format!(
                "{query:?}, {document:?}\n  ids   {:?}\n  truth {ids:?}\n  types {:?}\n  truth {types:?}",
                pair.ids, pair.token_types
            ));
        }
    }
    Outcome::Same
}

/// The cases of both versions of transformers, by family.
fn cases(folder: &Path) -> BTreeMap<String, Vec<Case>> {
    let mut families: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for version in ["4", "5"] {
        let path = folder.join(format!("cases-{version}.jsonl"));
        let file = fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for line in BufReader::new(file).lines() {
            let case: Case = serde_json::from_str(&line.unwrap()).unwrap();
            families.entry(case.family.clone()).or_default().push(case);
        }
    }
    families
}

/// Runs every case of a family. Returns whether all are right and not too many are refused.
fn check_family(family: &str, cases: &[Case], pairs: &[TextPair], folder: &Path) -> bool {
    let tokenizer = read_json(&folder.join(format!("{family}.tokenizer.json")));
    let parent = tempfile::tempdir().unwrap();
    let (mut same, mut no_truth, mut differs) = (0, 0, 0);
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases {
        match run(case, pairs, &tokenizer, &parent.path().join(case.index.to_string())) {
            Outcome::Same => same += 1,
            Outcome::NoTruth => no_truth += 1,
            Outcome::Refused(message) => *refused.entry(message).or_default() += 1,
            Outcome::Differs(how) => {
                differs += 1;
                if differs <= MAX_PRINTED {
                    println!("{family} {}: {:?}\n  {how}", case.index, case.edits);
                }
            }
        }
    }
    let count: usize = refused.values().sum();
    println!(
        "{family}: {same} as transformers, {differs} not, {count} refused, {no_truth} transformers refuses itself"
    );
    for (message, count) in &refused {
        println!("  {count} refused: {message}");
    }
    let within = |count: usize, share: f64| count as f64 <= share * cases.len() as f64;
    differs == 0 && within(count, MAX_REFUSED) && within(no_truth, MAX_NO_TRUTH)
}

#[test]
fn edited_files_are_read_as_transformers_reads_them_or_refused_by_name() {
    let Some(folder) = std::env::var_os("CROSSRANK_TOKENIZER_CASES") else {
        println!("SKIP: CROSSRANK_TOKENIZER_CASES is not set; .ci/tokenizers.sh makes the cases");
        return;
    };
    let folder = PathBuf::from(folder);
    let pairs: Vec<TextPair> = read_json(&folder.join("pairs.json"));
    let families = cases(&folder);
    assert_eq!(families.len(), 11, "families with cases");
    let failed: Vec<&String> = families
        .iter()
        .filter(|(family, cases)| {
            assert_eq!(cases.len(), 200, "variants of {family}");
            !check_family(family, cases, &pairs, &folder)
        })
        .map(|(family, _)| family)
        .collect();
    assert!(failed.is_empty(), "token ids differ, or too much is refused: {failed:?}");
}
