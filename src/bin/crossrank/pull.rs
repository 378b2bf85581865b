//! `crossrank pull`: downloads a model from the Hugging Face hub into the cache that `--model NAME` looks in.
//!
//! Files arrive in a cache of our own beside the models. The hub names a file's contents by a checksum: each is compared
//! with it before it moves to where models are looked up, the weights last. What was cut or is wrong is never loaded.

use std::env;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crossrank::model::find;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use indicatif::{HumanBytes, ProgressBar};
use serde_json::{Map, Value};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::failure::Failure;

/// Tries per file. Each goes on where the last one was cut.
const TRIES: u32 = 5;

/// Wait after the first failed try; doubles each time, so 15 times this in all.
const WAIT: Duration = Duration::from_millis(200);

/// The cache in which files arrive, inside the hub's cache: a file must be able to move without being copied.
const ARRIVALS: &str = ".crossrank";

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Lists the folders of a head that is not in the checkpoint.
const MODULES: &str = "modules.json";
/// Taken where the repository has them.
const OPTIONAL: [&str; 4] =
    ["tokenizer_config.json", "config_sentence_transformers.json", "golden.json", MODULES];

/// Download a model from the Hugging Face hub
///
/// Goes on where an interrupted download stopped, checks every file against the hub's checksum, and puts the model where
/// `--model NAME` finds it. HF_ENDPOINT names another hub, HF_TOKEN is sent to it, HF_HOME is the folder of the cache.
#[derive(clap::Args)]
pub struct Args {
    /// Repository on the hub, for example cross-encoder/ms-marco-MiniLM-L6-v2
    #[arg(value_parser = parse_name)]
    name: String,
}

pub fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let alias = find::alias(&args.name);
    if let Some(name) = alias {
        writeln!(out, "{} stands for {name}, which has the same weights as safetensors", args.name)?;
        out.flush()?;
    }
    let name = alias.unwrap_or(&args.name);
    let hub = Hub::open(name)?;
    let (mut count, mut bytes) = (0, 0);
    for file in hub.files()? {
        bytes += hub.fetch(&file)?;
        count += 1;
    }
    let folder = hub.publish()?;
    writeln!(out, "{name}: {count} files, {}, checksums right, in {}", HumanBytes(bytes), folder.display())?;
    Ok(())
}

/// `name` or `owner/name`, in the hub's own alphabet.
fn parse_name(text: &str) -> Result<String, &'static str> {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    match text.split('/').count() {
        1 | 2 if text.split('/').all(part) => Ok(text.to_owned()),
        _ => Err("expected OWNER/NAME of letters, digits, `-`, `_` and `.`"),
    }
}

/// One commit of one repository, and where its files go.
struct Hub {
    name: String,
    endpoint: String,
    api: Api,
    /// At `commit`, so that all files belong together whatever is pushed meanwhile.
    repo: ApiRepo,
    /// Where models are looked up.
    cache: Cache,
    /// Where files arrive.
    arrivals: Cache,
    commit: String,
    /// The names of the repository's files.
    listing: Vec<String>,
}

impl Hub {
    /// Asks the hub for the newest commit of a repository.
    fn open(name: &str) -> Result<Self, Failure> {
        let variable = |key| env::var(key).ok().filter(|value| !value.trim().is_empty());
        let folder = find::hub_folder()
            .ok_or_else(|| Failure::new("no home directory: set HF_HOME to a folder for models"))?;
        let folder = std::path::absolute(&folder).map_err(|error| cannot_write(&folder, error))?;
        let arrivals = Cache::new(folder.join(ARRIVALS));
        let cache = Cache::new(folder);
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        let token = variable("HF_TOKEN").map(|token| token.trim().to_owned());
        let api = ApiBuilder::from_cache(arrivals.clone())
            .with_endpoint(endpoint.clone())
            .with_token(token.or_else(|| cache.token()))
            .with_user_agent("crossrank", env!("CARGO_PKG_VERSION"))
            // Our own tries also check what came.
            .with_retries(0)
            .build()
            .map_err(Failure::new)?;
        let info = api
            .model(name.to_owned())
            .info()
            .map_err(|error| explain(&endpoint, &format!("repository `{name}`"), &error))?;
        // Both become parts of paths.
        plain("commit", &info.sha)?;
        let repo = Repo::with_revision(name.to_owned(), RepoType::Model, info.sha.clone());
        Ok(Self {
            name: name.to_owned(),
            repo: api.repo(repo),
            endpoint,
            api,
            cache,
            arrivals,
            commit: info.sha,
            listing: info.siblings.into_iter().map(|sibling| sibling.rfilename).collect(),
        })
    }

