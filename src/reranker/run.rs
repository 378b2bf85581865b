//! One call: text to pairs, pairs to groups, groups to scores.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::Reranker;
use super::engine::{Executed, GROUP_TOKENS};
use super::profile::Stage;
use crate::error::{Error, Result};
use crate::model::score::LabelScoring;
use crate::model::spec::ScoreActivation;
use crate::ranking::{PairStatus, Scored, Usage};
use crate::rerank_options::{Progress, RerankOptions, Truncation};
use crate::text::batch::{Pair, group_by_tokens};
use crate::text::windows;

/// Fewest tokens that are worth a group of their own where threads would otherwise idle: below, one group whose products
/// are shared out over the threads is faster.
const MIN_GROUP_TOKENS: usize = 96;

/// Windows of a query that are read. A query is compared with its documents by length to decide which side of an odd
/// window keeps one token more; a longer one counts as this long, so that no text makes a call unbounded.
const QUERY_WINDOWS: usize = 16;

/// One (query, document) pair of a call.
pub struct Work<'a> {
    /// Index into the call's queries.
    pub query: usize,
    /// The document's text.
    pub document: &'a str,
}

/// What the kind of a call decides.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The truncation unless the options name one.
    pub truncation: Truncation,
    /// The one score of every pair; all labels without it.
    pub choice: Option<LabelScoring>,
}

