//! The text layer compared with Hugging Face's tokenizer: golden files, the crate on whole texts, and malformed files.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossrank::text::batch::Pair;
use crossrank::text::settings::SettingsFiles;
use crossrank::text::tokenizer::{Encoded, Tokenizer};
use crossrank::{Error, Truncation};
use serde_json::{Value, json};
use tokenizers::{
    PostProcessor as _, TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn load(folder: &Path) -> Tokenizer {
    let config = read_json(&folder.join("config.json"));
    let size = |name: &str| config[name].as_u64().unwrap_or(0) as usize;
    let json = fs::read(folder.join("tokenizer.json")).unwrap();
    Tokenizer::new("tokenizer.json", &json, size("vocab_size"), size("type_vocab_size")).unwrap()
}

fn pair(tokenizer: &Tokenizer, query: &str, document: &str, window: usize, policy: Truncation) -> Pair {
    let query = tokenizer.encode(query, usize::MAX).unwrap();
    let document = tokenizer.encode(document, window.max(query.ids.len()) + 1).unwrap();
    tokenizer.template().truncated_pair(&query, &document, window, policy, 0).unwrap()
}

fn check_golden(folder: &str) {
    let folder = root().join(folder);
    let tokenizer = load(&folder);
    let golden = read_json(&folder.join("golden.json"));
    let window = golden["max_length"].as_u64().unwrap() as usize;
    let cases = golden["cases"].as_array().unwrap();
    let token_types = read_json(&folder.join("config.json"))["type_vocab_size"].as_u64().unwrap_or(0);
    assert!(cases.len() >= 10);
    for (i, case) in cases.iter().enumerate() {
        let text = |name: &str| case[name].as_str().unwrap();
        let pair = pair(&tokenizer, text("query"), text("document"), window, Truncation::LongestFirst);
        assert_eq!(json!(pair.ids), case["input_ids"], "case {i}");
        // For families without token types, transformers gives none or some that the model does not read.
        if token_types > 1 {
            assert_eq!(json!(pair.token_types), case["token_type_ids"], "case {i}");
        } else {
            assert!(pair.token_types.iter().all(|token_type| *token_type == 0), "case {i}");
        }
    }
}

#[test]
fn golden_ids_of_the_bundled_model_come_out() {
    check_golden("models/crossrank-mini");
}

#[test]
fn golden_ids_come_out_in_spite_of_stale_truncation_and_padding() {
    let file = read_json(&root().join("tests/fixtures/bert/tokenizer.json"));
    assert!(file["truncation"].is_object() && file["padding"].is_object());
    check_golden("tests/fixtures/bert");
}

#[test]
fn golden_ids_of_the_other_fixtures_come_out() {
    let all = fs::read_dir(root().join("tests/fixtures")).unwrap().map(|entry| entry.unwrap());
    let all = all.filter(|entry| entry.path().is_dir());
    let all: Vec<_> = all.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(all.len() >= 8, "{all:?}");
    for family in all {
        println!("{family}");
        check_golden(&format!("tests/fixtures/{family}"));
    }
}

/// The crate as Hugging Face calls it, on the whole texts.
struct Whole(tokenizers::Tokenizer);

impl Whole {
    fn new(json: &[u8]) -> Self {
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(json).unwrap();
        tokenizer.with_padding(None).with_truncation(None).unwrap();
        Self(tokenizer)
    }

    fn pair(&self, query: &str, document: &str, window: usize) -> (Vec<u32>, Vec<u32>) {
        // The crate's own truncation is not used: it reads only one window of each side, while the golden files give the
        // odd token to the side that is longer as a whole.
        let side = |text, token_type| {
            let mut encoding = self.0.encode_char_offsets(text, false).unwrap();
            encoding.set_type_ids(vec![token_type; encoding.len()]);
            encoding
        };
        let special = self.0.get_post_processor().map_or(0, |p| p.added_tokens(true));
        let (strategy, direction) = (TruncationStrategy::LongestFirst, TruncationDirection::Right);
        let params = TruncationParams { direction, max_length: window - special, strategy, stride: 0 };
        let (query, document) = truncate_encodings(side(query, 0), Some(side(document, 1)), &params).unwrap();
        let encoding = self.0.post_process(query, document, true).unwrap();
        (encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec())
    }
}

/// A small generator of texts (xorshift) with a fixed seed, so that failures are reproducible.
struct Texts(u64);

impl Texts {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn text(&mut self, pieces: usize) -> String {
        const PIECES: &[&str] = &[
            " ",
            " ",
            " ",
            " ",
            " ",
            "  ",
            "\n",
            "\t",
            "\u{a0}",
            "\u{3000}",
            "\u{85}",
            "\0",
            "the",
            "Berlin",
            "reranker",
            "of",
            "a",
            "ing",
            "un",
            "3.14",
            "2024",
            "-",
            ".",
            ",",
            "!",
            "'s",
            "[",
            "]",
            "#",
            "##",
            "[SEP]",
            "[CLS]",
            "[MASK]",
            "[UNK]",
            "[SE",
            "P]",
            "é",
            "e\u{301}",
            "Ä",
            "ß",
            "İ",
            "ﬁ",
            "漢",
            "字",
            "日本",
            "かが",
            "한국어",
            "привет",
            "สวัสดี",
            "नमस्ते",
            "مرحبا",
            "😀",
            "👩\u{200d}👩\u{200d}👧",
            "\u{fe0f}",
            "\u{301}",
            "🤣",
            "∑",
            "x²",
            "\u{fffd}",
        ];
        (0..pieces)
            .flat_map(|_| {
                let piece = PIECES[self.below(PIECES.len())];
                let times = if self.below(40) == 0 { 1 + self.below(300) } else { 1 };
                std::iter::repeat_n(piece, times)
            })
            .collect()
    }
}

#[test]
fn any_text_gives_the_ids_of_whole_tokenization_in_any_window() {
    for folder in ["models/crossrank-mini", "tests/fixtures/bert"] {
        let folder = root().join(folder);
        let tokenizer = load(&folder);
        let whole = Whole::new(&fs::read(folder.join("tokenizer.json")).unwrap());
        let mut texts = Texts(42);
        for case in 0..60 {
            let (q, d) = (texts.below(40), texts.below(400));
            let (query, document) = (texts.text(q), texts.text(d));
            let window = 3 + texts.below(120);
            let pair = pair(&tokenizer, &query, &document, window, Truncation::LongestFirst);
            let expected = whole.pair(&query, &document, window);
            assert_eq!((pair.ids, pair.token_types), expected, "case {case}, window {window}");
        }
    }
}

/// Texts of these units have few tokens for their length.
const UNITS: &[&str] = &[
    "x",
    " ",
    "\n",
    " \t",
    "é",
    "e\u{301}",
    "Ж",
    "漢",
    "か",
    "한",
    "😀",
    "👩\u{200d}👧",
    "!",
    "word ",
    "[SEP]",
    "a\u{a0}",
];

#[test]
fn monotonous_texts_give_the_ids_of_whole_tokenization() {
    let folder = root().join("models/crossrank-mini");
    let tokenizer = load(&folder);
    let whole = Whole::new(&fs::read(folder.join("tokenizer.json")).unwrap());
    for times in [99, 100, 101, 500, 1000, 1001, 1002, 5000] {
        for unit in UNITS {
            let text = format!("{} and the end.", unit.repeat(times));
            let pair = pair(&tokenizer, "query", &text, 24, Truncation::LongestFirst);
            assert_eq!(
                (pair.ids, pair.token_types),
                whole.pair("query", &text, 24),
                "{times} times {unit:?}"
            );
        }
    }
}

/// Every fixture's tokenizer, with the crate's own of the same file.
fn all_tokenizers() -> Vec<(String, Tokenizer, Whole)> {
    let all = fs::read_dir(root().join("tests/fixtures")).unwrap().map(|entry| entry.unwrap().path());
    let all = all.filter(|path| path.is_dir()).chain([root().join("models/crossrank-mini")]);
    all.map(|folder| {
        let whole = Whole::new(&fs::read(folder.join("tokenizer.json")).unwrap());
        (folder.display().to_string(), load(&folder), whole)
    })
    .collect()
}

/// The ids of the text are the first ones of the whole text's, and all of them where it says so.
fn check_prefix(name: &str, tokenizer: &Tokenizer, whole: &Whole, text: &str, min_tokens: usize) {
    let expected = whole.0.encode_char_offsets(text, false).unwrap();
    let case = || format!("{name}, {min_tokens} tokens of {} bytes: {:.60?}", text.len(), text);
    for found in [tokenizer.encode(text, min_tokens), tokenizer.encode_with_spans(text, min_tokens)] {
        let found = found.unwrap();
        assert!(expected.get_ids().starts_with(&found.ids), "{}", case());
        assert!(found.ids.len() >= min_tokens.min(expected.len()), "{}: {}", case(), found.ids.len());
        assert!(!found.complete || found.ids.len() == expected.len(), "{}", case());
    }
}

#[test]
fn long_runs_have_the_first_ids_of_the_whole_text() {
    for (name, tokenizer, whole) in all_tokenizers() {
        for unit in
            [".", "-", "=", "a", "ab", "the", "...-", "か", "漢字", "é", "e\u{301}", "\u{ad}", "▁", "1", "!?"]
        {
            for length in [600, 1699, 1700, 1701, 5003] {
                let text = unit.repeat(length / unit.len());
                for text in [text.clone(), format!("So {text} and the end."), format!("{text}x")] {
                    check_prefix(&name, &tokenizer, &whole, &text, 20);
                    check_prefix(&name, &tokenizer, &whole, &text, 129);
                }
            }
        }
    }
}

#[test]
fn random_repetitive_texts_have_the_first_ids_of_the_whole_text() {
    const PIECES: &[&str] = &[
        ".", "..", "-", "a", "s", "the", "n", "0", "1", " ", "  ", "\n", "か", "が", "漢", "字", "'", "ll",
        "é", "\u{301}",
    ];
    for (name, tokenizer, whole) in all_tokenizers() {
        let mut texts = Texts(99);
        for _ in 0..60 {
            let mut text = String::new();
            for _ in 0..1 + texts.below(8) {
                // A run of one or two pieces: short, or longer than a prefix.
                let (a, b) = (PIECES[texts.below(PIECES.len())], PIECES[texts.below(PIECES.len())]);
                let times = if texts.below(2) == 0 { texts.below(20) } else { texts.below(1500) };
                let both = texts.below(2);
                (0..times).for_each(|_| text.extend([a, if both == 0 { "" } else { b }]));
            }
            check_prefix(&name, &tokenizer, &whole, &text, 1 + texts.below(200));
        }
    }
}

#[test]
fn no_tokenizer_is_trusted_to_end_words_at_spaces() {
    // Without a pre-tokenizer, or with one that divides elsewhere, a whole text is one word: the dots on both sides of a
    // space, or a token with a space in it.
    let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": [["[UNK]", 0.0], [" ", -2.0], [".", -2.0], [". .", -3.0],
        ["a", -2.5], ["▁", -2.0], [".▁.", -3.0]]});
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let unsplit =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false});
    for (normalizer, pre_tokenizer) in
        [(Value::Null, Value::Null), (replace, Value::Null), (Value::Null, digits), (Value::Null, unsplit)]
    {
        let changes =
            [("/model", unigram.clone()), ("/normalizer", normalizer), ("/pre_tokenizer", pre_tokenizer)];
        let json = file(&changes);
        let (tokenizer, whole) = (Tokenizer::new("tokenizer.json", &json, 14, 2).unwrap(), Whole::new(&json));
        for times in [300, 301, 1000, 1001] {
            for text in [". ".repeat(times), format!("{}a", ". ".repeat(times)), ".a ".repeat(times)] {
                check_prefix(&changes[2].1.to_string(), &tokenizer, &whole, &text, 40);
            }
        }
    }
}

