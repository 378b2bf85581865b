//! Finds a model on disk: in a directory, or by its name in the models folder and the Hugging Face cache.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::files::{
    ADDED_TOKENS, MAKE_TOKENIZER, ModelFiles, SENTENCE_BERT_CONFIG, SENTENCE_TRANSFORMERS,
    SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG, VOCABULARY_FILES, WeightFile,
};
use crate::model::io::{MAX_CONFIG_BYTES, io_error, is_file, is_plain_name, parse_json, read_small};
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
    /// (`$HF_HUB_CACHE`, else `$HF_HOME/hub`, else `~/.cache/huggingface/hub`), each as [`find_in`](Self::find_in)
    /// does. Nothing is downloaded.
    pub fn find(path_or_name: &Path) -> Result<Self> {
        // A dangling link counts as a path: the error should be about the link, not about a model name.
        match fs::symlink_metadata(path_or_name) {
            Ok(_) => return Self::from_dir(path_or_name),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(io_error(path_or_name, e)),
        }
        let mut folders = vec![PathBuf::from("models")];
        folders.extend(hub_folder());
        find_in_folders(&folders, &path_or_name.to_string_lossy())
    }

    /// Looks a name up in one folder: as `folder/org/name`, as `folder/name`, and in the layout of the Hugging Face
    /// cache (`folder/models--org--name/snapshots/...`). The name of a repository without safetensors files stands for
    /// the repository that has the same weights as safetensors.
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

/// The folder of the Hugging Face cache; `None` where neither the environment nor a home directory tells it.
pub fn hub_folder() -> Option<PathBuf> {
    hub_cache(|name| std::env::var_os(name), std::env::home_dir())
}

/// The repository with the same weights as safetensors, for the name of one without them and for a former name.
pub fn alias(name: &str) -> Option<&'static str> {
    ALIASES.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
}

/// The folder of huggingface_hub's cache, from the environment variables and the user's home directory.
fn hub_cache(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("HF_HUB_CACHE")
        .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| home.map(|home| home.join(".cache/huggingface/hub")))
}

fn find_in_folders(folders: &[PathBuf], name: &str) -> Result<ModelFiles> {
    // `org/name` or `name`: anything else is a path that does not exist.
    let parts: Vec<_> = Path::new(name).components().collect();
    let is_name = matches!(parts[..], [Component::Normal(_)] | [Component::Normal(_), Component::Normal(_)])
        && !name.contains('\\');
    if !is_name {
        let hint = "there is no such directory, and it is not a name of the form `organization/model`";
        return Err(Error::NotFound { name: name.into(), hint: hint.into() });
    }
    let alias = alias(name);
    let mut tried = Vec::new();
    // An error about a directory that exists but holds no complete model explains more than "not found".
    let mut incomplete = None;
    for name in alias.into_iter().chain([name]) {
        for folder in folders {
            for dir in candidates(folder, name) {
                if !dir.is_dir() {
                    tried.push(format!("`{}`", dir.display()));
                    continue;
                }
                match ModelFiles::from_dir(&dir) {
                    Ok(files) => return Ok(ModelFiles { name: name.into(), ..files }),
                    Err(e) => incomplete = incomplete.or(Some(e)),
                }
            }
        }
    }
    #[cfg(feature = "bundled-model")]
    if incomplete.is_none() && name == "crossrank-mini" {
        return Ok(ModelFiles::bundled());
    }
    Err(incomplete.unwrap_or_else(|| Error::NotFound {
        name: name.into(),
        hint: format!(
            "looked for {}; `crossrank pull {}` downloads it",
            tried.join(", "),
            alias.unwrap_or(name)
        ),
    }))
}

/// The directories below `folder` that may hold a model of that name.
fn candidates(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut dirs = vec![folder.join(name)];
    if let Some((_, short)) = name.split_once('/') {
        dirs.push(folder.join(short));
    }
    let cached = folder.join(format!("models--{}", name.replace('/', "--")));
    dirs.push(snapshot(&cached).unwrap_or(cached));
    dirs
}

/// The folder of the snapshot that `refs/main` of a cached repository names, or of the only snapshot.
fn snapshot(cached: &Path) -> Option<PathBuf> {
    let snapshots = cached.join("snapshots");
    // A commit hash has 40 digits.
    if let Ok(Some(main)) = read_small(&cached.join("refs/main"), 256) {
        let commit = String::from_utf8(main).ok()?;
        let commit = commit.trim();
        let is_hash = !commit.is_empty() && commit.bytes().all(|b| b.is_ascii_alphanumeric());
        return is_hash.then(|| snapshots.join(commit));
    }
    let mut all = fs::read_dir(snapshots).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let only = all.next()?;
    all.next().is_none().then_some(only)
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
    for (ending, format) in FOREIGN_FORMATS {
        if let Some(file) = names.iter().find(|name| name.ends_with(ending)) {
            return Error::Unsupported {
                what: format!("`{shown}` holds only {format} weights (`{file}`), which"),
                hint: format!("use {instead}, whose weights are safetensors"),
            };
        }
    }
    Error::NotFound {
        name: shown,
        hint: format!("the directory holds no model.safetensors: download it again, or use {instead}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_variables_say_where_the_hugging_face_cache_is() {
        let place = |variables: &[(&str, &str)], home: Option<&str>| {
            let value =
                |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
            hub_cache(value, home.map(PathBuf::from))
        };
        let path = |path: &str| Some(PathBuf::from(path));
        assert_eq!(place(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/hub")], Some("/home/me")), path("/hub"));
        assert_eq!(place(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "")], Some("/home/me")), path("/hf/hub"));
        assert_eq!(place(&[], Some("/home/me")), path("/home/me/.cache/huggingface/hub"));
        assert_eq!(place(&[], None), None);
    }
}
