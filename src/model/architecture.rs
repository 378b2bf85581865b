//! Which family's function reads a configuration: by the architecture that config.json names, else by its model type.

use crate::error::{Error, Result};
use crate::model::families::{self, Family};
use crate::model::json::{Config, printable};

/// One supported architecture.
struct Architecture {
    /// Its name without the suffix `ForSequenceClassification`.
    name: &'static str,
    /// The values of `model_type` with which transformers, or the code published with the model, computes the same network.
    model_types: &'static [&'static str],
    read: Family,
    /// A well-known model.
    example: Option<&'static str>,
}

/// All that RoBERTa's function reads.
const ROBERTA: &[&str] = &["roberta", "xlm-roberta", "camembert"];
/// All that GTE's function reads.
const GTE: &[&str] = &["new", "gte"];

/// The default of error messages comes first.
const ARCHITECTURES: &[Architecture] = &[
    row("Bert", &["bert"], families::bert, Some("cross-encoder/ms-marco-MiniLM-L6-v2")),
    row("Roberta", ROBERTA, families::roberta, Some("cross-encoder/stsb-distilroberta-base")),
    row("XLMRoberta", ROBERTA, families::roberta, Some("BAAI/bge-reranker-base")),
    row("Camembert", ROBERTA, families::roberta, Some("dangvantuan/CrossEncoder-camembert-large")),
    row("DistilBert", &["distilbert"], families::distilbert, None),
    row("Electra", &["electra"], families::electra, Some("cross-encoder/ms-marco-electra-base")),
    row("MPNet", &["mpnet"], families::mpnet, None),
    row(
        "ModernBert",
        &["modernbert"],
        families::modernbert,
        Some("Alibaba-NLP/gte-reranker-modernbert-base"),
    ),
    row("New", GTE, families::gte, Some("Alibaba-NLP/gte-multilingual-reranker-base")),
    row("Gte", GTE, families::gte, Some("Alibaba-NLP/gte-multilingual-reranker-base")),
    row("DebertaV2", &["deberta-v2"], families::deberta_v2, Some("mixedbread-ai/mxbai-rerank-base-v1")),
    row("JinaBert", &["bert"], families::jinabert, Some("jinaai/jina-reranker-v1-turbo-en")),
];

const fn row(
    name: &'static str,
    model_types: &'static [&'static str],
    read: Family,
    example: Option<&'static str>,
) -> Architecture {
    Architecture { name, model_types, read, example }
}

/// The architectures that `model_type` alone stands for, as in transformers.
const BY_MODEL_TYPE: &[(&str, &str)] = &[
    ("bert", "Bert"),
    ("roberta", "Roberta"),
    ("xlm-roberta", "XLMRoberta"),
    ("camembert", "Camembert"),
    ("distilbert", "DistilBert"),
    ("electra", "Electra"),
    ("mpnet", "MPNet"),
    ("modernbert", "ModernBert"),
    ("new", "New"),
    ("gte", "Gte"),
    ("deberta-v2", "DebertaV2"),
];

/// Ends the name of an architecture with a classifier head.
const CLASSIFIER: &str = "ForSequenceClassification";
/// Ends the name of one without a head.
const ENCODER: &str = "Model";

/// The architecture of a configuration, and the function that reads it.
pub(super) struct Found {
    /// As config.json names it, or as transformers would.
    pub name: String,
    pub read: Family,
    /// Whether the checkpoint holds the classifier head too.
    pub has_head: bool,
}

/// Finds the architecture of config.json; with `modules` it may be an encoder without a head.
pub(super) fn find(config: &Config, modules: bool) -> Result<Found> {
    const KEY: &str = "model_type";
    let model_type = config.string(KEY)?;
    let Some(names) = config.architectures()? else {
        let model_type = model_type.ok_or_else(|| {
            config.key_error("architectures", "is missing, and so is `model_type`, which could stand for it")
        })?;
        let name = BY_MODEL_TYPE.iter().find(|(known, _)| *known == model_type).map(|(_, name)| *name);
        let found = name.and_then(|name| ARCHITECTURES.iter().find(|row| row.name == name));
        let found = found.ok_or_else(|| {
            let known: Vec<&str> = BY_MODEL_TYPE.iter().map(|(known, _)| *known).collect();
            config.unsupported(
                KEY,
                model_type,
                &format!("use a cross-encoder of one of {}", known.join(", ")),
            )
        })?;
        let suffix = if modules { ENCODER } else { CLASSIFIER };
        let name = format!("{}{suffix}", found.name);
        return Ok(Found { name, read: found.read, has_head: !modules });
    };
    let row = |name: &str, suffix: &str| {
        let name = name.strip_suffix(suffix)?;
        ARCHITECTURES.iter().find(|row| row.name == name)
    };
    let with_head = names.iter().find_map(|name| Some((*name, row(name, CLASSIFIER)?, true)));
    let encoder = || Some((names[0], row(names[0], ENCODER)?, false)).filter(|_| modules);
    let (name, found, has_head) =
        with_head.or_else(encoder).ok_or_else(|| unsupported_architecture(names[0]))?;
    match model_type {
        Some(other) if !found.model_types.contains(&other) => Err(Error::Unsupported {
            what: format!("{KEY} `{}` with the architecture `{name}`", printable(other)),
            hint: format!(
                "transformers follows model_type; correct one of the two in config.json: {name} has `{}`",
                found.model_types.join("` or `")
            ),
        }),
        _ => Ok(Found { name: name.to_owned(), read: found.read, has_head }),
    }
}

/// The error for an unsupported architecture: what is missing, and the nearest supported one.
fn unsupported_architecture(architecture: &str) -> Error {
    let common = |name: &str| name.bytes().zip(architecture.bytes()).take_while(|(a, b)| a == b).count();
    let nearest = ARCHITECTURES
        .iter()
        .reduce(|best, next| if common(next.name) > common(best.name) { next } else { best })
        .expect("the table has rows");
    let example = nearest.example.map_or(String::new(), |example| format!(", for example `{example}`"));
    let nearest = format!("`{}{CLASSIFIER}`{example}", nearest.name);
    let hint = if architecture.ends_with(CLASSIFIER) {
        format!("its layers are not implemented; the nearest supported architecture is {nearest}")
    } else if architecture.ends_with(ENCODER) {
        format!(
            "it is an embedding model with no classifier head and cannot score pairs; use a cross-encoder: {nearest}"
        )
    } else {
        format!("it has no classifier head and cannot score pairs; use a cross-encoder: {nearest}")
    };
    Error::Unsupported { what: format!("architecture `{}`", printable(architecture)), hint }
}
