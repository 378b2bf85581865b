//! Heads that sentence-transformers stores as modules in folders beside the encoder, which modules.json lists in order.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::model::files::{ModelFiles, ModuleFiles, WeightFile};
use crate::model::io::{MAX_CONFIG_BYTES, is_file, is_plain_name, parse_json, read_small};
use crate::model::json::{Config, MAX_LABELS, printable};
use crate::model::spec::{Biases, Head, Pooling, ScoreActivation, Spec};

/// A head has four modules; this bounds how many folders are read.
const MAX_MODULES: usize = 16;

/// The key of a dense layer's activation.
const ACTIVATION: &str = "activation_function";

/// Reads the modules that the modules.json of a directory lists after the encoder, which lies in the directory itself.
pub(super) fn read_modules(dir: &Path) -> Result<Vec<ModuleFiles>> {
    let list_path = dir.join("modules.json");
    let Some(list) = read_small(&list_path, MAX_CONFIG_BYTES)? else { return Ok(Vec::new()) };
    let file = list_path.display().to_string();
    let list: Vec<Map<String, Value>> = parse_json(&file, &list)?;
    let format_error = |message: String| Error::Format { file: file.clone(), message };
    if list.len() > MAX_MODULES {
        return Err(format_error(format!("lists {} modules, the limit is {MAX_MODULES}", list.len())));
    }
    let string = |module: &Map<String, Value>, key: &str| {
        let value = module.get(key).and_then(Value::as_str).map(str::to_owned);
        value.ok_or_else(|| format_error(format!("key `{key}`: expected a string for every module")))
    };
    let mut modules = Vec::new();
    for module in &list {
        let (path, class) = (string(module, "path")?, string(module, "type")?);
        if path.is_empty() {
            continue;
        }
        if !is_plain_name(&path) {
            return Err(format_error(format!(
                "`{}` is not the plain name of a folder beside it",
                printable(&path)
            )));
        }
        let folder = dir.join(&path);
        let weights = folder.join("model.safetensors");
        modules.push(ModuleFiles {
            config: read_small(&folder.join("config.json"), MAX_CONFIG_BYTES)?
                .unwrap_or_else(|| b"{}".into()),
            weights: is_file(&weights)?.then_some(WeightFile::Path(weights)),
            path,
            class,
        });
    }
    Ok(modules)
}

/// Adds to an encoder the head that its modules describe: pooling, a dense layer with an activation, an optional norm, and
/// a dense layer with one output per label.
pub(super) fn with_head(encoder: Spec, files: &ModelFiles) -> Result<Spec> {
    let class = |module: &ModuleFiles| module.class.rsplit('.').next().unwrap_or_default().to_owned();
    let classes: Vec<String> = files.modules.iter().map(class).collect();
    let classes: Vec<&str> = classes.iter().map(String::as_str).collect();
    let (norm, last) = match classes[..] {
        ["Pooling", "Dense", "LayerNorm", "Dense"] => (Some(2), 3),
        ["Pooling", "Dense", "Dense"] => (None, 2),
        _ => {
            return Err(Error::Unsupported {
                what: format!("modules.json with {}", printable(&classes.join(", "))),
                hint: "use a cross-encoder whose head is Pooling, Dense, LayerNorm, Dense".into(),
            });
        }
    };
    let module = |index: usize| {
        let module = &files.modules[index];
        let file = format!("{}/config.json", module.path);
        Ok::<_, Error>(Config { map: parse_json(&file, &module.config)?, file })
    };
    let (pooling, dense, scores) = (module(0)?, module(1)?, module(last)?);
    for (config, key, expected) in [
        (&dense, "in_features", encoder.hidden),
        (&dense, "out_features", encoder.hidden),
        (&scores, "in_features", encoder.hidden),
    ] {
        let found = config.count(key, usize::MAX)?;
        if found != expected {
            return Err(
                config.key_error(key, format_args!("expected the encoder's {expected}, found {found}"))
            );
        }
    }
    let labels = scores.count("out_features", MAX_LABELS)?;
    let bias = |config: &Config| config.flag_or("bias", true);
    let name = |index: usize, layer: &str| format!("{}/{layer}", files.modules[index].path);
    Ok(Spec {
        head: Some(Head {
            dense: name(1, "linear"),
            norm: norm.map(|index| name(index, "norm")),
            classifier: name(last, "linear"),
            // torch's default; the module has no key for it.
            epsilon: 1e-5,
        }),
        biases: Biases { dense: bias(&dense)?, classifier: bias(&scores)?, ..encoder.biases },
        pooling: self::pooling(&pooling)?,
        head_activation: dense.module_activation(ACTIVATION)?,
        score: scores.score_of(ACTIVATION)?.unwrap_or(ScoreActivation::Identity),
        labels: (0..labels).map(|i| format!("LABEL_{i}")).collect(),
        ..encoder
    })
}

/// Newer files have a key with the mode, older ones a flag for each mode.
fn pooling(config: &Config) -> Result<Pooling> {
    const KEY: &str = "pooling_mode";
    let flags: Vec<&str> = config
        .map
        .iter()
        .filter(|(_, value)| **value == Value::Bool(true))
        .map(|(k, _)| k.as_str())
        .collect();
    let flags: Vec<&str> = flags.into_iter().filter_map(|key| key.strip_prefix("pooling_mode_")).collect();
    match (config.string(KEY)?, &flags[..]) {
        (Some("cls"), _) | (None, ["cls_token"]) => Ok(Pooling::First),
        (Some("mean"), _) | (None, ["mean_tokens"]) => Ok(Pooling::Mean),
        (mode, _) => {
            let mode = mode.map_or_else(|| flags.join(", "), str::to_owned);
            Err(config.unsupported(KEY, &mode, "use a model that pools by cls or mean"))
        }
    }
}
