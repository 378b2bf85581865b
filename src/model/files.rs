//! Where a model's files come from: a directory, a name, or memory.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::modules::{self, ModuleFiles};

/// The most bytes of config.json, tokenizer_config.json and a checkpoint's index: the index of the largest checkpoint
/// that is accepted takes half of it.
pub(super) const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// The most bytes of tokenizer.json: vocabularies of 256 000 words take about 35 MB.
const MAX_TOKENIZER_BYTES: u64 = 128 << 20;
/// Characters of a JSON parser's message that are kept: it may quote a file's content at any length.
const MAX_MESSAGE_CHARS: usize = 300;

/// Repositories without safetensors files, and former names; beside each the repository with the same weights.
const ALIASES: &[(&str, &str)] = &[
    ("Xenova/ms-marco-MiniLM-L-6-v2", "cross-encoder/ms-marco-MiniLM-L6-v2"),
    ("Xenova/ms-marco-MiniLM-L-12-v2", "cross-encoder/ms-marco-MiniLM-L12-v2"),
    ("Xenova/bge-reranker-base", "BAAI/bge-reranker-base"),
    ("cross-encoder/ms-marco-MiniLM-L-6-v2", "cross-encoder/ms-marco-MiniLM-L6-v2"),
    ("cross-encoder/ms-marco-MiniLM-L-12-v2", "cross-encoder/ms-marco-MiniLM-L12-v2"),
];

/// Endings of weight files that are recognized in order to say what is wrong with them.
const FOREIGN_FORMATS: &[(&str, &str)] = &[
    (".onnx", "ONNX"),
    (".bin", "PyTorch pickle"),
    (".pt", "PyTorch pickle"),
    (".ckpt", "PyTorch pickle"),
    (".h5", "TensorFlow"),
    (".msgpack", "Flax"),
    (".gguf", "GGUF"),
];

/// What sentence-transformers writes beside config.json.
pub const SENTENCE_TRANSFORMERS: &str = "config_sentence_transformers.json";

/// The files of one model in Hugging Face layout.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// The name or path the user gave.
    pub name: String,
    /// config.json.
    pub config: Vec<u8>,
    /// tokenizer.json.
    pub tokenizer: Vec<u8>,
    /// tokenizer_config.json, where there is one.
    pub tokenizer_config: Option<Vec<u8>>,
    /// config_sentence_transformers.json, where there is one: it may name the activation of the scores.
    pub sentence_transformers: Option<Vec<u8>>,
    /// model.safetensors, or its shards.
    pub weights: Vec<WeightFile>,
    /// Where the head is not in `weights`: the modules that follow the encoder, as modules.json lists them.
    pub modules: Vec<ModuleFiles>,
}

/// A safetensors file.
#[derive(Clone, Debug)]
pub enum WeightFile {
    /// On disk; read tensor by tensor while loading, closed afterwards.
    Path(PathBuf),
    /// In memory, with a name for messages.
    Bytes(String, Cow<'static, [u8]>),
}

impl ModelFiles {
    /// A directory, or a name such as `cross-encoder/ms-marco-MiniLM-L6-v2`.
    ///
    /// A name that is no path is looked up in `models/` below the current directory and then in the Hugging Face cache
    /// (`$HF_HUB_CACHE`, else `$HF_HOME/hub`, else `~/.cache/huggingface/hub`), each as [`find_in`](Self::find_in)
    /// does. Nothing is downloaded.
    pub fn find(path_or_name: &Path) -> Result<Self> {
        // A link that leads nowhere exists too: the error should be about it, not about a name.
        match fs::symlink_metadata(path_or_name) {
            Ok(_) => return Self::from_dir(path_or_name),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(io_error(path_or_name, &e)),
        }
        let mut folders = vec![PathBuf::from("models")];
        folders.extend(hub_folder());
        find_in_folders(&folders, &path_or_name.to_string_lossy())
    }

    /// Looks a name up in one folder: as `folder/org/name`, as `folder/name`, and in the layout of the Hugging Face
    /// cache (`folder/models--org--name/snapshots/...`). A name without safetensors files stands for the repository
    /// with the same weights that has them.
    pub fn find_in(folder: &Path, name: &str) -> Result<Self> {
        find_in_folders(&[folder.to_owned()], name)
    }

