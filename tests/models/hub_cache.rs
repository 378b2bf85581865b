//! The hub's cache as huggingface_hub leaves it, whole and damaged: what is found, and the cause where nothing is.

use std::fs;
use std::path::{Path, PathBuf};

use crossrank::{ModelFiles, Reranker};

use crate::craft::*;

const FILES: [&str; 4] = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
const NAME: &str = "org/name";

/// A cache with one repository.
struct Cache {
    hub: tempfile::TempDir,
}

impl Cache {
    fn new(snapshots: &[&str], refs: &[(&str, &str)]) -> Self {
        let cache = Self { hub: tempfile::tempdir().unwrap() };
        fs::create_dir_all(cache.folder().join("blobs")).unwrap();
        for commit in snapshots {
            copy_into(&cache.snapshot(commit));
        }
        for (name, commit) in refs {
            let path = cache.folder().join("refs").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, commit).unwrap();
        }
        cache
    }

    fn folder(&self) -> PathBuf {
        self.hub.path().join("models--org--name")
    }

    fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder().join("snapshots").join(commit)
    }

    fn find(&self, name: &str) -> Result<ModelFiles, String> {
        ModelFiles::find_in(self.hub.path(), name).map_err(|error| error.to_string())
    }

    /// The message where a name is not found, which holds these parts.
    fn refuses(&self, name: &str, parts: &[&str]) {
        let message = self.find(name).expect_err("it must not be found");
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?} not in {message}");
        assert_eq!(message.matches("crossrank pull").count(), 1, "{message}");
    }
}

#[test]
fn a_revision_is_a_branch_a_tag_or_a_commit() {
    let cache = Cache::new(&["0aa", "0bb"], &[("main", "0bb"), ("v1", "0aa\n"), ("refs/pr/2", "0aa")]);
    for (name, commit) in [
        (NAME, "0bb"),
        ("org/name/", "0bb"),
        ("org/name@main", "0bb"),
        ("org/name@v1", "0aa"),
        ("org/name@refs/pr/2", "0aa"),
        ("org/name@0aa", "0aa"),
    ] {
        let files = cache.find(name).unwrap();
        assert_eq!(files.name, name.trim_end_matches('/'));
        let path = cache.snapshot(commit).join("model.safetensors");
        assert!(
            matches!(&files.weights[..], [crossrank::WeightFile::Path(found)] if *found == path),
            "{name}"
        );
    }
    cache.refuses("org/name@v2", &["no revision `v2`", "0aa, 0bb", "`crossrank pull org/name@v2`"]);
    for name in ["org/name@", "org/name@../v1", "org/name@/etc", "org/name@a/../v1"] {
        assert!(cache.find(name).unwrap_err().contains("`organization/model`"), "{name}");
    }
    // A plain folder has no revisions.
    copy_into(&cache.hub.path().join("plain"));
    assert!(cache.find("plain").is_ok() && cache.find("plain@v1").is_err());
}

#[test]
fn the_folder_of_a_repository_may_be_given_as_a_path() {
    let cache = Cache::new(&["0aa", "0bb"], &[("main", "0bb")]);
    let files = ModelFiles::find(&cache.folder()).unwrap();
    assert_eq!(files.name, cache.snapshot("0bb").display().to_string());
    fs::remove_dir_all(cache.folder().join("refs")).unwrap();
    let message = ModelFiles::find(&cache.folder()).unwrap_err().to_string();
    assert!(message.contains("no refs/main") && message.contains("crossrank pull org/name"), "{message}");
}

#[test]
fn two_snapshots_without_a_main_branch_are_both_named() {
    let cache = Cache::new(&["0bb", "0aa"], &[]);
    cache.refuses(NAME, &["2 snapshots (0aa, 0bb)", "no refs/main", "`crossrank pull org/name`"]);
    fs::remove_dir_all(cache.snapshot("0aa")).unwrap();
    assert!(cache.find(NAME).is_ok(), "the only snapshot is taken");
}