#[test]
fn a_long_text_without_spaces_is_not_read_to_its_end() {
    let tokenizer = load(&root().join("tests/fixtures/xlm-roberta"));
    let text = "日本の首都は東京です。人口は約千四百万人です。".repeat(100_000);
    let start = Instant::now();
    let encoded = tokenizer.encode(&text, 512).unwrap();
    assert!(encoded.ids.len() >= 512 && !encoded.complete);
    // All of it takes ten times as long in a debug build.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // One word of megabytes, whose first tokens depend on its end, is read as if it ended earlier.
    let encoded = tokenizer.encode(&".".repeat(10 << 20), 512).unwrap();
    assert!(encoded.ids.len() >= 512 && !encoded.complete);
}

#[test]
fn ten_megabytes_are_tokenized_only_as_far_as_the_window_needs() {
    let tokenizer = load(&root().join("models/crossrank-mini"));
    // Texts without a token before their end.
    const EMPTY: &[&str] = &["\u{1}", "\u{200b}\0", " \u{ad}", "\u{301}", "\t\u{301}\u{feff}"];
    for unit in UNITS.iter().chain(EMPTY) {
        let text = format!("{} and the end.", unit.repeat((10 << 20) / unit.len()));
        let start = Instant::now();
        let encoded = tokenizer.encode(&text, 512).unwrap();
        assert!(encoded.complete || encoded.ids.len() >= 512, "{unit:?}");
        if EMPTY.contains(unit) {
            assert_eq!(encoded, tokenizer.encode(" and the end.", 512).unwrap(), "{unit:?}");
        }
        // Whole tokenization takes a minute and a gigabyte in a debug build.
        assert!(start.elapsed() < Duration::from_secs(10), "{unit:?}: {:?}", start.elapsed());
    }
}