    /// The files that make the model, small ones first. Downloads the index of a checkpoint in shards, and the list of
    /// modules, to know them.
    fn files(&self) -> Result<Vec<String>, Failure> {
        for required in [CONFIG, TOKENIZER] {
            if !self.has(required) {
                let name = &self.name;
                return Err(Failure::new(format_args!(
                    "`{name}` has no {required}: crossrank needs config.json, tokenizer.json and model.safetensors"
                )));
            }
        }
        let mut files = vec![CONFIG.to_owned(), TOKENIZER.to_owned()];
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
            plain("module's folder", folder)?;
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
            plain("shard name", shard)?;
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
            match self.attempt(file) {
                Ok(bytes) => return Ok(bytes),
                Err(Attempt::Final(failure)) => return Err(failure),
                Err(Attempt::Again(failure)) if tries == TRIES => return Err(failure),
                Err(Attempt::Again(_)) => thread::sleep(WAIT * 2_u32.pow(tries - 1)),
            }
        }
    }

    fn attempt(&self, file: &str) -> Result<u64, Attempt> {
        let failed = |error: ApiError| {
            let failure = explain(&self.endpoint, &format!("`{file}` of `{}`", self.name), &error);
            if status(&error).is_some_and(|code| (400..500).contains(&code) && code != 429) {
                Attempt::Final(failure)
            } else {
                Attempt::Again(failure)
            }
        };
        let about = self.api.metadata(&self.repo.url(file)).map_err(failed)?;
        let size = about.size() as u64;
        // Weak where a proxy has compressed the answer; the value is the same.
        let sum = about.etag().strip_prefix("W/").unwrap_or(about.etag());
        plain("checksum", sum).map_err(Attempt::Final)?;

        let goal = self.snapshot().join(file);
        let io_error = |error| Attempt::Final(cannot_write(&goal, error));
        if matches(&goal, sum, size).map_err(io_error)? {
            return Ok(size);
        }
        let arrived = self.folder(&self.arrivals);
        let part = arrived.blob_path(about.etag()).with_extension("part");
        let have = fs::metadata(&part).map_or(0, |part| part.len());
        if have >= size {
            // Nothing is left to ask for, and asking for it would be refused.
            remove(&part).map_err(io_error)?;
        }
        let landed = self.repo.download_with_progress(file, ProgressBar::new(size)).map_err(failed)?;
        let landed = fs::canonicalize(landed).map_err(io_error)?;
        if matches(&landed, sum, size).map_err(io_error)? {
            let blob = self.folder(&self.cache).blob_path(sum);
            // From the file's folder to that of the repository, in which `blobs` lies beside `snapshots`.
            let up = "../".repeat(2 + file.matches('/').count());
            place(&landed, &blob, &goal, Path::new(&up)).map_err(io_error)?;
            return Ok(size);
        }
        remove(&landed).map_err(io_error)?;
        let failure = Failure::new(format_args!(
            "`{file}` of `{}` does not have the checksum {sum} that {} gives for it; it was removed: try again, or use another hub",
            self.name, self.endpoint
        ));
        // What was resumed may have been the rest of another file; what came whole will be no better next time.
        Err(if have > 0 { Attempt::Again(failure) } else { Attempt::Final(failure) })
    }

    /// Makes the commit the one that `--model NAME` finds, and returns its folder.
    fn publish(&self) -> Result<PathBuf, Failure> {
        let folder = self.snapshot();
        self.folder(&self.cache).create_ref(&self.commit).map_err(|error| cannot_write(&folder, error))?;
        // Nothing but locks and dead links by now; what cannot be removed does no harm.
        let repository = Repo::model(self.name.clone()).folder_name();
        let _ = fs::remove_dir_all(self.arrivals.path().join(repository));
        let _ = fs::remove_dir(self.arrivals.path());
        Ok(folder)
    }

    /// The repository in one of the caches.
    fn folder(&self, cache: &Cache) -> CacheRepo {
        cache.repo(Repo::model(self.name.clone()))
    }

    /// Where the commit's files are looked up.
    fn snapshot(&self) -> PathBuf {
        self.folder(&self.cache).pointer_path(&self.commit)
    }
}

