//! A call with a deadline: the documents are tokenized and computed in rounds, in their order. The first round has one
//! document, so that there is a score as soon as one pair fits; the next ones grow with the measured speed, to full groups
//! where there is time for them.

use std::time::Instant;

use super::call::{Call, Progressed};
use super::engine::GROUP_TOKENS;
use super::pace::Pace;
use super::results::not_scored;
use super::tokenize::TokenizedDocument;
use crate::error::Result;
use crate::text::tokenizer::Encoded;

/// Full groups of a thread in the largest rounds. Threads wait for each other at the end of a round, for half a group's
/// time on average: a thirtieth of a round of 16.
const MAX_GROUPS_PER_THREAD: usize = 16;

/// The texts of a call that are tokenized so far: the first ones.
#[derive(Default)]
struct Tokenized {
    queries: Vec<Option<Encoded>>,
    documents: Vec<Option<TokenizedDocument>>,
    /// Tokens of all of the documents.
    tokens: usize,
}

impl Call<'_> {
    /// Scores pairs in their order until the deadline.
    pub(super) fn score_until(&self, deadline: Instant) -> Result<Progressed> {
        let (model, total) = (self.model, self.request.pairs.len());
        let group_tokens = model.engine.sequential_group_tokens();
        let thread_tokens = group_tokens.unwrap_or(GROUP_TOKENS * model.pool.threads());
        let mut pace = Pace::new(thread_tokens.saturating_mul(MAX_GROUPS_PER_THREAD));
        let remaining = || deadline.saturating_duration_since((self.now)());
        let mut progressed = Progressed::default();
        let mut tokenized = Tokenized::default();
        while progressed.results.len() < total && !self.deadline_passed() {
            let first = progressed.results.len();
            let start = (self.now)();
            self.tokenize_ahead(&mut tokenized, first, pace.next_tokens(remaining()))?;
            progressed.tokenize += self.since(start);
            // Asked again, because tokenizing took time.
            let (count, tokens) = round(&tokenized.documents[first..], pace.next_tokens(remaining()));
            let start = (self.now)();
            self.compute(&tokenized.documents[first..first + count], &mut progressed)?;
            pace.measured(tokens, self.since(start));
        }
        let scores = if self.request.label_scoring.is_some() { 1 } else { model.info.labels.len() };
        let left = progressed.results.len()..total;
        let document = |i: usize| tokenized.documents.get(i).and_then(Option::as_ref);
        progressed.results.extend(left.map(|i| not_scored(i, document(i), scores)));
        Ok(progressed)
    }

    /// Tokenizes documents, and their queries, until those from `first` on have `tokens` tokens: at least one, and not many
    /// more than needed, because each takes time.
    fn tokenize_ahead(&self, tokenized: &mut Tokenized, first: usize, tokens: usize) -> Result<()> {
        let Tokenized { queries, documents, tokens: all_tokens } = tokenized;
        let pairs = &self.request.pairs;
        loop {
            let (done, found) = (documents.len(), tokens_of(&documents[first..]));
            if done == pairs.len() || (done > first && found >= tokens) || self.deadline_passed() {
                return Ok(());
            }
            // As many as would be enough if they were as long as those before them.
            let per_document = all_tokens.div_ceil(done.max(1)).max(1);
            let wanted = if done == 0 { 1 } else { (tokens - found).div_ceil(per_document) };
            let end = done.saturating_add(wanted).min(pairs.len());
            let needed_queries = pairs[done..end].iter().map(|pair| pair.query + 1).max().unwrap_or(0);
            if needed_queries > queries.len() {
                queries.extend(self.tokenize_queries(queries.len()..needed_queries)?);
            }
            documents.extend(self.tokenize_documents(queries, done..end)?);
            *all_tokens += tokens_of(&documents[done..]);
        }
    }
}

