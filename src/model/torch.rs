//! Activations by the names of their torch classes, as sentence-transformers stores them.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::kernels::Activation;
use crate::model::json::{Config, printable};
use crate::model::spec::ScoreActivation;

/// What the name of a class stands for.
pub(super) enum TorchClass<'a> {
    /// A class of torch.nn, without its module.
    Torch(&'a str),
    /// A class of another package, which sentence-transformers does not import unless it is told to trust the model.
    Untrusted(&'a str),
}

/// The torch class that `key` of `config` names; `None` without the key.
pub(super) fn class_of<'a>(config: &'a Config, key: &str) -> Result<Option<TorchClass<'a>>> {
    config.get(key).map(|value| class(config, key, value)).transpose()
}

fn class<'a>(config: &Config, key: &str, value: &'a Value) -> Result<TorchClass<'a>> {
    let path = value.as_str().ok_or_else(|| config.key_error(key, "expected the name of a torch class"))?;
    match path.rsplit('.').next() {
        Some(class) if path.starts_with("torch.nn.") => Ok(TorchClass::Torch(class)),
        _ if path.starts_with("torch.") => Err(config.unsupported(key, path, "use a class of torch.nn")),
        _ => Ok(TorchClass::Untrusted(path)),
    }
}

/// The sentence about a class that is not applied.
pub(super) fn ignored(config: &Config, key: &str, path: &str, instead: &str) -> String {
    let path = printable(path);
    format!(
        "`{}`: {key} `{path}` is no class of torch and not applied, as in sentence-transformers; {instead} is",
        config.file
    )
}

/// The score activation of a class of torch.nn, which is applied in f64 on the host.
pub(super) fn score_activation(class: &str) -> Option<ScoreActivation> {
    ScoreActivation::ALL.into_iter().find(|activation| activation.torch_class() == class)
}

/// The activation of a class of torch.nn between two layers: `Some(None)` is the identity.
pub(super) fn layer_activation(class: &str) -> Option<Option<Activation>> {
    match class {
        "Identity" => Some(None),
        "GELU" => Some(Some(Activation::Gelu)),
        "ReLU" => Some(Some(Activation::Relu)),
        "SiLU" => Some(Some(Activation::Silu)),
        "Tanh" => Some(Some(Activation::Tanh)),
        _ => None,
    }
}

/// What turns logits into scores, by sentence-transformers' rule: what its own file says, else what config.json says in its
/// section or in its former key, else by the number of labels. Classes that are not torch's are skipped with a warning.
pub(super) fn score(
    own_file: Option<&Config>,
    config: &Config,
    labels: usize,
    warnings: &mut Vec<String>,
) -> Result<ScoreActivation> {
    const SECTION: &str = "sentence_transformers";
    const KEY: &str = "activation_fn";
    const FORMER_KEY: &str = "sbert_ce_default_activation_function";
    let section = match config.get(SECTION) {
        None => None,
        Some(Value::Object(section)) => section.get(KEY),
        Some(_) => return Err(config.key_error(SECTION, "expected an object")),
    };
    let in_config = match section {
        Some(value) => (config, "sentence_transformers.activation_fn", Some(value)),
        None => (config, FORMER_KEY, config.get(FORMER_KEY)),
    };
    let in_own_file = own_file.map(|file| (file, KEY, file.get(KEY)));
    let default = if labels == 1 { ScoreActivation::Sigmoid } else { ScoreActivation::Identity };
    for (file, key, value) in in_own_file.into_iter().chain([in_config]) {
        let Some(value) = value.filter(|value| !value.is_null()) else { continue };
        match class(file, key, value)? {
            TorchClass::Torch(class) => {
                return score_activation(class).ok_or_else(|| unsupported_score(file, key, class));
            }
            TorchClass::Untrusted(path) => {
                warnings.push(ignored(file, key, path, "the next rule for the score activation"));
            }
        }
    }
    Ok(default)
}

fn unsupported_score(config: &Config, key: &str, class: &str) -> Error {
    let known = ScoreActivation::ALL.map(ScoreActivation::torch_class).join(", ");
    config.unsupported(key, class, &format!("use a model with one of torch.nn's {known}"))
}
