//! Finds a model on disk: in a directory, or by its name in the models folder and the Hugging Face cache.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::files::{
    ADDED_TOKENS, MAKE_TOKENIZER, MERGE_ADAPTER, ModelFiles, SENTENCE_BERT_CONFIG, SENTENCE_TRANSFORMERS,
    SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG, VOCABULARY_FILES, WeightFile,
};
use crate::model::hub_cache::{self, MAIN};
use crate::model::io::{MAX_CONFIG_BYTES, io_error, is_file, is_plain_name, parse_json, read_small};
use crate::model::json::printable;
use crate::model::modules;

/// The most bytes of tokenizer.json: a vocabulary of 256 000 tokens takes about 35 MB.
const MAX_TOKENIZER_BYTES: u64 = 128 << 20;
/// Names of repositories without safetensors files, and former names of repositories, each with the repository that has the
/// same weights.
const ALIASES: &[(&str, &str)] = &[
    ("Xenova/ms-marco-MiniLM-L-6-v2", "cross-encoder/ms-marco-MiniLM-L6-v2"),
    ("Xenova/ms-marco-MiniLM-L-12-v2", "cross-encoder/ms-marco-MiniLM-L12-v2"),
    ("Xenova/bge-reranker-base", "BAAI/bge-reranker-base"),
    ("cross-encoder/ms-marco-MiniLM-L-6-v2", "cross-encoder/ms-marco-MiniLM-L6-v2"),
    ("cross-encoder/ms-marco-MiniLM-L-12-v2", "cross-encoder/ms-marco-MiniLM-L12-v2"),
];

/// What training leaves beside the weights, in the same formats.
const TRAINING_FILES: [&str; 4] = ["training_args.bin", "optimizer.pt", "scheduler.pt", "optimizer.bin"];

/// The file of Python's peft beside an adapter's weights.
const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Endings of weight files in other formats, which are recognized for the error message.
const FOREIGN_FORMATS: &[(&str, &str)] = &[
    (".onnx", "ONNX"),
    (".bin", "PyTorch pickle"),
    (".pt", "PyTorch pickle"),
    (".ckpt", "PyTorch pickle"),
    (".h5", "TensorFlow"),
    (".msgpack", "Flax"),
    (".gguf", "GGUF"),
];

impl ModelFiles {
    /// A directory, or a name such as `cross-encoder/ms-marco-MiniLM-L6-v2`.
    ///
    /// A name that is no path is looked up in `models/` below the current directory and then in the Hugging Face cache
    /// (`$HF_HUB_CACHE`, else `$HF_HOME/hub`, else `$XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`),
    /// each as [`find_in`](Self::find_in) does. Nothing is downloaded.
    pub fn find(path_or_name: &Path) -> Result<Self> {
        // A dangling link counts as a path: the error should be about the link, not about a model name.
        match fs::symlink_metadata(path_or_name) {
            Ok(_) => {
                let cached = hub_cache::repository_name(path_or_name);
                let files = cached.and_then(|name| from_cached(path_or_name, &name, MAIN));
                return files.unwrap_or_else(|| Self::from_dir(path_or_name));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(io_error(path_or_name, e)),
        }
        let mut folders = vec![PathBuf::from("models")];
        folders.extend(hub_cache::environment().hub_folder());
        find_in_folders(&folders, &path_or_name.to_string_lossy())
    }

    /// Looks a name up in one folder: as `folder/org/name`, as `folder/name`, and in the layout of the Hugging Face
    /// cache (`folder/models--org--name/snapshots/...`). There, `org/name@revision` is another branch, tag or commit than
    /// `main`. The name of a repository without safetensors files stands for the repository that has the same weights as
    /// safetensors.
    pub fn find_in(folder: &Path, name: &str) -> Result<Self> {
        find_in_folders(&[folder.to_owned()], name)
    }

    /// Reads config.json, tokenizer.json (or what it can be made from: [`VOCABULARY_FILES`]) and the small files beside them
    /// and locates model.safetensors or the shards that model.safetensors.index.json lists; the weights themselves stay on
    /// disk until loading.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let name = dir.display().to_string();
        if !fs::metadata(dir).map_err(|e| io_error(dir, e))?.is_dir() {
            let hint = "it is a file: give the directory that holds config.json, tokenizer.json and model.safetensors";
            return Err(Error::NotFound { name, hint: hint.into() });
        }
        refuse_adapter(dir)?;
        let config = read_small(&dir.join("config.json"), MAX_CONFIG_BYTES)?.ok_or_else(|| {
            let hint = "the directory holds no config.json: it needs config.json, tokenizer.json and model.safetensors";
            Error::NotFound { name: name.clone(), hint: hint.into() }
        })?;
        let weights = find_weights(dir)?;
        let tokenizer = read_small(&dir.join("tokenizer.json"), MAX_TOKENIZER_BYTES)?;
        let vocabulary = if tokenizer.is_some() { Vec::new() } else { read_vocabulary(dir)? };
        if tokenizer.is_none() && vocabulary.is_empty() {
            return Err(missing_tokenizer(name));
        }
        let optional = |file: &str| read_small(&dir.join(file), MAX_CONFIG_BYTES);
        Ok(Self {
            config,
            weights,
            tokenizer: tokenizer.unwrap_or_default(),
            vocabulary,
            tokenizer_config: optional(TOKENIZER_CONFIG)?,
            special_tokens_map: optional(SPECIAL_TOKENS_MAP)?,
            added_tokens: optional(ADDED_TOKENS)?,
            sentence_bert_config: optional(SENTENCE_BERT_CONFIG)?,
            sentence_transformers: optional(SENTENCE_TRANSFORMERS)?,
            modules: modules::read_modules(dir)?,
            name,
        })
    }
}

