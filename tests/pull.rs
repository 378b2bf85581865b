//! `crossrank pull` against a small hub on 127.0.0.1, which answers as huggingface.co does.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use safetensors::SafeTensors;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use sha2::Sha256;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/bert");
const REPOSITORY: &str = "tiny/bert";

#[test]
fn a_pulled_model_is_found_by_its_name_and_gives_its_golden_logits() {
    let hub = Hub::start(Plan::default());
    let home = folder("found_by_name");

    let first = pull(&hub, &home, REPOSITORY);
    assert_success(&first);
    assert_eq!(text(&first.stderr), "");
    assert!(text(&first.stdout).contains("5 files"), "{}", text(&first.stdout));
    assert!(!home.join("hub/.crossrank").exists(), "the place of arrival is cleared");
    assert_success(&crossrank(&home).args(["verify", "--model", REPOSITORY]).output().unwrap());

    let pairs = home.join("pairs.jsonl");
    let golden = golden();
    let case = &golden["cases"][0];
    fs::write(&pairs, json!({"query": case["query"], "document": case["document"]}).to_string()).unwrap();
    let score =
        crossrank(&home).args(["score", "--model", REPOSITORY, "--pairs"]).arg(&pairs).output().unwrap();
    assert_success(&score);
    let line: Value = serde_json::from_slice(&score.stdout).unwrap();
    let error = line["logits"][0].as_f64().unwrap() - case["logits"][0].as_f64().unwrap();
    assert!(error.abs() <= 1e-5, "{line}");
}

#[test]
fn a_second_pull_checks_what_is_there_and_downloads_nothing() {
    let hub = Hub::start(Plan::default());
    let home = folder("second_pull");
    assert_success(&pull(&hub, &home, REPOSITORY));
    hub.requests.lock().unwrap().clear();

    assert_success(&pull(&hub, &home, REPOSITORY));
    assert_eq!(hub.ranges("/cdn/model.safetensors"), ["bytes=0-0"]);

    // Damage of the right length is found and made good.
    let weights = snapshot(&home).join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    assert_success(&pull(&hub, &home, REPOSITORY));
    assert_eq!(fs::read(&weights).unwrap(), fixture("model.safetensors"));
}

#[test]
fn the_token_is_sent_and_its_absence_explained() {
    let hub = Hub::start(Plan { token: Some("hf_secret"), ..Plan::default() });
    let home = folder("token");

    let refused = pull(&hub, &home, REPOSITORY);
    assert_eq!(refused.status.code(), Some(1));
    let message = text(&refused.stderr);
    for part in ["error: ", "HTTP 401", REPOSITORY, "HF_TOKEN"] {
        assert!(message.contains(part), "`{part}` not in {message}");
    }

    let allowed = hub.pull(&home, REPOSITORY).env("HF_TOKEN", "hf_secret").output().unwrap();
    assert_success(&allowed);
    assert!(!text(&allowed.stdout).contains("hf_secret"));
}

#[test]
fn an_interrupted_download_is_resumed() {
    let hub = Hub::start(Plan { cuts: AtomicUsize::new(1), ..Plan::default() });
    let home = folder("cut_once");
    assert_success(&pull(&hub, &home, REPOSITORY));

    let ranges = hub.ranges("/cdn/model.safetensors");
    let starts: Vec<&String> = ranges.iter().filter(|range| *range != "bytes=0-0").collect();
    assert_eq!(starts.len(), 2, "{ranges:?}");
    assert_eq!(starts[0], "bytes=0-");
    assert_eq!(*starts[1], format!("bytes={}-", fixture("model.safetensors").len() / 2));
    assert_success(&crossrank(&home).args(["verify", "--model", REPOSITORY]).output().unwrap());
}

#[test]
fn a_pull_that_gave_up_is_not_used_and_the_next_one_resumes_it() {
    let hub = Hub::start(Plan { cuts: AtomicUsize::new(usize::MAX), ..Plan::default() });
    let home = folder("cut_for_good");
    let failed = pull(&hub, &home, REPOSITORY);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("`model.safetensors`"), "{}", text(&failed.stderr));
    assert_unusable(&home);

    hub.plan.cuts.store(0, Ordering::SeqCst);
    hub.requests.lock().unwrap().clear();
    assert_success(&pull(&hub, &home, REPOSITORY));
    let ranges = hub.ranges("/cdn/model.safetensors");
    assert!(!ranges.contains(&"bytes=0-".to_owned()), "started again: {ranges:?}");
    assert_success(&crossrank(&home).args(["verify", "--model", REPOSITORY]).output().unwrap());
}