    /// Reads config.json, tokenizer.json and tokenizer_config.json of a directory and locates model.safetensors or the
    /// shards that model.safetensors.index.json lists; the weights themselves stay on disk until loading.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let name = dir.display().to_string();
        if !fs::metadata(dir).map_err(|e| io_error(dir, &e))?.is_dir() {
            let hint = "it is a file: give the directory that holds config.json, tokenizer.json and model.safetensors";
            return Err(Error::NotFound { name, hint: hint.into() });
        }
        let needed = |file: &str, limit| {
            read_small(&dir.join(file), limit)?.ok_or_else(|| Error::NotFound {
                name: name.clone(),
                hint: format!(
                    "the directory holds no {file}: it needs config.json, tokenizer.json and model.safetensors"
                ),
            })
        };
        Ok(Self {
            config: needed("config.json", MAX_CONFIG_BYTES)?,
            weights: find_weights(dir)?,
            tokenizer: needed("tokenizer.json", MAX_TOKENIZER_BYTES)?,
            tokenizer_config: read_small(&dir.join("tokenizer_config.json"), MAX_CONFIG_BYTES)?,
            sentence_transformers: read_small(&dir.join(SENTENCE_TRANSFORMERS), MAX_CONFIG_BYTES)?,
            modules: modules::find(dir)?,
            name,
        })
    }

    /// A model in memory: the contents of config.json, tokenizer.json and model.safetensors (or of its shards).
    /// Set [`tokenizer_config`](Self::tokenizer_config) on the result where the model has one.
    pub fn from_bytes(
        name: impl Into<String>,
        config: impl Into<Vec<u8>>,
        tokenizer: impl Into<Vec<u8>>,
        weights: impl IntoIterator<Item = Cow<'static, [u8]>>,
    ) -> Self {
        let mut weights: Vec<_> = weights
            .into_iter()
            .enumerate()
            .map(|(i, bytes)| WeightFile::Bytes(format!("model-{i}.safetensors"), bytes))
            .collect();
        if let [WeightFile::Bytes(name, _)] = &mut weights[..] {
            *name = "model.safetensors".into();
        }
        Self {
            name: name.into(),
            config: config.into(),
            tokenizer: tokenizer.into(),
            tokenizer_config: None,
            sentence_transformers: None,
            weights,
            modules: Vec::new(),
        }
    }

    /// The model embedded in the library: crossrank-mini with its weights in 8 bits.
    #[cfg(feature = "bundled-model")]
    pub fn bundled() -> Self {
        macro_rules! bytes {
            ($file:literal) => {
                &include_bytes!(concat!("../../models/crossrank-mini-int8/", $file))[..]
            };
        }
        let weights = Cow::Borrowed(bytes!("model.safetensors"));
        Self {
            tokenizer_config: Some(bytes!("tokenizer_config.json").to_vec()),
            ..Self::from_bytes("crossrank-mini", bytes!("config.json"), bytes!("tokenizer.json"), [weights])
        }
    }

    /// Gives an error about one of these files the folder it lies in, where it lies in one.
    pub(crate) fn locate(&self, error: Error) -> Error {
        match (error, self.weights.first()) {
            (Error::Format { file, message }, Some(WeightFile::Path(weights)))
                if !file.contains(['/', '\\']) =>
            {
                Error::Format { file: weights.with_file_name(file).display().to_string(), message }
            }
            (error, _) => error,
        }
    }

    /// The same files, to be read again later: those on disk by their path. `None` where weights are in the caller's memory.
    pub fn kept(&self) -> Option<Self> {
        let modules = self.modules.iter().filter_map(|module| module.weights.as_ref());
        let owned = |weights: &WeightFile| matches!(weights, WeightFile::Bytes(_, Cow::Owned(_)));
        (!self.weights.iter().chain(modules).any(owned)).then(|| self.clone())
    }

    /// XXH3 (64 bits) of the length and bytes of every other file, and of the XXH3 of each header and tensor of the weight files, in
    /// order: equal for equal models wherever they lie. The weight files are read through once.
    ///
    /// Errors: those of a weight file that cannot be read, or is none.
    pub fn hash(&self) -> Result<u64> {
        self.hash_with(&Checkpoint::open(self)?)
    }

    /// [`hash`](Self::hash), where the weight files are open: what has been read of them is not read again.
    pub(crate) fn hash_with(&self, weights: &Checkpoint<'_>) -> Result<u64> {
        let mut hash = Xxh3::new();
        let mut add = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(&self.config);
        add(&self.tokenizer);
        add(self.tokenizer_config.as_deref().unwrap_or_default());
        add(self.sentence_transformers.as_deref().unwrap_or_default());
        for module in &self.modules {
            add(module.path.as_bytes());
            add(module.kind.as_bytes());
            add(&module.config);
        }
        hash.update(&weights.hash()?.to_le_bytes());
        Ok(hash.digest())
    }
}

