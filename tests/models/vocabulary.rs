//! Models without tokenizer.json: what is made from their vocabulary files is what transformers 4.57.3 makes of them, and
//! what cannot be made is an error that says how to make a tokenizer.json. tests/vocabularies/README.md says where the
//! values are from.

use crossrank::model::files::{ModelFiles, VOCABULARY_FILES};
use crossrank::text::tokenizer::Tokenizer;
use crossrank::text::vocabulary::{MadeTokenizer, VocabularyFiles, make_tokenizer};
use crossrank::{Backend, Error, RerankOptions, Reranker};
use serde_json::Value;

use crate::common;
use crate::craft::{fixture, read};

/// The rows of the fixtures' word tables.
const ROWS: usize = 2500;
/// Tolerance of logits, of float64's.
const TOLERANCE: f64 = 1e-5;

struct Case {
    value: Value,
}

impl Case {
    fn all() -> Vec<Self> {
        let cases: Vec<Value> = serde_json::from_slice(&small("cases.json")).unwrap();
        cases.into_iter().map(|value| Self { value }).collect()
    }

    fn named(name: &str) -> Self {
        Self::all().into_iter().find(|case| case.name() == name).unwrap()
    }

    fn name(&self) -> &str {
        self.value["name"].as_str().unwrap()
    }

    /// The model with the case's files in place of its tokenizer.
    fn files(&self) -> ModelFiles {
        let fixture = fixture(self.value["fixture"].as_str().unwrap());
        let mut files = ModelFiles::from_dir(&fixture).unwrap();
        files.tokenizer.clear();
        files.tokenizer_config = self.json("tokenizer_config");
        files.special_tokens_map = self.json("special_tokens_map");
        let sources = self.value["files"].as_object().unwrap();
        for (name, _) in VOCABULARY_FILES {
            if let Some(small_file) = sources.get(name) {
                files.vocabulary.push((name, small(small_file.as_str().unwrap())));
            }
        }
        assert_eq!(files.vocabulary.len(), sources.len());
        files
    }

    fn json(&self, key: &str) -> Option<Vec<u8>> {
        self.value.get(key).map(|value| serde_json::to_vec(value).unwrap())
    }
}

fn small(file: &str) -> Vec<u8> {
    read(fixture("../vocabularies").join(file))
}

fn make(files: &ModelFiles) -> Result<MadeTokenizer, Error> {
    make_tokenizer(&VocabularyFiles {
        files: &files.vocabulary,
        config: &files.config,
        tokenizer_config: files.tokenizer_config.as_deref(),
        special_tokens_map: files.special_tokens_map.as_deref(),
        rows: ROWS,
        added_tokens: files.added_tokens.is_some(),
        advice: "make one",
    })
}

#[test]
fn what_is_made_of_vocabulary_files_is_what_transformers_makes() {
    for case in Case::all() {
        let made: Value = serde_json::from_slice(&make(&case.files()).unwrap().json).unwrap();
        let expected = &case.value["tokenizer"];
        for part in ["added_tokens", "normalizer", "pre_tokenizer", "post_processor"] {
            assert_eq!(made[part], expected[part], "{}: {part}", case.name());
        }
        for (key, value) in expected["model"].as_object().unwrap() {
            assert_eq!(&made["model"][key], value, "{}: model.{key}", case.name());
        }
    }
}

