//! bindings/unity/Native.cs from the header: enumerations, structs, types of callbacks and P/Invoke declarations.

use std::collections::HashMap;
use std::fmt::Write;

use crate::header::{self, Parameter};

/// C# enumerations, by the prefix of their constants.
const ENUMS: [(&str, &str); 7] = [
    ("CROSSRANK_LOG_", "LogLevel"),
    ("CROSSRANK_TEXT_", "TextKind"),
    ("CROSSRANK_BACKEND_", "Backend"),
    ("CROSSRANK_PRECISION_", "Precision"),
    ("CROSSRANK_GPU_PRECISION_", "GpuPrecision"),
    ("CROSSRANK_ISA_", "Isa"),
    ("CROSSRANK_TRUNCATION_", "Truncation"),
];

/// Structs that programs see. They are partial: Crossrank.cs adds what is written by hand.
const PUBLIC: [&str; 3] = ["crossrank_ranked", "crossrank_info", "crossrank_usage"];

/// int32_t fields that hold a value of an enumeration.
const ENUM_FIELDS: [(&str, &str); 4] =
    [("status", "Status"), ("backend", "Backend"), ("isa", "Isa"), ("precision", "Precision")];

/// Outputs that are arrays, and outputs that are single values. The header does not tell them apart.
const ARRAYS: [&str; 5] = ["buffer", "logits", "scores", "results", "details"];
const SINGLES: [&str; 9] =
    ["cancel", "done", "found", "length", "model", "options", "total", "weight_bytes", "work_bytes"];

/// `MISSING_TENSOR` or `missing_tensor` as `MissingTensor`.
fn pascal(name: &str) -> String {
    let capitalized = |word: &str| word[..1].to_uppercase() + &word[1..].to_lowercase();
    name.split('_').map(capitalized).collect()
}

/// `weight_count` as `weightCount`.
fn camel(name: &str) -> String {
    let pascal = pascal(name);
    pascal[..1].to_lowercase() + &pascal[1..]
}

/// The C# name of a struct. A handle is a struct of nothing but an id.
fn struct_name(name: &str) -> String {
    let short = pascal(name.trim_start_matches("crossrank_"));
    if matches!(&*short, "Model" | "Options" | "Cancel") { short + "Handle" } else { short }
}

/// The C# name of the type of a callback: `crossrank_log_fn` is `LogFunction`.
fn callback_name(name: &str) -> String {
    pascal(name.trim_start_matches("crossrank_").trim_end_matches("_fn")) + "Function"
}

/// The C# type of a value. Every pointer is an IntPtr; [`parameter`] knows better for arguments.
fn value(kind: &str) -> String {
    match kind {
        "int32_t" | "crossrank_status" => "int".into(),
        "uint32_t" => "uint".into(),
        "uint64_t" => "ulong".into(),
        "size_t" => "UIntPtr".into(),
        "float" | "double" => kind.into(),
        // A C bool is one byte; C#'s is four by default.
        "bool" => "[MarshalAs(UnmanagedType.I1)] bool".into(),
        _ if kind.ends_with('*') || kind.contains('(') => "IntPtr".into(),
        _ if kind.ends_with("_fn") => callback_name(kind),
        _ if kind.starts_with("crossrank_") => struct_name(kind),
        _ => panic!("`{kind}` has no type in C# yet: say here which"),
    }
}

/// The declaration of a function's parameter.
fn parameter(function: &str, Parameter { kind, name }: &Parameter) -> String {
    let argument = camel(name);
    let Some(target) = kind.strip_suffix('*').map(str::trim) else {
        return format!("{} {argument}", value(kind));
    };
    match target {
        "void" => return format!("IntPtr {argument}"),
        // Text that ends with a NUL.
        "const char" => return format!("byte[] {argument}"),
        _ => {}
    }
    if let Some(input) = target.strip_prefix("const ") {
        return format!("{}[] {argument}", value(input));
    }
    let output = if target == "char" { "byte".into() } else { value(target) };
    if ARRAYS.contains(&&**name) || name == "found" && function.starts_with("crossrank_rerank_many") {
        format!("[Out] {output}[] {argument}")
    } else if matches!(target, "crossrank_info" | "crossrank_usage") {
        // The caller sets the size.
        format!("ref {output} {argument}")
    } else {
        assert!(SINGLES.contains(&&**name), "`{function}`: say here whether `{name}` is an array");
        format!("out {output} {argument}")
    }
}

