//! One call: texts to token ids, pairs to groups, groups to scores. A call with a deadline takes these steps many times,
//! for a few documents each: deadline.rs.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
use crate::text::tokenizer::Encoded;

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
    score_pairs_by(&Instant::now, model, request)
}

/// [`score_pairs`] by a clock of the caller, so that tests of deadlines do not depend on the machine's speed.
pub fn score_pairs_by(
    now: &(dyn Fn() -> Instant + Sync),
    model: &Reranker,
    request: &Request<'_>,
) -> Result<(Vec<Scored>, Usage)> {
    let start = now();
    let call = Call { model, request, now };
    call.check_cancelled()?;
    call.check_options()?;
    let Progressed { results, groups, executed, tokenize, compute } = match request.options.deadline {
        None => call.score_all()?,
        Some(deadline) => call.score_until(deadline)?,
    };
    let executed = executed.unwrap_or_else(|| model.engine.executed());
    let usage = Usage {
        tokens: results.iter().filter(|r| r.status != PairStatus::NotScored).map(|r| r.tokens).sum(),
        truncated_tokens: results.iter().map(|r| r.truncated.query + r.truncated.document).sum(),
        truncated_at_least: results.iter().any(|r| r.truncated.at_least),
        groups,
        tokenize_ms: milliseconds(tokenize),
        compute_ms: milliseconds(compute),
        total_ms: milliseconds(now().saturating_duration_since(start)),
        backend: executed.backend,
        isa: executed.isa,
        gpu_failure: executed.gpu_failure,
    };
    Ok((results, usage))
}

/// Tokenizes every pair of a request, in the order of its pairs; `None` for those that the deadline left out.
pub fn tokenize_pairs(model: &Reranker, request: &Request<'_>) -> Result<Vec<Option<TokenizedDocument>>> {
    let call = Call { model, request, now: &Instant::now };
    call.check_cancelled()?;
    call.check_options()?;
    let queries = call.tokenize_queries(0..request.queries.len())?;
    call.tokenize_documents(&queries, 0..request.pairs.len())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Locks a mutex whose data stays valid when a thread panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Call<'a> {
    pub(super) model: &'a Reranker,
    pub(super) request: &'a Request<'a>,
    /// The time.
    pub(super) now: &'a (dyn Fn() -> Instant + Sync),
}

/// What a call has done so far: the first documents of the request are computed.
#[derive(Default)]
pub(super) struct Progressed {
    /// Of the first documents, in the order of the pairs.
    pub results: Vec<Scored>,
    /// The number of groups.
    pub groups: usize,
    /// The first group's, or that of one that fell back to the CPU.
    pub executed: Option<Executed>,
    pub tokenize: Duration,
    pub compute: Duration,
}