/// Runs a whole call; the results are in the order of `work`.
pub fn run(
    model: &Reranker,
    queries: &[&str],
    work: &[Work<'_>],
    options: &RerankOptions,
    kind: Kind,
) -> Result<(Vec<Scored>, Usage)> {
    let start = Instant::now();
    let call = Call { model, options, choice: kind.choice };
    call.check()?;
    if let Some(windows) = options.windows {
        if windows.max_windows == 0 {
            let message = "0 windows read nothing: give 1 or more".to_owned();
            return Err(Error::InvalidOption { option: "windows", message });
        }
        // Which window is the best depends on the label.
        let labels = model.info.labels.len();
        if labels != 1 && kind.choice.is_none() {
            return Err(Error::SeveralLabels { labels });
        }
    }
    let readings = call.read(queries, work, options.truncation.unwrap_or(kind.truncation))?;
    let tokenize_ms = milliseconds(start);
    let computing = Instant::now();
    let (results, groups, ran) = call.score(&readings)?;
    let cut = |scored: &Scored| scored.truncated.query + scored.truncated.document;
    let usage = Usage {
        tokens: results.iter().filter(|r| r.status != PairStatus::NotScored).map(|r| r.tokens).sum(),
        truncated_tokens: results.iter().map(cut).sum(),
        groups,
        tokenize_ms,
        compute_ms: milliseconds(computing),
        total_ms: milliseconds(start),
        backend: ran.backend,
        isa: ran.isa,
        gpu_failure: ran.gpu_failure,
    };
    Ok((results, usage))
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// A work item as the model reads it: its windows, each with the bytes of the document that it holds. One window with the
/// whole pair, and no bytes, unless the call asks for windows.
struct Reading {
    windows: Vec<(Pair, Option<Range<usize>>)>,
}

struct Call<'a> {
    model: &'a Reranker,
    options: &'a RerankOptions,
    choice: Option<LabelScoring>,
}

/// What becomes of a group.
enum Outcome {
    /// Logits `[pairs, labels]`, and what computed them.
    Logits(Vec<f32>, Executed),
    /// The deadline passed.
    Late,
    /// The call fails.
    Failed(Error),
}

impl Call<'_> {
    fn check(&self) -> Result<()> {
        match &self.options.cancel {
            Some(token) if token.is_cancelled() => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }

    fn late(&self) -> bool {
        self.options.deadline.is_some_and(|at| Instant::now() >= at)
    }

    /// Tokenizes every query once and every document, in parallel. `None` where the deadline came first.
    fn read(&self, queries: &[&str], work: &[Work<'_>], policy: Truncation) -> Result<Vec<Option<Reading>>> {
        let (model, tokenizer) = (self.model, &self.model.tokenizer);
        let window = self.options.max_tokens.unwrap_or(usize::MAX).min(model.info.max_tokens);
        let most = window.saturating_mul(QUERY_WINDOWS);
        let queries = self.parallel(queries.len(), |i| tokenizer.encode(queries[i], most).map(Some))?;
        self.parallel(work.len(), |i| {
            // Always there: `parallel` stops handing out work only when the deadline has passed.
            let Some(query) = &queries[work[i].query] else { return Ok(None) };
            let text = work[i].document;
            let windows = match self.options.windows {
                None => {
                    let document = tokenizer.encode(text, window.max(query.ids.len()) + 1)?;
                    vec![(tokenizer.pair(query, &document, window, policy, i)?, None)]
                }
                Some(options) => {
                    let document =
                        tokenizer.encode_with_spans(text, windows::tokens_needed(window, options))?;
                    let windows = tokenizer.windows(query, &document, text, window, (options, policy), i)?;
                    windows.into_iter().map(|(pair, bytes)| (pair, Some(bytes))).collect()
                }
            };
            Ok(Some(Reading { windows }))
        })
    }

    /// `f` of every index on the pool; `None` from the deadline on; the error of the lowest index.
    fn parallel<T: Send>(
        &self,
        count: usize,
        f: impl Fn(usize) -> Result<Option<T>> + Sync,
    ) -> Result<Vec<Option<T>>> {
        let slots: Vec<Mutex<Result<Option<T>>>> = (0..count).map(|_| Mutex::new(Ok(None))).collect();
        let task = |i: usize| {
            let f = || match &self.model.counters {
                Some(counters) => counters.time(Stage::Tokenize, 1, || f(i)),
                None => f(i),
            };
            let value = self.check().and_then(|()| if self.late() { Ok(None) } else { f() });
            *slots[i].lock().unwrap_or_else(PoisonError::into_inner) = value;
        };
        self.model.pool.parallel_for(count, &task, || ())?;
        self.check()?;
        slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Scores every reading; also says how many groups that took, and what computed them.
    fn score(&self, readings: &[Option<Reading>]) -> Result<(Vec<Scored>, usize, Executed)> {
        let model = self.model;
        let labels = model.info.labels.len();
        let threads = model.pool.threads();
        // Every window of every reading: of which, and the pair.
        let windows: Vec<(usize, usize, &Pair)> = readings
            .iter()
            .enumerate()
            .flat_map(|(i, reading)| {
                reading
                    .iter()
                    .flat_map(move |r| r.windows.iter().enumerate().map(move |(w, (pair, _))| (i, w, pair)))
            })
            .collect();
        let lengths: Vec<usize> = windows.iter().map(|(_, _, pair)| pair.ids.len()).collect();
        let (groups, shared) = match model.engine.sequential_group_tokens() {
            Some(tokens) => (group_by_tokens(&lengths, tokens), true),
            None => plan(&lengths, threads, model.pool.supports_nesting()),
        };

        // Groups that have ended and were not collected yet: a million documents make a hundred thousand groups, so what
        // is looked at each time is what is new.
        let ended: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::with_capacity(groups.len()));
        let compute = |g: usize| {
            let members = groups[g].iter().map(|&i| windows[i].2);
            let batch = model.spec.pack(members);
            let mut logits = vec![0.0; batch.sequences() * labels];
            let stop = || if self.late() { Err(Error::Cancelled) } else { self.check() };
            let team = (shared && model.pool.supports_nesting()).then_some(&model.pool);
            let outcome = match stop().and_then(|()| model.engine.logits(&batch, team, &stop, &mut logits)) {
                Ok(ran) => Outcome::Logits(logits, ran),
                Err(Error::Cancelled) if self.check().is_ok() => Outcome::Late,
                Err(error) => Outcome::Failed(error),
            };
            ended.lock().unwrap_or_else(PoisonError::into_inner).push((g, outcome));
        };
        let mut results = Results::new(readings, labels, model.spec.score, self.choice);
        let mut failure = None;
        let mut all_ran: Option<Executed> = None;
        let mut collect = || {
            let ended: Vec<_> = ended.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
            let mut fresh = Vec::new();
            for (g, outcome) in ended {
                match outcome {
                    Outcome::Failed(error) => failure = failure.take().or(Some(error)),
                    Outcome::Late => {}
                    Outcome::Logits(logits, ran) => {
                        // One group that fell back is what the whole call reports; else the first, which is the largest.
                        if all_ran.is_none() || ran.gpu_failure.is_some() {
                            all_ran = Some(ran);
                        }
                        for (&i, logits) in groups[g].iter().zip(logits.chunks_exact(labels)) {
                            let (reading, window, _) = windows[i];
                            fresh.extend(results.take(reading, window, logits));
                        }
                    }
                }
            }
            let news = !fresh.is_empty() && failure.is_none() && self.check().is_ok();
            if let (Some(progress), true) = (&self.options.on_progress, news) {
                let finished: Vec<Scored> = fresh.into_iter().map(|i| results.scored[i].clone()).collect();
                progress(&Progress { done: results.done, total: readings.len(), finished: &finished });
            }
        };
        if shared {
            model.pool.parallel_for(1, &|_| (0..groups.len()).for_each(&compute), &mut collect)?;
        } else {
            model.pool.parallel_for(groups.len(), &compute, &mut collect)?;
        }
        self.check()?;
        match failure {
            Some(error) => Err(error),
            None => {
                let ran = all_ran.unwrap_or_else(|| model.engine.runs());
                Ok((results.scored, groups.len(), ran))
            }
        }
    }
}

/// A window with its logits and scores.
#[derive(Clone)]
struct Best {
    window: usize,
    logits: Vec<f32>,
    scores: Vec<f64>,
}

/// The results of a call as its windows come in, in any order.
struct Results<'a> {
    readings: &'a [Option<Reading>],
    activation: ScoreActivation,
    choice: Option<LabelScoring>,
    scored: Vec<Scored>,
    /// Windows of each reading that are still to come.
    open: Vec<usize>,
    /// The best window of each reading so far.
    best: Vec<Option<Best>>,
    /// Readings of which every window has come.
    done: usize,
}

impl<'a> Results<'a> {
    fn new(
        readings: &'a [Option<Reading>],
        labels: usize,
        activation: ScoreActivation,
        choice: Option<LabelScoring>,
    ) -> Self {
        let scores = if choice.is_some() { 1 } else { labels };
        let scored = readings.iter().enumerate().map(|(i, r)| not_scored(i, r.as_ref(), scores)).collect();
        let open = readings.iter().map(|r| r.as_ref().map_or(0, |r| r.windows.len())).collect();
        Self { readings, activation, choice, scored, open, best: vec![None; readings.len()], done: 0 }
    }

    /// Takes the logits of one window; gives the reading back where that was its last one.
    fn take(&mut self, reading: usize, window: usize, logits: &[f32]) -> Option<usize> {
        let scored = &mut self.scored[reading];
        let best = &mut self.best[reading];
        if !logits.iter().all(|x| x.is_finite()) {
            scored.status = PairStatus::Failed(Error::NonFinite { index: reading });
        } else {
            let (logits, scores) = match self.choice {
                Some(choice) => {
                    let (logit, score) = choice.apply(logits);
                    (vec![logit], vec![score])
                }
                None => (logits.to_vec(), self.activation.apply(logits)),
            };
            // The first of equals, in whatever order they come.
            let better =
                |best: &Best| logits[0].total_cmp(&best.logits[0]).then(best.window.cmp(&window)).is_gt();
            if best.as_ref().is_none_or(better) {
                *best = Some(Best { window, logits, scores });
            }
        }
        self.open[reading] -= 1;
        if self.open[reading] > 0 {
            return None;
        }
        self.done += 1;
        if let (PairStatus::NotScored, Some(best)) = (&scored.status, best.take()) {
            (scored.logits, scored.scores) = (best.logits, best.scores);
            scored.window = self.readings[reading].as_ref().and_then(|r| r.windows[best.window].1.clone());
            scored.status = PairStatus::Scored;
        }
        Some(reading)
    }
}

/// The groups of pairs of these lengths, and whether each of them takes all threads in turn: that is so where there are
/// fewer groups than threads and threads can share one. Otherwise every thread gets the same number of groups of about
/// the same size.
fn plan(lengths: &[usize], threads: usize, can_share: bool) -> (Vec<Vec<usize>>, bool) {
    let total: usize = lengths.iter().sum();
    let rounds = total.div_ceil(GROUP_TOKENS * threads).max(1);
    let even = total.div_ceil(rounds * threads).clamp(MIN_GROUP_TOKENS, GROUP_TOKENS);
    let groups = group_by_tokens(lengths, even);
    if can_share && groups.len() < threads {
        (group_by_tokens(lengths, GROUP_TOKENS), true)
    } else {
        (groups, false)
    }
}

fn not_scored(index: usize, reading: Option<&Reading>, scores: usize) -> Scored {
    let windows = reading.map_or(&[][..], |r| &r.windows);
    Scored {
        index,
        logits: vec![f32::NAN; scores],
        scores: vec![f64::NAN; scores],
        tokens: windows.iter().map(|(pair, _)| pair.ids.len()).sum(),
        truncated: windows.first().map_or_else(Default::default, |(pair, _)| pair.truncated),
        window: None,
        status: PairStatus::NotScored,
    }
}

#[cfg(test)]
mod tests {
    use super::plan;

    #[test]
    fn threads_get_equal_shares_or_share_each_group() {
        // One pair: everybody works on it.
        assert_eq!(plan(&[73], 2, true), (vec![vec![0]], true));
        // Too little for eight groups: whole groups, shared.
        let (groups, shared) = plan(&[30; 10], 8, true);
        assert_eq!((groups.len(), shared), (2, true));
        // 600 tokens would be three groups of 200 on two threads: two and two are done sooner than two and one.
        let (groups, shared) = plan(&[50; 12], 2, true);
        assert_eq!((groups.iter().map(Vec::len).collect::<Vec<_>>(), shared), (vec![3; 4], false));
        assert_eq!(plan(&[], 4, true), (vec![], true));
        // A host's threads cannot share a group.
        assert_eq!(plan(&[73], 2, false), (vec![vec![0]], false));
    }
}