/// The first paragraph of the comment of every constant, struct and field; a field's key is `struct.field`.
fn comments(header: &str) -> HashMap<String, String> {
    let mut comments = HashMap::new();
    let (mut inside, mut text, mut owner) = (false, Vec::new(), String::new());
    for line in header.lines().map(str::trim) {
        if line == "/*" {
            (inside, text) = (true, Vec::new());
        } else if line == "*/" {
            inside = false;
        } else if inside {
            text.push(line);
        } else {
            let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            let declared = if owner.is_empty() {
                words.find(|word| word.to_lowercase().starts_with("crossrank_")).map(str::to_owned)
            } else {
                words.rfind(|word| !word.is_empty()).map(|field| format!("{owner}.{field}"))
            };
            // Functions and callbacks have brackets.
            if let Some(name) = declared.clone().filter(|_| !text.is_empty() && !line.contains('(')) {
                let paragraph = text.split(|line| line.is_empty()).next().unwrap();
                comments.insert(name, paragraph.join(" "));
            }
            text.clear();
            if line.starts_with("typedef struct") {
                owner = declared.unwrap();
            } else if line.starts_with('}') {
                owner.clear();
            }
        }
    }
    comments
}

/// A comment for readers of C#.
fn summary(code: &mut String, indent: &str, text: Option<&String>) {
    let Some(text) = text else { return };
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(code, "{indent}/// <summary>{text}</summary>").unwrap();
}

/// One line, or several if it would be longer than 120 columns.
fn wrapped(code: &mut String, front: &str, parameters: &[String]) {
    let mut line = format!("        {front}(");
    for (i, parameter) in parameters.iter().enumerate() {
        let end = if i + 1 == parameters.len() { "" } else { ", " };
        if line.len() + parameter.len() + 3 > 120 {
            writeln!(code, "{}", line.trim_end()).unwrap();
            line = "            ".into();
        }
        line += &format!("{parameter}{end}");
    }
    writeln!(code, "{line});").unwrap();
}

fn enumerations(code: &mut String, header: &str, comments: &HashMap<String, String>) {
    let constants = header::constants_of(header);
    let mut listed = 0;
    let mut all = vec![("CROSSRANK_", "Status")];
    all.extend(ENUMS);
    for (prefix, name) in all {
        let is_status = name == "Status";
        let mine = constants.iter().filter(|(constant, _)| {
            let status = constant == "CROSSRANK_OK" || constant.starts_with("CROSSRANK_ERR_");
            if is_status { status } else { constant.starts_with(prefix) }
        });
        if is_status {
            summary(code, "    ", comments.get("crossrank_status"));
        } else {
            writeln!(code, "    /// <summary>Values of {prefix} in crossrank.h.</summary>").unwrap();
        }
        writeln!(code, "    public enum {name}\n    {{").unwrap();
        for (constant, number) in mine {
            let short = constant[prefix.len()..].trim_start_matches("ERR_");
            summary(code, "        ", comments.get(constant));
            writeln!(code, "        {} = {number}, // {constant}", pascal(short)).unwrap();
            listed += 1;
        }
        code.push_str("    }\n\n");
    }
    let other = |name: &str| name == "CROSSRANK_ABI" || name.starts_with("CROSSRANK_VERSION_");
    let others = constants.iter().filter(|(name, _)| other(name)).count();
    assert_eq!(listed + others, constants.len(), "a constant has no enumeration: add it to ENUMS");
}

