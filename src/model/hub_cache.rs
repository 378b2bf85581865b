//! The cache of the Hugging Face hub: where huggingface_hub keeps it, and which of its folders holds a model.
//!
//! A repository is a folder `models--owner--name`. `snapshots/COMMIT/` holds links to the files in `blobs/`, and `refs/NAME` the
//! commit that a branch or tag had when it was downloaded.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::io::read_limited;

/// The branch where no revision is given.
pub const MAIN: &str = "main";

/// The most names of snapshots that a message lists.
const MAX_LISTED: usize = 5;

/// The environment of this process, as huggingface_hub reads it.
pub struct Environment<V> {
    variable: V,
    home: Option<PathBuf>,
}

/// The environment variables and the home directory of this process.
pub fn environment() -> Environment<impl Fn(&str) -> Option<OsString>> {
    Environment { variable: |name: &str| env::var_os(name), home: env::home_dir() }
}

impl<V: Fn(&str) -> Option<OsString>> Environment<V> {
    /// The folder of the cache: HF_HUB_CACHE, its older name HUGGINGFACE_HUB_CACHE, or `hub` below HF_HOME. `None` where
    /// neither the environment nor a home directory tells it.
    pub fn hub_folder(&self) -> Option<PathBuf> {
        let named = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].into_iter().find_map(|name| self.set(name));
        Some(self.expand(named.or_else(|| Some(self.hf_home()?.join("hub").into_os_string()))?))
    }

    /// The file in which `hf auth login` keeps the token.
    pub fn token_file(&self) -> Option<PathBuf> {
        let named = self.set("HF_TOKEN_PATH");
        Some(self.expand(named.or_else(|| Some(self.hf_home()?.join("token").into_os_string()))?))
    }

    /// The name of the variable that forbids to use the network, if one does. The second counts where the first is not set.
    pub fn offline(&self) -> Option<&'static str> {
        let name =
            ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find(|name| self.set(name).is_some())?;
        let value = self.set(name)?.to_string_lossy().to_uppercase();
        ["1", "ON", "YES", "TRUE"].contains(&&*value).then_some(name)
    }

    /// HF_HOME, else `huggingface` in the user's folder of caches.
    fn hf_home(&self) -> Option<PathBuf> {
        let caches = || match self.set("XDG_CACHE_HOME") {
            Some(folder) => Some(PathBuf::from(folder)),
            None => Some(self.home.as_ref()?.join(".cache")),
        };
        let named = self.set("HF_HOME");
        Some(self.expand(named.or_else(|| Some(caches()?.join("huggingface").into_os_string()))?))
    }

    /// A variable's value; an empty one counts as not set.
    fn set(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// A path in which `~`, `$NAME` and `${NAME}` stand for what they do in a shell. Variables that are not set stay as they
    /// are.
    fn expand(&self, path: OsString) -> PathBuf {
        let Some(text) = path.to_str() else { return path.into() };
        let (start, rest) = match (text.strip_prefix('~'), &self.home) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with(['/', '\\']) => {
                (home.clone().into_os_string(), rest)
            }
            _ => (OsString::new(), text),
        };
        let (mut path, mut rest) = (start, rest);
        while let Some((before, after)) = rest.split_once('$') {
            path.push(before);
            let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
            let (name, next) = braced.unwrap_or_else(|| after.split_at(end));
            match (self.variable)(name) {
                Some(value) => path.push(value),
                None => path.push(&rest[before.len()..rest.len() - next.len()]),
            }
            rest = next;
        }
        path.push(rest);
        path.into()
    }
}

/// The folder of a repository in a cache.
pub fn repository(hub: &Path, name: &str) -> PathBuf {
    hub.join(format!("models--{}", name.replace('/', "--")))
}

/// The name of the repository whose folder of a cache a path is; `None` for other folders.
pub fn repository_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_prefix("models--")?;
    path.join("snapshots").is_dir().then(|| name.replacen("--", "/", 1))
}

/// The snapshot of a revision of a cached repository; `None` where the cache does not hold the repository. A revision is a
/// branch, a tag or a commit. For `main`, the only snapshot will do.
///
/// Errors: [`Error::NotFound`] with what the cache holds instead.
pub fn snapshot(cached: &Path, name: &str, revision: &str) -> Result<Option<PathBuf>> {
    let snapshots = cached.join("snapshots");
    if !cached.is_dir() {
        return Ok(None);
    }
    let pull = match revision {
        MAIN => format!("`crossrank pull {name}`"),
        _ => format!("`crossrank pull {name}@{revision}`"),
    };
    let not_found = |hint: String| Err(Error::NotFound { name: name.to_owned(), hint });
    let reference = cached.join("refs").join(revision);
    // A commit hash has 40 digits.
    if let Some(commit) = read_limited(&reference, 256)? {
        let commit = String::from_utf8_lossy(&commit);
        let commit = commit.trim();
        let shown = reference.display();
        if commit.is_empty() || !commit.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return not_found(format!("`{shown}` holds no commit; {pull} writes it"));
        }
        let snapshot = snapshots.join(commit);
        if !snapshot.is_dir() {
            return not_found(format!(
                "`{shown}` names the snapshot {commit}, which is not there; {pull} downloads it"
            ));
        }
        return Ok(Some(snapshot));
    }
    let mut found: Vec<String> = fs::read_dir(&snapshots)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    found.sort();
    let shown = cached.display();
    match &found[..] {
        _ if found.iter().any(|commit| commit == revision) => Ok(Some(snapshots.join(revision))),
        [only] if revision == MAIN => Ok(Some(snapshots.join(only))),
        [] => not_found(format!(
            "`{shown}` holds no snapshot: its download was interrupted; {pull} completes it"
        )),
        _ => {
            let (listed, count) = (found[..found.len().min(MAX_LISTED)].join(", "), found.len());
            let cause = match revision {
                MAIN => format!("{count} snapshots ({listed}) and no refs/main that names one of them"),
                _ => format!("no revision `{revision}`: its snapshots are {listed}"),
            };
            not_found(format!("`{shown}` holds {cause}; {pull} adds it, `{name}@COMMIT` is a snapshot"))
        }
    }
}

