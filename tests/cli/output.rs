//! What the command line says of cut documents and of its own flags, and that drivers say nothing.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{DOCUMENTS, crossrank, failure, fixture, json_lines, rerank, text};

#[test]
fn a_cut_document_is_visible_in_every_output() {
    let documents = format!("short\n{}\n", "system data ".repeat(100));
    let arguments = |format| ["--max-tokens", "20", "--format", format];
    let check = |results: &[Value]| {
        let mut cut: Vec<_> =
            results.iter().map(|r| (r["index"].as_u64().unwrap(), &r["truncated"])).collect();
        cut.sort_by_key(|(index, _)| *index);
        assert_eq!(cut, [(0, &json!(false)), (1, &json!(true))]);
    };
    check(&json_lines(&rerank("query", &documents, &arguments("jsonl"))));
    let response: Value = serde_json::from_str(&rerank("query", &documents, &arguments("json"))).unwrap();
    check(response["results"].as_array().unwrap());
    let table = rerank("query", &documents, &arguments("table"));
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["rank", "score", "logit", "truncated", "index", "text"], "{table}");
    for row in &rows[1..] {
        assert_eq!(row[3], if row[4] == "0" { "no" } else { "yes" }, "{table}");
    }
    let column = table.lines().next().unwrap().find("text").unwrap();
    assert!(
        table.lines().skip(1).all(|line| line[..column].ends_with("  ") && line.len() > column),
        "{table}"
    );
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");

    // 18 tokens of the document, one of the query and three special ones are two too many. A long text is not read to its
    // end, also where top-k leaves it out.
    for (words, cut, at_least) in [(18, 2..=2, false), (200, 1..=184, true)] {
        let documents = format!("{}\nshort\n", "data ".repeat(words));
        let arguments = ["--max-tokens", "20", "--top-k", "1", "--format", "json"];
        let response: Value = serde_json::from_str(&rerank("query", &documents, &arguments)).unwrap();
        assert!(cut.contains(&response["usage"]["tokens_cut"].as_u64().unwrap()), "{response}");
        assert_eq!(response["usage"]["tokens_cut_at_least"], at_least);
    }

    // A long query is cut too, and with windows what is beyond the last one.
    let long = "query ".repeat(100);
    assert_eq!(json_lines(&rerank(&long, "short\n", &arguments("jsonl")))[0]["truncated"], true);
    let windows = |count| {
        let arguments = ["--max-tokens", "20", "--windows", count, "--overlap", "4", "--format", "jsonl"];
        json_lines(&rerank("query", &"system data ".repeat(20), &arguments))[0]["truncated"].clone()
    };
    assert_eq!((windows("2"), windows("99")), (json!(true), json!(false)));
}

#[test]
fn messages_speak_of_flags() {
    let with = |arguments: &[&str]| {
        let mut command = crossrank(&["rerank", "-q", "q", DOCUMENTS, "--model"]);
        command.arg(fixture("bert")).args(arguments);
        command
    };
    let message = |command: &mut Command, code| failure(&command.output().unwrap(), code);
    let tokens = message(&mut with(&["--max-tokens", "4"]), 2);
    assert!(tokens.contains("`--max-tokens`") && tokens.contains("5 or more"), "{tokens}");
    let label = message(&mut with(&["--label", "none"]), 2);
    assert!(label.contains("`--label`"), "{label}");
    let threshold = message(&mut with(&["--threshold", "nan"]), 2);
    assert!(threshold.contains("`--threshold`"), "{threshold}");
    let labels =
        message(crossrank(&["rerank", "-q", "q", DOCUMENTS, "--model"]).arg(fixture("bert-3-labels")), 1);
    assert!(labels.contains("`--label`") && labels.contains("use `score`"), "{labels}");
    let long = format!("{{\"text\": \"{}\"}}", "data ".repeat(200));
    let mut refused = crossrank(&["rerank", "-q", "q", "-", "--truncation", "error", "--model"]);
    let refused = failure(&super::with_input(refused.arg(fixture("bert")), &long), 1);
    assert!(refused.contains("`--truncation`"), "{refused}");

    // Options whose 0 has no meaning.
    for flag in ["--threads", "--windows", "--max-tokens"] {
        let output = with(&[flag, "0"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let message = text(&output.stderr);
        assert!(message.contains(flag) && message.contains("1 or more"), "{message}");
        assert!(!message.contains("zero"), "{message}");
        let message = text(&with(&[flag, "many"]).output().unwrap().stderr);
        assert!(message.contains("a whole number"), "{message}");
    }
}

#[cfg(feature = "gpu")]
#[test]
fn a_gpu_that_is_refused_is_allowed_with_a_flag() {
    let list = crossrank(&["info", "--devices"]).output().unwrap();
    let list = text(&list.stdout);
    let is_software =
        list.lines().filter(|line| line.starts_with("type ")).all(|line| line.contains("software"));
    let mut command = crossrank(&["rerank", "-q", "q", DOCUMENTS, "--backend", "gpu", "--model"]);
    command.arg(fixture("bert"));
    if list.starts_with("no GPU") || !is_software {
        assert!(std::env::var_os("CROSSRANK_REQUIRE_GPU").is_none() || !is_software, "{list}");
        eprintln!("skipped: no software GPU alone");
        return;
    }
    let message = failure(&command.output().unwrap(), 2);
    assert!(message.contains("`--backend`") && message.contains("`--allow-software-gpu`"), "{message}");
    command.args(["--allow-software-gpu", "--precision", "int8"]);
    let message = failure(&command.output().unwrap(), 2);
    assert!(message.contains("`--precision`") && message.contains("the CPU with `--backend`"), "{message}");
}

/// The variable is set for tests in .cargo/config.toml, since other tests ask drivers on purpose.
#[cfg(target_os = "linux")]
#[test]
fn nothing_is_printed_without_a_runtime_folder_where_there_is_no_gpu() {
    let headless = |arguments: &[&str], model: &str| {
        let mut command = crossrank(arguments);
        command.arg("--model").arg(fixture(model)).env_remove("XDG_RUNTIME_DIR").output().unwrap()
    };
    let arguments = ["rerank", "-q", "q", DOCUMENTS];
    super::success(&headless(&[&arguments[..], &["--backend", "cpu"]].concat(), "bert"));
    super::success(&crossrank(&arguments).env_remove("XDG_RUNTIME_DIR").output().unwrap());
    let gpu = ["dri", "nvidiactl", "dxg"].iter().any(|node| Path::new("/dev").join(node).exists());
    if gpu {
        eprintln!("skipped: this machine has a GPU, whose driver may print");
        return;
    }
    super::success(&headless(&arguments, "bert"));
    super::success(&headless(&["info"], "bert-f16"));
}
