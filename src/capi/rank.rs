//! Scoring and ranking.

use std::borrow::Cow;

use super::call_options::rerank_options;
use super::caller::{crossrank_str, out, slice, slice_mut, utf8};
use super::guard::guard;
use super::model::{MODELS, crossrank_model};
use super::options::{self, Options, crossrank_options};
use super::ranked::crossrank_ranked;
use super::status::{Failure, crossrank_status, crossrank_status::CROSSRANK_ERR_BUFFER};
use super::usage;
use crate::reranker::Reranker;

/// A query and its documents, for crossrank_rerank_many.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_set {
    /// The query.
    pub query: crossrank_str,
    /// The documents.
    pub documents: *const crossrank_str,
    /// Number of documents.
    pub count: usize,
}

/// An array of the caller's texts.
///
/// # Safety
/// As [`slice`], for the array and for each text.
unsafe fn texts<'a>(
    data: *const crossrank_str,
    count: usize,
    strict: bool,
    name: &str,
) -> Result<Vec<Cow<'a, str>>, Failure> {
    // SAFETY: the caller's duty, as above.
    let texts = unsafe { slice(data, count, name) }?;
    // SAFETY: the caller's duty, as above.
    texts.iter().enumerate().map(|(i, text)| unsafe { utf8(*text, strict, name, i) }).collect()
}

/// Memory of the caller for results that are optional: empty for NULL.
///
/// # Safety
/// As [`slice_mut`]; or `data` is NULL.
pub unsafe fn optional_slice_mut<'a, T>(
    data: *mut T,
    count: usize,
    name: &str,
) -> Result<&'a mut [T], Failure> {
    // SAFETY: the caller's duty, as above.
    if data.is_null() { Ok(&mut []) } else { unsafe { slice_mut(data, count, name) } }
}

