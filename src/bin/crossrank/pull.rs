//! `crossrank pull`: downloads a model from the Hugging Face hub into the cache that `--model NAME` looks in.
//!
//! Files are first downloaded to a cache of crossrank's own beside the models. The hub gives a checksum for each file: the
//! file is compared with it before it is moved to where models are looked up, the weights last. So an incomplete or wrong
//! file is never loaded.

mod endpoint;
mod store;

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crossrank::model::files::{MAKE_TOKENIZER, VOCABULARY_FILES};
use crossrank::model::find;
use crossrank::model::hub_cache::MAIN;
use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{Api, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use indicatif::{HumanBytes, ProgressBar};
use serde_json::{Map, Value};
use ureq::ResponseExt;

use self::endpoint::{Settings, build_api, endpoint_of, explain, explain_missing_header, host, http_status};
use self::store::{matches_checksum, move_into_cache, remove};
use crate::failure::Failure;

/// Maximum tries per file. Each resumes where the one before was interrupted.
const MAX_TRIES: u32 = 5;

/// Delay after the first failed try. It doubles each time, so all delays together are 15 times this.
const FIRST_DELAY: Duration = Duration::from_millis(200);

/// Folder of the cache for downloads, inside the hub's cache, so that a file can be moved without being copied.
const DOWNLOADS: &str = ".crossrank";

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Lists the folders of a head that is not in the checkpoint.
const MODULES: &str = "modules.json";
/// Downloaded if the repository has them.
const OPTIONAL: [&str; 7] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "golden.json",
    MODULES,
];

/// Download a model from the Hugging Face hub
///
/// Resumes an interrupted download, checks every file against the hub's checksum, and puts the model where
/// `--model NAME` finds it, or `--model NAME@REVISION`. HF_ENDPOINT names another hub, HF_TOKEN is sent to it, and
/// HF_HUB_CACHE or HF_HOME is the folder of the cache.
#[derive(clap::Args)]
pub struct Args {
    /// Repository on the hub, for example cross-encoder/ms-marco-MiniLM-L6-v2, and a branch, tag or commit [default: main]
    #[arg(value_parser = parse_name, value_name = "NAME[@REVISION]")]
    name: (String, String),
}

pub fn pull_model(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let (given, revision) = &args.name;
    let alias = find::alias(given);
    if let Some(name) = alias {
        writeln!(out, "{given} stands for {name}, which has the same weights as safetensors")?;
    }
    let name = alias.unwrap_or(given);
    let hub = Hub::open(name, revision)?;
    if let Some(from) = &hub.redirected_from {
        writeln!(out, "{from} redirects to {}", hub.endpoint)?;
    }
    out.flush()?;
    let (mut count, mut bytes) = (0, 0);
    for file in hub.files()? {
        bytes += hub.fetch(&file)?;
        count += 1;
    }
    let folder = hub.publish()?;
    writeln!(out, "{name}: {count} files, {}, checksums right, in {}", HumanBytes(bytes), folder.display())?;
    Ok(())
}

/// `name` or `owner/name`, in the hub's own alphabet, and the revision after `@`.
fn parse_name(text: &str) -> Result<(String, String), &'static str> {
    let (text, revision) = text.split_once('@').unwrap_or((text, MAIN));
    if !find::is_revision(revision) {
        return Err("expected a branch, a tag or a commit after `@`");
    }
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    match text.split('/').count() {
        1 | 2 if text.split('/').all(part) => Ok((text.to_owned(), revision.to_owned())),
        _ => Err("expected OWNER/NAME of letters, digits, `-`, `_` and `.`"),
    }
}

/// One commit of one repository, and the folders for its files.
struct Hub {
    name: String,
    /// The branch, tag or commit that was asked for.
    revision: String,
    endpoint: String,
    /// The endpoint of the environment, if it redirects to another.
    redirected_from: Option<String>,
    api: Api,
    /// The repository at `commit`, so that all files belong together even if another commit is pushed.
    repo: ApiRepo,
    /// The cache in which models are looked up.
    cache: Cache,
    /// The cache for downloads.
    downloads: Cache,
    commit: String,
    /// The names of the repository's files.
    listing: Vec<String>,
}