#[test]
fn a_wrong_checksum_is_refused_and_no_usable_file_is_left() {
    for file in ["model.safetensors", "config.json"] {
        let hub = Hub::start(Plan { damaged: Some(file), ..Plan::default() });
        let home = folder("wrong_checksum");
        let refused = pull(&hub, &home, REPOSITORY);
        assert_eq!(refused.status.code(), Some(1));
        let message = text(&refused.stderr);
        assert!(message.contains("checksum") && message.contains(file), "{message}");
        assert_unusable(&home);
        assert!(!snapshot(&home).join(file).exists());
        let sum = hub.plan.sum(file);
        assert!(!home.join("hub/models--tiny--bert/blobs").join(sum).exists());
    }
}

#[test]
fn an_unknown_repository_is_named() {
    let hub = Hub::start(Plan::default());
    let missing = pull(&hub, &folder("unknown"), "tiny/burt");
    assert_eq!(missing.status.code(), Some(1));
    let message = text(&missing.stderr);
    assert!(message.contains("HTTP 404") && message.contains("tiny/burt"), "{message}");
}

#[test]
fn an_invalid_name_is_wrong_usage() {
    let hub = Hub::start(Plan::default());
    for name in ["a/b/c", "../etc", "a b", "", "tiny/"] {
        let refused = pull(&hub, &folder("bad_name"), name);
        assert_eq!(refused.status.code(), Some(2), "{name}");
    }
    assert!(hub.requests.lock().unwrap().is_empty());
}

#[test]
fn a_name_of_onnx_files_pulls_the_repository_with_the_same_weights() {
    let repository = "cross-encoder/ms-marco-MiniLM-L6-v2";
    let hub = Hub::start(Plan { repository, ..Plan::default() });
    let home = folder("alias");
    let alias = "Xenova/ms-marco-MiniLM-L-6-v2";
    let output = pull(&hub, &home, alias);
    assert_success(&output);
    assert!(text(&output.stdout).contains(repository));
    for name in [alias, repository] {
        assert_success(&crossrank(&home).args(["verify", "--model", name]).output().unwrap());
    }
}