/// Ranks documents into `results`, which limits their number.
pub fn write_ranking(
    model: &Reranker,
    query: &str,
    documents: &[Cow<'_, str>],
    options: &Options,
    results: &mut [crossrank_ranked],
    found: &mut usize,
) -> Result<(), Failure> {
    let mut rerank = rerank_options(options);
    rerank.top_k = Some(rerank.top_k.unwrap_or(usize::MAX).min(results.len()));
    let ranking = model.rerank(query, documents, &rerank)?;
    usage::store(&ranking.usage);
    for (to, from) in results.iter_mut().zip(&ranking.results) {
        *to = from.into();
    }
    *found = ranking.results.len();
    Ok(())
}

/// Checks that the rankings of sets with these numbers of documents fit into `capacity` results.
pub fn check_room(
    counts: impl Iterator<Item = usize>,
    options: &Options,
    capacity: usize,
) -> Result<(), Failure> {
    let max_per_set = options.rerank.top_k.unwrap_or(usize::MAX);
    let needed = counts.fold(0_usize, |sum, count| sum.saturating_add(count.min(max_per_set)));
    if needed > capacity {
        let message = format!("`results` needs room for {needed}, it has {capacity}");
        return Err(Failure::new(CROSSRANK_ERR_BUFFER, message));
    }
    Ok(())
}

/// Ranks sets of documents into `results`, one ranking after another without gaps.
pub fn write_rankings(
    model: &Reranker,
    sets: &[(Cow<'_, str>, Vec<Cow<'_, str>>)],
    options: &Options,
    results: &mut [crossrank_ranked],
    found: &mut [usize],
) -> Result<(), Failure> {
    let sets: Vec<(&str, &[Cow<'_, str>])> = sets.iter().map(|(q, d)| (&**q, &d[..])).collect();
    let rankings = model.rerank_many(&sets, &rerank_options(options))?;
    let mut to = results.iter_mut();
    for (ranking, found) in rankings.iter().zip(found) {
        usage::store(&ranking.usage);
        *found = ranking.results.len();
        // In this order: `zip` asks its left side first, so it takes no slot of `to` after the last result.
        for (from, to) in ranking.results.iter().zip(to.by_ref()) {
            *to = from.into();
        }
    }
    Ok(())
}

/// The numbers that `count` pairs give, one per label, which must not exceed `capacity`.
pub fn score_room(model: &Reranker, count: usize, capacity: usize) -> Result<usize, Failure> {
    let needed = count.saturating_mul(model.info().labels.len());
    if needed > capacity {
        let message = format!("`logits` and `scores` need room for {needed}, they have {capacity}");
        return Err(Failure::new(CROSSRANK_ERR_BUFFER, message));
    }
    Ok(needed)
}

/// Scores pairs into those outputs that are not empty.
pub fn write_scores(
    model: &Reranker,
    queries: &[Cow<'_, str>],
    documents: &[Cow<'_, str>],
    options: &Options,
    logits: &mut [f32],
    scores: &mut [f64],
    details: &mut [crossrank_ranked],
) -> Result<(), Failure> {
    let pairs: Vec<_> = queries.iter().zip(documents).collect();
    let scored = model.score_with(&pairs, &rerank_options(options))?;
    usage::store(&scored.usage);
    let results = &scored.results;
    logits.iter_mut().zip(results.iter().flat_map(|s| &s.logits)).for_each(|(to, from)| *to = *from);
    scores.iter_mut().zip(results.iter().flat_map(|s| &s.scores)).for_each(|(to, from)| *to = *from);
    details.iter_mut().zip(results).for_each(|(to, from)| *to = from.into());
    Ok(())
}

/// Ranks documents by relevance to a query. A model with several labels needs crossrank_options_set_label.
///
/// - `query`: the query.
/// - `documents`: `count` documents. With 0 documents the ranking is empty.
/// - `options`: options of the call, or CROSSRANK_DEFAULTS.
/// - `results`: receives the best documents, best first and ties in input order: `capacity` of them, or fewer if there are fewer
///   or the options say so.
/// - `capacity`: number of elements of `results`.
/// - `found`: receives how many results were written.
///
/// Any thread. Since 0.1.
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
        write_ranking(&model, &query, &documents, &options, results, found)
    })
}

/// Ranks several sets of documents in one call, which is faster than one call for each.
///
/// - `sets`: `set_count` queries with their documents.
/// - `options`: options of the call, or CROSSRANK_DEFAULTS.
/// - `results`: receives the ranking of each set, as in crossrank_rerank, directly after the ranking of the set before it.
/// - `capacity`: number of elements of `results`: at least the number of all documents or, with top_k, the sum over the sets of
///   the lower of top_k and the number of documents. Less returns CROSSRANK_ERR_BUFFER.
/// - `found`: receives, for each of the `set_count` sets, how many results it has.
///
/// Any thread. Since 0.1.
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
        check_room(sets.iter().map(|set| set.count), &options, capacity)?;
        let mut owned = Vec::new();
        for (i, set) in sets.iter().enumerate() {
            // SAFETY: as above.
            let query = unsafe { utf8(set.query, options.strict_utf8, "query of set", i) }?;
            // SAFETY: as above.
            let documents = unsafe { texts(set.documents, set.count, options.strict_utf8, "documents") }?;
            owned.push((query, documents));
        }
        write_rankings(&model, &owned, &options, results, found)
    })
}

/// Scores pairs of a query and a document, without sorting them.
///
/// - `queries`, `documents`: `count` texts each; pair i is the query i with the document i.
/// - `options`: options of the call, or CROSSRANK_DEFAULTS.
/// - `logits`: receives the model's raw outputs: for each pair in input order, one number per label. May be NULL.
/// - `scores`: receives the logits after the model's own activation function, in the same order. May be NULL.
/// - `capacity`: number of elements of `logits` and of `scores`: at least count * labels, else CROSSRANK_ERR_BUFFER is returned.
/// - `details`: receives one result per pair, in input order; `count` elements. May be NULL.
///
/// Any thread. Since 0.1.
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
        let needed = score_room(&model, count, capacity)?;
        // SAFETY: the header asks for valid texts, and for writable memory or NULL.
        let (queries, documents) = unsafe {
            (texts(queries, count, strict, "queries")?, texts(documents, count, strict, "documents")?)
        };
        // SAFETY: as above.
        let (logits, scores, details) = unsafe {
            (
                optional_slice_mut(logits, needed, "logits")?,
                optional_slice_mut(scores, needed, "scores")?,
                optional_slice_mut(details, count, "details")?,
            )
        };
        write_scores(&model, &queries, &documents, &options, logits, scores, details)
    })
}