#[test]
fn a_branch_that_names_no_snapshot_says_so() {
    let cache = Cache::new(&["0aa"], &[("main", "0bb"), ("empty", "\n"), ("path", "../../elsewhere")]);
    cache.refuses(NAME, &["refs/main`", "snapshot 0bb, which is not there", "`crossrank pull org/name`"]);
    for revision in ["empty", "path"] {
        cache.refuses(&format!("org/name@{revision}"), &["holds no commit"]);
    }
    let cache = Cache::new(&[], &[]);
    cache.refuses(NAME, &["holds no snapshot", "interrupted"]);
}

#[test]
fn a_snapshot_that_was_not_completed_says_what_completes_it() {
    for (missing, incomplete) in [("model.safetensors", true), ("tokenizer.json", false)] {
        let cache = Cache::new(&["0aa"], &[("main", "0aa")]);
        fs::remove_file(cache.snapshot("0aa").join(missing)).unwrap();
        if incomplete {
            fs::write(cache.folder().join("blobs/7f.incomplete"), "half").unwrap();
        }
        let cause = if incomplete { "interrupted" } else { "only some of its files" };
        cache.refuses(NAME, &[missing, cause, "`crossrank pull org/name` completes it"]);
    }
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_named_with_its_target() {
    for file in FILES {
        let cache = Cache::new(&["0aa"], &[("main", "0aa")]);
        let path = cache.snapshot("0aa").join(file);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("../../blobs/7f", &path).unwrap();
        let message = cache.find(NAME).unwrap_err();
        for part in [file, "link to `", "/../../blobs/7f`, which is not there", "download the model again"] {
            assert!(message.contains(part), "{part} not in {message}");
        }
    }
}

/// An archive made or unpacked without links, or a checkout where git makes none.
#[test]
fn a_text_file_in_place_of_a_link_is_named_with_its_target() {
    for file in FILES {
        let cache = Cache::new(&["0aa"], &[("main", "0aa")]);
        fs::write(cache.snapshot("0aa").join(file), format!("../../blobs/{}", "7f".repeat(32))).unwrap();
        let load = |path: &Path| Reranker::load(path).map(drop).unwrap_err().to_string();
        let message = load(&cache.snapshot("0aa"));
        for part in [file, "target of a link, `../../blobs/7f7f", "download the model again"] {
            assert!(message.contains(part), "{part} not in {message}");
        }
    }
}

/// What interrupted copies, git without LFS and servers leave.
#[test]
fn a_file_that_is_something_else_is_named_with_what_it_is() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 17082730\n";
    for (contents, message) in [
        ("", "is empty: copy or download the model again"),
        (&"\0".repeat(10_000), "begins with zeros alone: copy or download"),
        (pointer, "is a Git LFS pointer, not the file itself: run `git lfs pull`"),
        ("\n<!DOCTYPE html>\n<title>404</title>\n", "is a web page"),
        ("<html><body>Sign in</body></html>", "is a web page"),
    ] {
        for file in FILES.into_iter().chain(["special_tokens_map.json"]) {
            let folder = tempfile::tempdir().unwrap();
            copy_into(folder.path());
            fs::write(folder.path().join(file), contents).unwrap();
            let error = Reranker::load(folder.path()).map(drop).unwrap_err().to_string();
            assert!(error.contains(file) && error.contains(message), "{file} of {contents:?}: {error}");
        }
    }
}

/// The length of a header may be the number of a character that paths begin with.
#[test]
fn weights_are_not_taken_for_the_target_of_a_link() {
    for length in [0x2f, 0x2e2e2f, 0x2f2e] {
        let mut file = (length as u64).to_le_bytes().to_vec();
        file.resize(8 + length, b' ');
        let metadata = br#"{"__metadata__":{}}"#;
        file[8..8 + metadata.len()].copy_from_slice(metadata);
        let folder = tempfile::tempdir().unwrap();
        copy_into(folder.path());
        fs::write(folder.path().join("model.safetensors"), file).unwrap();
        let error = Reranker::load(folder.path()).map(drop).unwrap_err();
        assert!(matches!(error, crossrank::Error::MissingTensor { .. }), "{length:#x}: {error}");
    }
}