#[test]
fn every_shard_of_a_checkpoint_is_downloaded() {
    let bytes = fixture("model.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut shards: [Vec<_>; 2] = Default::default();
    let mut weight_map = BTreeMap::new();
    for (position, (name, tensor)) in tensors.iter().enumerate() {
        shards[position % 2].push((name.to_owned(), tensor));
        weight_map.insert(name.to_owned(), shard_name(position % 2));
    }
    let mut plan = Plan::default();
    plan.files.remove("model.safetensors");
    for (position, shard) in shards.into_iter().enumerate() {
        plan.files.insert(shard_name(position), safetensors::serialize(shard, None).unwrap());
    }
    let index = json!({"metadata": {}, "weight_map": weight_map}).to_string().into_bytes();
    plan.files.insert("model.safetensors.index.json".to_owned(), index);

    let hub = Hub::start(plan);
    let home = folder("shards");
    assert_success(&pull(&hub, &home, REPOSITORY));
    assert_success(&crossrank(&home).args(["verify", "--model", REPOSITORY]).output().unwrap());
}

#[test]
fn a_head_in_separate_folders_is_downloaded_with_the_model() {
    let mut plan = Plan::default();
    plan.files.clear();
    let ettin = Path::new(FIXTURE).with_file_name("ettin");
    for folder in ["", "1_Pooling/", "2_Dense/", "3_LayerNorm/", "4_Dense/"] {
        for entry in fs::read_dir(ettin.join(folder)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                let name = format!("{folder}{}", entry.file_name().into_string().unwrap());
                plan.files.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    let hub = Hub::start(plan);
    let home = folder("modules");
    assert_success(&pull(&hub, &home, REPOSITORY));
    assert!(snapshot(&home).join("2_Dense/model.safetensors").is_file());
    assert_success(&crossrank(&home).args(["verify", "--model", REPOSITORY]).output().unwrap());
}

#[test]
fn a_vocabulary_is_downloaded_in_place_of_tokenizer_json() {
    let mut plan = Plan::default();
    for file in ["tokenizer.json", "tokenizer_config.json", "golden.json"] {
        plan.files.remove(file);
    }
    let home = folder("vocabulary");
    let hub = Hub::start(Plan { files: plan.files.clone(), ..Plan::default() });
    let refused = pull(&hub, &home, REPOSITORY);
    assert_eq!(refused.status.code(), Some(1));
    for part in ["has no tokenizer.json", "vocab.txt", "AutoTokenizer"] {
        assert!(text(&refused.stderr).contains(part), "{}", text(&refused.stderr));
    }

    plan.files.insert("vocab.txt".to_owned(), fixture("../../vocabularies/bert.txt"));
    let hub = Hub::start(plan);
    let home = folder("vocabulary_2");
    let pulled = pull(&hub, &home, REPOSITORY);
    assert_success(&pulled);
    assert!(text(&pulled.stdout).contains("3 files"), "{}", text(&pulled.stdout));
    let info = crossrank(&home).args(["info", "--model", REPOSITORY]).output().unwrap();
    assert_success(&info);
    assert!(text(&info.stdout).contains("was made from vocab.txt"), "{}", text(&info.stdout));
}

#[test]
fn a_repository_without_safetensors_is_refused_before_anything_is_downloaded() {
    let mut plan = Plan::default();
    plan.files.remove("model.safetensors");
    let hub = Hub::start(plan);
    let refused = pull(&hub, &folder("no_safetensors"), REPOSITORY);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("safetensors"), "{}", text(&refused.stderr));
    assert_eq!(hub.requests.lock().unwrap().len(), 1);
}

#[test]
fn a_revision_is_pulled_and_found_by_its_name_and_main_stays() {
    let hub = Hub::start(Plan::default());
    let home = folder("revision");
    let name = format!("{REPOSITORY}@v1.0");
    assert_success(&pull(&hub, &home, &name));
    let paths: Vec<String> = hub.requests.lock().unwrap().iter().map(|r| r.path.clone()).collect();
    assert_eq!(paths[0], format!("/api/models/{REPOSITORY}/revision/v1.0"));
    let refs = home.join("hub/models--tiny--bert/refs");
    assert_eq!(fs::read_to_string(refs.join("v1.0")).unwrap(), COMMIT);
    assert!(!refs.join("main").exists());
    assert_success(&crossrank(&home).args(["verify", "--model", &name]).output().unwrap());

    // A branch with slashes is one part of the URL, and a commit is found without a reference.
    let branch = format!("{REPOSITORY}@refs/pr/1");
    let commit = format!("{REPOSITORY}@{COMMIT}");
    for name in [&branch, &commit] {
        assert_success(&pull(&hub, &home, name));
        assert_success(&crossrank(&home).args(["verify", "--model", name]).output().unwrap());
    }
    assert!(hub.requests.lock().unwrap().iter().any(|r| r.path.ends_with("/revision/refs%2Fpr%2F1")));
    assert!(refs.join("refs/pr/1").exists() && !refs.join(COMMIT).exists());

    let missing = pull(&hub, &home, &format!("{REPOSITORY}@v2"));
    let message = text(&missing.stderr);
    assert!(message.contains("no revision `v2` of `tiny/bert`"), "{message}");
    for name in ["tiny/bert@", "tiny/bert@../x", "tiny/bert@a b"] {
        assert_eq!(pull(&hub, &home, name).status.code(), Some(2), "{name}");
    }
}

#[test]
fn a_mirror_that_redirects_everything_leads_to_the_hub_without_the_token() {
    let hub = Hub::start(Plan::default());
    // `localhost` is another host than 127.0.0.1, and the same machine.
    let target = hub.endpoint.replace("127.0.0.1", "localhost");
    let mirror = Hub::start(Plan { redirect: Some((target.clone(), "/")), ..Plan::default() });
    let home = folder("redirected");
    let output = mirror.pull(&home, REPOSITORY).env("HF_TOKEN", "hf_secret").output().unwrap();
    assert_success(&output);
    assert!(text(&output.stdout).contains(&format!("{} redirects to {target}", mirror.endpoint)));
    assert_success(&crossrank(&home).args(["verify", "--model", REPOSITORY]).output().unwrap());
    let requests = hub.requests.lock().unwrap();
    assert!(requests.iter().all(|r| r.authorization.is_none()), "the token went to another host");
    assert!(mirror.requests.lock().unwrap()[0].authorization.is_some());
}

#[test]
fn a_mirror_that_redirects_files_alone_is_explained() {
    let hub = Hub::start(Plan::default());
    let redirect = Some((hub.endpoint.clone(), "/tiny/"));
    let mirror = Hub::start(Plan { redirect, ..Plan::default() });
    let refused = pull(&mirror, &folder("redirected_files"), REPOSITORY);
    assert_eq!(refused.status.code(), Some(1));
    let message = text(&refused.stderr);
    assert!(message.contains(&format!("set HF_ENDPOINT to {}", hub.endpoint)), "{message}");
    // To somewhere that is no hub.
    let redirect = Some((format!("{}/cdn/model.safetensors?", hub.endpoint), "/tiny/"));
    let mirror = Hub::start(Plan { redirect, ..Plan::default() });
    let refused = pull(&mirror, &folder("redirected_elsewhere"), REPOSITORY);
    let message = text(&refused.stderr);
    assert!(message.contains("another hub") && message.contains("`config.json`"), "{message}");
}

#[test]
fn what_is_no_hub_and_an_endpoint_without_a_scheme_are_explained() {
    let hub = Hub::start(Plan::default());
    let home = folder("endpoints");
    let pull = |endpoint: &str| {
        let output = hub.pull(&home, REPOSITORY).env("HF_ENDPOINT", endpoint).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{endpoint}");
        text(&output.stderr)
    };
    let message = pull("hf-mirror.example");
    assert!(message.contains("set it to `https://hf-mirror.example`"), "{message}");
    let message = pull("ftp://hf-mirror.example/");
    assert!(message.contains("set it to `https://hf-mirror.example`"), "{message}");
    // Answers everything with a page.
    let page = Hub::start(Plan { page: true, ..Plan::default() });
    let message = pull(&page.endpoint);
    assert!(message.contains("no Hugging Face hub"), "{message}");
}

#[test]
fn the_network_is_not_used_offline() {
    let hub = Hub::start(Plan::default());
    let home = folder("offline");
    for variable in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        let output = hub.pull(&home, REPOSITORY).env(variable, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(variable), "{}", text(&output.stderr));
    }
    assert!(hub.requests.lock().unwrap().is_empty());
    assert_success(&hub.pull(&home, REPOSITORY).env("HF_HUB_OFFLINE", "0").output().unwrap());
    // What is there is used.
    let verify = crossrank(&home).env("HF_HUB_OFFLINE", "1").args(["verify", "--model", REPOSITORY]).output();
    assert_success(&verify.unwrap());
}

#[test]
fn the_cache_and_the_token_are_where_huggingface_hub_has_them() {
    for (variable, value, place) in [
        ("XDG_CACHE_HOME", "xdg", "xdg/huggingface/hub"),
        ("HUGGINGFACE_HUB_CACHE", "old", "old"),
        ("HF_HUB_CACHE", "~/new", "new"),
        ("HF_HOME", "$HOME/hf", "hf/hub"),
        ("HF_HOME", "${HOME}/braced", "braced/hub"),
        ("HOME", ".", ".cache/huggingface/hub"),
    ] {
        let hub = Hub::start(Plan { token: Some("hf_secret"), ..Plan::default() });
        let home = folder(&format!("place_{}", place.replace('/', "_")));
        // Values without a sign are folders of the test's.
        let value = if value.contains(['~', '$']) { value.into() } else { home.join(value) };
        let with =
            |command: &mut Command| command.env_remove("HF_HOME").env(variable, &value).output().unwrap();
        let token = home.join(if variable == "HF_HOME" { place } else { ".cache/huggingface/hub" });
        let token = if variable == "XDG_CACHE_HOME" { home.join(place) } else { token };
        fs::create_dir_all(&token).unwrap();
        fs::write(token.with_file_name("token"), "hf_secret\n").unwrap();
        assert_success(&with(&mut hub.pull(&home, REPOSITORY)));
        assert!(home.join(place).join("models--tiny--bert/refs/main").is_file(), "{variable}={value:?}");
        assert_success(&with(crossrank(&home).args(["verify", "--model", REPOSITORY])));
    }
    let hub = Hub::start(Plan::default());
    let other =
        hub.pull(&folder("other_user"), REPOSITORY).env("HF_HUB_CACHE", "~somebody/hub").output().unwrap();
    assert!(text(&other.stderr).contains("another user's home"), "{}", text(&other.stderr));
}

fn shard_name(position: usize) -> String {
    format!("model-{:05}-of-00002.safetensors", position + 1)
}

/// The files of the hub and the faults it simulates.
struct Plan {
    repository: &'static str,
    files: BTreeMap<String, Vec<u8>>,
    /// The token that every request must carry.
    token: Option<&'static str>,
    /// The number of downloads of the weights that end in the middle of the requested range.
    cuts: AtomicUsize,
    /// The name of a file that is sent with one bit flipped.
    damaged: Option<&'static str>,
    /// Where requests for paths that begin so are redirected, permanently.
    redirect: Option<(String, &'static str)>,
    /// Whether every request is answered with a page for people.
    page: bool,
}

impl Default for Plan {
    fn default() -> Self {
        let names =
            ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "golden.json"];
        let mut files: BTreeMap<_, _> =
            names.into_iter().map(|name| (name.to_owned(), fixture(name))).collect();
        // Not a file of the model: it must not be requested.
        files.insert("pytorch_model.bin".to_owned(), vec![0; 10]);
        Self {
            repository: REPOSITORY,
            files,
            token: None,
            cuts: AtomicUsize::new(0),
            damaged: None,
            redirect: None,
            page: false,
        }
    }
}

impl Plan {
    /// The checksum that the hub gives for a file: SHA-256 of large files, git's SHA-1 of small ones.
    fn sum(&self, name: &str) -> String {
        let bytes = &self.files[name];
        if name.ends_with(".safetensors") {
            return hex(&Sha256::digest(bytes));
        }
        hex(&Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
    }
}

/// The parts of a request that the tests check.
#[derive(Clone)]
struct Request {
    path: String,
    range: Option<String>,
    authorization: Option<String>,
}

struct Hub {
    endpoint: String,
    plan: Arc<Plan>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Hub {
    fn start(plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let hub = Self { endpoint, plan: Arc::new(plan), requests: Arc::default() };
        let (endpoint, plan, requests) = (hub.endpoint.clone(), hub.plan.clone(), hub.requests.clone());
        // Ends with the test process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let request = read_request(&stream);
                requests.lock().unwrap().push(request.clone());
                // Ignored: a client may close the connection early.
                let _ = answer(stream, &request, &plan, &endpoint);
            }
        });
        hub
    }

    fn pull(&self, home: &Path, name: &str) -> Command {
        let mut command = crossrank(home);
        command.args(["pull", name]).env("HF_ENDPOINT", &self.endpoint);
        command
    }

    /// The requested ranges of a path, in order.
    fn ranges(&self, path: &str) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|r| r.path == path).filter_map(|r| r.range.clone()).collect()
    }
}

