//! Options of one call.

use std::ffi::{c_char, c_void};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::caller::{User, c_string, crossrank_str, utf8};
use super::cancel::{self, crossrank_cancel};
use super::enums::CValue;
use super::options::{Options, crossrank_options, set};
use super::ranked::{crossrank_progress_fn, crossrank_ranked};
use super::status::{Failure, crossrank_status};
use crate::rerank_options::{Label, Progress, RerankOptions, Truncation, Windows};

/// Per call: sets what happens to pairs longer than the window.
///
/// - `truncation`: a CROSSRANK_TRUNCATION_ value. Default: DEFAULT.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_truncation(
    options: crossrank_options,
    truncation: i32,
) -> crossrank_status {
    set(options, |o| {
        o.rerank.truncation = Option::<Truncation>::from_argument(truncation)?;
        Ok(())
    })
}

/// Per call: reads documents longer than the window in several overlapping windows instead of truncating them. The window
/// with the best score gives the document's score, and crossrank_ranked says which bytes it covers. A query longer than half
/// of the window is truncated to half. Needs a model with one label or,
/// in crossrank_rerank, a label set with crossrank_options_set_label.
///
/// - `count`: the maximum number of windows per document; 0 truncates. Default: 0.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_windows(
    options: crossrank_options,
    count: usize,
) -> crossrank_status {
    set(options, |o| {
        o.windows = count;
        Ok(())
    })
}

/// Per call: sets how many tokens neighbouring windows share.
///
/// - `tokens`: at most half of what a window holds of a document. Default: 64.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_window_overlap(
    options: crossrank_options,
    tokens: usize,
) -> crossrank_status {
    set(options, |o| {
        o.overlap = Some(tokens);
        Ok(())
    })
}

/// Per call: limits the number of documents in a ranking.
///
/// - `count`: the maximum. Default: the capacity of `results`.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_top_k(options: crossrank_options, count: usize) -> crossrank_status {
    set(options, |o| {
        o.rerank.top_k = Some(count);
        Ok(())
    })
}

/// Per call: leaves out documents with a low score.
///
/// - `score`: the lowest score (not logit) that stays. Default: none is left out. NaN returns CROSSRANK_ERR_ARGUMENT.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_threshold(
    options: crossrank_options,
    score: f64,
) -> crossrank_status {
    set(options, |o| {
        if score.is_nan() {
            return Err(Failure::argument("the threshold is not a number"));
        }
        o.rerank.threshold = Some(score);
        Ok(())
    })
}

/// Per call: sets the label by which a model with several labels ranks.
///
/// - `label`: counted from 0. Default: the only label; of two labels that have no names and no activation function, the
///   second, through a softmax.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_label(options: crossrank_options, label: usize) -> crossrank_status {
    set(options, |o| {
        o.rerank.label = Some(Label::Index(label));
        Ok(())
    })
}

/// Per call: sets a text that is read before every query, as part of it.
///
/// - `prompt`: UTF-8, for example "Given a web query: ", with the space at its end. {"", 0} and {NULL, 0} switch off the model's
///   default prompt. Default: that of crossrank_options_set_prompt_name.
///
/// Text that is not UTF-8 returns CROSSRANK_ERR_UTF8. Any thread. Since 0.2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_options_set_prompt(
    options: crossrank_options,
    prompt: crossrank_str,
) -> crossrank_status {
    set(options, |o| {
        // SAFETY: the header asks for a valid text.
        let prompt = unsafe { utf8(prompt, true, "prompt", 0) }?;
        o.rerank.prompt = Some(prompt.into_owned());
        Ok(())
    })
}