/// The Hugging Face cache on disk; `None` where nothing says whose.
pub fn hub_folder() -> Option<PathBuf> {
    hub_cache(|name| std::env::var_os(name), std::env::home_dir())
}

/// The repository with the same weights as safetensors, for a name that has none or has changed.
pub fn alias(name: &str) -> Option<&'static str> {
    ALIASES.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
}

/// Where huggingface_hub keeps its cache, given the environment's variables and the user's home directory.
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
    let mut looked = Vec::new();
    // A directory that is there but does not hold a whole model explains more than "not found".
    let mut incomplete = None;
    for name in alias.into_iter().chain([name]) {
        for folder in folders {
            for dir in candidates(folder, name) {
                if !dir.is_dir() {
                    looked.push(format!("`{}`", dir.display()));
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
            looked.join(", "),
            alias.unwrap_or(name)
        ),
    }))
}

/// The directories in which a model of that name may lie.
fn candidates(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut dirs = vec![folder.join(name)];
    if let Some((_, short)) = name.split_once('/') {
        dirs.push(folder.join(short));
    }
    let cached = folder.join(format!("models--{}", name.replace('/', "--")));
    dirs.push(snapshot(&cached).unwrap_or(cached));
    dirs
}

/// The snapshot that `refs/main` of a cached repository names, or the only one.
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
    let broken = |message: String| Error::Format { file: file.clone(), message };
    let map = index.get("weight_map").and_then(|map| map.as_object()).filter(|map| !map.is_empty());
    let map = map.ok_or_else(|| broken("key `weight_map`: expected a map from tensors to files".into()))?;
    let mut shards = std::collections::BTreeSet::new();
    for shard in map.values() {
        let shard =
            shard.as_str().ok_or_else(|| broken("key `weight_map`: expected names of files".into()))?;
        if !is_plain_name(shard) {
            let shown: String =
                shard.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect();
            return Err(broken(format!(
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
            Err(broken(message))
        })
        .collect()
}

/// Whether a name that a file gives stays in the folder of that file: nothing in a model may point elsewhere on the disk.
pub(super) fn is_plain_name(name: &str) -> bool {
    let plain = !name.is_empty() && name != "." && !name.contains(['/', '\\', ':', '\0']);
    plain && !name.contains("..")
}

/// Says what a directory without safetensors holds instead, and which repository would do.
fn no_weights(dir: &Path) -> Error {
    let shown = dir.display().to_string();
    // Both `Xenova/model` and the cache's `models--Xenova--model` name the repository.
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

/// Whether a path is there. Anything there but a regular file is an error: a pipe would block its reader for ever.
pub(super) fn is_file(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(true),
        Ok(found) => Err(Error::Io {
            path: path.display().to_string(),
            message: if found.is_dir() {
                "it is a directory, not a file"
            } else {
                "it is not a regular file"
            }
            .into(),
        }),
        // A link that leads nowhere is a damaged download rather than an absent file.
        Err(e) if e.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => Ok(false),
        Err(e) => Err(io_error(path, &e)),
    }
}

/// Opens a regular file and tells its length.
pub(super) fn open(path: &Path) -> Result<(File, u64)> {
    if !is_file(path)? {
        return Err(Error::Io {
            path: path.display().to_string(),
            message: "it is not there any more".into(),
        });
    }
    let file = File::open(path).map_err(|e| io_error(path, &e))?;
    let bytes = file.metadata().map_err(|e| io_error(path, &e))?.len();
    Ok((file, bytes))
}

/// A whole file of at most `limit` bytes; `None` where there is none.
pub(super) fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    if !is_file(path)? {
        return Ok(None);
    }
    let (file, length) = open(path)?;
    // One more than there are, to find the end without growing; not on the word of a file that is too long anyway.
    let room = length.min(limit) + 1;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(room as usize).map_err(|_| Error::OutOfMemory { bytes: room })?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| io_error(path, &e))?;
    if bytes.len() as u64 > limit {
        let message = format!("is longer than {limit} bytes, the most that is read of such a file");
        return Err(Error::Format { file: path.display().to_string(), message });
    }
    Ok(Some(bytes))
}

pub(super) fn io_error(path: &Path, error: &io::Error) -> Error {
    Error::Io { path: path.display().to_string(), message: error.to_string() }
}

/// Parses JSON; the error names the file and stays short.
pub(super) fn parse_json<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| {
        let message = e.to_string();
        let mut shown: String = message.chars().take(MAX_MESSAGE_CHARS).collect();
        if shown.len() < message.len() {
            shown.push_str("...");
        }
        Error::Format { file: file.into(), message: shown }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hugging_face_cache_is_where_its_variables_say() {
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
