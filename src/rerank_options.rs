//! Options of a call. Options of loading are in options.rs.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::ranking::Scored;

/// What to do with a pair that is longer than the window. The final separator always survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Truncation {
    /// Truncate the longer side first, as Hugging Face's `longest_first` does.
    LongestFirst,
    /// Keep the whole query and truncate the document. Where the query leaves no room for a document token, truncate as
    /// `LongestFirst`.
    DocumentOnly,
    /// Refuse the call with [`Error::TooLong`](crate::Error::TooLong), which names the first such pair, before anything
    /// is computed; in a call with a deadline, when the pair's turn comes.
    Error,
}

/// One of a model's labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(untagged))]
pub enum Label {
    /// Its name in [`ModelInfo::labels`](crate::ModelInfo::labels).
    Name(String),
    /// Its index there.
    Index(usize),
}

impl From<&str> for Label {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for Label {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<usize> for Label {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// Reads documents longer than the window in overlapping windows; the best window gives the document its score. Needs one
/// score per pair: a model with one label or, in `rerank`, [`RerankOptions::label`].
///
/// Every window contains the query. A query of more than half of the window is truncated to half
/// ([`Truncation::Error`] refuses the call instead). All windows of a document have the same number of tokens, and the last
/// one ends with the document.
///
/// ```
/// use crossrank::{RerankOptions, Windows};
///
/// let options = RerankOptions::new().windows(Windows { overlap: 32, max_windows: 8 });
/// # assert_eq!(options.windows.unwrap().overlap, 32);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Windows {
    /// Tokens that neighbouring windows share, at most half of a window's document tokens. Default: 64.
    pub overlap: usize,
    /// Maximum windows of a document; tokens beyond the last one are truncated. At least 1. Default: 16.
    pub max_windows: usize,
}

impl Default for Windows {
    fn default() -> Self {
        Self { overlap: 64, max_windows: 16 }
    }
}

/// How one call runs. Build it with the chained setters:
///
/// ```
/// # use crossrank::RerankOptions;
/// let options = RerankOptions::new().top_k(5).threshold(0.5);
/// # assert_eq!(options.top_k, Some(5));
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct RerankOptions {
    /// Return at most this many results. Default: all. Does not apply to `score`.
    pub top_k: Option<usize>,
    /// Drop results whose score (not logit) is below this. Default: none. Does not apply to `score`.
    pub threshold: Option<f64>,
    /// The label to rank by. Default: the model's only label. For a model of two labels without names (`LABEL_0` and
    /// `LABEL_1`) and without an activation: the second one, after a softmax. Does not apply to `score`.
    pub label: Option<Label>,
    /// What to do with pairs longer than the window. Default: `DocumentOnly` in `rerank` where the query alone fits,
    /// else `LongestFirst`; `LongestFirst` in `score`.
    pub truncation: Option<Truncation>,
    /// Window in tokens for this call, special tokens included. Default and upper limit: the one of the loaded model,
    /// [`ModelInfo::max_tokens`](crate::ModelInfo::max_tokens). At least two more than the special tokens of a pair, so that
    /// there is room for a token of the query and one of the document.
    pub max_tokens: Option<usize>,
    /// Reads documents longer than the window in several windows instead of truncating them. Default: none.
    pub windows: Option<Windows>,
    /// A text that is read before every query of the call, as part of it: `Given a web query: `, for example, with the space
    /// at its end. An empty one switches off the model's default prompt. Default: [`prompt_name`](Self::prompt_name)'s.
    pub prompt: Option<String>,
    /// The name of one of the model's own prompts, in [`ModelInfo::prompt_names`](crate::ModelInfo::prompt_names). Without
    /// effect beside [`prompt`](Self::prompt). Default: [`ModelInfo::default_prompt_name`](crate::ModelInfo::default_prompt_name),
    /// and without one no prompt.
    pub prompt_name: Option<String>,
    /// Cancels the call from another thread. Default: none.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub cancel: Option<CancelToken>,
    /// When to stop: pairs not scored by then are returned as [`PairStatus::NotScored`](crate::PairStatus::NotScored), and a
    /// call with those alone goes on; examples/frame_loop.rs spreads a ranking over frames. Default: never.
    ///
    /// Pairs are scored in their order. The first group is one pair, so that there is a score as soon as one fits; groups grow
    /// with the measured speed, and shrink again as time runs out. The deadline is looked at before each text is tokenized
    /// and after each layer of a group: a call ends late by a layer of one such small group at most, on a GPU by what is
    /// submitted at once, which is a small group as well. No bit of a score depends on its group.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub deadline: Option<Instant>,
    /// Called on the calling thread whenever groups of pairs are finished, in the default floating-point mode. It may call
    /// the model again. If it panics, the call returns [`Error::Internal`](crate::Error::Internal). Default: none.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub on_progress: Option<ProgressFn>,
}

/// The type of [`RerankOptions::on_progress`].
pub type ProgressFn = Arc<dyn Fn(&Progress<'_>) + Send + Sync>;

/// The argument of [`RerankOptions::on_progress`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// Pairs finished so far.
    pub done: usize,
    /// Pairs of the whole call.
    pub total: usize,
    /// The pairs finished since the last report, in no particular order. `index` counts over the whole call.
    pub finished: &'a [Scored],
}

impl RerankOptions {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`top_k`](Self::top_k).
    pub fn top_k(mut self, count: usize) -> Self {
        self.top_k = Some(count);
        self
    }

