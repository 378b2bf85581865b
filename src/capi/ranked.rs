//! One result of scoring or ranking.

use std::ffi::c_void;
use std::ops::Range;

use super::status::crossrank_status;
use crate::ranking::{PairStatus, Ranked, Scored, TruncatedTokens};

/// One document or pair with its score. Its size never changes: 64 bytes where pointers take 8.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_ranked {
    /// Bytes that this library has written: the fields up to here are valid.
    pub size: u32,
    /// CROSSRANK_OK; or CROSSRANK_ERR_NON_FINITE or CROSSRANK_ERR_NOT_SCORED, then score and logit are NaN.
    pub status: i32,
    /// Index of the document or pair in the input.
    pub index: usize,
    /// The logit after the model's own activation function; for the label ranked by, or in crossrank_score for the first label.
    pub score: f64,
    /// The model's raw output for the same label. Under a softmax over several labels, the label's log-odds.
    pub logit: f32,
    /// Tokens that the model read for this pair, special tokens included.
    pub tokens: u32,
    /// Tokens cut from the query to fit the window; like document_cut, a lower bound for text that was not tokenized to its end.
    pub query_cut: u32,
    /// Tokens cut from the document to fit the window; a lower bound, and at least 1, for documents that were not tokenized to
    /// their end.
    pub document_cut: u32,
    /// First byte of the part of the document that the score is for: of the best window. Both window_start and window_end are
    /// 0 without crossrank_options_set_windows, and where there is no score. They count bytes of the text as it was given; for
    /// text that is not UTF-8, bytes after each ill-formed sequence was replaced by U+FFFD, which takes three.
    pub window_start: u64,
    /// One past the last byte of that part.
    pub window_end: u64,
    /// For fields to come; 0.
    pub reserved: u64,
}

/// Called on the thread of the call as pairs are scored: `done` of `total` pairs are scored, and `partial` has the `count` of
/// them that were scored since the last time, in no particular order. `partial` is valid until the function returns. Must not
/// unwind.
pub type crossrank_progress_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        done: usize,
        total: usize,
        partial: *const crossrank_ranked,
        count: usize,
    ),
>;

impl crossrank_ranked {
    fn new(
        (index, logit, score): (usize, f32, f64),
        tokens: usize,
        truncated: TruncatedTokens,
        window: Option<Range<usize>>,
        status: &PairStatus,
    ) -> Self {
        let window = window.unwrap_or(0..0);
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Self {
            size: size_of::<Self>() as u32,
            status: crossrank_status::from(status) as i32,
            index,
            score,
            logit,
            tokens: number(tokens),
            query_cut: number(truncated.query),
            document_cut: number(truncated.document),
            window_start: window.start as u64,
            window_end: window.end as u64,
            reserved: 0,
        }
    }
}

impl From<&Ranked> for crossrank_ranked {
    fn from(r: &Ranked) -> Self {
        Self::new((r.index, r.logit, r.score), r.tokens, r.truncated, r.window.clone(), &r.status)
    }
}

impl From<&Scored> for crossrank_ranked {
    fn from(s: &Scored) -> Self {
        Self::new((s.index, s.logits[0], s.scores[0]), s.tokens, s.truncated, s.window.clone(), &s.status)
    }
}