#[test]
fn a_text_with_enough_tokens_is_not_read_to_its_end() {
    let tokenizer = load(&root().join("models/crossrank-mini"));
    assert_eq!(
        tokenizer.encode("one two three", 3),
        Ok(Encoded { ids: vec![2028, 2048, 2093], complete: true, spans: vec![] })
    );
    assert_eq!(
        tokenizer.encode("one two three", 2),
        Ok(Encoded { ids: vec![2028, 2048], complete: false, spans: vec![] })
    );
    let encoded = tokenizer.encode(&"one two three ".repeat(1000), 100).unwrap();
    assert_eq!((encoded.ids.len(), encoded.complete), (100, false));
    assert_eq!(tokenizer.encode("", 10), Ok(Encoded { ids: vec![], complete: true, spans: vec![] }));
}

fn encoded(tokens: std::ops::Range<u32>) -> Encoded {
    Encoded { ids: tokens.collect(), complete: true, spans: vec![] }
}

#[test]
fn every_policy_keeps_the_final_separator_and_reports_the_truncated_tokens() {
    let tokenizer = load(&root().join("models/crossrank-mini"));
    assert_eq!(tokenizer.template().special_tokens(), 3);
    let (query, document) = (encoded(1000..1004), encoded(2000..2010));
    let pair = |window, policy| tokenizer.template().truncated_pair(&query, &document, window, policy, 7);

    let found = pair(9, Truncation::LongestFirst).unwrap();
    assert_eq!(found.ids, [101, 1000, 1001, 1002, 102, 2000, 2001, 2002, 102]);
    assert_eq!(found.token_types, [0, 0, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!((found.truncated.query, found.truncated.document), (1, 7));
    let found = pair(8, Truncation::DocumentOnly).unwrap();
    assert_eq!(found.ids, [101, 1000, 1001, 1002, 1003, 102, 2000, 102]);
    let found = pair(7, Truncation::DocumentOnly).unwrap();
    assert_eq!(found.ids, [101, 1000, 1001, 102, 2000, 2001, 102]);
    assert_eq!(pair(16, Truncation::Error), Err(Error::TooLong { index: 7, tokens: 17, max_tokens: 16 }));
    assert_eq!(pair(17, Truncation::Error).unwrap().ids.len(), 17);
}

#[test]
fn a_window_below_the_special_tokens_is_an_invalid_option() {
    let tokenizer = load(&root().join("models/crossrank-mini"));
    for policy in [Truncation::LongestFirst, Truncation::DocumentOnly, Truncation::Error] {
        for window in 0..3 {
            let error = tokenizer
                .template()
                .truncated_pair(&encoded(0..1), &encoded(0..1), window, policy, 0)
                .unwrap_err();
            assert!(matches!(error, Error::InvalidOption { option: "max_tokens", .. }), "{error}");
        }
    }
    let empty = tokenizer
        .template()
        .truncated_pair(&encoded(0..9), &encoded(0..9), 3, Truncation::LongestFirst, 0)
        .unwrap();
    assert_eq!(empty.ids, [101, 102, 102]);
}

/// A valid tokenizer.json with values replaced at JSON pointers.
fn file(changes: &[(&str, Value)]) -> Vec<u8> {
    let mut file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1, "b": 2, "##b": 3, "[CLS]": 4, "[SEP]": 5}},
    });
    for (pointer, value) in changes {
        *file.pointer_mut(pointer).unwrap() = value.clone();
    }
    file.to_string().into_bytes()
}

