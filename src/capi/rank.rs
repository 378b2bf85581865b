//! Scoring and ranking.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::Ordering;

use super::guard::{Failure, guard};
use super::model::{MODELS, crossrank_model};
use super::options::{self, Options, crossrank_options};
use super::status::crossrank_status::{self, CROSSRANK_ERR_BUFFER, CROSSRANK_ERR_NOT_SCORED, CROSSRANK_OK};
use super::text::{crossrank_str, out, slice, slice_mut, utf8};
use super::usage;
use crate::ranking::{PairStatus, Ranked, Scored, TruncatedTokens};
use crate::rerank_options::{Progress, RerankOptions, Windows};

/// One document or pair with its score. Its size never changes: 64 bytes where pointers take 8.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_ranked {
    /// Bytes that this library has written: the fields up to here are valid.
    pub size: u32,
    /// CROSSRANK_OK; CROSSRANK_ERR_NON_FINITE or CROSSRANK_ERR_NOT_SCORED, then score and logit are NaN.
    pub status: i32,
    /// Position in the input.
    pub index: usize,
    /// The logit through the model's own activation; of the label ranked by, or in crossrank_score of the first.
    pub score: f64,
    /// The model's raw output, for the same label. Under a softmax over several labels, the label's log-odds.
    pub logit: f32,
    /// Tokens the model read for this pair, special tokens included.
    pub tokens: u32,
    /// Tokens cut from the query to fit the window.
    pub query_cut: u32,
    /// Tokens cut from the document to fit the window; at least, for documents not read to their end.
    pub document_cut: u32,
    /// The bytes of the document that the score stands for, from window_start up to window_end: those of the best window. Both
    /// are 0 without crossrank_options_set_windows, and where there is no score. Bytes of the text as it was given; of text
    /// that is not UTF-8, bytes after each fault was replaced by the three of U+FFFD.
    pub window_start: u64,
    /// See window_start.
    pub window_end: u64,
    /// For fields to come; 0.
    pub reserved: u64,
}

/// A query and its documents, for crossrank_rerank_many.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_set {
    /// The query.
    pub query: crossrank_str,
    /// The documents.
    pub documents: *const crossrank_str,
    /// Documents.
    pub count: usize,
}

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
        let status = match status {
            PairStatus::Scored => CROSSRANK_OK,
            PairStatus::NotScored => CROSSRANK_ERR_NOT_SCORED,
            PairStatus::Failed(error) => error.into(),
        };
        Self {
            size: size_of::<Self>() as u32,
            status: status as i32,
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

/// The options of one call.
fn run_options(options: &Options) -> RerankOptions {
    let mut run = options.run.clone();
    if options.windows > 0 {
        let overlap = options.overlap.unwrap_or(Windows::default().overlap);
        run = run.windows(Windows { overlap, max_windows: options.windows });
    }
    if let Some(limit) = options.time_limit {
        run = run.time_limit(limit);
    }
    if let Some(watched) = &options.cancel {
        run.cancel = Some(watched.token.clone());
        watched.done.store(0, Ordering::Relaxed);
        watched.total.store(0, Ordering::Relaxed);
    }
    if options.cancel.is_some() || options.progress.is_some() {
        let (watched, progress) = (options.cancel.clone(), options.progress);
        run = run.on_progress(move |p: &Progress<'_>| {
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
    run
}

/// Texts of the caller.
///
/// # Safety
/// As [`slice`], for the array and for each text.
unsafe fn texts<'a>(
    data: *const crossrank_str,
    count: usize,
    strict: bool,
    name: &str,
) -> Result<Vec<Cow<'a, str>>, Failure> {
    // SAFETY: handed on.
    let texts = unsafe { slice(data, count, name) }?;
    // SAFETY: handed on.
    texts.iter().enumerate().map(|(i, text)| unsafe { utf8(*text, strict, name, i) }).collect()
}

/// Memory of the caller for results that it may not want.
///
/// # Safety
/// As [`slice_mut`]; or `data` is NULL.
unsafe fn wanted<'a, T>(data: *mut T, count: usize, name: &str) -> Result<&'a mut [T], Failure> {
    // SAFETY: handed on.
    if data.is_null() { Ok(&mut []) } else { unsafe { slice_mut(data, count, name) } }
}

/// Ranks documents by relevance to a query: the best `capacity` of them (or fewer, by the options) go to `results`, best first,
/// ties in input order, and their number to `found`. A model with several labels needs
/// crossrank_options_set_label. No documents give an empty ranking. Any
/// thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_rerank(
    model: crossrank_model,
    query: crossrank_str,
    documents: *const crossrank_str,
    count: usize,
    options: crossrank_options,
    results: *mut crossrank_ranked,
    capacity: usize,
    found: *mut usize,
) -> crossrank_status {
    guard(|| {
        let model = MODELS.get(model.id)?;
        let options = options::read(options)?;
        let strict = options.strict_utf8;
        // SAFETY: the header asks for valid texts, and for writable memory or NULL.
        let (query, documents) =
            unsafe { (utf8(query, strict, "query", 0)?, texts(documents, count, strict, "documents")?) };
        // SAFETY: as above.
        let (results, found) = unsafe { (slice_mut(results, capacity, "results")?, out(found, "found")?) };
        let mut run = run_options(&options);
        run.top_k = Some(run.top_k.unwrap_or(usize::MAX).min(capacity));
        let ranking = model.rerank(&query, &documents, &run)?;
        usage::remember(&ranking.usage);
        for (to, from) in results.iter_mut().zip(&ranking.results) {
            *to = from.into();
        }
        *found = ranking.results.len();
        Ok(())
    })
}

