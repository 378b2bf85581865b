//! Heads that sentence-transformers stores as modules in folders beside the encoder, which modules.json lists in order.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::kernels::PoolMode;
use crate::model::architecture::Found;
use crate::model::files::{ModelFiles, ModuleFiles, WeightFile};
use crate::model::io::{MAX_CONFIG_BYTES, is_file, is_plain_name, parse_json, read_small};
use crate::model::json::{Config, MAX_FEATURES, MAX_LABELS, printable};
use crate::model::spec::{DenseLayer, HeadLayer, Pooling, Residual, Spec};
use crate::model::torch::{self, TorchClass};

/// A head has about four modules; this bounds how many folders are read.
const MAX_MODULES: usize = 16;

/// The file that lists the modules.
const LIST: &str = "modules.json";
/// The key of a dense layer's activation.
const ACTIVATION: &str = "activation_function";
/// What the pooling and all layers but the last write, and what all layers read.
const EMBEDDING: &str = "sentence_embedding";
/// What the last layer of a CrossEncoder writes.
const SCORES: &str = "scores";

/// Reads the modules that the modules.json of a directory lists after the encoder, which lies in the directory itself.
pub(super) fn read_modules(dir: &Path) -> Result<Vec<ModuleFiles>> {
    let list_path = dir.join(LIST);
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
    let (mut modules, mut names) = (Vec::new(), BTreeSet::new());
    for (index, module) in list.iter().enumerate() {
        let (path, class) = (string(module, "path")?, string(module, "type")?);
        if path.is_empty() != (index == 0) {
            let message = "expected the encoder, whose path is empty, as the first module and nowhere else";
            return Err(format_error(message.into()));
        }
        // sentence-transformers would put the second one in the place of the first.
        let name = module.get("name").and_then(Value::as_str);
        if let Some(name) = name.filter(|name| !names.insert(*name)) {
            return Err(format_error(format!("lists two modules of the name `{}`", printable(name))));
        }
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
            config: read_small(&folder.join("config.json"), MAX_CONFIG_BYTES)?.unwrap_or_default(),
            weights: is_file(&weights)?.then_some(WeightFile::Path(weights)),
            path,
            class,
        });
    }
    Ok(modules)
}

/// Whether the modules beside the encoder are the head, as sentence-transformers decides: it reads the list of a model that
/// was saved as a CrossEncoder, and of any other only the checkpoint with its own head.
pub(super) fn replace_head(
    found: &Found,
    files: &ModelFiles,
    sentence_transformers: Option<&Config>,
) -> Result<bool> {
    const KEY: &str = "model_type";
    let model_type = sentence_transformers.map(|config| config.string(KEY)).transpose()?.flatten();
    let is_cross_encoder = model_type == Some("CrossEncoder");
    if files.modules.is_empty() || (found.has_head && !is_cross_encoder) {
        return Ok(false);
    }
    match (sentence_transformers, model_type) {
        (Some(config), Some(other)) if !is_cross_encoder => {
            let hint =
                "it gives vectors and cannot score pairs; use a model that was saved as a CrossEncoder";
            Err(config.unsupported(KEY, other, hint))
        }
        _ => Ok(true),
    }
}

/// Gives an encoder the head that its modules describe: pooling, then dense layers and norms in any order, the last one
/// dense with one output per label.
pub(super) fn with_head(mut spec: Spec, files: &ModelFiles) -> Result<Spec> {
    let modules = parse_modules(files)?;
    let refuse = |hint| Err(unsupported_classes(files, hint));
    let Some((pooling, layers)) = modules.split_first().filter(|(first, _)| first.class == "Pooling") else {
        return refuse("use a cross-encoder whose first module after the encoder is Pooling");
    };
    spec.pooling = pooling.pooling()?;
    spec.head.clear();
    let mut width = spec.hidden;
    for (index, module) in layers.iter().enumerate() {
        let last = index + 1 == layers.len();
        match module.class {
            "Dense" => {
                let dense = module.dense(width, last, &mut spec)?;
                width = dense.outputs;
                spec.head.push(HeadLayer::Dense(dense));
            }
            "LayerNorm" if !last => spec.head.push(module.norm(width)?),
            _ => return refuse("use a cross-encoder with one Pooling and a Dense at the end"),
        }
    }
    if spec.head.is_empty() {
        return refuse("it gives vectors and cannot score pairs; use a cross-encoder");
    }
    spec.labels = (0..width).map(|i| format!("LABEL_{i}")).collect();
    Ok(spec)
}

