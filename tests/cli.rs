//! The `crossrank` command line from outside: formats, order, exit codes and what goes to standard error.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

#[path = "cli/input.rs"]
mod input;
#[path = "cli/output.rs"]
mod output;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
const DOCUMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/documents.jsonl");

#[test]
fn rerank_json_has_the_shape_of_cohere_and_jina() {
    let documents = concat!(
        r#"{"id": "a", "text": "Guide Alex the Allegator through the jungle"}"#,
        "\n",
        r#"{"text": "This task localises the desktop in Esperanto.", "id": 7}"#,
        "\n",
        r#"{"text": "no id here"}"#,
        "\n",
    );
    let output = rerank("Esperanto desktop", documents, &["--format", "json"]);
    let response: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(keys(&response), ["model", "results", "usage"]);
    assert!(response["model"].as_str().unwrap().ends_with("bert"));
    assert!(response["usage"]["total_tokens"].as_u64().unwrap() > 20);
    let results = response["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    let scores: Vec<f64> = results.iter().map(|r| r["relevance_score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    for result in results {
        let (id, text) = match result["index"].as_u64().unwrap() {
            0 => (json!("a"), "Guide Alex the Allegator through the jungle"),
            1 => (json!(7), "This task localises the desktop in Esperanto."),
            _ => (Value::Null, "no id here"),
        };
        assert_eq!(result["id"], id);
        assert_eq!(result["document"], json!({ "text": text }));
        // Without an id there is no key either.
        assert_eq!(result.get("id").is_some(), !id.is_null());
    }
}

#[test]
fn rerank_jsonl_gives_one_result_per_line_within_top_k_and_threshold() {
    let documents = "first text\nsecond text\nthird text\nfourth text\n";
    let output = rerank("text", documents, &["--format", "jsonl"]);
    let all = json_lines(&output);
    assert_eq!(all.len(), 4);

    let two = json_lines(&rerank("text", documents, &["--format", "jsonl", "--top-k", "2"]));
    assert_eq!(two, all[..2]);

    let limit = raw::<f64>(output.lines().nth(1).unwrap(), "relevance_score")[0].to_string();
    let above = json_lines(&rerank("text", documents, &["--format", "jsonl", "--threshold", &limit]));
    assert_eq!(above, all[..2]);
}

#[test]
#[cfg(feature = "gpu")]
fn info_lists_the_gpus_and_rerank_runs_on_one() {
    let list = crossrank(&["info", "--devices"]).output().unwrap();
    assert!(list.status.success());
    let list = text(&list.stdout);
    if list.starts_with("no GPU") {
        assert!(std::env::var_os("CROSSRANK_REQUIRE_GPU").is_none(), "{list}");
        eprintln!("skipped: {list}");
        return;
    }
    for row in ["name ", "driver ", "type ", "largest buffer ", "16-bit numbers ", "tier "] {
        assert!(list.lines().any(|line| line.starts_with(row)), "{row}: {list}");
    }
    let documents = "one document\nanother\n";
    let order = |arguments: &[&str]| {
        let lines = json_lines(&rerank("query", documents, arguments));
        lines.iter().map(|line| line["index"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let on_gpu = order(&["--format", "jsonl", "--backend", "gpu", "--allow-software-gpu"]);
    assert_eq!(on_gpu, order(&["--format", "jsonl", "--backend", "cpu"]));
}

#[test]
fn windows_show_the_part_of_a_long_document_with_the_best_score() {
    let long = format!("{} the desktop library", "system data ".repeat(40));
    let arguments = ["--max-tokens", "20", "--windows", "9", "--overlap", "4", "--format", "jsonl"];
    let results = json_lines(&rerank("query", &long, &arguments));
    let window = &results[0]["window"];
    let (start, end) = (window[0].as_u64().unwrap() as usize, window[1].as_u64().unwrap() as usize);
    let table = rerank("query", &long, &arguments[..6]);
    let shown = table.lines().nth(1).unwrap();
    let words: Vec<&str> = long[start..end].split_whitespace().take(5).collect();
    assert!(end - start < 120 && shown.contains(&words.join(" ")), "{window} {shown}");
    let plain = json_lines(&rerank("query", &long, &["--format", "jsonl"]));
    assert_eq!(plain[0].get("window"), None);
}

#[test]
fn the_table_is_aligned_and_harmless() {
    let long = "word ".repeat(100);
    let documents = format!("short\n\x1b[2Jclear\u{202e}\x07the screen\n{long}\n");
    let table = rerank("query", &documents, &[]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["rank", "score", "logit", "index", "text"]);
    let text_column = lines[0].find("text").unwrap();
    for (rank, line) in lines[1..].iter().enumerate() {
        assert_eq!(line.split_whitespace().next(), Some((rank + 1).to_string().as_str()));
        let starts = ["short", "[2Jclear", "word"];
        assert!(starts.iter().any(|start| line[text_column..].trim_start().starts_with(start)), "{table}");
        // Not a terminal: 100 columns.
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(!table.contains(['\x1b', '\x07', '\u{202e}']), "{table:?}");
    assert!(table.contains('…'));
}

#[test]
fn text_lines_come_from_standard_input_without_byte_order_mark_blank_lines_and_carriage_returns() {
    let output = rerank("query", "\u{feff}one\r\n\r\n   \ntwo", &["--format", "jsonl"]);
    let mut texts: Vec<(u64, String)> = json_lines(&output)
        .iter()
        .map(|line| (line["index"].as_u64().unwrap(), line["document"]["text"].as_str().unwrap().to_owned()))
        .collect();
    texts.sort();
    assert_eq!(texts, [(0, "one".to_owned()), (1, "two".to_owned())]);
}

#[test]
fn no_documents_give_no_results() {
    assert_eq!(rerank("query", "", &["--format", "jsonl"]), "");
    let response: Value = serde_json::from_str(&rerank("query", "\n\n", &["--format", "json"])).unwrap();
    assert_eq!(response["results"], json!([]));
}

#[test]
fn invalid_utf8_is_replaced_with_a_warning_that_names_the_line() {
    let file = folder("invalid_utf8").join("latin1.txt");
    fs::write(&file, b"fine\ncaf\xe9 au lait\nfine too\n").unwrap();
    let output = crossrank(&["rerank", "--query", "q", "--format", "jsonl", "--model"])
        .arg(fixture("bert"))
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let warning = text(&output.stderr);
    assert_eq!(warning.lines().count(), 1, "{warning}");
    assert!(warning.starts_with("warning: ") && warning.contains("latin1.txt` line 2:"), "{warning}");
    assert!(text(&output.stdout).contains("caf\u{fffd} au lait"));
}

#[test]
fn a_broken_line_is_named_and_not_quoted() {
    let file = folder("broken_line").join("documents.jsonl");
    let cases = [
        (r#"{"text": "secret"#, "broken JSON"),
        (r#"["secret"]"#, "not a JSON object"),
        (r#"{"txt": "secret"}"#, "`text` is missing"),
        (r#"{"text": {"secret": 1}}"#, "`text` is not a string"),
    ];
    for (line, what) in cases {
        fs::write(&file, format!("{{\"text\": \"fine\"}}\n\n{line}\n")).unwrap();
        let path = file.to_str().unwrap();
        let output =
            crossrank(&["rerank", "-q", "q", path, "--model"]).arg(fixture("bert")).output().unwrap();
        let message = failure(&output, 1);
        assert!(message.contains("documents.jsonl` line 3: ") && message.contains(what), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
    fs::write(&file, "{\"query\": \"a\", \"document\": \"b\"}\n{\"query\": \"a\"}\n").unwrap();
    let path = file.to_str().unwrap();
    let output = crossrank(&["score", "--pairs", path, "--model"]).arg(fixture("bert")).output().unwrap();
    let message = failure(&output, 1);
    assert!(message.contains("line 2: `document` is missing"), "{message}");
}

#[test]
fn an_unknown_model_and_a_missing_file_are_named() {
    let output = crossrank(&["rerank", "-q", "q", "--model", "nobody/nothing", DOCUMENTS]).output().unwrap();
    assert!(failure(&output, 1).contains("nobody/nothing"));

    let output = crossrank(&["rerank", "-q", "q", "no_such_file.txt"]).output().unwrap();
    assert!(failure(&output, 1).contains("no_such_file.txt"));
}

#[test]
fn wrong_usage_exits_with_2() {
    let wrong: [&[&str]; 9] = [
        &[],
        &["frobnicate"],
        &["rerank", DOCUMENTS],
        &["rerank", "-q", "q"],
        &["rerank", "-q", "q", "--format", "xml", DOCUMENTS],
        &["rerank", "-q", "q", "--threads", "0", DOCUMENTS],
        &["rerank", "-q", "q", "--isa", "sse9", DOCUMENTS],
        // Too few for the special tokens: the library refuses it.
        &["rerank", "-q", "q", "--max-tokens", "1", DOCUMENTS],
        &["bench", "--workload", DOCUMENTS, "--seconds", "-1"],
    ];
    for arguments in wrong {
        let output = crossrank(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[test]
fn score_gives_the_golden_logits_in_input_order() {
    for name in ["bert", "bert-3-labels"] {
        let golden = golden(name);
        let cases = golden["cases"].as_array().unwrap();
        let pairs: String = cases
            .iter()
            .map(|case| json!({"query": case["query"], "document": case["document"]}).to_string() + "\n")
            .collect();
        let output = with_input(crossrank(&["score", "--pairs", "-", "--model"]).arg(fixture(name)), &pairs);
        let output = success(&output);
        let lines = json_lines(&output);
        assert_eq!(lines.len(), cases.len());
        let labels = cases[0]["logits"].as_array().unwrap().len();
        let scores = if labels == 1 { "score" } else { "scores" };
        for (index, (printed, case)) in output.lines().zip(cases).enumerate() {
            let line = &lines[index];
            assert_eq!(keys(line), ["index", "logits", scores, "tokens", "truncated"]);
            assert_eq!(line["index"], index);
            assert_eq!(line["tokens"], case["input_ids"].as_array().unwrap().len());
            for (ours, theirs) in numbers(&line["logits"]).iter().zip(numbers(&case["logits"])) {
                assert!((ours - theirs).abs() <= 1e-5, "{name} {index}: {ours} {theirs}");
            }
            // Both fixtures use the identity, so a score is its logit, and both must be the same after printing and parsing.
            let logits: Vec<f32> = raw(printed, "logits");
            let score: Vec<f64> = raw(printed, scores);
            assert_eq!(score, logits.iter().map(|&logit| f64::from(logit)).collect::<Vec<_>>());
        }
        let truncated = lines.iter().filter(|line| line["truncated"] == true).count();
        assert!(0 < truncated && truncated < lines.len());
    }
}

#[test]
fn a_pair_that_fails_alone_has_an_error_and_the_others_have_scores() {
    let directory = folder("failed_pair");
    copy_model("bert", &directory);
    // The embedding of one token is NaN, so only pairs with that token fail.
    let golden = golden("bert");
    let ids = |case: usize| -> Vec<u64> {
        golden["cases"][case]["input_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
    };
    let token = *ids(1).iter().find(|id| !ids(0).contains(id)).unwrap() as usize;
    let path = directory.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let (start, row_bytes) = {
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let table = tensors.tensor("bert.embeddings.word_embeddings.weight").unwrap();
        (table.data().as_ptr() as usize - bytes.as_ptr() as usize, table.shape()[1] * 4)
    };
    let row = &mut bytes[start + token * row_bytes..][..row_bytes];
    row.copy_from_slice(&f32::NAN.to_le_bytes().repeat(row_bytes / 4));
    fs::write(&path, bytes).unwrap();

    let case = |case: usize| &golden["cases"][case];
    let pairs =
        [0, 1, 0].map(|c| json!({"query": case(c)["query"], "document": case(c)["document"]}).to_string());
    let output =
        with_input(crossrank(&["score", "--pairs", "-", "--model"]).arg(&directory), &pairs.join("\n"));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "error: 1 of 3 pairs could not be scored\n");
    let lines = json_lines(&text(&output.stdout));
    assert_eq!(lines.len(), 3);
    assert!(lines[0]["score"].is_number() && lines[0].get("error").is_none());
    assert_eq!((&lines[1]["score"], &lines[1]["logits"]), (&Value::Null, &Value::Null));
    assert!(lines[1]["error"].as_str().unwrap().contains("NaN"), "{}", lines[1]);
    assert_eq!(lines[2]["score"], lines[0]["score"]);

    // In rerank it comes last, with an error in place of its text.
    let documents = [0, 1].map(|c| json!({"text": case(c)["document"]}).to_string()).join("\n");
    let query = case(0)["query"].as_str().unwrap();
    let output = with_input(crossrank(&["rerank", "-q", query, "-", "--model"]).arg(&directory), &documents);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).lines().last().unwrap().contains("error: "), "{}", text(&output.stdout));
}

#[test]
fn a_model_with_three_labels_ranks_by_the_chosen_one_and_otherwise_explains_the_choice() {
    let output = crossrank(&["rerank", "-q", "q", DOCUMENTS, "--model"])
        .arg(fixture("bert-3-labels"))
        .output()
        .unwrap();
    let message = failure(&output, 1);
    assert!(message.contains("3 labels") && message.contains("score"), "{message}");
    for label in ["1", "LABEL_1"] {
        let output = crossrank(&["rerank", "-q", "q", DOCUMENTS, "--label", label, "--model"])
            .arg(fixture("bert-3-labels"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

#[test]
fn quantize_writes_a_model_that_scores_as_one_rounded_at_load() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["bert", "ettin"] {
        let out = folder.path().join(name);
        let run = || crossrank(&["quantize"]).arg(fixture(name)).arg(&out).output().unwrap();
        assert!(success(&run()).contains("weights of"));
        let scores = |model: &Path, precision| {
            let arguments = ["rerank", "--query", "a query", "--precision", precision, "--format", "jsonl"];
            let documents = folder.path().join("documents.txt");
            fs::write(&documents, "a document\nanother one\n").unwrap();
            success(&crossrank(&arguments).arg("--model").arg(model).arg(documents).output().unwrap())
        };
        assert_eq!(scores(&out, "auto"), scores(&fixture(name), "int8"), "{name}");
        let message = failure(&run(), 1);
        assert!(message.contains("cannot create the folder"), "{message}");
    }
}

#[test]
fn a_model_that_cannot_be_quantized_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (folder.path().join("model"), folder.path().join("out"));
    fs::create_dir(&model).unwrap();
    for file in ["config.json", "tokenizer.json"] {
        fs::copy(fixture("bert").join(file), model.join(file)).unwrap();
    }
    fs::write(model.join("model.safetensors"), "version https://git-lfs.github.com/spec/v1").unwrap();
    let message = failure(&crossrank(&["quantize"]).arg(&model).arg(&out).output().unwrap(), 1);
    assert!(message.contains("Git LFS"), "{message}");
    assert!(!out.exists());
}

#[test]
fn verify_passes_on_every_fixture_and_the_bundled_model() {
    for name in ["bert", "bert-3-labels", "bert-f16", "bert-bf16"] {
        for backend in ["cpu", "reference"] {
            let output = success(
                &crossrank(&["verify", "--backend", backend, "--model"]).arg(fixture(name)).output().unwrap(),
            );
            assert!(output.contains("26 of 26 cases pass"), "{name} {backend}: {output}");
        }
    }
    let output = success(&crossrank(&["verify"]).output().unwrap());
    assert!(output.contains("12 of 12 cases pass"), "{output}");
}

#[test]
fn verify_fails_on_another_logit_another_token_count_and_no_golden_file() {
    let directory = folder("changed_golden");
    copy_model("bert", &directory);
    let verify = || crossrank(&["verify", "--model"]).arg(&directory).output().unwrap();
    assert!(failure(&verify(), 1).contains("golden.json"));

    let mut golden = golden("bert");
    let logit = golden["cases"][3]["logits"][0].as_f64().unwrap();
    golden["cases"][3]["logits"][0] = json!(logit + 2e-5);
    golden["cases"][5]["input_ids"].as_array_mut().unwrap().pop();
    fs::write(directory.join("golden.json"), golden.to_string()).unwrap();
    let output = verify();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("2 of 26 cases"), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    let failed: Vec<&str> = stdout.lines().filter(|line| line.contains("FAIL")).collect();
    assert_eq!(failed.len(), 2, "{stdout}");
    assert!(failed[0].starts_with("case   3") && failed[0].contains("logit"), "{}", failed[0]);
    assert!(failed[1].starts_with("case   5") && failed[1].contains("tokens"), "{}", failed[1]);
}

#[test]
fn info_shows_sizes_files_and_instruction_sets() {
    let output =
        success(&crossrank(&["info", "--isa", "scalar", "--model"]).arg(fixture("bert")).output().unwrap());
    for part in [
        "BertForSequenceClassification",
        "layers             2\n",
        "hidden             64\n",
        "instruction set    scalar\n",
        "this machine has   scalar",
        "model.safetensors, 1094980 bytes",
        "config.json, 769 bytes",
    ] {
        assert!(output.contains(part), "`{part}` not in {output}");
    }
}

#[test]
fn the_models_prompt_goes_before_the_query_unless_a_flag_names_another() {
    let model = folder("prompts");
    copy_model("bert", &model);
    let keys = json!({"model_type": "CrossEncoder", "prompts": {"web": "Given a web query: ", "docs": "Search: "},
        "default_prompt_name": "web"});
    fs::write(model.join("config_sentence_transformers.json"), keys.to_string()).unwrap();
    let run = |command: &[&str], input: &str, flags: &[&str]| {
        with_input(crossrank(command).arg("--model").arg(&model).args(flags), input)
    };
    let document = "This task localises the desktop in Esperanto.";
    let rerank = |query: &str, flags: &[&str]| {
        let output = run(&["rerank", "-", "--format", "jsonl", "-q", query], document, flags);
        json_lines(&success(&output))[0]["logit"].as_f64().unwrap()
    };
    let score = |query: &str, flags: &[&str]| {
        let pair = json!({"query": query, "document": document}).to_string();
        json_lines(&success(&run(&["score", "--pairs", "-"], &pair, flags)))[0]["logits"][0].as_f64().unwrap()
    };
    // The float64 logit of sentence-transformers 6.2.0.
    assert!((rerank("Esperanto desktop", &[]) - 0.827203).abs() <= 1e-5);
    for call in [&rerank as &dyn Fn(&str, &[&str]) -> f64, &score] {
        let without = |query: &str| call(query, &["--prompt", ""]);
        let query = "Esperanto desktop";
        assert_eq!(call(query, &[]), without("Given a web query: Esperanto desktop"));
        assert_eq!(call(query, &["--prompt-name", "docs"]), without("Search: Esperanto desktop"));
        assert_eq!(call(query, &["--prompt", "Find "]), without("Find Esperanto desktop"));
        assert_ne!(call(query, &[]), without(query));
    }
    let output = run(&["rerank", "-", "-q", "q"], document, &["--prompt-name", "nonsense"]);
    assert!(failure(&output, 2).contains("docs, web"));
    let both = run(&["rerank", "-", "-q", "q"], document, &["--prompt-name", "docs", "--prompt", "p"]);
    assert_eq!(both.status.code(), Some(2));
    let info = success(&run(&["info"], "", &[]));
    assert!(info.contains("prompts            docs, web\ndefault prompt     web\n"), "{info}");
    // The recorded logits are those of the query alone.
    fs::copy(fixture("bert").join("golden.json"), model.join("golden.json")).unwrap();
    success(&run(&["verify"], "", &[]));
}

#[test]
fn the_bundled_model_finds_the_example_document_that_answers() {
    let query = "how do I keep a process running after logout";
    let output = success(
        &crossrank(&["rerank", "--query", query, "--top-k", "3", "--format", "jsonl", DOCUMENTS])
            .output()
            .unwrap(),
    );
    assert_eq!(json_lines(&output)[0]["id"], "nohup", "{output}");
}

#[test]
fn bench_ends_with_one_json_object() {
    let workload = folder("bench").join("two.json");
    fs::write(&workload, json!({"query": "a query", "docs": ["one", "another one"]}).to_string()).unwrap();
    let mut command = crossrank(&["bench", "--json", "--seconds", "0", "--threads", "1", "--workload"]);
    let output = success(&command.arg(&workload).arg("--model").arg(fixture("bert")).output().unwrap());
    let report: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(report["engine"], "crossrank");
    assert_eq!(report["workload"], "two.json");
    assert_eq!((&report["documents"], &report["threads"]), (&json!(2), &json!(1)));
    assert_eq!((&report["backend"], &report["precision"]), (&json!("cpu"), &json!("f32")));
    for key in ["tokens", "median_ms", "min_ms", "documents_per_second", "load_ms", "first_ms"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}: {report}");
    }
    assert!(report["min_ms"].as_f64() <= report["median_ms"].as_f64());
    assert!(report["stages"]["tokenize_ms"].is_number() && report["stages"]["compute_ms"].is_number());
    assert_eq!(report.get("profile"), None);
}

#[test]
fn the_precision_that_was_asked_for_is_reported_by_info_and_bench() {
    let workload = folder("precision").join("one.json");
    fs::write(&workload, json!({"query": "a query", "docs": ["a document"]}).to_string()).unwrap();
    // Without the flag, what the files hold.
    let cases: [(&str, &[&str], &str); 5] = [
        ("bert", &[], "f32"),
        ("bert-f16", &[], "f16"),
        ("bert-f16", &["--precision", "f32"], "f32"),
        ("bert", &["--precision", "f16"], "f16"),
        ("bert", &["--precision", "int8"], "int8"),
    ];
    for (model, flags, precision) in cases {
        let run = |command: &mut Command| {
            success(&command.args(flags).arg("--model").arg(fixture(model)).output().unwrap())
        };
        let info = run(&mut crossrank(&["info"]));
        assert!(info.contains(&format!("precision          {precision}\n")), "{model} {flags:?}: {info}");
        let bench = run(crossrank(&["bench", "--json", "--seconds", "0", "--workload"]).arg(&workload));
        let report: Value = serde_json::from_str(bench.lines().last().unwrap()).unwrap();
        assert_eq!(report["precision"], precision, "{model} {flags:?}");
    }
}

#[test]
fn a_profile_accounts_for_the_time_of_every_thread() {
    let workload = folder("profile").join("many.json");
    let docs = vec!["a document of several words ".repeat(9); 40];
    fs::write(&workload, json!({"query": "a query", "docs": docs}).to_string()).unwrap();
    let bench = |flags: &[&str]| {
        let mut command =
            crossrank(&["bench", "--profile", "--seconds", "0", "--threads", "2", "--workload"]);
        success(&command.arg(&workload).args(flags).arg("--model").arg(fixture("bert")).output().unwrap())
    };
    let report: Value = serde_json::from_str(bench(&["--json"]).lines().last().unwrap()).unwrap();
    let profile = &report["profile"];
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{profile}"));
    let stages = profile["stages"].as_array().unwrap();
    let names: Vec<_> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(names, ["tokenize", "embed", "linear", "attention", "norm", "head"]);
    let spent: f64 = stages.iter().map(|stage| number(&stage["thread_ms"])).sum();
    let whole = number(&profile["thread_ms"]);
    assert!(stages.iter().all(|stage| number(&stage["thread_ms"]) > 0.0), "{profile}");
    assert!((spent + number(&profile["waiting_ms"]) - whole).abs() <= 1e-6 * whole, "{profile}");
    for name in ["linear", "attention", "head"] {
        let stage = stages.iter().find(|stage| stage["stage"] == name).unwrap();
        let achieved = number(&stage["gflop"]) / number(&stage["thread_ms"]) * 1e3;
        assert!((achieved / number(&stage["gflop_per_second"]) - 1.0).abs() < 1e-9, "{profile}");
        assert!(number(&stage["of_peak"]) < 1.1, "more than the processor can do: {profile}");
    }
    assert_eq!(profile.get("int8_peak_gflop_per_second"), None);
    let text = bench(&[]);
    assert!(text.contains("\nattention ") && text.contains("GFLOP/s peak = "), "{text}");
    let text = bench(&["--precision", "int8"]);
    assert!(text.contains(" in int8) = "), "{text}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_cancels_a_running_call_and_ends_a_wait_for_input() {
    let workload = folder("ctrl_c").join("long.json");
    let docs = vec!["a document of several words ".repeat(40); 2000];
    fs::write(&workload, json!({"query": "a query", "docs": docs}).to_string()).unwrap();
    let mut computing = crossrank(&["bench", "--seconds", "1000", "--workload"]);
    let computing = spawn(computing.arg(&workload).arg("--model").arg(fixture("bert")));
    let waiting = spawn(crossrank(&["rerank", "-q", "q", "-", "--model"]).arg(fixture("bert")));
    // Both are under way long before.
    std::thread::sleep(std::time::Duration::from_secs(2));
    for (mut child, message) in [(computing, "cancelled\n"), (waiting, "")] {
        // Open until the end: an end of input must not set free the one that waits for it.
        let _input = child.stdin.take();
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), message);
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn a_reader_that_leaves_early_ends_the_command_quietly() {
    let file = folder("broken_pipe").join("documents.txt");
    fs::write(&file, "a document\n".repeat(10_000)).unwrap();
    let mut command = crossrank(&["rerank", "-q", "q", "--format", "jsonl", "--max-tokens", "8", "--model"]);
    let mut child = spawn(command.arg(fixture("bert")).arg(&file));
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}

/// Reranks documents given on standard input with the fixture `bert`, and returns what is printed.
fn rerank(query: &str, documents: &str, arguments: &[&str]) -> String {
    let mut command = crossrank(&["rerank", "--query", query, "-", "--model"]);
    success(&with_input(command.arg(fixture("bert")).args(arguments), documents))
}

/// The command line with an empty cache.
fn crossrank(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossrank"));
    command.args(arguments).env("HF_HOME", env!("CARGO_TARGET_TMPDIR")).env_remove("HF_HUB_CACHE");
    command
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn with_input(command: &mut Command, input: &str) -> Output {
    let mut child = spawn(command);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Standard output of a command that succeeded and had nothing to complain about.
fn success(output: &Output) -> String {
    assert!(output.status.success(), "{:?}: {}", output.status, text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

/// Standard error of a command that failed before it printed any result.
fn failure(output: &Output, code: i32) -> String {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(message.starts_with("error: ") && message.lines().count() == 1, "{message}");
    assert_eq!(text(&output.stdout), "");
    message
}

fn fixture(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(name)
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(name).join("golden.json")).unwrap()).unwrap()
}

/// A model without its golden file.
fn copy_model(name: &str, to: &Path) {
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        fs::write(to.join(file), fs::read(fixture(name).join(file)).unwrap()).unwrap();
    }
}

/// An empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn json_lines(output: &str) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn keys(value: &Value) -> Vec<&String> {
    value.as_object().unwrap().keys().collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The numbers of one key exactly as they are printed; serde_json reads some of them a unit in the last place off.
fn raw<T: std::str::FromStr<Err: std::fmt::Debug>>(line: &str, key: &str) -> Vec<T> {
    let (_, value) = line.split_once(&format!("\"{key}\":")).unwrap();
    let list = value.strip_prefix('[').map(|list| list.split(']').next().unwrap());
    let list = list.unwrap_or_else(|| value.split([',', '}']).next().unwrap());
    list.split(',').map(|number| number.parse().unwrap()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
