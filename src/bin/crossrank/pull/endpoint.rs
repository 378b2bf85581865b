//! Which hub is asked, and what its answers mean.

use std::env;
use std::path::PathBuf;

use crossrank::model::hub_cache;
use hf_hub::Cache;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use ureq::http::Uri;

use crate::failure::Failure;

/// What the environment says of the hub.
pub struct Settings {
    /// The cache in which models are looked up.
    pub folder: PathBuf,
    /// The hub, for example `https://huggingface.co`.
    pub endpoint: String,
    pub token: Option<String>,
}

impl Settings {
    /// The settings of huggingface_hub's environment variables.
    pub fn from_environment() -> Result<Self, Failure> {
        let environment = hub_cache::environment();
        if let Some(variable) = environment.offline() {
            return Err(Failure::new(format_args!(
                "{variable} forbids to use the network: unset it to download"
            )));
        }
        let folder = environment
            .hub_folder()
            .ok_or_else(|| Failure::new("no home directory: set HF_HOME to a folder for models"))?;
        if folder.to_string_lossy().starts_with('~') {
            let shown = folder.display();
            return Err(Failure::new(format_args!(
                "`{shown}` is in another user's home directory: write its whole path into HF_HOME or HF_HUB_CACHE"
            )));
        }
        let folder = std::path::absolute(&folder)
            .map_err(|error| Failure::new(format_args!("no path to `{}`: {error}", folder.display())))?;
        let variable = |key| env::var(key).ok().filter(|value| !value.trim().is_empty());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            let host = endpoint.split_once("://").map_or(&*endpoint, |(_, host)| host);
            return Err(Failure::new(format_args!(
                "HF_ENDPOINT is `{endpoint}`, which does not begin with https:// or http://: set it to `https://{host}`"
            )));
        }
        let in_file = || std::fs::read_to_string(environment.token_file()?).ok();
        let token = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN")).or_else(in_file);
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        Ok(Self { folder, endpoint, token })
    }
}

/// The client of a hub, which keeps what it downloads in `downloads`.
pub fn build_api(downloads: &Cache, endpoint: &str, token: Option<String>) -> Result<Api, Failure> {
    ApiBuilder::from_cache(downloads.clone())
        .with_endpoint(endpoint.to_owned())
        .with_token(token)
        .with_user_agent("crossrank", env!("CARGO_PKG_VERSION"))
        // The caller retries, and also checks the files.
        .with_retries(0)
        .build()
        .map_err(Failure::new)
}

/// The endpoint that answered a request which `asked` may have redirected: mirrors send all requests elsewhere, and hubs those
/// for a repository's former name to another path of theirs.
pub fn endpoint_of(answered: &Uri, asked: &str) -> Result<String, Failure> {
    let base = |scheme: &str, authority: &str| format!("{scheme}://{authority}");
    let (scheme, authority) = (answered.scheme_str().unwrap_or_default(), answered.authority());
    let new = base(scheme, authority.map_or("", |authority| authority.as_str()));
    let same = asked.strip_prefix(&*new).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if same {
        return Ok(asked.to_owned());
    }
    if asked.starts_with("https://") && scheme != "https" {
        return Err(Failure::new(format_args!(
            "{asked} redirects to {new}, which is not encrypted: if that is right, set HF_ENDPOINT to it"
        )));
    }
    // A hub may lie below a path.
    Ok(answered.path().split_once("/api/models/").map_or(new.clone(), |(path, _)| new + path))
}

/// The host of a URL, without the port.
pub fn host(url: &str) -> Option<String> {
    url.parse::<Uri>().ok()?.host().map(str::to_owned)
}

/// The endpoint to which a hub's URL of a file is redirected, if another hub is there. A hub names the commit of every file
/// itself, before it redirects to where the file is stored.
fn redirected_hub(url: &str, path: &str) -> Option<String> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().max_redirects(0).http_status_as_error(false).build().into();
    let mut url = url.to_owned();
    // Mirrors of mirrors are rare.
    for _ in 0..4 {
        let response = agent.get(&url).header("Range", "bytes=0-0").call().ok()?;
        if response.headers().contains_key("x-repo-commit") {
            return url.strip_suffix(path).map(|endpoint| endpoint.trim_end_matches('/').to_owned());
        }
        let location = response.headers().get("location")?.to_str().ok()?;
        url = location.ends_with(path).then(|| location.to_owned())?;
    }
    None
}

/// The HTTP status of a failed request, if it has one.
pub fn http_status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(code) => Some(code),
            _ => None,
        },
        _ => None,
    }
}

/// Describes an answer for `subject`, with that URL, in which headers are missing.
pub fn explain_missing_header(endpoint: &str, subject: &str, url: &str) -> Failure {
    let hub = url.strip_prefix(endpoint).and_then(|path| redirected_hub(url, path));
    Failure::new(match hub {
        Some(hub) => format!("{endpoint} redirects {subject} to {hub}: set HF_ENDPOINT to {hub}"),
        None => format!(
            "{endpoint} gives {subject} without the commit, checksum and size that a Hugging Face hub gives: set \
             HF_ENDPOINT to another hub"
        ),
    })
}

/// Describes a failed request for `subject`.
pub fn explain(endpoint: &str, subject: &str, error: &ApiError) -> Failure {
    match http_status(error) {
        Some(code @ (401 | 403)) => Failure::new(format_args!(
            "{endpoint} refuses {subject} (HTTP {code}): check the name; a private or gated repository needs a token with access in HF_TOKEN"
        )),
        Some(404) => Failure::new(format_args!("{endpoint} has no {subject} (HTTP 404): check the name")),
        Some(code) => {
            Failure::new(format_args!("{endpoint} fails to give {subject} (HTTP {code}): try again later"))
        }
        None => Failure::new(format_args!(
            "cannot download {subject} from {endpoint}: {error}; the downloaded part is kept, try again"
        )),
    }
}