#[test]
fn ids_token_types_and_logits_of_vocabulary_files_are_those_of_transformers() {
    for case in Case::all() {
        let reranker = Reranker::builder().backend(Backend::Cpu).threads(1).load_files(case.files()).unwrap();
        for pair in case.value["pairs"].as_array().unwrap() {
            let text = |key: &str| pair[key].as_str().unwrap();
            let read = reranker.tokenize(text("query"), text("document"), &RerankOptions::new()).unwrap();
            let name = format!("{}: {pair}", case.name());
            assert_eq!(serde_json::to_value(&read.ids).unwrap(), pair["ids"], "{name}");
            // Models without a table of token types are given none.
            let types = match case.value["fixture"].as_str().unwrap() {
                "bert" | "electra" => pair["token_types"].clone(),
                _ => vec![0; read.ids.len()].into(),
            };
            assert_eq!(serde_json::to_value(&read.token_types).unwrap(), types, "{name}");
            let logit = reranker.score(&[(text("query"), text("document"))]).unwrap()[0].logits[0];
            let golden = pair["logits"][0].as_f64().unwrap();
            assert!((f64::from(logit) - golden).abs() < TOLERANCE, "{name}: {logit}");
        }
    }
}

#[test]
fn vocabularies_of_the_fixtures_give_their_golden_ids() {
    for name in ["bert", "electra", "distilbert", "roberta"] {
        let folder = format!("tests/fixtures/{name}");
        let mut files = ModelFiles::from_dir(&fixture(name)).unwrap();
        let made: Value = serde_json::from_slice(&files.tokenizer).unwrap();
        files.tokenizer.clear();
        files.tokenizer_config = None;
        let ids = made["model"]["vocab"].as_object().unwrap();
        let mut tokens: Vec<_> = ids.iter().collect();
        tokens.sort_by_key(|(_, id)| id.as_u64());
        if name == "roberta" {
            let merges = made["model"]["merges"].as_array().unwrap().iter();
            let merge = |m: &Value| match m.as_str() {
                Some(line) => format!("{line}\n"),
                None => format!("{} {}\n", m[0].as_str().unwrap(), m[1].as_str().unwrap()),
            };
            let merges: String = merges.map(merge).collect();
            files.vocabulary.push(("vocab.json", serde_json::to_vec(ids).unwrap()));
            files.vocabulary.push(("merges.txt", format!("#version: 0.2\n{merges}").into()));
        } else {
            let lines: String = tokens.iter().map(|(token, _)| format!("{token}\n")).collect();
            files.vocabulary.push(("vocab.txt", lines.into()));
        }
        let reranker = Reranker::builder().backend(Backend::Cpu).threads(1).load_files(files).unwrap();
        for case in common::golden(&folder).cases {
            let options = RerankOptions::new().max_tokens(common::golden(&folder).max_length);
            let read = reranker.tokenize(&case.query, &case.document, &options).unwrap();
            assert_eq!(read.ids, case.input_ids, "{name}: {}", case.document);
        }
    }
}

