//! Files as people have them: what is read is right, and what is not read is refused in words, never ranked as text.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{crossrank, failure, fixture, folder, json_lines, success, text, with_input};

const QUERY: &str = "how many people live in Oslo";

/// A file of tests/inputs.
fn input(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inputs").join(name)
}

fn rerank(file: &Path, arguments: &[&str]) -> Output {
    let mut command = crossrank(&["rerank", "--query", QUERY, "--format", "jsonl", "--model"]);
    command.arg(fixture("bert")).arg(file).args(arguments).output().unwrap()
}

/// The ids and texts that a command printed, in input order.
fn documents(output: &Output) -> Vec<(Value, String)> {
    let mut results = json_lines(&success(output));
    results.sort_by_key(|result| result["index"].as_u64());
    let of = |result: &Value| (result["id"].clone(), result["document"]["text"].as_str().unwrap().to_owned());
    results.iter().map(of).collect()
}

/// What a file of this name and content is read as.
fn read(name: &str, content: impl AsRef<[u8]>, arguments: &[&str]) -> Vec<(Value, String)> {
    documents(&rerank(&written(name, content), arguments))
}

/// The message with which a file of this name and content is refused. It never holds the file's text.
fn refused(name: &str, content: impl AsRef<[u8]>, arguments: &[&str]) -> String {
    let message = failure(&rerank(&written(name, content), arguments), 1);
    assert!(message.contains(name), "{message}");
    for part in ["Oslo", "secret"] {
        assert!(!message.contains(part), "{message}");
    }
    message
}

fn written(name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let file = folder(&format!("input_{name}")).join(name);
    fs::write(&file, content).unwrap();
    file
}

fn pair(id: impl Into<Value>, text: &str) -> (Value, String) {
    (id.into(), text.to_owned())
}

#[test]
fn arrays_and_objects_over_several_lines_are_read() {
    for name in ["array.json", "pretty.json"] {
        let expected = [pair(7, "Oslo has 700 000 inhabitants"), pair(8, "A museum of ships")];
        assert_eq!(documents(&rerank(&input(name), &[])), expected, "{name}");
        // The content decides where there is no extension.
        let content = fs::read(input(name)).unwrap();
        assert_eq!(read("content", &content, &[]), expected, "{name}");
    }
    let both = "[\n{\"text\": \"a\"},\n\"b\"\n]\n[{\"text\": \"c\"}]{\"text\": \"d\"}";
    let texts: Vec<_> = read("both.json", both, &[]).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["a", "b", "c", "d"]);
    assert_eq!(read("empty.json", "[]", &[]), []);
}