fn read_request(stream: &TcpStream) -> Request {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    let header = |name: &str| headers.get(name).cloned();
    Request { path, range: header("range"), authorization: header("authorization") }
}

fn answer(stream: TcpStream, request: &Request, plan: &Plan, endpoint: &str) -> std::io::Result<()> {
    let authorized = plan.token.is_none_or(|token| request.authorization == Some(format!("Bearer {token}")));
    if !authorized {
        return send(stream, "401 Unauthorized", &[], b"{}", 2);
    }
    if plan.page {
        return send(stream, "200 OK", &[], b"<html>", 6);
    }
    if let Some((endpoint, start)) = &plan.redirect
        && request.path.starts_with(start)
    {
        let location = ("Location", format!("{endpoint}{}", request.path));
        return send(stream, "308 Permanent Redirect", &[location], b"", 0);
    }
    let commit = ("X-Repo-Commit", COMMIT.to_owned());
    let revision = request.path.strip_prefix(&format!("/api/models/{}/revision/", plan.repository));
    if revision.is_some_and(|revision| ["main", "v1.0", "refs%2Fpr%2F1", COMMIT].contains(&revision)) {
        let siblings: Vec<_> = plan.files.keys().map(|name| json!({"rfilename": name})).collect();
        let body = json!({"sha": COMMIT, "siblings": siblings}).to_string();
        return send(stream, "200 OK", &[], body.as_bytes(), body.len());
    }
    let (name, on_cdn) = match request.path.strip_prefix("/cdn/") {
        Some(name) => (name, true),
        None => {
            let prefix = format!("/{}/resolve/{COMMIT}/", plan.repository);
            (request.path.strip_prefix(&prefix).unwrap_or_default(), false)
        }
    };
    let Some(bytes) = plan.files.get(name) else {
        return send(stream, "404 Not Found", &[], b"{}", 2);
    };
    let sum = format!("\"{}\"", plan.sum(name));
    if name.ends_with(".safetensors") && !on_cdn {
        let headers = [
            commit,
            ("X-Linked-Etag", sum),
            ("X-Linked-Size", bytes.len().to_string()),
            ("Location", format!("{endpoint}/cdn/{name}")),
        ];
        return send(stream, "302 Found", &headers, b"", 0);
    }
    let mut bytes = bytes.clone();
    if plan.damaged == Some(name) {
        bytes[5] ^= 1;
    }
    let range = request.range.as_deref().and_then(|range| range.strip_prefix("bytes="));
    let (first, last) =
        range.and_then(|range| range.split_once('-')).expect("hf-hub always asks for a range");
    let first: usize = first.parse().unwrap();
    let end = last.parse().map_or(bytes.len(), |last: usize| last + 1);
    if first >= bytes.len() {
        return send(stream, "416 Range Not Satisfiable", &[], b"", 0);
    }
    let part = &bytes[first..end];
    let content_range = format!("bytes {first}-{}/{}", end - 1, bytes.len());
    let headers = [commit, ("ETag", sum), ("Content-Range", content_range)];
    let mut sent = part.len();
    if name == "model.safetensors" && last.is_empty() {
        let take = |cuts: usize| cuts.checked_sub(1);
        if plan.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
            sent /= 2;
        }
    }
    send(stream, "206 Partial Content", &headers, part, sent)
}