/// Per call: chooses one of the model's own prompts. Without effect beside crossrank_options_set_prompt. A call whose model has no
/// prompt of that name returns CROSSRANK_ERR_ARGUMENT.
///
/// - `name`: NUL-terminated UTF-8: a CROSSRANK_TEXT_PROMPT_NAME of crossrank_model_text. NULL for the model's default prompt.
///   Default: NULL.
///
/// Any thread. Since 0.2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_options_set_prompt_name(
    options: crossrank_options,
    name: *const c_char,
) -> crossrank_status {
    set(options, |o| {
        o.rerank.prompt_name = if name.is_null() {
            None
        } else {
            // SAFETY: the header asks for a NUL-terminated string or NULL.
            Some(unsafe { c_string(name, "name") }?.to_owned())
        };
        Ok(())
    })
}

/// Per call: stops after a time. The call succeeds; pairs that were not scored by then have status CROSSRANK_ERR_NOT_SCORED
/// and come last. A second call with those alone goes on.
///
/// Pairs are scored in their order. The first group is one pair, so that there is a score as soon as one fits; groups grow
/// with the measured speed, and shrink again as time runs out. The time is looked at before each text is tokenized and after
/// each layer of a group: a call ends late by a layer of one such small group at most, on a GPU by what is submitted at once,
/// which is a small group as well. No bit of a score depends on its group.
///
/// - `milliseconds`: time from the start of the call. Default: no limit.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_time_limit(
    options: crossrank_options,
    milliseconds: u64,
) -> crossrank_status {
    set(options, |o| {
        o.time_limit = Some(Duration::from_millis(milliseconds));
        Ok(())
    })
}

/// Per call: lets another thread cancel the call, or ask for its progress.
///
/// - `cancel`: the options keep the object behind the handle, which may be freed. The null handle removes it. Default: none.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_cancel(
    options: crossrank_options,
    cancel: crossrank_cancel,
) -> crossrank_status {
    set(options, |o| {
        o.cancel = cancel::optional(cancel)?;
        Ok(())
    })
}

/// Per call: sets a function that is called as pairs are scored.
///
/// - `progress`: the function; NULL removes it. Default: none.
/// - `user`: passed to every call of `progress`; may be NULL.
///
/// `progress` and `user` must stay valid as long as calls with these options. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_progress(
    options: crossrank_options,
    progress: crossrank_progress_fn,
    user: *mut c_void,
) -> crossrank_status {
    set(options, |o| {
        o.progress = progress.map(|progress| (progress, User(user)));
        Ok(())
    })
}

/// Per call: sets whether text that is not UTF-8 is refused with CROSSRANK_ERR_UTF8, whose message names the index, or read with
/// U+FFFD in place of each ill-formed sequence.
///
/// - `strict`: true refuses. Default: false.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_strict_utf8(
    options: crossrank_options,
    strict: bool,
) -> crossrank_status {
    set(options, |o| {
        o.strict_utf8 = strict;
        Ok(())
    })
}

/// The crate's options of one call.
pub fn rerank_options(options: &Options) -> RerankOptions {
    let mut rerank = options.rerank.clone();
    if options.windows > 0 {
        let overlap = options.overlap.unwrap_or(Windows::default().overlap);
        rerank = rerank.windows(Windows { overlap, max_windows: options.windows });
    }
    if let Some(limit) = options.time_limit {
        rerank = rerank.time_limit(limit);
    }
    if let Some(watched) = &options.cancel {
        rerank.cancel = Some(watched.token.clone());
        watched.done.store(0, Ordering::Relaxed);
        watched.total.store(0, Ordering::Relaxed);
    }
    if options.cancel.is_some() || options.progress.is_some() {
        let (watched, progress) = (options.cancel.clone(), options.progress);
        rerank = rerank.on_progress(move |p: &Progress<'_>| {
            if let Some(watched) = &watched {
                watched.total.store(p.total, Ordering::Relaxed);
                watched.done.store(p.done, Ordering::Relaxed);
            }
            if let Some((progress, user)) = &progress {
                let partial: Vec<crossrank_ranked> = p.finished.iter().map(Into::into).collect();
                // SAFETY: a function of the caller, called as the header says.
                unsafe { progress(user.0, p.done, p.total, partial.as_ptr(), partial.len()) };
            }
        });
    }
    rerank
}