fn template(pair: Value, special: Value) -> Value {
    json!({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}], "pair": pair, "special_tokens": special})
}

#[test]
fn the_template_comes_from_any_kind_of_post_processor() {
    let bert = json!({"type": "BertProcessing", "sep": ["[SEP]", 5], "cls": ["[CLS]", 4]});
    let roberta = json!({"type": "RobertaProcessing", "sep": ["[SEP]", 5], "cls": ["[CLS]", 4],
        "trim_offsets": true, "add_prefix_space": true});
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let reversed = template(
        json!([{"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "x", "type_id": 1}},
            {"Sequence": {"id": "A", "type_id": 0}}]),
        json!({"x": {"id": "x", "ids": [4, 5], "tokens": ["[CLS]", "[SEP]"]}}),
    );
    let sequence = json!({"type": "Sequence", "processors": [byte_level, bert]});
    for (post_processor, ids, types) in [
        (Value::Null, vec![1, 2], vec![0, 1]),
        (byte_level.clone(), vec![1, 2], vec![0, 1]),
        (bert, vec![4, 1, 5, 2, 5], vec![0, 0, 0, 1, 1]),
        (sequence, vec![4, 1, 5, 2, 5], vec![0, 0, 0, 1, 1]),
        (roberta, vec![4, 1, 5, 5, 2, 5], vec![0; 6]),
        (reversed, vec![2, 4, 5, 1], vec![1, 1, 1, 0]),
    ] {
        let json = file(&[("/post_processor", post_processor.clone())]);
        let tokenizer = Tokenizer::new("tokenizer.json", &json, 6, 2).unwrap();
        let found = pair(&tokenizer, "a", "b", 10, Truncation::LongestFirst);
        assert_eq!((&found.ids, &found.token_types), (&ids, &types), "{post_processor}");
        assert_eq!(Whole::new(&json).pair("a", "b", 10), (ids, types), "{post_processor}");
        let single = Tokenizer::new("tokenizer.json", &json, 6, 1).unwrap();
        assert!(pair(&single, "a", "b", 10, Truncation::LongestFirst).token_types.iter().all(|&t| t == 0));
    }
}

fn message(json: &[u8]) -> String {
    match Tokenizer::new("model/tokenizer.json", json, 6, 2) {
        Err(Error::Format { file, message }) if file == "model/tokenizer.json" => message,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Each of these makes the bare crate panic (or ask for 8 GB), at load or on the first text.
#[test]
fn crafted_files_are_format_errors_and_never_reach_the_panic_hook() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.set(PANICS.get() + 1);
        hook(info);
    }));
    let charsmap =
        |base64: &str| ("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": base64}));
    let added = |content: &str| {
        json!([{"id": 6, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": true, "special": false}])
    };
    let bpe = |prefix: &str, vocab: Value| json!({"type": "BPE", "continuing_subword_prefix": prefix, "vocab": vocab, "merges": [["a", "b"]]});
    let texts =
        [json!({"Sequence": {"id": "A", "type_id": 0}}), json!({"Sequence": {"id": "B", "type_id": 0}})];
    let undefined = json!([{"SpecialToken": {"id": "x", "type_id": 0}}, texts[0], texts[1]]);
    let one = template(undefined.clone(), json!({"x": {"id": "x", "ids": [4], "tokens": ["x"]}}));
    for (changes, expected) in [
        (vec![charsmap("!")], "precompiled_charsmap"),
        (vec![charsmap("")], "charsmap is broken"),
        // The header promises 4 GB.
        (vec![charsmap("/////w==")], "charsmap is broken"),
        // An empty trie, and one whose only unit points far away.
        (vec![charsmap("AAAAAA==")], "charsmap is broken"),
        (vec![charsmap("BAAAAAD8/38=")], "charsmap is broken"),
        (
            vec![("/pre_tokenizer", json!({"type": "FixedLength", "length": 0}))],
            "`FixedLength` is not one of",
        ),
        (vec![("/model", bpe("", json!({"a": 0, "b": 1})))], "merges[0]"),
        (vec![("/model", bpe("##", json!({"a": 0, "b": 1, "ab": 2})))], "merges[0]"),
        (vec![("/post_processor", template(undefined, json!({})))], "`x` without ids"),
        (vec![("/post_processor", json!({"type": "Sequence", "processors": [one, one]}))], "more than one"),
        (
            vec![
                ("/normalizer", json!({"type": "Strip", "strip_left": true, "strip_right": true})),
                ("/added_tokens", added(" ")),
            ],
            "nothing is left of an added token",
        ),
        (
            vec![(
                "/normalizer",
                json!({"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": ""}, {"type": "StripAccents"}]}),
            )],
            "`Prepend` has nothing to prepend",
        ),
        (
            vec![("/normalizer", json!({"type": "Prepend", "prepend": "x".repeat(300)}))],
            "can make a text 301 times as long",
        ),
        (
            vec![("/pre_tokenizer", json!({"type": "CharDelimiterSplit", "delimiter": "ab"}))],
            "pre_tokenizer: ",
        ),
    ] {
        let found = message(&file(&changes));
        assert!(found.contains(expected), "{changes:?}: {found}");
    }
    assert_eq!(PANICS.get(), 0);
}