/// Announces the whole body and sends `sent` bytes of it.
fn send(
    mut stream: TcpStream,
    status: &str,
    headers: &[(&str, String)],
    body: &[u8],
    sent: usize,
) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len())?;
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(&body[..sent])
}

fn pull(hub: &Hub, home: &Path, name: &str) -> Output {
    hub.pull(home, name).output().unwrap()
}

/// The command line with its own cache and without the developer's environment variables.
fn crossrank(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossrank"));
    command.env("HF_HOME", home).env("HOME", home).current_dir(home);
    for key in ["HF_ENDPOINT", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_HUB_OFFLINE"] {
        command.env_remove(key);
    }
    for key in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "TRANSFORMERS_OFFLINE"] {
        command.env_remove(key);
    }
    for key in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(key);
    }
    command
}

fn assert_success(output: &Output) {
    assert!(output.status.success(), "{:?}: {}", output.status, text(&output.stderr));
}

fn assert_unusable(home: &Path) {
    let output = crossrank(home).args(["info", "--model", REPOSITORY]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(!home.join("hub/models--tiny--bert/refs/main").exists());
}

fn snapshot(home: &Path) -> PathBuf {
    home.join("hub/models--tiny--bert/snapshots").join(COMMIT)
}

/// An empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pull").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(FIXTURE).join(name)).unwrap()
}

fn golden() -> Value {
    serde_json::from_slice(&fixture("golden.json")).unwrap()
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
