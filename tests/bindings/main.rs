//! The bindings give the same results for bindings/cases.json, and compile in every mode that they support.

#[path = "../common/c_library.rs"]
mod c_library;
mod compile;
mod table;

use std::collections::HashMap;
use std::process::Output;

use compile::{WARNINGS, compile, has, link_library, printed, root, run, run_program};
use serde_json::Value;
use table::{Cases, Model, Results, table};

/// Each runner with the compilers that build it, without exceptions and RTTI and with them.
const RUNNERS: [(&[&str], &str); 6] = [
    (&["gcc", "-std=c99"], "bindings/c/run_cases.c"),
    (&["clang", "-std=c17"], "bindings/c/run_cases.c"),
    (&["g++", "-std=c++17"], "bindings/cpp/run_cases.cpp"),
    (&["g++", "-std=c++17", "-fno-exceptions", "-fno-rtti"], "bindings/cpp/run_cases.cpp"),
    (&["clang++", "-std=c++17", "-fno-exceptions", "-fno-rtti"], "bindings/cpp/run_cases.cpp"),
    (&["clang++", "-std=c++20", "-DCROSSRANK_EXCEPTIONS"], "bindings/cpp/run_cases.cpp"),
];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn cases() -> Value {
    serde_json::from_str(&read("bindings/cases.json")).unwrap()
}

/// Runs a runner on cases.
fn runs(command: &[&str], source: &str, cases: &Value) -> Output {
    let cases: Cases = serde_json::from_value(cases.clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    link_library(folder.path());
    std::fs::write(folder.path().join("cases.inc"), table(&cases)).unwrap();
    let program = compile(command, source, folder.path());
    run_program(&[program.to_str().unwrap()])
}

#[test]
fn every_runner_passes_every_case() {
    let cases = cases();
    let count = cases["cases"].as_array().unwrap().len();
    assert!(count >= 40);
    for (command, source) in RUNNERS {
        if has(command[0]) {
            let output = runs(command, source, &cases);
            assert!(output.status.success(), "{command:?}\n{}", printed(&output));
            // The command of CROSSRANK_RUNNER prints to the other stream.
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(text.lines().last(), Some(&*format!("{count} passed, 0 failed")), "{command:?}");
        }
    }
}

/// JSON pointers to every expected value of a case.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| leaves(value, &format!("{at}/{key}"), found))
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, value)| leaves(value, &format!("{at}/{i}"), found));
        }
        _ => found.push(at.into()),
    }
}

/// Changes a value to one just outside of the tolerance.
fn change(value: &mut Value, tolerance: f64) {
    *value = match &*value {
        Value::Number(n) if n.is_f64() => (n.as_f64().unwrap() + 3.0 * tolerance).into(),
        Value::Number(n) => (n.as_u64().unwrap() + 1).into(),
        Value::String(s) if s == "CROSSRANK_ERR_NULL" => "CROSSRANK_OK".into(),
        Value::String(s) if s == "CROSSRANK_OK" || s.starts_with("CROSSRANK_ERR_") => {
            "CROSSRANK_ERR_NULL".into()
        }
        Value::String(s) => format!("{s}x").into(),
        other => panic!("nothing to expect: {other}"),
    };
}

#[test]
fn a_runner_fails_every_case_of_which_one_expectation_is_changed() {
    let tolerance = cases()["tolerance"].as_f64().unwrap();
    // Each round changes another expectation of each case; the largest cases have about 30.
    for round in 0..8 {
        let mut changed = cases();
        let list = changed["cases"].as_array_mut().unwrap();
        for case in list.iter_mut() {
            let expect = &mut case["expect"];
            let mut pointers = Vec::new();
            leaves(expect, "", &mut pointers);
            let pointer = &pointers[round * 4 % pointers.len()];
            change(expect.pointer_mut(pointer).unwrap(), tolerance);
        }
        let count = list.len();
        let (command, source) = RUNNERS[[0, 2][round % 2]];
        if has(command[0]) {
            let output = runs(command, source, &changed);
            let text = printed(&output);
            assert_eq!(output.status.code(), Some(1), "round {round}\n{text}");
            assert_eq!(
                text.lines().last(),
                Some(&*format!("0 passed, {count} failed")),
                "round {round}\n{text}"
            );
        }
    }
}

#[test]
fn a_runner_fails_where_a_result_is_missing() {
    let mut shortened = cases();
    let mut changed = 0;
    for case in shortened["cases"].as_array_mut().unwrap() {
        if let Some(results) = case["expect"].get_mut("results").and_then(Value::as_array_mut) {
            changed += usize::from(
                results.pop().is_some_and(|last| last.is_object() || last != Value::Array(vec![])),
            );
        }
    }
    for (command, source) in [RUNNERS[0], RUNNERS[2]] {
        if has(command[0]) {
            let text = printed(&runs(command, source, &shortened));
            let last = text.lines().last().unwrap();
            assert!(changed > 20 && last.ends_with(&format!(" {changed} failed")), "{changed}: {text}");
        }
    }
}