#[test]
fn half_a_surrogate_pair_becomes_u_fffd_in_every_line_and_whole_ones_stay() {
    let expected = [pair("b", "Oslo party \u{fffd}"), pair("a", "Oslo has 700 000 inhabitants")];
    assert_eq!(documents(&rerank(&input("half-emoji.jsonl"), &[])), expected);
    let content = fs::read_to_string(input("half-emoji.jsonl")).unwrap();
    let last: Vec<&str> = content.lines().rev().collect();
    let last = read("last.jsonl", last.join("\n"), &[]);
    assert_eq!(last, [expected[1].clone(), expected[0].clone()]);

    for (escaped, expected) in [
        (r"\ud83c\udf89", "\u{1f389}"),
        (r"\uD83C\uDF89", "\u{1f389}"),
        (r"\udf89\ud83c", "\u{fffd}\u{fffd}"),
        (r"\ud83c\ud83c\udf89", "\u{fffd}\u{1f389}"),
        (r"\ud83cx", "\u{fffd}x"),
        (r"\ud83c\n\udf89", "\u{fffd}\n\u{fffd}"),
        // A backslash and letters.
        (r"\\ud83c", r"\ud83c"),
        (r"\\\ud83c", "\\\u{fffd}"),
        (r"caf\u00e9", "café"),
    ] {
        let line = format!(r#"{{"id": "{escaped}", "text": "a{escaped}"}}"#);
        assert_eq!(
            read("surrogates.jsonl", &line, &[]),
            [pair(expected, &format!("a{expected}"))],
            "{escaped}"
        );
        assert_eq!(
            read("surrogates.json", &line, &[]),
            [pair(expected, &format!("a{expected}"))],
            "{escaped}"
        );
        let pairs = format!(r#"{{"query": "q", "document": "{escaped}"}}"#);
        let mut score = crossrank(&["score", "--pairs", "-", "--input", "json", "--model"]);
        success(&with_input(score.arg(fixture("bert")), &pairs));
    }
}

#[test]
fn ids_keep_every_digit_and_any_json_value_on_one_line() {
    let printed = success(&rerank(&input("long-id.jsonl"), &[]));
    assert!(printed.contains(r#""id":12345678901234567890123,"#), "{printed}");
    for (id, expected) in [
        ("1.10", "1.10"),
        ("-0.0", "-0.0"),
        ("1e400", "1e400"),
        ("true", "true"),
        ("{ \"a b\" :\n [1.0,\t\"c \\\" d\"] }", r#"{"a b":[1.0,"c \" d"]}"#),
    ] {
        let printed =
            success(&rerank(&written("id.json", format!("{{\"id\": {id}, \"text\": \"t\"}}")), &[]));
        assert!(printed.contains(&format!(r#""id":{expected},"#)), "{id}: {printed}");
        assert_eq!(printed.lines().count(), 1, "{printed}");
    }
    // null is no id.
    assert_eq!(read("null.jsonl", r#"{"id": null, "_id": "x", "text": "t"}"#, &[]), [pair("x", "t")]);
    let table = crossrank(&["rerank", "-q", "q", "--model"])
        .arg(fixture("bert"))
        .arg(input("long-id.jsonl"))
        .output()
        .unwrap();
    assert!(success(&table).contains("12345678901234567890123"));
}

/// `(title + " " + text).strip()`, as reranking/rerank.py of beir 2.2.0 joins them, also where the title is empty.
#[test]
fn beirs_title_comes_before_its_text_also_from_gzip() {
    for name in ["beir.jsonl", "beir.jsonl.gz"] {
        let expected = [pair("doc1", "Oslo It has 700 000 inhabitants."), pair("doc2", "Ships A museum.")];
        assert_eq!(documents(&rerank(&input(name), &[])), expected, "{name}");
    }
    for (object, expected) in [
        (r#"{"_id": "1", "title": "", "text": " t "}"#, "t"),
        (r#"{"_id": "1", "text": " t "}"#, " t "),
        (r#"{"_id": "1", "title": null, "text": "t"}"#, "t"),
        (r#"{"_id": "1", "title": "Oslo ", "text": ""}"#, "Oslo"),
    ] {
        assert_eq!(read("title.jsonl", object, &[]), [pair("1", expected)], "{object}");
    }
    let message = refused("title.jsonl", r#"{"title": ["secret"], "text": "t"}"#, &[]);
    assert!(message.contains("line 1: `title` is not a string"), "{message}");
}

#[test]
fn gzip_is_read_by_its_first_bytes_and_a_damaged_one_is_refused() {
    let gzip = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    // Two members, as `cat a.gz b.gz` makes them.
    let two = [gzip("one\n"), gzip("two\n")].concat();
    assert_eq!(read("texts", &two, &[]), [pair(Value::Null, "one"), pair(Value::Null, "two")]);
    let whole = gzip("Oslo has 700 000 inhabitants");
    let message = refused("cut.gz", &whole[..whole.len() - 6], &[]);
    assert!(message.contains("gzip"), "{message}");
}

#[test]
fn tables_with_known_columns_are_read() {
    let expected = [pair("1", "Oslo has 700 000 inhabitants"), pair("2", "A museum of ships")];
    assert_eq!(documents(&rerank(&input("docs.csv"), &[])), expected);
    assert_eq!(read("no_extension", fs::read(input("docs.csv")).unwrap(), &[]), expected);

    let quoted = "\u{feff}text,ID,url,title\r\n\"a, \"\"b\"\"\n\nc\",x,u,\r\n\r\n5\" d,,,T\r\n";
    let expected = [pair("x", "a, \"b\"\n\nc"), pair(Value::Null, "T 5\" d")];
    assert_eq!(read("quoted.csv", quoted, &[]), expected);
    assert_eq!(read("quoted.tsv", quoted.replace(",", "\t").replace("a\t ", "a, "), &[]), expected);

    let expected = [pair("d1", "Oslo has 700 000 inhabitants"), pair("d2", "A museum of ships")];
    assert_eq!(documents(&rerank(&input("run.tsv"), &[])), expected);
    assert_eq!(read("run", fs::read(input("run.tsv")).unwrap(), &[]), expected);
    // The names of columns tell a table where the name of its file does not, also with names that are not read.
    for delimiter in [",", "\t"] {
        let table = "id,text,url,\"last_seen\"\n1,Oslo,u,\n2,\"a\nb\",v,\n".replace(',', delimiter);
        assert_eq!(read("more_columns", table, &[]), [pair("1", "Oslo"), pair("2", "a\nb")]);
    }
    for prose in ["Text, as it is spoken, is long", "text", "one,two,three", "the document;which text"] {
        assert_eq!(read("prose", prose, &[]), [pair(Value::Null, prose)]);
    }
    // MS MARCO quotes nothing.
    let quotes = "1\t2\tq\t\"Oslo\" is \"it\n1\t3\tq\t\"\n";
    assert_eq!(read("quotes.tsv", quotes, &[]), [pair("2", "\"Oslo\" is \"it"), pair("3", "\"")]);
    assert_eq!(read("lines.tsv", "a\tb\n", &["--input", "text"]), [pair(Value::Null, "a\tb")]);
    for lines in ["a\r\n \r\nb\r", "a\r \rb\r", "a\n\nb"] {
        assert_eq!(read("lines", lines, &[]), [pair(Value::Null, "a"), pair(Value::Null, "b")], "{lines:?}");
    }
}

#[test]
fn tables_with_other_columns_are_refused() {
    for (name, content, parts) in [
        // Files of MS MARCO and TREC that are no passages to rank.
        ("collection.tsv", "0\tOslo has people\n", ["line 1", "2 columns"]),
        ("qrels.tsv", "q1\t0\td1\t1\nq2\t0\td7\t0\n", ["line 1", "numbers"]),
        ("msmarco-docs.tsv", "D1\thttp://secret\tOslo\tbody\n", ["line 1", "no ids"]),
        ("other.tsv", "1\t2\tq\tOslo\n1\t3\tanother\tOslo\n", ["line 2", "another query"]),
        ("queries.tsv", "1\t2\tq\tOslo\n2\t3\tr\tOslo\n", ["line 2", "crossrank score"]),
        ("queries", "1\t2\tq\n1\t3\tr\n", ["line 1", "--input text"]),
        ("headless.csv", "1,Oslo\n2,secret\n", ["line 1", "`text`"]),
        ("semicolons.csv", "id;text\n1;Oslo\n", ["line 1", "semicolons"]),
        ("semicolons", "\nid;text;url\n1;Oslo;secret\n", ["line 2", "semicolons"]),
        // Without an extension: the names of the columns tell.
        ("column_less", "id,text,url\n1,Oslo\n", ["line 2", "2 columns"]),
        ("tab_less", "id\ttext\turl\n1\tOslo\n", ["line 2", "2 columns"]),
        ("twice.csv", "text,passage\nOslo,secret\n", ["line 1", "`passage`"]),
        ("ragged.csv", "id,text\n1,Oslo, secret\n", ["line 2", "3 columns"]),
        ("open.csv", "id,text\n1,\"Oslo\n2,secret\n", ["line 2", "quoted field"]),
        ("after.csv", "id,text\n1,\"Oslo\" secret\n", ["line 2", "quoted field"]),
        // The next quotation mark ends the field: three documents would become one.
        ("joined.csv", "id,text\n1,\"Oslo\n2,secret\n3,\"x\"\n", ["line 2", "quoted field"]),
        ("later.csv", "id,text\r\n\r\n1,\"a\r\n\r\nb\"\r\n\r\n2,\"Oslo\r\n", ["line 7", "quoted field"]),
        ("long.csv", "id,text\n1,\"a\n\nb\"\n\n\n2,Oslo,secret\n", ["line 7", "3 columns"]),
    ] {
        let message = refused(name, content, &[]);
        assert!(parts.iter().all(|part| message.contains(part)), "{name}: {message}");
    }
}

#[test]
fn what_begins_as_json_and_does_not_parse_is_an_error_with_its_line() {
    for (name, content, part) in [
        ("cut", "\n{\"text\": \"Oslo\n", "line 2: broken JSON"),
        ("array", "[{\"text\": \"Oslo\"},\n{\"text\": \"secret\"]\n", "line 2: broken JSON"),
        ("second", "{\"text\": \"Oslo\"}\n{\"text\": secret}\n", "line 2: broken JSON"),
        ("note", "[1] Oslo has a footnote\n", "line 1: "),
        ("brace", "{Oslo}\n", "line 1: broken JSON"),
        ("number.json", "[1,\n2]", "line 1: not a JSON object"),
        ("nested.json", "[\n[{\"text\": \"Oslo\"}]]", "line 2: not a JSON object"),
        ("key.json", "[\n{\"txt\": \"Oslo\"}]", "line 2: `text` is missing"),
        ("text.jsonl", "Oslo\n", "line 1: broken JSON"),
        ("text.json", "Oslo\n", "line 1: broken JSON"),
    ] {
        let message = refused(name, content, &[]);
        assert!(message.contains(part), "{name}: {message}");
        // What is not JSON can be ranked as text.
        assert_eq!(part.contains("missing"), !message.contains("--input text"), "{message}");
        let lines = content.lines().filter(|line| !line.is_empty());
        let expected: Vec<_> = lines.map(|line| pair(Value::Null, line)).collect();
        assert_eq!(read(name, content, &["--input", "text"]), expected);
    }
}

#[test]
fn an_input_format_that_is_named_decides() {
    let object = "{\"id\": 1, \"text\": \"t\"}";
    for (name, format) in [("a.txt", "jsonl"), ("a.csv", "jsonl"), ("a.tsv", "json"), ("a", "json")] {
        assert_eq!(read(name, object, &["--input", format]), [pair(1, "t")]);
    }
    assert_eq!(read("a.jsonl", "id,text\n1,t\n", &["--input", "csv"]), [pair("1", "t")]);
    assert_eq!(read("a.csv", "id\ttext\n1\tt\n", &["--input", "tsv"]), [pair("1", "t")]);
    let message = refused("a.jsonl", "{\n\"text\": \"Oslo\"}", &["--input", "jsonl"]);
    assert!(message.contains("line 1: broken JSON") && !message.contains("--input"), "{message}");
    let help = text(&crossrank(&["rerank", "--help"]).output().unwrap().stdout);
    assert!(help.contains("--input <INPUT>") && help.contains("MS MARCO"), "{help}");
}

#[test]
fn files_that_are_no_text_are_refused_by_name() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let tar = [vec![b'a'; 257], b"ustar\0".to_vec()].concat();
    let cases: [(&str, Vec<u8>, &str); 16] = [
        ("a.zst", b"\x28\xb5\x2f\xfd\x04".to_vec(), "zstd"),
        ("a.bz2", b"BZh91AY&SY\x01".to_vec(), "bzip2"),
        ("a.xz", b"\xfd7zXZ\0\0".to_vec(), "xz"),
        ("a.zip", b"PK\x03\x04\x14".to_vec(), "zip"),
        ("a.tar", tar, "tar"),
        ("a.parquet", b"PAR1\x15\x04".to_vec(), "Parquet"),
        ("a.pdf", b"%PDF-1.7\n".to_vec(), "PDF"),
        ("bom.txt", [b"\xff\xfe".to_vec(), utf16("Oslo")].concat(), "UTF-16"),
        ("plain.txt", utf16("Oslo"), "UTF-16"),
        ("big.txt", utf16("Oslo").chunks(2).flat_map(|unit| [unit[1], unit[0]]).collect(), "UTF-16"),
        ("utf32.txt", b"\xff\xfe\0\0O\0\0\0".to_vec(), "UTF-32"),
        ("a.bin", b"Oslo\0secret\n".to_vec(), "binary"),
        ("a.Z", b"\x1f\x9d\x90O\xe6".to_vec(), "compress"),
        ("a.br", b"\x8b\x03\x80Oslo has 700 000 inhabitants\x03".to_vec(), "binary"),
        ("a.html", b"<!DOCTYPE html>\n<p>Oslo".to_vec(), "HTML"),
        ("a.xml", b"\n<?xml version=\"1.0\"?>".to_vec(), "XML"),
    ];
    for (name, content, part) in cases {
        let message = refused(name, &content, &[]);
        assert!(message.contains(part), "{name}: {message}");
        let mut pairs = crossrank(&["score", "--model"]);
        pairs.arg(fixture("bert")).arg("--pairs").arg(written(name, content));
        let message = failure(&pairs.output().unwrap(), 1);
        assert!(message.contains(name), "{message}");
    }
}

/// Text in another encoding has no such bytes together, nor has a character that the end of what is looked at cuts.
#[test]
fn what_may_be_text_is_not_taken_for_binary() {
    let latin = rerank(&written("latin1.txt", b"Troms\xf8\n\x1b[1mOslo\x0c\n\x1a"), &[]);
    assert!(latin.status.success() && text(&latin.stdout).contains("Troms\u{fffd}"), "{latin:?}");
    let cut = format!("\u{1}{}", "\u{20ac}".repeat(4000));
    assert_eq!(read("euro", &cut, &["--max-tokens", "20"]), [pair(Value::Null, &cut)]);
}

#[test]
fn score_reads_pairs_in_every_format_but_text() {
    let score = |name: &str, content: &str, arguments: &[&str]| {
        let mut command = crossrank(&["score", "--model"]);
        command
            .arg(fixture("bert"))
            .arg("--pairs")
            .arg(written(name, content))
            .args(arguments)
            .output()
            .unwrap()
    };
    let object = json!({"query": QUERY, "document": "Oslo has 700 000 inhabitants"}).to_string();
    let expected = success(&score("a.jsonl", &object, &[]));
    for (name, content) in [
        ("a.json", format!("[{object}]")),
        ("a.csv", format!("query,document\n{QUERY},Oslo has 700 000 inhabitants\n")),
        ("b.tsv", format!("q1\td1\t{QUERY}\tOslo has 700 000 inhabitants\n")),
        ("c", format!("q1\td1\t{QUERY}\tOslo has 700 000 inhabitants\n")),
    ] {
        assert_eq!(success(&score(name, &content, &[])), expected, "{name}");
    }
    for (name, content, arguments, part) in [
        ("d.csv", "id,text\n1,Oslo\n", &[][..], "no column `query`"),
        ("e.txt", "Oslo\n", &[], "line 1: broken JSON"),
        ("f.txt", "Oslo\n", &["--input", "text"], "no queries"),
    ] {
        let message = failure(&score(name, content, arguments), 1);
        assert!(message.contains(part), "{name}: {message}");
    }
}
