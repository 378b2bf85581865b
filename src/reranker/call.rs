//! One call: texts to token ids, pairs to groups, groups to scores.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Reranker;
use super::engine::Executed;
use super::groups::{Groups, group_pairs};
use super::profile::Stage;
use super::results::Results;
use super::tokenize::{FitOptions, TokenizedDocument};
use crate::error::{Error, Result};
use crate::model::score::LabelScoring;
use crate::ranking::{PairStatus, Scored, Usage};
use crate::rerank_options::{Progress, RerankOptions, Truncation};
use crate::text::batch::{PackedBatch, Pair, group_by_tokens};

/// A query is read up to this many windows. Its length is compared with the documents' to decide which side of a
/// truncated pair keeps the odd token; a longer query counts as this long, so that no text makes a call unbounded.
const MAX_QUERY_WINDOWS: usize = 16;

/// What one call asks for.
pub struct Request<'a> {
    /// The distinct queries.
    pub queries: Vec<&'a str>,
    /// What to score.
    pub pairs: Vec<TextPair<'a>>,
    /// The caller's options.
    pub options: &'a RerankOptions,
    /// The truncation where the options name none.
    pub default_truncation: Truncation,
    /// The label that gives each pair its one score; without it, each pair has the scores of all labels.
    pub label_scoring: Option<LabelScoring>,
}

/// One (query, document) pair of a call.
pub struct TextPair<'a> {
    /// Index into the call's queries.
    pub query: usize,
    /// The document's text.
    pub document: &'a str,
}

/// Scores every pair of a request, in the order of its pairs.
pub fn score_pairs(model: &Reranker, request: &Request<'_>) -> Result<(Vec<Scored>, Usage)> {
    let start = Instant::now();
    let call = Call { model, request };
    call.check_cancelled()?;
    call.check_options()?;
    let documents = call.tokenize()?;
    let tokenize_ms = milliseconds_since(start);
    let compute_start = Instant::now();
    let Computed { results, groups, executed } = call.compute(&documents)?;
    let usage = Usage {
        tokens: results.iter().filter(|r| r.status != PairStatus::NotScored).map(|r| r.tokens).sum(),
        truncated_tokens: results.iter().map(|r| r.truncated.query + r.truncated.document).sum(),
        truncated_at_least: results.iter().any(|r| r.truncated.at_least),
        groups,
        tokenize_ms,
        compute_ms: milliseconds_since(compute_start),
        total_ms: milliseconds_since(start),
        backend: executed.backend,
        isa: executed.isa,
        gpu_failure: executed.gpu_failure,
    };
    Ok((results, usage))
}

/// Tokenizes every pair of a request, in the order of its pairs; `None` for those that the deadline left out.
pub fn tokenize_pairs(model: &Reranker, request: &Request<'_>) -> Result<Vec<Option<TokenizedDocument>>> {
    let call = Call { model, request };
    call.check_cancelled()?;
    call.check_options()?;
    call.tokenize()
}

fn milliseconds_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Locks a mutex whose data stays valid when a thread panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Call<'a> {
    model: &'a Reranker,
    request: &'a Request<'a>,
}

/// What [`Call::compute`] returns.
struct Computed {
    /// In the order of the pairs.
    results: Vec<Scored>,
    /// The number of groups.
    groups: usize,
    executed: Executed,
}

/// One window of the call's documents.
struct WindowOfCall<'a> {
    /// Index of the document in the call.
    document: usize,
    /// Index of the window among the document's.
    window: usize,
    pair: &'a Pair,
}

/// How the computation of a group ended.
enum GroupOutcome {
    /// Logits `[pairs, labels]`, and what computed them.
    Logits(Vec<f32>, Executed),
    /// The deadline passed.
    DeadlinePassed,
    /// The call fails.
    Failed(Error),
}