/// The next round: how many of the documents it has, and their tokens. It has at least one document; further ones only
/// where they fit into `tokens` tokens.
fn round(documents: &[Option<TokenizedDocument>], tokens: usize) -> (usize, usize) {
    let (mut count, mut total) = (0, 0);
    for document in documents {
        let more = document.as_ref().map_or(0, TokenizedDocument::tokens);
        if count > 0 && total + more > tokens {
            break;
        }
        (count, total) = (count + 1, total + more);
    }
    (count, total)
}

fn tokens_of(documents: &[Option<TokenizedDocument>]) -> usize {
    documents.iter().flatten().map(TokenizedDocument::tokens).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use crate::cpu::threads::Pool;
    use crate::error::Result;
    use crate::ranking::{PairStatus, Scored, Usage};
    use crate::rerank_options::{RerankOptions, Truncation, Windows};
    use crate::reranker::Reranker;
    use crate::reranker::call::{Request, TextPair, score_pairs_by};
    use crate::reranker::engine::{Engine, Executed};
    use crate::text::batch::PackedBatch;

    const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/bert");
    const LAYERS: u32 = 4;
    /// 104 microseconds for a document of 10 tokens.
    const LAYER_PER_TOKEN: Duration = Duration::from_nanos(2600);

    /// A clock that only computing moves.
    #[derive(Clone, Default)]
    struct Clock(Arc<AtomicU64>);

    impl Clock {
        fn elapsed(&self) -> Duration {
            Duration::from_nanos(self.0.load(Ordering::SeqCst))
        }

        fn advance(&self, time: Duration) {
            self.0.fetch_add(time.as_nanos() as u64, Ordering::SeqCst);
        }
    }

    /// The real engine, at a speed of the test's: each token takes a layer so long.
    struct SlowEngine {
        inner: Box<dyn Engine>,
        clock: Clock,
        layer_per_token: Duration,
        /// From this batch on, each layer takes ten times as long.
        slow_from: usize,
        group_tokens: Option<usize>,
        /// The sequences of each batch, in the order of the calls.
        batches: Arc<Mutex<Vec<usize>>>,
    }

    impl Engine for SlowEngine {
        fn executed(&self) -> Executed {
            self.inner.executed()
        }

        fn sequential_group_tokens(&self) -> Option<usize> {
            self.group_tokens
        }

        fn logits(
            &self,
            batch: &PackedBatch,
            pool: Option<&Arc<Pool>>,
            stop: &dyn Fn() -> Result<()>,
            out: &mut [f32],
        ) -> Result<Executed> {
            let mut batches = self.batches.lock().unwrap();
            let factor = if batches.len() < self.slow_from { 1 } else { 10 };
            batches.push(batch.sequences());
            drop(batches);
            for _ in 0..LAYERS {
                self.clock.advance(self.layer_per_token * factor * batch.tokens() as u32);
                stop()?;
            }
            self.inner.logits(batch, pool, &|| Ok(()), out)
        }

        fn trim(&self) {}
    }

    /// A model whose engine and clock are the test's.
    struct Slow {
        model: Reranker,
        clock: Clock,
        batches: Arc<Mutex<Vec<usize>>>,
        start: Instant,
    }

    impl Slow {
        fn new(layer_per_token: Duration, group_tokens: Option<usize>) -> Self {
            Self::new_slow_from(usize::MAX, layer_per_token, group_tokens)
        }

        fn new_slow_from(slow_from: usize, layer_per_token: Duration, group_tokens: Option<usize>) -> Self {
            let mut model = Reranker::builder().threads(1).load(FIXTURE).unwrap();
            let (clock, batches) = (Clock::default(), Arc::default());
            let inner = std::mem::replace(&mut model.engine, Box::new(Nothing));
            let (moved, noted) = (clock.clone(), Arc::clone(&batches));
            model.engine = Box::new(SlowEngine {
                inner,
                clock: moved,
                layer_per_token,
                slow_from,
                group_tokens,
                batches: noted,
            });
            Self { model, clock, batches, start: Instant::now() }
        }

        fn score(
            &self,
            documents: &[String],
            limit: Option<Duration>,
            options: RerankOptions,
        ) -> (Vec<Scored>, Usage) {
            let now = self.start + self.clock.elapsed();
            let options = RerankOptions { deadline: limit.map(|limit| now + limit), ..options };
            let pairs = documents.iter().map(|document| TextPair { query: 0, document }).collect();
            let request = Request {
                queries: vec!["a query"],
                pairs,
                options: &options,
                default_truncation: Truncation::DocumentOnly,
                label_scoring: None,
            };
            score_pairs_by(&|| self.start + self.clock.elapsed(), &self.model, &request).unwrap()
        }
    }

    /// The engine of a model whose engine is about to be replaced.
    struct Nothing;

    impl Engine for Nothing {
        fn executed(&self) -> Executed {
            unreachable!()
        }

        fn logits(
            &self,
            _: &PackedBatch,
            _: Option<&Arc<Pool>>,
            _: &dyn Fn() -> Result<()>,
            _: &mut [f32],
        ) -> Result<Executed> {
            unreachable!()
        }

        fn trim(&self) {}
    }

    /// Documents that all have the same number of tokens and no two of which are equal.
    fn lines(count: usize) -> Vec<String> {
        let word = |i: usize| ["one", "two", "the", "a", "of", "in", "and", "to", "on", "at"][i % 10];
        (0..count)
            .map(|i| format!("{} {} {} {}", word(i), word(i / 10), word(i / 100), word(i / 1000)))
            .collect()
    }

    fn bits(scored: &Scored) -> Vec<u32> {
        scored.logits.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn groups_start_with_one_document_and_grow_and_none_ends_a_layer_after_the_deadline() {
        let documents = lines(1000);
        for group_tokens in [None, Some(8192)] {
            let slow = Slow::new(LAYER_PER_TOKEN, group_tokens);
            let (expected, _) = slow.score(&documents, None, RerankOptions::new());
            let all_at_once = std::mem::take(&mut *slow.batches.lock().unwrap());
            assert!(all_at_once[0] > 20, "{all_at_once:?}");
            let tokens = expected[0].tokens;
            assert!(expected.iter().all(|scored| scored.tokens == tokens));

            let limit = Duration::from_millis(8);
            let before = slow.clock.elapsed();
            let (scored, usage) = slow.score(&documents, Some(limit), RerankOptions::new());
            let overshoot = (slow.clock.elapsed() - before).saturating_sub(limit);
            let batches = slow.batches.lock().unwrap();
            assert_eq!(batches[..4], [1, 2, 4, 8]);
            assert!(batches.windows(2).all(|pair| pair[1] <= 2 * pair[0]), "{batches:?}");
            // Most of the time was used, and what was tried in vain is the last group: one document.
            let done = scored.iter().take_while(|scored| scored.status == PairStatus::Scored).count();
            assert!(scored[done..].iter().all(|scored| scored.status == PairStatus::NotScored));
            assert_eq!(batches.iter().sum::<usize>(), done + 1, "{batches:?}");
            assert_eq!(batches.last(), Some(&1), "{batches:?}");
            let document = LAYER_PER_TOKEN * LAYERS * tokens as u32;
            assert_eq!(done, (limit.as_nanos() / document.as_nanos()) as usize);
            assert!(overshoot <= document / LAYERS, "{overshoot:?}");
            assert_eq!((usage.groups, usage.tokens), (batches.len(), done * tokens));
            // No bit depends on the group.
            for (found, expected) in scored.iter().zip(&expected).take(done) {
                assert_eq!((found.index, bits(found)), (expected.index, bits(expected)));
            }
        }
    }

    #[test]
    fn calls_with_what_the_call_before_left_score_every_document_once() {
        let documents = lines(300);
        let slow = Slow::new(LAYER_PER_TOKEN, None);
        let (expected, _) = slow.score(&documents, None, RerankOptions::new());
        let mut left: Vec<usize> = (0..documents.len()).collect();
        let mut calls = 0;
        while !left.is_empty() {
            let texts: Vec<String> = left.iter().map(|&i| documents[i].clone()).collect();
            let (scored, _) = slow.score(&texts, Some(Duration::from_millis(2)), RerankOptions::new());
            let mut next = Vec::new();
            for (&i, found) in left.iter().zip(&scored) {
                match found.status {
                    PairStatus::Scored => assert_eq!(bits(found), bits(&expected[i])),
                    _ => next.push(i),
                }
            }
            assert!(next.len() < left.len());
            (left, calls) = (next, calls + 1);
        }
        assert!(calls > 5, "{calls}");
    }

    #[test]
    fn where_no_pair_fits_one_is_tried_for_a_layer_and_where_one_fits_it_is_scored() {
        let documents = lines(50);
        let slow = Slow::new(LAYER_PER_TOKEN, None);
        let tokens = slow.score(&documents[..1], None, RerankOptions::new()).0[0].tokens;
        let document = LAYER_PER_TOKEN * LAYERS * tokens as u32;
        for (limit, fit) in [(document / 2, 0), (document, 0), (document + Duration::from_nanos(1), 1)] {
            slow.batches.lock().unwrap().clear();
            let before = slow.clock.elapsed();
            let (scored, usage) = slow.score(&documents, Some(limit), RerankOptions::new());
            let done = scored.iter().filter(|scored| scored.status == PairStatus::Scored).count();
            assert_eq!((done, scored.len(), usage.tokens), (fit, 50, fit * tokens));
            let overshoot = (slow.clock.elapsed() - before).saturating_sub(limit);
            assert!(overshoot <= document / LAYERS, "{overshoot:?}");
        }
    }

    /// Another program takes the processor: what the rounds before told is wrong.
    #[test]
    fn a_machine_that_gets_slower_is_late_by_a_layer_of_the_group_that_it_computes() {
        let (documents, limit) = (lines(1000), Duration::from_millis(8));
        for slow_from in 1..8 {
            let slow = Slow::new_slow_from(slow_from, LAYER_PER_TOKEN, None);
            let (scored, _) = slow.score(&documents, Some(limit), RerankOptions::new());
            let batches = slow.batches.lock().unwrap();
            let layer = LAYER_PER_TOKEN * 10 * (scored[0].tokens * batches.last().unwrap()) as u32;
            let overshoot = slow.clock.elapsed().saturating_sub(limit);
            assert!(overshoot < layer, "{overshoot:?} of {layer:?}, {batches:?}");
            // What was scored before stays.
            let done = scored.iter().filter(|scored| scored.status == PairStatus::Scored).count();
            assert_eq!(done, batches[..batches.len() - 1].iter().sum::<usize>(), "{batches:?}");
            assert!(done >= slow_from, "{batches:?}");
        }
    }

    #[test]
    fn rounds_keep_indexes_progress_and_windows() {
        let mut documents = lines(40);
        documents[2] = "the one and the two ".repeat(30);
        let slow = Slow::new(LAYER_PER_TOKEN, None);
        let windows = Windows { overlap: 2, max_windows: 9 };
        let options = || RerankOptions::new().windows(windows).max_tokens(24);
        let (expected, _) = slow.score(&documents, None, options());
        assert!(expected[2].window.is_some() && expected[2].tokens == 9 * 24, "{:?}", expected[2]);
        let told = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let tell = Arc::clone(&told);
        let progress = options().on_progress(move |progress| {
            assert_eq!(progress.total, 40);
            let mut told = tell.lock().unwrap();
            told.0.push(progress.done);
            told.1.extend(progress.finished.iter().map(|scored| scored.index));
        });
        let (scored, _) = slow.score(&documents, Some(Duration::from_secs(1)), progress);
        assert_eq!(scored, expected);
        let (done, mut indexes) = std::mem::take(&mut *told.lock().unwrap());
        assert_eq!((done[0], done.last()), (1, Some(&40)));
        indexes.sort();
        assert_eq!(indexes, (0..40).collect::<Vec<_>>());
    }
}