/// Ranks several sets in one go, which is faster than one by one. The results of each set follow those of the set before, and
/// `found`, which has room for `set_count` numbers, says how many each has. `capacity` is at least the documents of all sets,
/// or as many as the options' top_k leaves of each; else CROSSRANK_ERR_BUFFER. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_rerank_many(
    model: crossrank_model,
    sets: *const crossrank_set,
    set_count: usize,
    options: crossrank_options,
    results: *mut crossrank_ranked,
    capacity: usize,
    found: *mut usize,
) -> crossrank_status {
    guard(|| {
        let model = MODELS.get(model.id)?;
        let options = options::read(options)?;
        // SAFETY: the header asks for valid sets, and for writable memory or NULL.
        let (sets, results) =
            unsafe { (slice(sets, set_count, "sets")?, slice_mut(results, capacity, "results")?) };
        // SAFETY: as above.
        let found = unsafe { slice_mut(found, set_count, "found") }?;
        let most = options.run.top_k.unwrap_or(usize::MAX);
        let needed = sets.iter().fold(0_usize, |sum, set| sum.saturating_add(set.count.min(most)));
        if needed > capacity {
            let message = format!("`results` needs room for {needed}, it has {capacity}");
            return Err(Failure::new(CROSSRANK_ERR_BUFFER, message));
        }
        let mut owned = Vec::new();
        for (i, set) in sets.iter().enumerate() {
            // SAFETY: as above.
            let query = unsafe { utf8(set.query, options.strict_utf8, "query of set", i) }?;
            // SAFETY: as above.
            let documents = unsafe { texts(set.documents, set.count, options.strict_utf8, "documents") }?;
            owned.push((query, documents));
        }
        let borrowed: Vec<(&str, &[Cow<'_, str>])> = owned.iter().map(|(q, d)| (&**q, &d[..])).collect();
        let rankings = model.rerank_many(&borrowed, &run_options(&options))?;
        let mut to = results.iter_mut();
        for (ranking, found) in rankings.iter().zip(found) {
            usage::remember(&ranking.usage);
            *found = ranking.results.len();
            // In this order: `zip` must not take a place when there is no result left for it.
            for (from, to) in ranking.results.iter().zip(to.by_ref()) {
                *to = from.into();
            }
        }
        Ok(())
    })
}

/// Scores `count` pairs of a query and a document, in input order, pair by pair and label by label: raw outputs to `logits`, what
/// the model's own activation makes of them to `scores`, and details to `details`. `logits` and `scores` have room for `capacity`
/// >= count * labels numbers, `details` for `count` of them; what is not wanted may be NULL. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_score(
    model: crossrank_model,
    queries: *const crossrank_str,
    documents: *const crossrank_str,
    count: usize,
    options: crossrank_options,
    logits: *mut f32,
    scores: *mut f64,
    capacity: usize,
    details: *mut crossrank_ranked,
) -> crossrank_status {
    guard(|| {
        let model = MODELS.get(model.id)?;
        let options = options::read(options)?;
        let strict = options.strict_utf8;
        let needed = count.saturating_mul(model.info().labels.len());
        if needed > capacity {
            let message = format!("`logits` and `scores` need room for {needed}, they have {capacity}");
            return Err(Failure::new(CROSSRANK_ERR_BUFFER, message));
        }
        // SAFETY: the header asks for valid texts, and for writable memory or NULL.
        let (queries, documents) = unsafe {
            (texts(queries, count, strict, "queries")?, texts(documents, count, strict, "documents")?)
        };
        // SAFETY: as above.
        let (logits, scores, details) = unsafe {
            (
                wanted(logits, needed, "logits")?,
                wanted(scores, needed, "scores")?,
                wanted(details, count, "details")?,
            )
        };
        let pairs: Vec<_> = queries.iter().zip(&documents).collect();
        let scored = model.score_with(&pairs, &run_options(&options))?;
        usage::remember(&scored.usage);
        let results = &scored.results;
        logits.iter_mut().zip(results.iter().flat_map(|s| &s.logits)).for_each(|(to, from)| *to = *from);
        scores.iter_mut().zip(results.iter().flat_map(|s| &s.scores)).for_each(|(to, from)| *to = *from);
        details.iter_mut().zip(results).for_each(|(to, from)| *to = from.into());
        Ok(())
    })
}