impl Call<'_> {
    fn check_cancelled(&self) -> Result<()> {
        match &self.request.options.cancel {
            Some(token) if token.is_cancelled() => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }

    fn deadline_passed(&self) -> bool {
        self.request.options.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn check_options(&self) -> Result<()> {
        let max_tokens =
            self.request.options.max_tokens.unwrap_or(usize::MAX).min(self.model.info.max_tokens);
        self.model.tokenizer.template().check_window(max_tokens)?;
        let Some(windows) = self.request.options.windows else { return Ok(()) };
        if windows.max_windows == 0 {
            let message = "0 windows read nothing: give 1 or more".to_owned();
            return Err(Error::InvalidOption { option: "windows", message });
        }
        // Which window is the best depends on the label.
        let labels = self.model.info.labels.len();
        if labels != 1 && self.request.label_scoring.is_none() {
            return Err(Error::SeveralLabels { labels });
        }
        Ok(())
    }

    /// Tokenizes each query once and each document, in parallel. `None` for documents that were not
    /// tokenized before the deadline.
    fn tokenize(&self) -> Result<Vec<Option<TokenizedDocument>>> {
        let (model, Request { queries, pairs, options, .. }) = (self.model, self.request);
        let fit = FitOptions {
            max_tokens: options.max_tokens.unwrap_or(usize::MAX).min(model.info.max_tokens),
            truncation: options.truncation.unwrap_or(self.request.default_truncation),
            windows: options.windows,
        };
        let max_query_tokens = fit.max_tokens.saturating_mul(MAX_QUERY_WINDOWS);
        // Prompt and query are one text: the tokens at their border are those of the whole.
        let prompt = model.prompts.resolve(options.prompt.as_deref(), options.prompt_name.as_deref())?;
        let encode_query = |i: usize| {
            let text = if prompt.is_empty() {
                Cow::Borrowed(queries[i])
            } else {
                [prompt, queries[i]].concat().into()
            };
            model.tokenizer.encode(&text, max_query_tokens).map(Some)
        };
        let queries = self.tokenize_each(queries.len(), encode_query)?;
        self.tokenize_each(pairs.len(), |i| {
            // `None` only where the deadline has passed, and then this is not reached.
            let Some(query) = &queries[pairs[i].query] else { return Ok(None) };
            TokenizedDocument::new(&model.tokenizer, query, pairs[i].document, fit, i).map(Some)
        })
    }

    /// Calls `tokenize` with each index below `count`, on the pool. From the deadline on, values are `None`. Where several
    /// calls fail, the error is that of the lowest index.
    fn tokenize_each<T: Send>(
        &self,
        count: usize,
        tokenize: impl Fn(usize) -> Result<Option<T>> + Sync,
    ) -> Result<Vec<Option<T>>> {
        let slots: Vec<Mutex<Result<Option<T>>>> = (0..count).map(|_| Mutex::new(Ok(None))).collect();
        let task = |i: usize| {
            let tokenize = || match &self.model.counters {
                Some(counters) => counters.time(Stage::Tokenize, 1, || tokenize(i)),
                None => tokenize(i),
            };
            let value = self
                .check_cancelled()
                .and_then(|()| if self.deadline_passed() { Ok(None) } else { tokenize() });
            *lock(&slots[i]) = value;
        };
        self.model.pool.parallel_for(count, &task, || ())?;
        self.check_cancelled()?;
        slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Scores every window of the tokenized documents.
    fn compute(&self, documents: &[Option<TokenizedDocument>]) -> Result<Computed> {
        let model = self.model;
        let windows: Vec<WindowOfCall<'_>> = windows_of(documents).collect();
        let lengths: Vec<usize> = windows.iter().map(|window| window.pair.ids.len()).collect();
        let groups = match model.engine.sequential_group_tokens() {
            Some(tokens) => Groups { members: group_by_tokens(&lengths, tokens), sequential: true },
            None => group_pairs(&lengths, model.pool.threads(), model.pool.supports_nesting()),
        };
        let Groups { members, sequential } = &groups;

        // Groups that have ended since the collector last looked. A million documents make a hundred thousand groups, so
        // the collector must not look through all of them each time.
        let ended: Mutex<Vec<(usize, GroupOutcome)>> = Mutex::new(Vec::with_capacity(members.len()));
        let compute = |group: usize| {
            let batch = model.spec.pack(members[group].iter().map(|&i| windows[i].pair));
            let outcome = self.compute_group(&batch, *sequential);
            lock(&ended).push((group, outcome));
        };
        let labels = model.info.labels.len();
        let results = Results::new(documents, labels, model.spec.score, self.request.label_scoring);
        let mut collector = Collector {
            call: self,
            windows: &windows,
            members,
            total: documents.len(),
            results,
            failure: None,
            executed: None,
        };
        let mut collect = || {
            let ended: Vec<_> = lock(&ended).drain(..).collect();
            collector.collect(ended);
        };
        if *sequential {
            model.pool.parallel_for(1, &|_| (0..members.len()).for_each(&compute), &mut collect)?;
        } else {
            model.pool.parallel_for(members.len(), &compute, &mut collect)?;
        }
        self.check_cancelled()?;
        let Collector { results, failure, executed, .. } = collector;
        match failure {
            Some(error) => Err(error),
            None => {
                let executed = executed.unwrap_or_else(|| model.engine.executed());
                Ok(Computed { results: results.into_scored(), groups: members.len(), executed })
            }
        }
    }

    /// Computes one group, on all threads of the pool if groups are sequential.
    fn compute_group(&self, batch: &PackedBatch, sequential: bool) -> GroupOutcome {
        let model = self.model;
        let mut logits = vec![0.0; batch.sequences() * model.info.labels.len()];
        let check = || if self.deadline_passed() { Err(Error::Cancelled) } else { self.check_cancelled() };
        let pool = (sequential && model.pool.supports_nesting()).then_some(&model.pool);
        match check().and_then(|()| model.engine.logits(batch, pool, &check, &mut logits)) {
            Ok(executed) => GroupOutcome::Logits(logits, executed),
            Err(Error::Cancelled) if self.check_cancelled().is_ok() => GroupOutcome::DeadlinePassed,
            Err(error) => GroupOutcome::Failed(error),
        }
    }
}

/// Every window of every tokenized document, in order.
fn windows_of(documents: &[Option<TokenizedDocument>]) -> impl Iterator<Item = WindowOfCall<'_>> {
    documents.iter().enumerate().flat_map(|(document, tokenized)| {
        let windows = tokenized.iter().flat_map(|tokenized| tokenized.windows.iter().enumerate());
        windows.map(move |(window, content)| WindowOfCall { document, window, pair: &content.pair })
    })
}

/// Puts the outcomes of groups into results, on the calling thread, and reports progress.
struct Collector<'a> {
    call: &'a Call<'a>,
    windows: &'a [WindowOfCall<'a>],
    /// Indexes into `windows` by group.
    members: &'a [Vec<usize>],
    /// Documents of the call.
    total: usize,
    results: Results<'a>,
    /// The first error of a group, which fails the call.
    failure: Option<Error>,
    executed: Option<Executed>,
}

