//! C programs that call every function of the header, generated from the header. A new function is either tested here or
//! makes these tests fail.

use std::fmt::Write;

use crate::header::{self, Function};
use crate::toolbox::{compile, folder, run};

/// A valid argument for a parameter: a name of tests/c/calls.h or a literal.
fn valid(function: &str, kind: &str, name: &str) -> String {
    let regions = function == "crossrank_model_load_fd";
    let argument = match (kind, name) {
        ("crossrank_options", _) if function == "crossrank_options_free" => "spare_options",
        ("crossrank_options", _) if function.starts_with("crossrank_options_set_") => "settings",
        ("crossrank_model", _) if function == "crossrank_model_free" => "spare_model",
        ("crossrank_cancel", _) if function == "crossrank_cancel_free" => "spare_cancel",
        ("crossrank_options", _) => "options",
        ("crossrank_model", _) => "model",
        ("crossrank_cancel", _) => "cancel",
        ("const char *", "path_or_name") => "path",
        ("const char *", "name") => "name",
        ("const char *", "folder") => "path",
        ("crossrank_str", "query" | "prompt") => "query",
        (
            "crossrank_str" | "const crossrank_str *",
            "config" | "tokenizer" | "tokenizer_config" | "weights",
        ) => {
            return name.to_owned();
        }
        ("crossrank_region", _) => return format!("{name}_region"),
        ("const crossrank_region *", "weights") if regions => "weights_regions",
        ("const crossrank_str *", "documents" | "queries") => "texts",
        ("const crossrank_set *", "sets") => "sets",
        ("crossrank_texts", _) => "packed",
        ("const size_t *", "counts") => "counts",
        ("size_t", "weight_count") => "1",
        ("size_t", "count" | "set_count" | "threads") => "2",
        ("size_t", "capacity")
            if ["crossrank_model_text", "crossrank_last_message_copy"].contains(&function) =>
        {
            "sizeof out.buffer"
        }
        ("size_t", "capacity") => "8",
        ("size_t", "tokens") if function == "crossrank_options_set_window_overlap" => "8",
        ("size_t", "tokens") => "64",
        ("size_t", "index" | "label") => "0",
        ("uint64_t", "bytes") => "UINT64_MAX",
        ("uint64_t", "milliseconds") => "1000000",
        ("double", "score") => "-1e9",
        ("bool", _) => "false",
        ("int32_t", _) => "0",
        ("crossrank_progress_fn", _) => "progress",
        ("crossrank_parallel_fn", _) => "parallel",
        ("crossrank_log_fn", _) => "log_message",
        ("void *", "user") => "NULL",
        ("size_t *", "found") => "out.found",
        (
            "char *" | "float *" | "double *" | "crossrank_ranked *",
            "buffer" | "logits" | "scores" | "results" | "details",
        ) => {
            return format!("out.{name}");
        }
        (kind, name) if kind.ends_with('*') && !kind.starts_with("const") => return format!("&out.{name}"),
        _ => panic!("`{function}` has a new parameter `{kind} {name}`: say here what is valid for it"),
    };
    argument.to_owned()
}

/// A call with valid arguments, except those that `other` replaces.
fn call(function: &Function, other: impl Fn(&str) -> Option<String>) -> String {
    let arguments: Vec<_> = function
        .parameters
        .iter()
        .map(|p| other(&p.name).unwrap_or_else(|| valid(&function.name, &p.kind, &p.name)))
        .collect();
    format!("{}({})", function.name, arguments.join(", "))
}

fn valid_call(function: &Function) -> String {
    call(function, |_| None)
}

/// The status that a call with valid arguments returns.
fn outcome(function: &Function) -> &'static str {
    if function.name == "crossrank_model_load_bundled" && !cfg!(feature = "bundled-model") {
        "CROSSRANK_ERR_UNSUPPORTED"
    } else {
        "CROSSRANK_OK"
    }
}

/// Whether the header says that a parameter may be NULL.
fn may_be_null(function: &str, name: &str) -> bool {
    matches!(
        (function, name),
        (_, "user" | "logits" | "scores" | "details")
            | ("crossrank_options_set_gpu_cache", "folder")
            | ("crossrank_options_set_prompt_name", "name")
            | ("crossrank_cancel_progress", "done" | "total")
            | ("crossrank_options_set_progress", "progress")
            | ("crossrank_options_set_executor", "parallel")
            | ("crossrank_set_log", "log")
    )
}

/// Compiles and runs a program whose main executes `body` after the setup of tests/c/calls.h, and returns its output.
fn program(name: &str, before: &str, body: &str) -> String {
    let source = folder("generated").join(format!("{name}.c"));
    let text = format!(
        "#include \"calls.h\"\n{before}\nint main(int argc, char **argv) {{\n    CHECK(argc == 4);\n    \
         set_up(argv[1]);\n{body}    return 0;\n}}\n"
    );
    std::fs::write(&source, text).unwrap();
    run(&compile(&source))
}

/// Functions that return a status.
fn fallible() -> impl Iterator<Item = Function> {
    header::functions().into_iter().filter(|f| f.returns == "crossrank_status")
}