/// The repository with the same weights as safetensors, for the name of one without them and for a former name.
pub fn alias(name: &str) -> Option<&'static str> {
    ALIASES.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
}

/// A revision of a repository from its folder in the hub's cache; `None` if there is no such folder.
fn from_cached(cached: &Path, name: &str, revision: &str) -> Option<Result<ModelFiles>> {
    let snapshot = hub_cache::snapshot(cached, name, revision).transpose()?;
    Some(
        snapshot.and_then(|dir| {
            ModelFiles::from_dir(&dir).map_err(|error| hub_cache::explain(error, cached, name))
        }),
    )
}

fn find_in_folders(folders: &[PathBuf], given: &str) -> Result<ModelFiles> {
    // Shells complete the names of folders with one.
    let given = given.trim_end_matches('/');
    let (name, revision) = given.split_once('@').unwrap_or((given, MAIN));
    // `org/name` or `name`: anything else is a path that does not exist.
    let parts: Vec<_> = Path::new(name).components().collect();
    let is_name = matches!(parts[..], [Component::Normal(_)] | [Component::Normal(_), Component::Normal(_)])
        && !name.contains('\\');
    if !is_name || !is_revision(revision) {
        let hint = "there is no such directory, and it is not a name of the form `organization/model`";
        return Err(Error::NotFound { name: given.into(), hint: hint.into() });
    }
    let alias = alias(name);
    let with_revision = |name: &str| given.replacen(given.split('@').next().unwrap_or_default(), name, 1);
    let mut tried = Vec::new();
    // An error about a directory that exists but holds no complete model explains more than "not found".
    let mut incomplete = None;
    for name in alias.into_iter().chain([name]) {
        for folder in folders {
            let cached = hub_cache::repository(folder, name);
            // Plain folders have no revisions.
            let plain = if revision == MAIN { plain_folders(folder, name) } else { Vec::new() };
            let plain = plain.into_iter().map(|dir| (dir.is_dir().then(|| ModelFiles::from_dir(&dir)), dir));
            let snapshot = from_cached(&cached, name, revision);
            for (found, dir) in plain.chain([(snapshot, cached)]) {
                match found {
                    Some(Ok(files)) => return Ok(ModelFiles { name: with_revision(name), ..files }),
                    Some(Err(error)) => incomplete = incomplete.or(Some(error)),
                    None => tried.push(format!("`{}`", dir.display())),
                }
            }
        }
    }
    #[cfg(feature = "bundled-model")]
    if incomplete.is_none() && given == "crossrank-mini" {
        return Ok(ModelFiles::bundled());
    }
    Err(incomplete.unwrap_or_else(|| Error::NotFound {
        name: given.into(),
        hint: format!(
            "looked for {}; `crossrank pull {}` downloads it",
            tried.join(", "),
            with_revision(alias.unwrap_or(name))
        ),
    }))
}

/// Whether a text may be a branch, a tag or a commit: its parts become parts of paths.
pub fn is_revision(revision: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
    revision.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed))
}

/// The directories below `folder` that may hold a model of that name.
fn plain_folders(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut dirs = vec![folder.join(name)];
    if let Some((_, short)) = name.split_once('/') {
        dirs.push(folder.join(short));
    }
    dirs
}