#[test]
fn the_expected_scores_are_those_of_the_golden_files() {
    let cases: Cases = serde_json::from_value(cases()).unwrap();
    let mut compared = 0;
    for folder in ["tests/fixtures/bert", "tests/fixtures/bert-3-labels"] {
        let golden: Value = serde_json::from_str(&read(&format!("{folder}/golden.json"))).unwrap();
        let known: HashMap<(&str, &str), Vec<f64>> = golden["cases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|case| {
                let logits = case["logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
                ((case["query"].as_str().unwrap(), case["document"].as_str().unwrap()), logits)
            })
            .collect();
        for case in &cases.cases {
            let of_folder = matches!(&case.model, Some(Model::Path(path)) if path == folder);
            let Some(Results::OneSet(results)) = &case.expect.results else { continue };
            // The golden logits are those of the whole window, cut longest first.
            if !of_folder
                || case.options.contains_key("max_tokens")
                || case.options.contains_key("prompt")
                || results.iter().any(|r| r.score.is_none())
            {
                continue;
            }
            for (position, result) in results.iter().enumerate() {
                let (query, document) = match (&case.query, result.index) {
                    (Some(query), Some(index)) => (query, &case.documents[index]),
                    _ => (&case.pairs[position].0, &case.pairs[position].1),
                };
                let (query, document) = (query.bytes(), document.bytes());
                let texts = (std::str::from_utf8(&query), std::str::from_utf8(&document));
                let (Ok(query), Ok(document)) = texts else { continue };
                let Some(logits) = known.get(&(query, document)) else { continue };
                let expected = if result.logits.is_empty() {
                    vec![result.score.unwrap()]
                } else {
                    result.logits.clone()
                };
                assert_eq!(expected.len(), logits.len());
                for (expected, golden) in expected.iter().zip(logits) {
                    assert!((expected - golden).abs() <= cases.tolerance, "{expected} {golden}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared >= 50, "only {compared} scores are known");
}

#[test]
fn the_cpp_header_names_every_status_in_at_most_330_lines() {
    let (c, cpp) = (read("include/crossrank.h"), read("bindings/cpp/crossrank.hpp"));
    let statuses: Vec<&str> = c
        .lines()
        .filter_map(|line| line.trim().strip_prefix("CROSSRANK_ERR_"))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .collect();
    assert!(statuses.len() >= 20);
    for status in statuses {
        let named = format!(" = CROSSRANK_ERR_{status},");
        assert!(cpp.contains(&named), "bindings/cpp/crossrank.hpp does not name CROSSRANK_ERR_{status}");
    }
    assert!(cpp.lines().count() <= 330);
}

#[test]
fn handles_in_cpp_can_be_moved_but_not_copied_and_failures_can_be_thrown() {
    let source = r#"
        #include "crossrank.hpp"
        #include <array>
        using namespace crossrank;
        template <class T> constexpr bool moves_only =
            std::is_nothrow_move_constructible_v<T> && !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
        static_assert(moves_only<Model> && moves_only<Cancel> && !std::is_copy_constructible_v<Options>);
        int main(int, char **arguments) {
            Model model = or_throw(Model::load(arguments[1]));
            const Model other = std::move(model);
            const std::array<const char *, 2> array{"a", "b"};
            const std::vector<std::string> vector{"c"};
            if (or_throw(other.rerank("q", array)).size() != 2) return 1;
            if (or_throw(other.rerank("q", vector)).size() != 1) return 2;
            if (or_throw(other.rerank("q", {"a", "b", "c"}, Options().top_k(2))).size() != 2) return 3;
            // An option that fails is the outcome of the call, and the first one counts.
            if (other.rerank("q", vector, Options().backend(9).isa(9)).message.find("backend") == std::string::npos) return 4;
            // Setters of a temporary give an Options: it can be kept, and nothing refers to a temporary that is gone.
            static_assert(std::is_same_v<decltype(Options().top_k(2).prompt("p")), Options>);
            auto kept = Options().top_k(3).threads(2).top_k(1);
            if (or_throw(other.rerank("q", array, kept)).size() != 1) return 9;
            static_assert(std::is_same_v<decltype(kept.top_k(2)), Options &>);
            if (&kept.top_k(2).prompt("p") != &kept || or_throw(other.rerank("q", array, kept)).size() != 2) return 10;
            auto wrong = Options().backend(9).top_k(1);
            if (wrong.outcome().message.find("backend") == std::string::npos) return 11;
            Cancel moved = *Cancel::make();
            const Cancel cancel = std::move(moved);
            if (other.rerank("q", vector, Options().cancel(moved)).status != Status::handle) return 5;
            or_throw(cancel.trigger());
            const auto cancelled = Options().cancel(cancel);
            if (other.rerank("q", vector, cancelled).status != Status::cancelled) return 6;
            try {
                or_throw(model.trim());
            } catch (const Exception &e) {
                return e.status == Status::handle && e.what()[0] != 0 ? 0 : 7;
            }
            return 8;
        }"#;
    for compiler in ["g++", "clang++"] {
        if has(compiler) {
            let folder = tempfile::tempdir().unwrap();
            link_library(folder.path());
            let path = folder.path().join("moves.cpp");
            std::fs::write(&path, source).unwrap();
            let command = [compiler, "-std=c++17", "-DCROSSRANK_EXCEPTIONS"];
            let program = compile(&command, path.to_str().unwrap(), folder.path());
            let output = run_program(&[program.to_str().unwrap(), "tests/fixtures/bert"]);
            assert_eq!(output.status.code(), Some(0), "{compiler} {}", printed(&output));
        }
    }
}

#[test]
fn a_library_of_another_binary_interface_is_refused_by_the_cpp_header() {
    // The loader prefers the program's own function to the library's.
    let source = r#"
        #include "crossrank.hpp"
        extern "C" std::uint32_t crossrank_abi(void) { return CROSSRANK_ABI + 7; }
        using namespace crossrank;
        static bool refused(const Outcome &outcome) {
            return outcome.status == Status::unsupported &&
                   outcome.message.find("binary interface " + std::to_string(CROSSRANK_ABI + 7)) != std::string::npos;
        }
        int main(int, char **arguments) {
            if (!refused(Model::load(arguments[1]))) return 1;
            if (!refused(Model::load_memory("m", "", "", "", {""}))) return 2;
            if (!refused(Model::plan(arguments[1]))) return 3;
            if (!refused(Model::load(arguments[1], Options().threads(1)))) return 4;
            if (!refused(Cancel::make())) return 5;
            if (!refused(Options().top_k(1).outcome())) return 6;
            if (!refused(last_usage())) return 7;
            if (!refused(set_log(nullptr, nullptr))) return 8;
            #ifdef CROSSRANK_EXCEPTIONS
            try {
                or_throw(Model::load(arguments[1]));
                return 9;
            } catch (const Exception &e) {
                if (e.status != Status::unsupported) return 10;
            }
            #endif
            return 0;
        }"#;
    for (command, _) in RUNNERS.iter().filter(|(_, source)| source.ends_with(".cpp")) {
        if has(command[0]) {
            let folder = tempfile::tempdir().unwrap();
            link_library(folder.path());
            let path = folder.path().join("abi.cpp");
            std::fs::write(&path, source).unwrap();
            let program = compile(command, path.to_str().unwrap(), folder.path());
            let output = run_program(&[program.to_str().unwrap(), "tests/fixtures/bert"]);
            assert_eq!(output.status.code(), Some(0), "{command:?} {}", printed(&output));
        }
    }
}

#[test]
fn loads_callbacks_threads_and_the_log_work_through_the_cpp_header() {
    for (command, _) in RUNNERS.iter().filter(|(_, source)| source.ends_with(".cpp")) {
        if has(command[0]) {
            let folder = tempfile::tempdir().unwrap();
            link_library(folder.path());
            let program = compile(command, "tests/bindings/everything.cpp", folder.path());
            let archive = folder.path().join("archive");
            let arguments = [program.to_str().unwrap(), "tests/fixtures/bert", archive.to_str().unwrap()];
            let output = run_program(&arguments);
            assert_eq!(output.status.code(), Some(0), "{command:?} {}", printed(&output));
        }
    }
}

#[test]
fn the_cpp_header_compiles_alone_in_every_mode() {
    for compiler in ["g++", "clang++"] {
        if !has(compiler) {
            continue;
        }
        for mode in [&["-fno-exceptions", "-fno-rtti"][..], &["-DCROSSRANK_EXCEPTIONS"], &[]] {
            for standard in ["-std=c++17", "-std=c++20"] {
                let mut arguments = vec![compiler, standard, "-fsyntax-only", "-Iinclude", "-include"];
                arguments.extend(["bindings/cpp/crossrank.hpp", "-x", "c++", "/dev/null"]);
                arguments.extend(mode);
                arguments.extend(WARNINGS);
                let output = run(&arguments);
                assert!(output.status.success(), "{arguments:?}\n{}", printed(&output));
            }
        }
    }
}

#[test]
fn the_examples_rank_documents_with_a_model_of_the_command_line() {
    let examples: [(&[&str], &str); 2] =
        [(&["gcc", "-std=c99"], "examples/c/rank.c"), (&["g++", "-std=c++17"], "examples/cpp/rank.cpp")];
    let mut rankings = Vec::new();
    for (command, source) in examples {
        if has(command[0]) {
            let folder = tempfile::tempdir().unwrap();
            link_library(folder.path());
            let program = compile(command, source, folder.path());
            let output = run_program(&[program.to_str().unwrap(), "tests/fixtures/bert"]);
            assert!(output.status.success(), "{}", printed(&output));
            let ranking = printed(&output);
            assert_eq!(ranking.lines().count(), 3, "{ranking}");
            rankings.push(ranking);
            let output = run_program(&[program.to_str().unwrap(), "tests/fixtures/none"]);
            assert_eq!(output.status.code(), Some(1));
            assert!(printed(&output).contains("tests/fixtures/none"));
        }
    }
    assert!(rankings.windows(2).all(|two| two[0] == two[1]), "{rankings:?}");
}