#[test]
fn every_kind_of_model_gives_the_ids_of_whole_tokenization() {
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let bpe = json!({"unk_token": "[UNK]", "continuing_subword_prefix": "+", "end_of_word_suffix": "-",
        "fuse_unk": true, "byte_fallback": true, "vocab": {"[UNK]": 0, "Ġ": 1, "+a": 2, "+a-": 3, "+n": 4, "+n-": 5,
        "Ġa": 6, "+t": 7, "+h": 8, "+th": 9, "+e-": 10, "+the-": 11}, "merges": ["Ġ +a", "+t +h", "+th +e-"]});
    let mut byte_bpe = bpe.clone();
    byte_bpe["vocab"]["<0x2B>"] = json!(12);
    byte_bpe["vocab"]["<0x78>"] = json!(13);
    byte_bpe["merges"] = json!([["Ġ", "+a"], ["+t", "+h"]]);
    byte_bpe["ignore_merges"] = json!(true);
    let unigram = json!({"type": "Unigram", "unk_id": 0, "byte_fallback": true, "vocab": [["[UNK]", 0.0], ["▁", -2.0],
        ["▁the", -3.0], ["a", -1.5], ["n", -2.5], ["an", -3.5], ["<0xE6>", -9.0], ["<0xBC>", -9.0], ["<0xA2>", -9.0]]});
    let word_piece = json!({"max_input_chars_per_word": 12, "unk_token": "[UNK]", "continuing_subword_prefix": "",
        "vocab": {"[UNK]": 0, "a": 1, "n": 2, "the": 3}});
    for (model, pre_tokenizer) in [
        (bpe, &byte_level),
        (byte_bpe, &byte_level),
        (unigram, &metaspace),
        (word_piece, &json!({"type": "WhitespaceSplit"})),
    ] {
        let json = file(&[("/model", model.clone()), ("/pre_tokenizer", pre_tokenizer.clone())]);
        let tokenizer = Tokenizer::new("tokenizer.json", &json, 14, 2).unwrap();
        let whole = Whole::new(&json);
        let mut texts = Texts(7);
        for case in 0..20 {
            let document = format!("漢 nxn {}", texts.text(case * 20));
            let pair = pair(&tokenizer, "the an", &document, 16, Truncation::LongestFirst);
            assert_eq!(
                (pair.ids, pair.token_types),
                whole.pair("the an", &document, 16),
                "case {case}: {model}"
            );
        }
    }
}