/// Moves a file into the hub's cache: its contents under their checksum, and a link to them under its name, which goes
/// `up` from there.
fn place(file: &Path, blob: &Path, link: &Path, up: &Path) -> io::Result<()> {
    for path in [blob, link] {
        fs::create_dir_all(path.parent().expect("a file in a cache lies in a folder"))?;
    }
    remove(link)?;
    // Links need a privilege on Windows; hf-hub and huggingface_hub put the file itself there too.
    #[cfg(not(unix))]
    {
        let _ = up;
        fs::rename(file, link)
    }
    #[cfg(unix)]
    {
        fs::rename(file, blob)?;
        let target = up.join("blobs").join(blob.file_name().expect("a blob has a name"));
        std::os::unix::fs::symlink(target, link)
    }
}

/// Why a try to fetch a file ended.
enum Attempt {
    /// The next try may succeed.
    Again(Failure),
    /// No other try will.
    Final(Failure),
}

/// Whether a file has a size and a checksum: SHA-256 of large files, SHA-1 of git's blob for small ones (some mirrors
/// give the SHA-1 of the bytes alone). A checksum of another form is not one we can compute: the size must do.
fn matches(path: &Path, sum: &str, size: u64) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() != size {
        return Ok(false);
    }
    let (mut sha256, mut git) = (Sha256::new(), Sha1::new());
    let mut sha1 = Sha1::new();
    git.update(format!("blob {size}\0"));
    let mut bytes = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut bytes)?;
        if count == 0 {
            break;
        }
        match sum.len() {
            64 => sha256.update(&bytes[..count]),
            40 => {
                git.update(&bytes[..count]);
                sha1.update(&bytes[..count]);
            }
            _ => {}
        }
    }
    let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(match sum.len() {
        64 => hex(&sha256.finalize()) == sum,
        40 => hex(&git.finalize()) == sum || hex(&sha1.finalize()) == sum,
        _ => true,
    })
}

/// Refuses what the hub says where it would lead a path out of the cache.
fn plain(what: &str, text: &str) -> Result<(), Failure> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if text.is_empty() || text.starts_with('.') || !text.bytes().all(allowed) {
        return Err(Failure::new(format_args!("the hub gave a {what} that is none: {text:?}")));
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn cannot_write(path: &Path, error: io::Error) -> Failure {
    Failure::new(format_args!("cannot write `{}`: {error}", path.display()))
}

/// The HTTP status that a request failed with.
fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(code) => Some(code),
            _ => None,
        },
        _ => None,
    }
}

/// `subject` is what was asked for.
fn explain(endpoint: &str, subject: &str, error: &ApiError) -> Failure {
    match status(error) {
        Some(code @ (401 | 403)) => Failure::new(format_args!(
            "{endpoint} refuses {subject} (HTTP {code}): check the name; a private or gated repository needs a token with access in HF_TOKEN"
        )),
        Some(404) => Failure::new(format_args!("{endpoint} has no {subject} (HTTP 404): check the name")),
        Some(code) => {
            Failure::new(format_args!("{endpoint} fails to give {subject} (HTTP {code}): try again later"))
        }
        None => Failure::new(format_args!(
            "cannot download {subject} from {endpoint}: {error}; what came is kept, try again"
        )),
    }
}