impl Hub {
    /// Asks the hub for the commit of a revision of a repository.
    fn open(name: &str, revision: &str) -> Result<Self, Failure> {
        let settings = Settings::from_environment()?;
        let folder = settings.folder;
        let downloads = Cache::new(folder.join(DOWNLOADS));
        let asked = settings.endpoint;
        let api = build_api(&downloads, &asked, settings.token.clone())?;
        let subject = match revision {
            MAIN => format!("repository `{name}`"),
            _ => format!("revision `{revision}` of `{name}`"),
        };
        let repo = Repo::with_revision(name.to_owned(), RepoType::Model, revision.to_owned());
        let failed = |error: Box<ureq::Error>| explain(&asked, &subject, &error.into());
        let mut response = api.repo(repo).info_request().call().map_err(|error| failed(Box::new(error)))?;
        let endpoint = endpoint_of(response.get_uri(), &asked)?;
        let info: RepoInfo = serde_json::from_reader(response.body_mut().as_reader()).map_err(|_| {
            Failure::new(format_args!(
                "{endpoint} is no Hugging Face hub: it answers {subject} with something else"
            ))
        })?;
        // The commit becomes a part of paths.
        check_path_part("commit", &info.sha)?;
        let redirected_from = (endpoint != asked).then_some(asked);
        let api = match &redirected_from {
            // The token is for the host that was named.
            Some(from) => {
                build_api(&downloads, &endpoint, settings.token.filter(|_| host(from) == host(&endpoint)))?
            }
            None => api,
        };
        let repo = Repo::with_revision(name.to_owned(), RepoType::Model, info.sha.clone());
        Ok(Self {
            name: name.to_owned(),
            revision: revision.to_owned(),
            repo: api.repo(repo),
            endpoint,
            redirected_from,
            api,
            cache: Cache::new(folder),
            downloads,
            commit: info.sha,
            listing: info.siblings.into_iter().map(|sibling| sibling.rfilename).collect(),
        })
    }

    /// The files of the model, small ones first. Downloads the index of a sharded checkpoint and the list of modules, which
    /// name further files.
    fn files(&self) -> Result<Vec<String>, Failure> {
        if !self.has(CONFIG) {
            let name = &self.name;
            return Err(Failure::new(format_args!(
                "`{name}` has no {CONFIG}: crossrank needs config.json, tokenizer.json and model.safetensors"
            )));
        }
        let mut files = vec![CONFIG.to_owned()];
        files.extend(self.tokenizer_files()?);
        files.extend(OPTIONAL.into_iter().filter(|name| self.has(name)).map(str::to_owned));
        if self.has(MODULES) {
            self.fetch(MODULES)?;
            files.extend(self.modules()?);
        }
        if self.has(WEIGHTS) {
            files.push(WEIGHTS.to_owned());
        } else if self.has(INDEX) {
            self.fetch(INDEX)?;
            files.push(INDEX.to_owned());
            files.extend(self.shards()?);
        } else {
            return Err(Failure::new(format_args!(
                "`{}` has no model.safetensors: look for a repository with the same weights as safetensors",
                self.name
            )));
        }
        Ok(files)
    }

    /// tokenizer.json, or the files that it can be made from.
    fn tokenizer_files(&self) -> Result<Vec<String>, Failure> {
        if self.has(TOKENIZER) {
            return Ok(vec![TOKENIZER.to_owned()]);
        }
        let sources = VOCABULARY_FILES.map(|(name, _)| name);
        let found: Vec<String> =
            sources.into_iter().filter(|name| self.has(name)).map(str::to_owned).collect();
        if found.is_empty() {
            return Err(Failure::new(format_args!(
                "`{}` has no {TOKENIZER}, and none of {}: of other files, {MAKE_TOKENIZER}",
                self.name,
                sources.join(", ")
            )));
        }
        Ok(found)
    }

    fn has(&self, file: &str) -> bool {
        self.listing.iter().any(|name| name == file)
    }

    /// The files of the modules that the downloaded list names.
    fn modules(&self) -> Result<Vec<String>, Failure> {
        let path = self.snapshot().join(MODULES);
        let wrong = |what: &dyn Display| Failure::new(format_args!("`{}`: {what}", path.display()));
        let text = fs::read(&path).map_err(|error| wrong(&error))?;
        let list: Vec<Map<String, Value>> = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
        let folders = list.iter().filter_map(|module| module.get("path").and_then(Value::as_str));
        let mut files = Vec::new();
        for folder in folders.filter(|folder| !folder.is_empty()) {
            check_path_part("module's folder", folder)?;
            let parts = [CONFIG, WEIGHTS].map(|file| format!("{folder}/{file}"));
            files.extend(parts.into_iter().filter(|file| self.has(file)));
        }
        Ok(files)
    }