/// The ids are those of Python's tokenizers 0.23.3.
#[test]
fn rare_components_give_the_ids_of_the_real_package_and_of_whole_tokenization() {
    let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": [["[UNK]", 0.0], ["▁", -2.0], ["a", -2.5], ["b", -2.5],
        ["ab", -3.5], ["▁a", -3.0], ["か", -3.0], ["漢", -3.0], ["漢か", -3.2], [" ", -2.0], ["a漢", -2.1], ["жa", -2.2],
        ["ж", -4.0], ["Ġ", -2.0], ["Ã", -3.0], ["©", -3.0], ["aĠ", -2.2]]});
    let prepend = json!({"type": "Prepend", "prepend": "▁"});
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let both = json!({"type": "Sequence", "normalizers": [prepend, replace]});
    let bytes = json!({"type": "ByteLevel"});
    let split = |at: &str| json!({"type": "CharDelimiterSplit", "delimiter": at});
    let (scripts, spaces) = (json!({"type": "UnicodeScripts"}), json!({"type": "WhitespaceSplit"}));
    let scripts_and_spaces = json!({"type": "Sequence", "pretokenizers": [scripts, spaces]});
    let none = Value::Null;
    for (normalizer, pre_tokenizer, first, second, third) in [
        (&both, &none, &[1, 4, 5, 8, 2, 1, 3, 2][..], &[1, 11, 3, 1, 0, 1, 5, 0, 1, 4][..], 5),
        (&prepend, &spaces, &[1, 4, 10, 6, 2, 3, 2], &[1, 11, 3, 0, 2, 0, 4], 5),
        (&bytes, &none, &[4, 13, 2, 0, 16, 3, 2], &[0, 4, 13, 14, 15, 13, 13, 2, 0, 13, 4], 2),
        (&bytes, &split("Ġ"), &[4, 2, 0, 2, 3, 2], &[0, 4, 14, 15, 2, 0, 4], 2),
        (&none, &split(" "), &[4, 10, 6, 2, 3, 2], &[11, 3, 0, 2, 0, 4], 2),
        (&none, &split("か"), &[4, 9, 10, 2, 9, 3, 2], &[11, 3, 9, 0, 9, 9, 2, 0, 9, 4], 2),
        (&none, &scripts, &[4, 9, 2, 8, 2, 9, 3, 2], &[12, 4, 9, 0, 9, 9, 2, 0, 9, 4], 2),
        (&none, &scripts_and_spaces, &[4, 2, 8, 2, 3, 2], &[12, 4, 0, 2, 0, 4], 2),
    ] {
        let case = format!("{normalizer} {pre_tokenizer}");
        let changes = [
            ("/model", unigram.clone()),
            ("/normalizer", normalizer.clone()),
            ("/pre_tokenizer", pre_tokenizer.clone()),
        ];
        let json = file(&changes);
        let (tokenizer, whole) = (Tokenizer::new("tokenizer.json", &json, 17, 2).unwrap(), Whole::new(&json));
        for (text, ids) in [("ab a漢かa ba", first), ("жab é  a. ab", second), ("a", &[third])] {
            assert_eq!(tokenizer.encode(text, 100).unwrap().ids, ids, "{case}: {text}");
        }
        let mut texts = Texts(5);
        for count in 0..40 {
            let text = format!("{} {}", "ab a漢かa ba ".repeat(count * 3), texts.text(count * 20));
            check_prefix(&case, &tokenizer, &whole, &text, 1 + texts.below(200));
        }
        for unit in ["a", "か", "ab ", " ", "é", "жa漢", "a か"] {
            check_prefix(&case, &tokenizer, &whole, &unit.repeat(3001), 129);
        }
    }
}