/// A folder with the files of a case.
fn folder_of(case: &Case) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = fixture(case.value["fixture"].as_str().unwrap());
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
    }
    for (name, bytes) in case.files().small_files() {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

#[test]
fn a_folder_with_vocabulary_files_loads_and_says_what_its_tokenizer_was_made_from() {
    for (name, sources) in [
        ("BertTokenizer", "vocab.txt"),
        ("RobertaTokenizer by model_type alone", "vocab.json and merges.txt"),
        ("XLMRobertaTokenizer", "sentencepiece.bpe.model"),
        ("DebertaV2Tokenizer by model_type alone", "spm.model"),
    ] {
        let case = Case::named(name);
        let folder = folder_of(&case);
        let files = ModelFiles::from_dir(folder.path()).unwrap();
        assert_eq!(files.vocabulary, case.files().vocabulary);
        let names: Vec<_> = files.small_files().into_iter().map(|(name, _)| name).collect();
        assert!(!names.contains(&"tokenizer.json"), "{names:?}");
        let reranker = Reranker::load(folder.path()).unwrap();
        let class = name.split(' ').next().unwrap();
        let warning = format!(
            "there is no tokenizer.json: the tokenizer was made from {sources}, as transformers 4.57 makes a {class} of it"
        );
        assert!(reranker.info().warnings.contains(&warning), "{:?}", reranker.info().warnings);
    }
}

#[test]
fn tokenizer_json_takes_precedence_over_vocabulary_files() {
    let folder = folder_of(&Case::named("BertTokenizer"));
    let tokenizer = read(fixture("bert").join("tokenizer.json"));
    std::fs::write(folder.path().join("tokenizer.json"), &tokenizer).unwrap();
    let files = ModelFiles::from_dir(folder.path()).unwrap();
    assert_eq!(files.tokenizer, tokenizer);
    assert!(files.vocabulary.is_empty());
}

#[test]
fn vocabulary_files_above_their_size_limit_are_not_read() {
    for (name, limit) in VOCABULARY_FILES {
        let folder = folder_of(&Case::named("BertTokenizer"));
        let path = folder.path().join(name);
        // A sparse file, which takes no disk space.
        std::fs::File::create(&path).unwrap().set_len(limit + 1).unwrap();
        let message = format!("is longer than {limit} bytes, the most that is read of such a file");
        let error = ModelFiles::from_dir(folder.path()).unwrap_err();
        assert_eq!(error, Error::Format { file: path.display().to_string(), message });
    }
}

/// The error of a case's files after an edit.
fn error_after(name: &str, edit: impl FnOnce(&mut ModelFiles)) -> String {
    let mut files = Case::named(name).files();
    edit(&mut files);
    Reranker::builder().backend(Backend::Cpu).threads(1).load_files(files).unwrap_err().to_string()
}

#[test]
fn what_no_tokenizer_can_be_made_of_is_an_error_that_names_the_file() {
    let with = |files: &mut ModelFiles, name: &str, bytes: &[u8]| {
        files.vocabulary.iter_mut().find(|(found, _)| *found == name).unwrap().1 = bytes.to_vec();
    };
    let bert = |edit: &dyn Fn(&mut ModelFiles)| error_after("BertTokenizer", edit);
    let roberta = |edit: &dyn Fn(&mut ModelFiles)| error_after("RobertaTokenizer", edit);
    let keys = |text: &'static str| move |f: &mut ModelFiles| f.tokenizer_config = Some(text.into());
    let xlm_roberta =
        |more: &[u8]| error_after("XLMRobertaTokenizer", |f| f.vocabulary[0].1.extend_from_slice(more));
    let deberta =
        |more: &[u8]| error_after("DebertaV2Tokenizer", |f| f.vocabulary[0].1.extend_from_slice(more));
    // A piece of 12 000 bytes: field 1 with 12 003 bytes, in it field 1 with 12 000.
    let long_piece = [&b"\x0a\xe3\x5d\x0a\xe0\x5d"[..], &[b'x'; 12_000]].concat();
    let long_pieces = error_after("XLMRobertaTokenizer with BPE", |f| f.vocabulary[0].1.extend(&long_piece));
    let other_pieces = error_after("DebertaV2Tokenizer", |f| f.vocabulary[0].1 = small("fairseq.model"));
    for (error, parts) in [
        // Messages of Protocol Buffers can be appended: a later value counts.
        (xlm_roberta(b"\x12\x02\x18\x03"), ["sentencepiece.bpe.model", "the model type 3 of sentencepiece"]),
        (xlm_roberta(b"\x0a\x08\x0a\x01x\x15\0\0\xc0\x7f"), ["the score of the piece `x`", "not finite"]),
        (xlm_roberta(b"\x0a\x7f"), ["sentencepiece.bpe.model", "not a model of sentencepiece"]),
        (xlm_roberta(b"\x0a\x03\x0a\x01\xff"), ["sentencepiece.bpe.model", "not a model of sentencepiece"]),
        (
            deberta(b"\x12\x0c\xc0\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            ["spm.model", "its unk_id is -1"],
        ),
        (deberta(b"\x12\x04\xc0\x02\xff\x7f"), ["spm.model", "unk_id names no token"]),
        (deberta(b"\x1a\x03\x12\x01x"), ["spm.model", "precompiled_charsmap is broken"]),
        (
            xlm_roberta(&b"\x0a\0".repeat(3000)),
            ["sentencepiece.bpe.model", "has 3260 tokens, and the word table"],
        ),
        (long_pieces, ["sentencepiece.bpe.model", "its pieces are too long for a BPE"]),
        (other_pieces, ["spm.model", "lacks the piece `[CLS]`"]),
        (
            bert(&keys(r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#)),
            [
                "class `PreTrainedTokenizerFast` without tokenizer.json is not supported",
                "download the model again",
            ],
        ),
        (
            bert(&keys(r#"{"tokenizer_class": "AlbertTokenizer"}"#)),
            ["class `AlbertTokenizer` without tokenizer.json is not supported", "AutoTokenizer"],
        ),
        (
            error_after("BertTokenizer by model_type alone", |f| {
                let mut config: Value = serde_json::from_slice(&f.config).unwrap();
                config["tokenizer_class"] = "TokenizersBackend".into();
                f.config = serde_json::to_vec(&config).unwrap();
            }),
            ["class `TokenizersBackend` without tokenizer.json is not supported", "download the model again"],
        ),
        (
            bert(&keys(r#"{"tokenizer_class": "RobertaTokenizerFast"}"#)),
            ["a RobertaTokenizer without tokenizer.json and without merges.txt", "download the model again"],
        ),
        (bert(&keys(r#"{"do_lower_case": 1}"#)), ["tokenizer_config.json", "`do_lower_case`: expected true"]),
        (bert(&keys(r#"{"cls_token": null}"#)), ["tokenizer_config.json", "`cls_token`: is null"]),
        (bert(&keys(r#"{"cls_token": 1}"#)), ["tokenizer_config.json", "`cls_token`: expected a string"]),
        (bert(&keys(r#"{"sep_token": "<none>"}"#)), ["vocab.txt", "lacks the token `<none>`"]),
        (bert(&keys("[]")), ["tokenizer_config.json", "expected a map"]),
        (bert(&|f| with(f, "vocab.txt", b"[UNK]\n\xff")), ["vocab.txt", "invalid utf-8"]),
        (bert(&|f| with(f, "vocab.txt", b"")), ["vocab.txt", "lacks the token `[UNK]`"]),
        (
            bert(&|f| f.vocabulary[0].1.extend("more\nand\n".repeat(3000).bytes())),
            ["vocab.txt", "has 6209 tokens, and the word table has 2500 rows"],
        ),
        (roberta(&|f| with(f, "vocab.json", b"[1]")), ["vocab.json", "not an object from tokens to ids"]),
        (
            roberta(&|f| with(f, "vocab.json", b"{\"a\": -1}")),
            ["vocab.json", "not an object from tokens to ids"],
        ),
        (roberta(&|f| with(f, "merges.txt", b"#\na b\na\n")), ["merges.txt", "line 3: expected two tokens"]),
        (roberta(&|f| with(f, "merges.txt", b"#\nX YZW\n")), ["vocab.json and merges.txt", "merges"]),
    ] {
        for part in parts {
            assert!(error.contains(part), "`{part}` not in {error}");
        }
    }
}

#[test]
fn damaged_vocabulary_files_are_errors_or_other_tokenizers_and_never_panics() {
    let mut random = common::Random(14);
    for case in Case::all() {
        let original = case.files();
        for _ in 0..200 {
            let mut files = original.clone();
            let which = random.below(files.vocabulary.len());
            let bytes = &mut files.vocabulary[which].1;
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes.truncate(at + 1),
                    1 => bytes[at] = random.below(256) as u8,
                    2 => {
                        bytes.remove(at);
                        bytes.push(b'x');
                    }
                    _ => bytes.insert(at, random.below(256) as u8),
                }
            }
            if let Ok(made) = make(&files)
                && let Ok(tokenizer) = Tokenizer::new(&made.file, &made.json, ROWS, 2)
            {
                tokenizer.encode("the Café  ﬁrst <user> 北京", 100).unwrap();
            }
        }
    }
}