/// The modules that compute something, each of a class that is implemented.
fn parse_modules(files: &ModelFiles) -> Result<Vec<Module<'_>>> {
    const KNOWN: [&str; 4] = ["Pooling", "Dense", "LayerNorm", "Dropout"];
    let mut modules = Vec::new();
    for files in &files.modules {
        let class = files.class.rsplit('.').next().unwrap_or_default();
        let own = files.class == class || files.class.starts_with("sentence_transformers.");
        if !own || !KNOWN.contains(&class) {
            return Err(Error::Unsupported {
                what: format!("module `{}` of the class `{}`", files.path, printable(&files.class)),
                hint: "use a cross-encoder whose head is made of sentence-transformers' Pooling, Dense and LayerNorm"
                    .into(),
            });
        }
        // Outside of training, dropout passes everything on.
        if class != "Dropout" {
            let file = format!("{}/config.json", files.path);
            if files.config.is_empty() {
                return Err(missing_file(&file));
            }
            if class != "Pooling" && files.weights.is_none() {
                return Err(missing_file(&format!("{}/model.safetensors", files.path)));
            }
            let config = Config { map: parse_json(&file, &files.config)?, file };
            modules.push(Module { files, class, config });
        }
    }
    Ok(modules)
}

/// The error for a folder that lacks a file.
fn missing_file(file: &str) -> Error {
    let message = format!(
        "lists a module whose file `{file}` is not there: download the model again, or save it with sentence-transformers 6, \
         which writes that file"
    );
    Error::Format { file: LIST.into(), message }
}

fn unsupported_classes(files: &ModelFiles, hint: &str) -> Error {
    let classes: Vec<&str> =
        files.modules.iter().map(|module| module.class.rsplit('.').next().unwrap_or_default()).collect();
    let what = format!("{LIST} with {}", printable(&classes.join(", ")));
    Error::Unsupported { what, hint: hint.into() }
}

/// A module with its configuration.
struct Module<'f> {
    files: &'f ModuleFiles,
    /// Without its Python module.
    class: &'f str,
    config: Config,
}