/// C lines that make the object that `function` frees.
fn spare(function: &Function) -> &'static str {
    match &*function.name {
        "crossrank_model_free" => "    OK(crossrank_model_load(path, options, &spare_model));\n",
        "crossrank_options_free" => "    OK(crossrank_options_new(&spare_options));\n",
        "crossrank_cancel_free" => "    OK(crossrank_cancel_new(&spare_cancel));\n",
        _ => "",
    }
}

#[test]
fn null_in_every_pointer_is_an_error_and_writes_nothing() {
    let mut body = String::new();
    let mut cases = 0;
    for function in fallible() {
        let mut case = |name: &str, null: &str, status: &str| {
            let call = call(&function, |other| (other == name).then(|| null.to_owned()));
            writeln!(body, "    paint();\n    EXPECT({status}, {call});").unwrap();
            if status == "CROSSRANK_ERR_NULL" {
                writeln!(body, "    untouched(\"{call}\");").unwrap();
            }
            cases += 1;
        };
        for parameter in &function.parameters {
            let name = &*parameter.name;
            match &*parameter.kind {
                "crossrank_str" => case(name, "no_text", "CROSSRANK_ERR_NULL"),
                "const crossrank_str *" => case(name, "no_texts", "CROSSRANK_ERR_NULL"),
                "const crossrank_set *" => case(name, "no_sets", "CROSSRANK_ERR_NULL"),
                "crossrank_texts" => {
                    case(name, "no_bytes", "CROSSRANK_ERR_NULL");
                    case(name, "no_offsets", "CROSSRANK_ERR_NULL");
                }
                _ => {}
            }
            if parameter.is_pointer() {
                let allowed = may_be_null(&function.name, name);
                case(name, "NULL", if allowed { "CROSSRANK_OK" } else { "CROSSRANK_ERR_NULL" });
            }
        }
    }
    writeln!(body, "    puts(\"{cases} cases\");").unwrap();
    assert!(cases > 40, "{cases}");
    assert_eq!(program("nulls", "", &body), format!("{cases} cases\n"));
}

/// The maximum of its caller's stack that a call may use, in bytes.
const STACK: usize = 16 << 10;

#[test]
fn every_function_needs_little_of_the_callers_stack() {
    let (mut functions, mut body) = (String::new(), String::new());
    for function in header::functions() {
        let (name, call) = (&function.name, valid_call(&function));
        let call = match &*function.returns {
            "crossrank_status" => format!("EXPECT({}, {call})", outcome(&function)),
            _ => format!("(void){call}"),
        };
        writeln!(functions, "static void call_{name}(void) {{ {call}; }}").unwrap();
        // The second call is measured too: the first may have created state that the second uses.
        for _ in 0..2 {
            writeln!(body, "{}    measure(\"{name}\", call_{name}, {STACK});", spare(&function)).unwrap();
        }
    }
    println!("{}", program("stacks", &format!("#include \"stack.h\"\n{functions}"), &body));
}

#[test]
#[cfg(feature = "capi-panics")]
fn a_panic_in_any_function_is_a_status_and_the_process_lives() {
    let mut body = String::new();
    let mut cases = 0;
    for function in fallible() {
        let call = valid_call(&function);
        write!(body, "{}    paint();\n    crossrank_test_panic_next();\n", spare(&function)).unwrap();
        writeln!(body, "    EXPECT(CROSSRANK_ERR_INTERNAL, {call});\n    untouched(\"{call}\");").unwrap();
        writeln!(body, "    CHECK(strstr(crossrank_last_message(), \"panic\") != NULL);").unwrap();
        // The library still works.
        writeln!(body, "    EXPECT({}, {call});", outcome(&function)).unwrap();
        cases += 1;
    }
    writeln!(body, "    puts(\"{cases} cases\");").unwrap();
    assert!(cases > 25, "{cases}");
    let before = "void crossrank_test_panic_next(void);\n";
    assert_eq!(program("panics", before, &body), format!("{cases} cases\n"));
}

#[test]
fn every_status_has_its_name_and_other_numbers_have_none() {
    let mut body = String::new();
    let statuses = header::statuses();
    for (name, number) in &statuses {
        writeln!(
            body,
            "    CHECK({name} == {number} && strcmp(crossrank_status_name({number}), \"{name}\") == 0);"
        )
        .unwrap();
    }
    for number in (-3..300).chain([i64::from(i32::MIN) + 1, i64::from(i32::MAX)]) {
        if !statuses.iter().any(|(_, known)| *known == number) {
            writeln!(body, "    CHECK(strcmp(crossrank_status_name({number}), \"unknown\") == 0);").unwrap();
        }
    }
    body += "    CHECK(crossrank_abi() == CROSSRANK_ABI);\n    char version[64];\n";
    body += "    snprintf(version, sizeof version, \"%d.%d.%d\", CROSSRANK_VERSION_MAJOR, \
             CROSSRANK_VERSION_MINOR, CROSSRANK_VERSION_PATCH);\n";
    body += "    CHECK(strcmp(version, crossrank_version()) == 0);\n";
    program("version", "", &body);
}