    /// Sets [`threshold`](Self::threshold).
    pub fn threshold(mut self, score: f64) -> Self {
        self.threshold = Some(score);
        self
    }

    /// Sets [`label`](Self::label), by name or by index.
    pub fn label(mut self, label: impl Into<Label>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets [`truncation`](Self::truncation).
    pub fn truncation(mut self, policy: Truncation) -> Self {
        self.truncation = Some(policy);
        self
    }

    /// Sets [`max_tokens`](Self::max_tokens).
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets [`windows`](Self::windows).
    pub fn windows(mut self, windows: Windows) -> Self {
        self.windows = Some(windows);
        self
    }

    /// Sets [`prompt`](Self::prompt).
    pub fn prompt(mut self, text: impl Into<String>) -> Self {
        self.prompt = Some(text.into());
        self
    }

    /// Sets [`prompt_name`](Self::prompt_name).
    pub fn prompt_name(mut self, name: impl Into<String>) -> Self {
        self.prompt_name = Some(name.into());
        self
    }

    /// Sets [`cancel`](Self::cancel).
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }

    /// Sets [`deadline`](Self::deadline) to a point in time.
    pub fn deadline(mut self, at: Instant) -> Self {
        self.deadline = Some(at);
        self
    }

    /// Sets [`deadline`](Self::deadline) to a time from now.
    pub fn time_limit(self, limit: Duration) -> Self {
        // A limit past the end of the clock is no limit.
        match Instant::now().checked_add(limit) {
            Some(at) => self.deadline(at),
            None => self,
        }
    }

    /// Sets [`on_progress`](Self::on_progress).
    ///
    /// ```
    /// # use crossrank::RerankOptions;
    /// let options = RerankOptions::new()
    ///     .on_progress(|progress| println!("{} of {} pairs", progress.done, progress.total));
    /// # assert!(options.on_progress.is_some());
    /// ```
    pub fn on_progress(mut self, f: impl Fn(&Progress<'_>) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(f));
        self
    }
}

impl fmt::Debug for RerankOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RerankOptions")
            .field("top_k", &self.top_k)
            .field("threshold", &self.threshold)
            .field("label", &self.label)
            .field("truncation", &self.truncation)
            .field("max_tokens", &self.max_tokens)
            .field("windows", &self.windows)
            .field("prompt", &self.prompt.is_some())
            .field("prompt_name", &self.prompt_name)
            .field("cancel", &self.cancel)
            .field("deadline", &self.deadline)
            .field("on_progress", &self.on_progress.is_some())
            .finish()
    }
}