impl Module<'_> {
    /// A dense layer that reads `width` features. The last one writes scores; its activation is applied on the host, where
    /// every activation is at hand, unless a residual follows it.
    fn dense(&self, width: usize, last: bool, spec: &mut Spec) -> Result<DenseLayer> {
        let config = &self.config;
        self.warn_about_other_keys(spec);
        self.check_wiring(last)?;
        self.expect_width("in_features", width)?;
        let limit = if last { MAX_LABELS } else { MAX_FEATURES };
        let outputs = config.count("out_features", limit)?;
        let name = |layer: &str| format!("{}/{layer}", self.files.path);
        let residual = match (config.flag("use_residual")?, outputs == width) {
            (false, _) => Residual::None,
            (true, true) => Residual::Input,
            (true, false) => Residual::Projected(name("residual")),
        };
        let class = match torch::class_of(config, ACTIVATION)? {
            Some(TorchClass::Torch(class)) => class,
            Some(TorchClass::Untrusted(path)) => {
                spec.warnings.push(torch::ignored(config, ACTIVATION, path, "the default Tanh"));
                "Tanh"
            }
            None if config.map.contains_key(ACTIVATION) => {
                return Err(config.key_error(ACTIVATION, "expected the name of a torch class"));
            }
            None => "Tanh",
        };
        let on_host = torch::score_activation(class).filter(|_| last && residual == Residual::None);
        let activation = match (on_host, torch::layer_activation(class)) {
            (Some(on_host), _) => {
                spec.logit = on_host;
                None
            }
            (None, Some(activation)) => activation,
            (None, None) => {
                let hint = format!(
                    "use a model with torch.nn's Identity, GELU, ReLU, SiLU or Tanh in `{}`",
                    self.files.path
                );
                return Err(config.unsupported(ACTIVATION, class, &hint));
            }
        };
        let bias = config.flag_or("bias", true)?;
        Ok(DenseLayer { name: name("linear").into(), inputs: width, outputs, bias, activation, residual })
    }

    fn norm(&self, features: usize) -> Result<HeadLayer> {
        self.expect_width("dimension", features)?;
        let name = format!("{}/norm", self.files.path).into();
        // torch's default; the module has no key for it.
        Ok(HeadLayer::Norm { name, features, bias: true, epsilon: 1e-5 })
    }

    /// Refuses a module that reads other features than the module before it writes, or the last one if it writes no scores.
    fn check_wiring(&self, last: bool) -> Result<()> {
        const INPUT: &str = "module_input_name";
        const OUTPUT: &str = "module_output_name";
        let config = &self.config;
        let input = config.string(INPUT)?.unwrap_or(EMBEDDING);
        if input != EMBEDDING {
            return Err(config.unsupported(
                INPUT,
                input,
                &format!("use a model whose modules read `{EMBEDDING}`"),
            ));
        }
        let (output, expected) =
            (config.string(OUTPUT)?.unwrap_or(input), if last { SCORES } else { EMBEDDING });
        if output != expected {
            let hint = format!(
                "in a CrossEncoder the last module writes `{SCORES}` and all others `{EMBEDDING}`; a model whose last module \
                 does not gives vectors and cannot score pairs"
            );
            return Err(config.unsupported(OUTPUT, output, &hint));
        }
        Ok(())
    }

    fn expect_width(&self, key: &str, expected: usize) -> Result<()> {
        let found = self.config.count(key, usize::MAX)?;
        if found == expected {
            return Ok(());
        }
        let message = format_args!("expected {expected}, as many as the layer before has, found {found}");
        Err(self.config.key_error(key, message))
    }

    /// sentence-transformers ignores the keys of a dense layer that it does not know, and says so.
    fn warn_about_other_keys(&self, spec: &mut Spec) {
        const KNOWN: [&str; 7] = [
            "in_features",
            "out_features",
            "bias",
            ACTIVATION,
            "module_input_name",
            "module_output_name",
            "use_residual",
        ];
        let other = self.config.map.keys().filter(|key| !KNOWN.contains(&key.as_str()));
        let sentence = |key: &String| {
            let key = printable(key);
            format!(
                "`{}`: key `{key}` is not known and not applied, as in sentence-transformers",
                self.config.file
            )
        };
        spec.warnings.extend(other.map(sentence));
    }

    /// Newer files have a key with the mode, older ones a flag for each mode; without either the mode is the mean.
    fn pooling(&self) -> Result<Pooling> {
        const KEY: &str = "pooling_mode";
        const FLAGS: [(&str, &str); 6] = [
            ("pooling_mode_cls_token", "cls"),
            ("pooling_mode_max_tokens", "max"),
            ("pooling_mode_mean_tokens", "mean"),
            ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
            ("pooling_mode_weightedmean_tokens", "weightedmean"),
            ("pooling_mode_lasttoken", "lasttoken"),
        ];
        let config = &self.config;
        if !config.flag_or("include_prompt", true)? {
            let hint = "use a model whose pooling includes the tokens of the prompt";
            return Err(config.unsupported("include_prompt", "false", hint));
        }
        let mut modes = config.strings(KEY, '\0')?;
        if config.get(KEY).is_none() {
            for (flag, mode) in FLAGS {
                if config.flag(flag)? {
                    modes.push(mode.to_owned());
                }
            }
            if modes.is_empty() {
                modes.push("mean".to_owned());
            }
        }
        let modes: Vec<&str> = modes.iter().map(String::as_str).collect();
        match modes[..] {
            ["cls"] => Ok(Pooling::First),
            ["max"] => Ok(Pooling::All(PoolMode::Max)),
            ["mean"] => Ok(Pooling::All(PoolMode::Mean)),
            ["mean_sqrt_len_tokens"] => Ok(Pooling::All(PoolMode::MeanSqrtLen)),
            ["weightedmean"] => Ok(Pooling::All(PoolMode::WeightedMean)),
            ["lasttoken"] => Ok(Pooling::All(PoolMode::Last)),
            _ => {
                let known = FLAGS.map(|(_, mode)| mode).join(", ");
                Err(config.unsupported(
                    KEY,
                    &modes.join(", "),
                    &format!("use a model that pools by one of {known}"),
                ))
            }
        }
    }
}
