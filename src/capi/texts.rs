//! Scoring and ranking of texts that lie in one buffer, as programs of other languages have them.

use std::borrow::Cow;
use std::ffi::c_char;

use super::caller::{crossrank_str, out, slice, slice_mut, utf8};
use super::guard::guard;
use super::model::{MODELS, crossrank_model};
use super::options::{self, crossrank_options};
use super::rank::{check_room, optional_slice_mut, score_room, write_ranking, write_rankings, write_scores};
use super::ranked::crossrank_ranked;
use super::status::{Failure, crossrank_status};

/// Texts in one buffer, as Apache Arrow lays them out: text i is the bytes from `offsets[i]` to `offsets[i + 1]` of `data`. The
/// library does not keep the pointers after the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct crossrank_texts {
    /// The first byte of the first text, UTF-8; may be NULL if `len` is 0.
    pub data: *const c_char,
    /// Length of `data` in bytes.
    pub len: usize,
    /// `count` + 1 offsets in bytes, none lower than the one before it and none above `len`; may be NULL if `count` is 0.
    pub offsets: *const u64,
    /// Number of texts.
    pub count: usize,
}

/// The texts of a buffer.
///
/// # Safety
/// As [`slice`], for the data and for the offsets.
unsafe fn views<'a>(texts: crossrank_texts, strict: bool, name: &str) -> Result<Vec<Cow<'a, str>>, Failure> {
    if texts.count == 0 {
        return Ok(Vec::new());
    }
    let bounds = texts.count.saturating_add(1);
    // SAFETY: the caller's duty, as above.
    let offsets = unsafe { slice(texts.offsets, bounds, &format!("{name}.offsets")) }?;
    // SAFETY: the caller's duty, as above.
    let data: &[u8] = unsafe { slice(texts.data.cast(), texts.len, &format!("{name}.data")) }?;
    let view = |(i, ends): (usize, &[u64])| {
        let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(bytes) = data.get(place(ends[0])..place(ends[1])) else {
            return Err(Failure::argument(format!(
                "`{name}` {i} has the offsets {} and {}, of {} bytes",
                ends[0], ends[1], texts.len
            )));
        };
        // SAFETY: `bytes` are part of the caller's data.
        unsafe { utf8(crossrank_str { data: bytes.as_ptr().cast(), len: bytes.len() }, strict, name, i) }
    };
    offsets.windows(2).enumerate().map(view).collect()
}

/// As crossrank_rerank, for documents in one buffer.
///
/// - `query`: the query.
/// - `documents`: the documents. Without any the ranking is empty.
/// - `options`: options of the call, or CROSSRANK_DEFAULTS.
/// - `results`, `capacity`, `found`: as in crossrank_rerank.
///
/// Offsets that descend or pass the end return CROSSRANK_ERR_ARGUMENT. Any thread. Since 0.2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_rerank_texts(
    model: crossrank_model,
    query: crossrank_str,
    documents: crossrank_texts,
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
            unsafe { (utf8(query, strict, "query", 0)?, views(documents, strict, "documents")?) };
        // SAFETY: as above.
        let (results, found) = unsafe { (slice_mut(results, capacity, "results")?, out(found, "found")?) };
        write_ranking(&model, &query, &documents, &options, results, found)
    })
}

/// As crossrank_rerank_many, for queries and documents in one buffer each.
///
/// - `queries`: the queries, one per set.
/// - `documents`: the documents of all sets, one set after another.
/// - `counts`: for each query, how many of the documents are its own. Their sum must be the number of documents, else
///   CROSSRANK_ERR_ARGUMENT is returned.
/// - `options`: options of the call, or CROSSRANK_DEFAULTS.
/// - `results`, `capacity`, `found`: as in crossrank_rerank_many.
///
/// Offsets that descend or pass the end return CROSSRANK_ERR_ARGUMENT. Any thread. Since 0.2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_rerank_many_texts(
    model: crossrank_model,
    queries: crossrank_texts,
    documents: crossrank_texts,
    counts: *const usize,
    options: crossrank_options,
    results: *mut crossrank_ranked,
    capacity: usize,
    found: *mut usize,
) -> crossrank_status {
    guard(|| {
        let model = MODELS.get(model.id)?;
        let options = options::read(options)?;
        let strict = options.strict_utf8;
        // SAFETY: the header asks for valid texts and counts, and for writable memory or NULL.
        let (counts, results, found) = unsafe {
            (
                slice(counts, queries.count, "counts")?,
                slice_mut(results, capacity, "results")?,
                slice_mut(found, queries.count, "found")?,
            )
        };
        let total = counts.iter().fold(0_usize, |sum, count| sum.saturating_add(*count));
        if total != documents.count {
            let message = format!("`counts` add up to {total}, and there are {} documents", documents.count);
            return Err(Failure::argument(message));
        }
        check_room(counts.iter().copied(), &options, capacity)?;
        // SAFETY: as above.
        let (queries, documents) =
            unsafe { (views(queries, strict, "queries")?, views(documents, strict, "documents")?) };
        let mut documents = documents.into_iter();
        let sets: Vec<_> = queries
            .into_iter()
            .zip(counts)
            .map(|(query, count)| (query, documents.by_ref().take(*count).collect()))
            .collect();
        write_rankings(&model, &sets, &options, results, found)
    })
}

/// As crossrank_score, for queries and documents in one buffer each.
///
/// - `queries`, `documents`: as many queries as documents, else CROSSRANK_ERR_ARGUMENT is returned; pair i is the query i with the
///   document i.
/// - `options`: options of the call, or CROSSRANK_DEFAULTS.
/// - `logits`, `scores`, `capacity`, `details`: as in crossrank_score.
///
/// Offsets that descend or pass the end return CROSSRANK_ERR_ARGUMENT. Any thread. Since 0.2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_score_texts(
    model: crossrank_model,
    queries: crossrank_texts,
    documents: crossrank_texts,
    options: crossrank_options,
    logits: *mut f32,
    scores: *mut f64,
    capacity: usize,
    details: *mut crossrank_ranked,
) -> crossrank_status {
    guard(|| {
        let model = MODELS.get(model.id)?;
        let options = options::read(options)?;
        let (strict, count) = (options.strict_utf8, documents.count);
        if queries.count != count {
            let message = format!("there are {} `queries` and {count} `documents`", queries.count);
            return Err(Failure::argument(message));
        }
        let needed = score_room(&model, count, capacity)?;
        // SAFETY: the header asks for valid texts, and for writable memory or NULL.
        let (queries, documents) =
            unsafe { (views(queries, strict, "queries")?, views(documents, strict, "documents")?) };
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