    /// The files that the downloaded index names.
    fn shards(&self) -> Result<Vec<String>, Failure> {
        let path = self.snapshot().join(INDEX);
        let wrong = |what: &dyn Display| Failure::new(format_args!("`{}`: {what}", path.display()));
        let text = fs::read(&path).map_err(|error| wrong(&error))?;
        let index: Map<String, Value> = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
        let map = index.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| wrong(&"`weight_map` is missing or not an object"))?;
        let mut shards = Vec::new();
        for shard in map.values() {
            let shard = shard.as_str().ok_or_else(|| wrong(&"a shard's name is not a string"))?;
            check_path_part("shard name", shard)?;
            if !self.has(shard) {
                return Err(wrong(&format_args!("the repository lacks the shard `{shard}`")));
            }
            shards.push(shard.to_owned());
        }
        shards.sort();
        shards.dedup();
        Ok(shards)
    }

    /// Puts one file into the cache, unless it is there, and compares it with its checksum. Returns its size in bytes.
    fn fetch(&self, file: &str) -> Result<u64, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_fetch(file) {
                Ok(bytes) => return Ok(bytes),
                Err(FetchError::Final(failure)) => return Err(failure),
                Err(FetchError::Again(failure)) if tries == MAX_TRIES => return Err(failure),
                Err(FetchError::Again(_)) => thread::sleep(FIRST_DELAY * 2_u32.pow(tries - 1)),
            }
        }
    }

    fn try_fetch(&self, file: &str) -> Result<u64, FetchError> {
        let failed = |error: ApiError| {
            let subject = format!("`{file}` of `{}`", self.name);
            if let ApiError::MissingHeader(_) = error {
                let url = self.repo.url(file);
                return FetchError::Final(explain_missing_header(&self.endpoint, &subject, &url));
            }
            let failure = explain(&self.endpoint, &subject, &error);
            if http_status(&error).is_some_and(|code| (400..500).contains(&code) && code != 429) {
                FetchError::Final(failure)
            } else {
                FetchError::Again(failure)
            }
        };
        let metadata = self.api.metadata(&self.repo.url(file)).map_err(failed)?;
        let size = metadata.size() as u64;
        // A weak ETag, from a proxy that compressed the answer, has the same value.
        let sum = metadata.etag().strip_prefix("W/").unwrap_or(metadata.etag());
        check_path_part("checksum", sum).map_err(FetchError::Final)?;

        let target = self.snapshot().join(file);
        let io_error = |error| FetchError::Final(cannot_write(&target, error));
        if matches_checksum(&target, sum, size).map_err(io_error)? {
            return Ok(size);
        }
        let download = self.folder(&self.downloads);
        let part = download.blob_path(metadata.etag()).with_extension("part");
        let have = fs::metadata(&part).map_or(0, |part| part.len());
        if have >= size {
            // Complete or too long: the hub would refuse a request for the rest.
            remove(&part).map_err(io_error)?;
        }
        let downloaded = self.repo.download_with_progress(file, ProgressBar::new(size)).map_err(failed)?;
        let downloaded = fs::canonicalize(downloaded).map_err(io_error)?;
        if matches_checksum(&downloaded, sum, size).map_err(io_error)? {
            let blob = self.folder(&self.cache).blob_path(sum);
            // From the file's folder to that of the repository, in which `blobs` lies beside `snapshots`.
            let up = "../".repeat(2 + file.matches('/').count());
            move_into_cache(&downloaded, &blob, &target, Path::new(&up)).map_err(io_error)?;
            return Ok(size);
        }
        remove(&downloaded).map_err(io_error)?;
        let failure = Failure::new(format_args!(
            "`{file}` of `{}` does not have the checksum {sum} that {} gives for it; it was removed: try again, or use another hub",
            self.name, self.endpoint
        ));
        // A resumed download may have continued another file, so it is tried again. A complete one would be the same.
        Err(if have > 0 { FetchError::Again(failure) } else { FetchError::Final(failure) })
    }

    /// Makes `--model NAME` or `--model NAME@REVISION` find this commit, and returns its folder.
    fn publish(&self) -> Result<PathBuf, Failure> {
        let folder = self.snapshot();
        // A commit needs no reference: its snapshot has its name.
        if self.revision != self.commit {
            let revision = Repo::with_revision(self.name.clone(), RepoType::Model, self.revision.clone());
            let reference = self.cache.repo(revision).create_ref(&self.commit);
            reference.map_err(|error| cannot_write(&folder, error))?;
        }
        // Only locks and dead links are left there. Failing to remove them does no harm.
        let repository = Repo::model(self.name.clone()).folder_name();
        let _ = fs::remove_dir_all(self.downloads.path().join(repository));
        let _ = fs::remove_dir(self.downloads.path());
        Ok(folder)
    }

    /// The repository in one of the caches.
    fn folder(&self, cache: &Cache) -> CacheRepo {
        cache.repo(Repo::model(self.name.clone()))
    }

    /// The folder in which the commit's files are looked up.
    fn snapshot(&self) -> PathBuf {
        self.folder(&self.cache).pointer_path(&self.commit)
    }
}

/// Why a try to fetch a file failed.
enum FetchError {
    /// The next try may succeed.
    Again(Failure),
    /// No further try can succeed.
    Final(Failure),
}

/// Refuses names from the hub that could lead a path out of the cache.
fn check_path_part(what: &str, text: &str) -> Result<(), Failure> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if text.is_empty() || text.starts_with('.') || !text.bytes().all(allowed) {
        return Err(Failure::new(format_args!("the hub gave an invalid {what}: {text:?}")));
    }
    Ok(())
}

fn cannot_write(path: &Path, error: io::Error) -> Failure {
    Failure::new(format_args!("cannot write `{}`: {error}", path.display()))
}