/// One window of the documents that are computed together.
struct WindowOfCall<'a> {
    /// Index of the document among them.
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

    pub(super) fn deadline_passed(&self) -> bool {
        self.request.options.deadline.is_some_and(|deadline| (self.now)() >= deadline)
    }

    /// The time since `start`.
    pub(super) fn since(&self, start: Instant) -> Duration {
        (self.now)().saturating_duration_since(start)
    }

    /// Scores every pair: all texts are tokenized, and then all pairs computed in groups of similar lengths.
    fn score_all(&self) -> Result<Progressed> {
        let start = (self.now)();
        let queries = self.tokenize_queries(0..self.request.queries.len())?;
        let documents = self.tokenize_documents(&queries, 0..self.request.pairs.len())?;
        let mut progressed = Progressed { tokenize: self.since(start), ..Progressed::default() };
        self.compute(&documents, &mut progressed)?;
        Ok(progressed)
    }

    fn check_options(&self) -> Result<()> {
        self.model.tokenizer.template().check_window(self.fit().max_tokens)?;
        self.prompt()?;
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

    fn fit(&self) -> FitOptions {
        let Request { options, default_truncation, .. } = self.request;
        FitOptions {
            max_tokens: options.max_tokens.unwrap_or(usize::MAX).min(self.model.info.max_tokens),
            truncation: options.truncation.unwrap_or(*default_truncation),
            windows: options.windows,
        }
    }

    /// The text before each query, from the options or the model.
    fn prompt(&self) -> Result<&str> {
        let options = self.request.options;
        self.model.prompts.resolve(options.prompt.as_deref(), options.prompt_name.as_deref())
    }

    /// Tokenizes some of the queries, in parallel. `None` for those that were not tokenized before the deadline.
    pub(super) fn tokenize_queries(&self, queries: Range<usize>) -> Result<Vec<Option<Encoded>>> {
        let (model, max_query_tokens) = (self.model, self.fit().max_tokens.saturating_mul(MAX_QUERY_WINDOWS));
        // Prompt and query are one text: the tokens at their border are those of the whole.
        let prompt = self.prompt()?;
        self.tokenize_each(queries, |i| {
            let query = self.request.queries[i];
            let text = if prompt.is_empty() { Cow::Borrowed(query) } else { [prompt, query].concat().into() };
            model.tokenizer.encode(&text, max_query_tokens).map(Some)
        })
    }

    /// Tokenizes some of the documents, in parallel, beside `queries`: all queries up to theirs. `None` for documents that
    /// were not tokenized before the deadline.
    pub(super) fn tokenize_documents(
        &self,
        queries: &[Option<Encoded>],
        documents: Range<usize>,
    ) -> Result<Vec<Option<TokenizedDocument>>> {
        let fit = self.fit();
        self.tokenize_each(documents, |i| {
            let pair = &self.request.pairs[i];
            // `None` only where the deadline has passed, and then this is not reached.
            let Some(query) = &queries[pair.query] else { return Ok(None) };
            TokenizedDocument::new(&self.model.tokenizer, query, pair.document, fit, i).map(Some)
        })
    }

    /// Calls `tokenize` with each of the indexes, on the pool. From the deadline on, values are `None`. Where several calls
    /// fail, the error is that of the lowest index.
    fn tokenize_each<T: Send>(
        &self,
        indexes: Range<usize>,
        tokenize: impl Fn(usize) -> Result<Option<T>> + Sync,
    ) -> Result<Vec<Option<T>>> {
        let slots: Vec<Mutex<Result<Option<T>>>> = indexes.clone().map(|_| Mutex::new(Ok(None))).collect();
        let task = |i: usize| {
            let tokenize = || match &self.model.counters {
                Some(counters) => counters.time(Stage::Tokenize, 1, || tokenize(indexes.start + i)),
                None => tokenize(indexes.start + i),
            };
            let value = self
                .check_cancelled()
                .and_then(|()| if self.deadline_passed() { Ok(None) } else { tokenize() });
            *lock(&slots[i]) = value;
        };
        self.model.pool.parallel_for(slots.len(), &task, || ())?;
        self.check_cancelled()?;
        slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Scores every window of tokenized documents, which are the next ones of the call, and adds what it has done.
    pub(super) fn compute(
        &self,
        documents: &[Option<TokenizedDocument>],
        progressed: &mut Progressed,
    ) -> Result<()> {
        let (model, start) = (self.model, (self.now)());
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
        let first = progressed.results.len();
        let results = Results::new(documents, first, labels, model.spec.score, self.request.label_scoring);
        let executed = progressed.executed.take();
        let mut collector = Collector {
            call: self,
            windows: &windows,
            members,
            done: first,
            results,
            failure: None,
            executed,
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
        if let Some(error) = failure {
            return Err(error);
        }
        progressed.results.extend(results.into_scored());
        progressed.groups += members.len();
        progressed.executed = executed;
        progressed.compute += self.since(start);
        Ok(())
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
    /// Documents that were finished before these.
    done: usize,
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
        let (done, total) = (self.done + self.results.done(), self.call.request.pairs.len());
        on_progress(&Progress { done, total, finished: &finished });
    }
}