impl Collector<'_> {
    /// Takes the outcomes of groups that have ended since the last time.
    fn collect(&mut self, ended: Vec<(usize, GroupOutcome)>) {
        let labels = self.call.model.info.labels.len();
        let mut finished = Vec::new();
        for (group, outcome) in ended {
            match outcome {
                GroupOutcome::Failed(error) => self.failure = self.failure.take().or(Some(error)),
                GroupOutcome::DeadlinePassed => {}
                GroupOutcome::Logits(logits, executed) => {
                    // The call reports a group that fell back to the CPU; without one, the first, which is the largest.
                    if self.executed.is_none() || executed.gpu_failure.is_some() {
                        self.executed = Some(executed);
                    }
                    for (&i, logits) in self.members[group].iter().zip(logits.chunks_exact(labels)) {
                        let WindowOfCall { document, window, .. } = self.windows[i];
                        if self.results.add_window(document, window, logits) {
                            finished.push(document);
                        }
                    }
                }
            }
        }
        self.report(&finished);
    }

    /// Calls the caller's `on_progress` with the documents that are finished now, unless the call has failed.
    fn report(&self, finished: &[usize]) {
        let Some(on_progress) = &self.call.request.options.on_progress else { return };
        if finished.is_empty() || self.failure.is_some() || self.call.check_cancelled().is_err() {
            return;
        }
        let finished: Vec<Scored> = finished.iter().map(|i| self.results.scored(*i).clone()).collect();
        on_progress(&Progress { done: self.results.done(), total: self.total, finished: &finished });
    }
}