/// Refuses a folder with an adapter such as LoRA's, which transformers adds to the model that lies beside it or that its
/// configuration names.
fn refuse_adapter(dir: &Path) -> Result<()> {
    const KEY: &str = "base_model_name_or_path";
    let Some(bytes) = read_small(&dir.join(ADAPTER_CONFIG), MAX_CONFIG_BYTES)? else { return Ok(()) };
    let map: serde_json::Map<String, serde_json::Value> =
        parse_json(ADAPTER_CONFIG, &bytes).unwrap_or_default();
    let base = map.get(KEY).and_then(|base| base.as_str()).map(printable);
    let of = base.map_or(String::new(), |base| format!(" of `{base}`"));
    Err(Error::Unsupported {
        what: format!("`{}` is the folder of an adapter{of} ({ADAPTER_CONFIG}), which", dir.display()),
        hint: format!(
            "{MERGE_ADAPTER}; if model.safetensors holds the merged model already, delete {ADAPTER_CONFIG}"
        ),
    })
}

/// The files of [`VOCABULARY_FILES`] that are there.
fn read_vocabulary(dir: &Path) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut found = Vec::new();
    for (name, limit) in VOCABULARY_FILES {
        if let Some(bytes) = read_small(&dir.join(name), limit)? {
            found.push((name, bytes));
        }
    }
    Ok(found)
}

fn missing_tokenizer(name: String) -> Error {
    let sources = VOCABULARY_FILES.map(|(name, _)| name).join(", ");
    let hint = format!(
        "the directory holds no tokenizer.json, and none of {sources}: download it again; of other files, {MAKE_TOKENIZER}"
    );
    Error::NotFound { name, hint }
}

/// model.safetensors, or the shards of model.safetensors.index.json.
fn find_weights(dir: &Path) -> Result<Vec<WeightFile>> {
    let single = dir.join("model.safetensors");
    if is_file(&single)? {
        return Ok(vec![WeightFile::Path(single)]);
    }
    let index_path = dir.join("model.safetensors.index.json");
    let Some(index) = read_small(&index_path, MAX_CONFIG_BYTES)? else {
        return Err(no_weights(dir));
    };
    let file = index_path.display().to_string();
    let index: serde_json::Map<String, serde_json::Value> = parse_json(&file, &index)?;
    let format_error = |message: String| Error::Format { file: file.clone(), message };
    let map = index.get("weight_map").and_then(|map| map.as_object()).filter(|map| !map.is_empty());
    let map =
        map.ok_or_else(|| format_error("key `weight_map`: expected a map from tensors to files".into()))?;
    let mut shards = std::collections::BTreeSet::new();
    for shard in map.values() {
        let shard =
            shard.as_str().ok_or_else(|| format_error("key `weight_map`: expected names of files".into()))?;
        if !is_plain_name(shard) {
            let shown: String =
                shard.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect();
            return Err(format_error(format!(
                "key `weight_map`: `{shown}` is not the plain name of a file beside the index"
            )));
        }
        shards.insert(shard);
    }
    shards
        .into_iter()
        .map(|shard| {
            let path = dir.join(shard);
            if is_file(&path)? {
                return Ok(WeightFile::Path(path));
            }
            let message = format!("lists `{shard}`, which is not there: download the model again");
            Err(format_error(message))
        })
        .collect()
}

/// The error for a directory without safetensors: what it holds instead, and which repository to use.
fn no_weights(dir: &Path) -> Error {
    let shown = dir.display().to_string();
    // The path contains the repository's name as `Xenova/model` or, in the cache, as `models--Xenova--model`.
    let repository = shown.replace('\\', "/").replace("--", "/");
    let instead = ALIASES
        .iter()
        .find(|(from, _)| repository.split('/').any(|part| from.ends_with(&format!("/{part}"))))
        .map_or("a repository with model.safetensors".into(), |(_, to)| format!("`{to}`"));
    let names: Vec<String> = [dir.to_owned(), dir.join("onnx")]
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()))
        .collect();
    let shard_or_other = names.iter().find(|name| name.ends_with(".safetensors"));
    let foreign = FOREIGN_FORMATS.iter().filter(|_| shard_or_other.is_none());
    for (ending, format) in foreign {
        if let Some(file) =
            names.iter().find(|name| name.ends_with(ending) && !TRAINING_FILES.contains(&name.as_str()))
        {
            return Error::Unsupported {
                what: format!("`{shown}` holds only {format} weights (`{file}`), which"),
                hint: format!("use {instead}, whose weights are safetensors"),
            };
        }
    }
    let hint = match shard_or_other {
        Some(shard) if shard.contains("-of-") => {
            format!("the directory holds `{shard}`, but no model.safetensors.index.json: download it again")
        }
        Some(other) => {
            format!(
                "the directory holds no model.safetensors, but `{other}`: if that is the model, rename it"
            )
        }
        None => format!("the directory holds no model.safetensors: download it again, or use {instead}"),
    };
    Error::NotFound { name: shown, hint }
}