fn structure(
    code: &mut String,
    indent: &str,
    name: &str,
    fields: &[Parameter],
    comments: &HashMap<String, String>,
) {
    let public = PUBLIC.contains(&name);
    summary(code, indent, comments.get(name));
    let visibility = if public { "public partial" } else { "internal" };
    writeln!(code, "{indent}[StructLayout(LayoutKind.Sequential)]").unwrap();
    writeln!(code, "{indent}{visibility} struct {}\n{indent}{{", struct_name(name)).unwrap();
    for field in fields {
        let inner = format!("{indent}    ");
        let kind = value(&field.kind);
        let enumeration = ENUM_FIELDS.iter().find(|(known, _)| kind == "int" && *known == field.name);
        let kind = enumeration.map_or(&*kind, |(_, enumeration)| enumeration);
        let hidden = matches!(&*field.name, "size" | "reserved") || kind == "UIntPtr";
        if public && !hidden {
            summary(code, &inner, comments.get(&format!("{name}.{}", field.name)));
            writeln!(code, "{inner}public {kind} {};", pascal(&field.name)).unwrap();
        } else if public {
            writeln!(code, "{inner}internal {kind} {};", camel(&field.name)).unwrap();
        } else {
            writeln!(code, "{inner}internal {kind} {};", pascal(&field.name)).unwrap();
        }
    }
    writeln!(code, "{indent}}}\n").unwrap();
}

/// Parameters of `(*name)(...)`; those of a function inside them belong to it.
fn callback(code: &mut String, text: &str) {
    let (name, parameters) = text.split_once("(*").unwrap().1.split_once(")(").unwrap();
    let parameters = parameters.strip_suffix(')').unwrap();
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in parameters.chars() {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        if letter == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(letter);
        }
    }
    let parameters: Vec<_> = parts
        .iter()
        .map(|part| match part.split_once("(*") {
            Some((_, function)) => format!("IntPtr {}", camel(function.split_once(')').unwrap().0)),
            None => {
                let Parameter { kind, name } = header::declaration(part);
                format!("{} {}", value(&kind), camel(&name))
            }
        })
        .collect();
    code.push_str("        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]\n");
    wrapped(code, &format!("internal delegate void {}", callback_name(name)), &parameters);
    code.push('\n');
}

/// The whole file.
pub fn declarations(header: &str) -> String {
    let comments = comments(header);
    let mut code = String::from(
        "// Generated from include/crossrank.h by the test `header`: do not edit. What each function does is said there.\n\
         using System;\n\
         using System.Runtime.InteropServices;\n\n\
         // Fields that only the library writes, or that are not used.\n\
         #pragma warning disable 169, 649\n\n\
         namespace Crossrank\n{\n",
    );
    enumerations(&mut code, header, &comments);
    let structs = header::structs_of(header);
    let (public, internal): (Vec<_>, Vec<_>) =
        structs.iter().partition(|(name, _)| PUBLIC.contains(&&**name));
    for (name, fields) in public {
        structure(&mut code, "    ", name, fields, &comments);
    }
    let constants = header::constants_of(header);
    let abi = constants.iter().find(|(name, _)| name == "CROSSRANK_ABI").unwrap().1;
    write!(
        code,
        "    /// <summary>The functions of crossrank.h.</summary>\n    \
         internal static class Native\n    {{\n\
         #if UNITY_IOS && !UNITY_EDITOR\n        \
             // iOS links the library into the program.\n        \
             private const string Library = \"__Internal\";\n\
         #else\n        \
             private const string Library = \"crossrank\";\n\
         #endif\n\n        \
         /// <summary>The binary interface that these declarations describe.</summary>\n        \
         internal const uint Abi = {abi};\n\n"
    )
    .unwrap();
    for (name, fields) in internal {
        structure(&mut code, "        ", name, fields, &comments);
    }
    for text in header::callbacks_of(header) {
        callback(&mut code, &text);
    }
    let functions = header::functions_of(header);
    for (i, function) in functions.iter().enumerate() {
        let parameters: Vec<_> = function.parameters.iter().map(|p| parameter(&function.name, p)).collect();
        let front = format!("internal static extern {} {}", value(&function.returns), function.name);
        code.push_str("        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]\n");
        wrapped(&mut code, &front, &parameters);
        code.push_str(if i + 1 == functions.len() { "" } else { "\n" });
    }
    code + "    }\n}\n"
}