#[test]
fn an_added_token_with_spaces_is_never_divided() {
    let content = ["a"; 16].join(" ");
    let added = json!([{"id": 6, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": false}]);
    let json = file(&[("/added_tokens", added)]);
    let tokenizer = Tokenizer::new("tokenizer.json", &json, 7, 2).unwrap();
    let text = [content.as_str(); 100].join(" ");
    for enough in 1..60 {
        let encoded = tokenizer.encode(&text, enough).unwrap();
        assert!(
            encoded.ids.len() >= enough && encoded.ids.iter().all(|&id| id == 6),
            "{enough}: {encoded:?}"
        );
    }
}

/// A character map of 512 units in which `a` leads to the replacement at `index`.
fn charsmap(index: u32) -> Value {
    let mut units = [0u32; 512];
    // The root's children are around 256, `a` (label 0x61, with a value) has its own around 0x1f0.
    units[0] = 256 << 10;
    units[256 ^ 0x61] = (0x161 ^ 0x1f0) << 10 | 1 << 8 | 0x61;
    units[0x1f0] = 1 << 31 | index;
    let mut bytes = 2048u32.to_le_bytes().to_vec();
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes.extend("b\0é\0".bytes());
    json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(bytes)})
}

#[test]
fn character_maps_replace_and_are_refused_where_they_point_outside() {
    let tokenizer = Tokenizer::new("tokenizer.json", &file(&[("/normalizer", charsmap(0))]), 6, 2).unwrap();
    assert_eq!(tokenizer.encode("a b", 10).unwrap().ids, [2, 2]);
    for inside in [1, 2, 4, 5] {
        assert!(Tokenizer::new("tokenizer.json", &file(&[("/normalizer", charsmap(inside))]), 6, 2).is_ok());
    }
    // In the middle of `é`, and past the end.
    for index in [3, 6, 1 << 30] {
        assert!(message(&file(&[("/normalizer", charsmap(index))])).contains("charsmap is broken"));
    }
}

#[test]
fn files_that_do_not_fit_the_model_are_format_errors_that_say_why() {
    let replace = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(20)});
    let added = json!([{"id": 9, "content": "new", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": false}]);
    let texts = json!([{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 2}}]);
    let twice = json!([{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]);
    for (pointer, value, expected) in [
        ("/model/vocab", json!({"[UNK]": 6}), "token id 6 is outside"),
        ("/model/vocab", json!({"a": 0}), "unknown token `[UNK]`"),
        ("/model/vocab", json!({"[UNK]": 0, "a".repeat(1025): 1}), "1025 bytes"),
        ("/model/vocab", json!({"[UNK]": -1}), "model.vocab"),
        ("/model/max_input_chars_per_word", json!(1_000_000_000), "max_input_chars_per_word"),
        ("/model/type", json!("WordLevel"), "`WordLevel` is not one of"),
        ("/model", json!({"type": "Unigram", "unk_id": null, "vocab": [["a", 0.0]]}), "unk_id"),
        ("/model", json!({"type": "Unigram", "unk_id": 1, "vocab": [["a", 0.0]]}), "unk_id"),
        ("/model", json!({"type": "Unigram", "unk_id": 0, "vocab": {"a": 0}}), "no list"),
        ("/model", json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", "b"]]}), "model.vocab"),
        ("/model/vocab", json!([["[UNK]", 0.0]]), "model.vocab is a list"),
        ("/model/vocab", json!(1), "model.vocab"),
        ("/model", json!({"type": "BPE", "dropout": 0.1, "vocab": {}, "merges": []}), "dropout"),
        ("/model", json!({"type": "BPE", "vocab": {}, "merges": ["a b c"]}), "merges[0]"),
        ("/model", json!(1), "invalid type"),
        ("/added_tokens", added, "token id 6 is outside"),
        (
            "/post_processor",
            json!({"type": "BertProcessing", "sep": ["x", 9], "cls": ["x", 4]}),
            "token id 9",
        ),
        ("/post_processor", template(texts, json!({})), "token type 2"),
        ("/post_processor", template(twice, json!({})), "each text once"),
        ("/post_processor", template(json!([]), json!({})), "each text once"),
        ("/normalizer", json!({"type": "Sequence", "normalizers": [replace, replace]}), "400 times"),
        ("/normalizer", json!({"type": "Sequence"}), "has no normalizers"),
        ("/normalizer", json!(1), "has no type"),
        (
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}),
            "pre_tokenizer",
        ),
    ] {
        let found = message(&file(&[(pointer, value.clone())]));
        assert!(found.contains(expected), "{pointer} {value}: {found}");
    }
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    for text in [
        "",
        "{",
        "null",
        "\u{feff}{}",
        r#"{"model":1,"model":1}"#,
        &deep,
        &format!(r#"{{"normalizer":{deep}}}"#),
    ] {
        message(text.as_bytes());
    }
    assert!(message(&vec![b' '; (64 << 20) + 1]).contains("bytes are more than"));
    assert!(message(b"{\"version\": \"\xff\"}").contains("utf-8"));
}

#[test]
fn every_prefix_of_a_file_is_a_format_error() {
    let json = file(&[]);
    assert!(Tokenizer::new("tokenizer.json", &json, 6, 2).is_ok());
    for end in 0..json.len() {
        message(&json[..end]);
    }
}

#[test]
fn a_tokenizer_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Tokenizer>();
}

#[test]
fn the_last_ids_of_a_text_are_the_whole_texts_where_pairs_are_truncated_at_their_start() {
    let settings = br#"{"truncation_side": "left"}"#;
    for family in ["bert", "roberta", "xlm-roberta", "deberta-v2", "modernbert"] {
        let folder = root().join("tests/fixtures").join(family);
        let (config, json) =
            (fs::read(folder.join("config.json")).unwrap(), fs::read(folder.join("tokenizer.json")).unwrap());
        let files = SettingsFiles { config: &config, tokenizer_config: Some(settings), ..Default::default() };
        let (tokenizer, _) =
            Tokenizer::with_settings("tokenizer.json", &json, &files, usize::MAX, 2).unwrap();
        let words = "the server of a desktop, and 3.14 trés Übungen! ";
        for (what, text) in [
            ("words", words.repeat(100)),
            ("dots", ".".repeat(5000)),
            ("odd dots", ".".repeat(5001)),
            ("letters", "ab".repeat(4000)),
            ("spaces", format!("{}end", " ".repeat(5000))),
            ("no spaces", words.replace(' ', "").repeat(100)),
            ("marks", "e\u{301}".repeat(3000)),
        ] {
            let whole = tokenizer.encode(&text, usize::MAX).unwrap();
            assert!(whole.complete, "{family}, {what}");
            for count in [1, 20, 200] {
                let end = tokenizer.encode(&text, count).unwrap();
                let kept = count.min(whole.ids.len());
                assert!(end.ids.len() >= kept, "{family}, {what}, {count}");
                assert!(whole.ids.ends_with(&end.ids), "{family}, {what}, {count}");
            }
            assert!(!tokenizer.encode(&words.repeat(100), 20).unwrap().complete, "{family}: all was read");
        }
    }
}