/// The error of a folder in a snapshot, with the cause where a download was not completed.
pub fn explain(error: Error, cached: &Path, name: &str) -> Error {
    let Error::NotFound { name: folder, hint } = error else { return error };
    let partial = |entry: fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".incomplete");
    let blobs = fs::read_dir(cached.join("blobs"));
    let cause = match blobs.into_iter().flatten().flatten().any(partial) {
        true => "a download was interrupted",
        false => "perhaps only some of its files were downloaded",
    };
    Error::NotFound { name: folder, hint: format!("{hint}; {cause}: `crossrank pull {name}` completes it") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the constants HF_HUB_CACHE and HF_TOKEN_PATH of huggingface_hub 1.1.4 are. An empty variable counts as not set, where
    /// huggingface_hub takes the working directory.
    #[test]
    fn environment_variables_say_where_the_cache_and_the_token_are() {
        let places = |variables: &[(&str, &str)], home: Option<&str>| {
            let variable =
                |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
            let environment = Environment { variable, home: home.map(PathBuf::from) };
            [environment.hub_folder(), environment.token_file()]
                .map(|path| path.map(|path| path.to_str().unwrap().to_owned()))
        };
        let cache = "/home/me/.cache/huggingface";
        for (variables, hub, token) in [
            (&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/hub")][..], "/hub", "/hf/token"),
            (&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "")], "/hf/hub", "/hf/token"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HOME", "/hf")], "/old", "/hf/token"),
            (
                &[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new"), ("HF_HOME", "/")],
                "/new",
                "/token",
            ),
            (
                &[("HUGGINGFACE_HUB_CACHE", "~/old$A"), ("A", "/a"), ("HF_HOME", "/")],
                "/home/me/old/a",
                "/token",
            ),
            (&[("XDG_CACHE_HOME", "/xdg")], "/xdg/huggingface/hub", "/xdg/huggingface/token"),
            (&[("XDG_CACHE_HOME", "/xdg"), ("HF_HOME", "/hf")], "/hf/hub", "/hf/token"),
            (
                &[("XDG_CACHE_HOME", "~/xdg")],
                "/home/me/xdg/huggingface/hub",
                "/home/me/xdg/huggingface/token",
            ),
            (
                &[("XDG_CACHE_HOME", "$A/xdg"), ("A", "/a")],
                "/a/xdg/huggingface/hub",
                "/a/xdg/huggingface/token",
            ),
            (&[("HF_HOME", "~")], "/home/me/hub", "/home/me/token"),
            (&[("HF_HOME", "~/hf")], "/home/me/hf/hub", "/home/me/hf/token"),
            (&[("HF_HOME", "$HOME/hf"), ("HOME", "/home/me")], "/home/me/hf/hub", "/home/me/hf/token"),
            // A folder below HF_HOME is expanded once more than HF_HOME itself.
            (&[("HF_HOME", "$A"), ("A", "~/b$B"), ("B", "/c")], "/home/me/b/c/hub", "/home/me/b/c/token"),
            (&[("HF_HUB_CACHE", "$A"), ("A", "~/b$B"), ("HF_HOME", "/")], "~/b$B", "/token"),
            (
                &[("HF_HUB_CACHE", "/a/${B}c/$D"), ("B", "b"), ("D", "~"), ("HF_HOME", "/")],
                "/a/bc/~",
                "/token",
            ),
            (
                &[("HF_HUB_CACHE", "~/$NOT_SET/${NOR_THIS}/$/x"), ("HF_HOME", "/")],
                "/home/me/$NOT_SET/${NOR_THIS}/$/x",
                "/token",
            ),
            (&[("HF_HUB_CACHE", "/a/${B/$B"), ("B", "b"), ("HF_HOME", "/")], "/a/${B/b", "/token"),
            (&[("HF_HUB_CACHE", "~nobody/hub"), ("HF_TOKEN_PATH", "~/t")], "~nobody/hub", "/home/me/t"),
            (&[], &*format!("{cache}/hub"), &*format!("{cache}/token")),
        ] {
            let expected = [Some(hub.to_owned()), Some(token.to_owned())];
            assert_eq!(places(variables, Some("/home/me")), expected, "{variables:?}");
        }
        assert_eq!(places(&[], None), [None, None]);
        let [hub, _] = places(&[("XDG_CACHE_HOME", "/xdg")], None);
        assert_eq!(hub.as_deref(), Some("/xdg/huggingface/hub"));
    }

    /// As the constant HF_HUB_OFFLINE of huggingface_hub 1.1.4 is.
    #[test]
    fn the_network_is_forbidden_as_in_huggingface_hub() {
        let (hub, transformers) = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE");
        for (variables, forbids) in [
            (&[][..], None),
            (&[(hub, "1")], Some(hub)),
            (&[(hub, "true")], Some(hub)),
            (&[(hub, "On")], Some(hub)),
            (&[(hub, "y")], None),
            (&[(hub, "0")], None),
            (&[(hub, "")], None),
            (&[(transformers, "yes")], Some(transformers)),
            (&[(hub, "0"), (transformers, "1")], None),
            (&[(hub, ""), (transformers, "1")], Some(transformers)),
        ] {
            let variable =
                |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
            assert_eq!(Environment { variable, home: None }.offline(), forbids, "{variables:?}");
        }
    }
}
