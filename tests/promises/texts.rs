//! Texts from which calls are composed, and a check of one random call.

use std::collections::{HashMap, HashSet};

use crossrank::{PairStatus, RerankOptions, Reranker, Truncation};

use crate::common::{Random, bits, golden};

/// Queries and documents of a golden file. Each query with each document is a pair, of 3 tokens up to the whole window.
pub struct Texts {
    pub queries: Vec<String>,
    pub documents: Vec<String>,
}

/// The bits of the logits by (query, document).
pub type ExpectedBits = HashMap<(usize, usize), Vec<u32>>;

impl Texts {
    pub fn new(folder: &str, queries: usize, documents: usize) -> Self {
        // From the end, where the golden files have their unusual and their long cases.
        let cases = golden(folder).cases;
        let queries = cases.iter().rev().step_by(2).take(queries).map(|c| c.query.clone()).collect();
        let documents = cases.iter().rev().take(documents).map(|c| c.document.clone()).collect();
        Self { queries, documents }
    }

    /// Scores every pair in a call of its own.
    pub fn score_individually(&self, model: &Reranker) -> ExpectedBits {
        let mut expected = ExpectedBits::new();
        for (q, query) in self.queries.iter().enumerate() {
            for (d, document) in self.documents.iter().enumerate() {
                let scored = model.score(&[(query, document)]).unwrap();
                assert_eq!(scored[0].status, PairStatus::Scored);
                expected.insert((q, d), bits(&scored[0].logits));
            }
        }
        let distinct: HashSet<_> = expected.values().collect();
        assert!(
            distinct.len() > expected.len() / 2,
            "pairs with equal scores would hide that two are swapped"
        );
        expected
    }

    /// Up to `max` random documents, possibly repeated.
    fn draw(&self, random: &mut Random, max: usize) -> Vec<usize> {
        (0..1 + random.below(max)).map(|_| random.below(self.documents.len())).collect()
    }

    /// Makes one call with at most `max_documents` random documents through one of the three methods that score, and compares
    /// each pair's bits with the expected ones. `what` names the model.
    pub fn check(
        &self,
        model: &Reranker,
        expected: &ExpectedBits,
        random: &mut Random,
        max_documents: usize,
        what: &str,
    ) {
        // `score` truncates like this by default, and so must the others for comparison.
        let options = RerankOptions::new().truncation(Truncation::LongestFirst);
        match random.below(3) {
            0 => {
                let drawn = self.draw(random, max_documents);
                let keys: Vec<_> = drawn.iter().map(|&d| (random.below(self.queries.len()), d)).collect();
                let pairs: Vec<_> =
                    keys.iter().map(|&(q, d)| (&self.queries[q], &self.documents[d])).collect();
                let scored = model.score(&pairs).unwrap();
                assert_eq!(scored.len(), keys.len());
                for (key, scored) in keys.iter().zip(scored) {
                    assert_eq!(
                        bits(&scored.logits),
                        expected[key],
                        "{what}: score, pair {key:?} among {keys:?}"
                    );
                }
            }
            1 => {
                let (q, drawn) = (random.below(self.queries.len()), self.draw(random, max_documents));
                let documents: Vec<_> = drawn.iter().map(|&d| &self.documents[d]).collect();
                let ranking = model.rerank(&self.queries[q], &documents, &options).unwrap();
                assert_eq!(ranking.results.len(), drawn.len());
                for r in ranking.results {
                    let key = (q, drawn[r.index]);
                    assert_eq!(
                        bits(&[r.logit]),
                        expected[&key],
                        "{what}: rerank, pair {key:?} among {drawn:?}"
                    );
                }
            }
            _ => {
                let drawn: Vec<_> = (0..1 + random.below(3))
                    .map(|_| (random.below(self.queries.len()), self.draw(random, max_documents)))
                    .collect();
                let documents: Vec<Vec<_>> = drawn
                    .iter()
                    .map(|(_, drawn)| drawn.iter().map(|&d| self.documents[d].as_str()).collect())
                    .collect();
                let sets: Vec<_> = drawn
                    .iter()
                    .zip(&documents)
                    .map(|((q, _), documents)| (self.queries[*q].as_str(), &documents[..]))
                    .collect();
                let rankings = model.rerank_many(&sets, &options).unwrap();
                for ((q, drawn), ranking) in drawn.iter().zip(rankings) {
                    assert_eq!(ranking.results.len(), drawn.len());
                    for r in ranking.results {
                        let key = (*q, drawn[r.index]);
                        assert_eq!(
                            bits(&[r.logit]),
                            expected[&key],
                            "{what}: rerank_many, pair {key:?} among {drawn:?}"
                        );
                    }
                }
            }
        }
    }
}
