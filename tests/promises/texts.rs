//! Texts to compose calls of, and a call with any of them.

use std::collections::{HashMap, HashSet};

use crossrank::{PairStatus, RerankOptions, Reranker, Truncation};

use crate::common::{Random, bits, golden};

/// Queries and documents of a golden file, every query with every document: pairs of 3 tokens up to the whole window.
pub struct Texts {
    pub queries: Vec<String>,
    pub documents: Vec<String>,
}

/// Logit bits by (query, document).
pub type Truth = HashMap<(usize, usize), Vec<u32>>;

impl Texts {
    pub fn new(folder: &str, queries: usize, documents: usize) -> Self {
        // From the end: the golden files keep their odd and their long cases there.
        let cases = golden(folder).cases;
        let queries = cases.iter().rev().step_by(2).take(queries).map(|c| c.query.clone()).collect();
        let documents = cases.iter().rev().take(documents).map(|c| c.document.clone()).collect();
        Self { queries, documents }
    }

    /// Every pair in a call of its own.
    pub fn alone(&self, model: &Reranker) -> Truth {
        let mut truth = Truth::new();
        for (q, query) in self.queries.iter().enumerate() {
            for (d, document) in self.documents.iter().enumerate() {
                let scored = model.score(&[(query, document)]).unwrap();
                assert_eq!(scored[0].status, PairStatus::Scored);
                truth.insert((q, d), bits(&scored[0].logits));
            }
        }
        let different: HashSet<_> = truth.values().collect();
        assert!(different.len() > truth.len() / 2, "pairs that all score alike would hide a mix-up");
        truth
    }

    /// Up to `most` documents, some more than once, in random order.
    fn draw(&self, random: &mut Random, most: usize) -> Vec<usize> {
        (0..1 + random.below(most)).map(|_| random.below(self.documents.len())).collect()
    }

    /// One call with at most `most` random documents, through one of the three entrances; `what` names the model.
    pub fn check(&self, model: &Reranker, truth: &Truth, random: &mut Random, most: usize, what: &str) {
        // `score` truncates like this by default, and so must the others for comparison.
        let options = RerankOptions::new().truncation(Truncation::LongestFirst);
        match random.below(3) {
            0 => {
                let drawn = self.draw(random, most);
                let keys: Vec<_> = drawn.iter().map(|&d| (random.below(self.queries.len()), d)).collect();
                let pairs: Vec<_> =
                    keys.iter().map(|&(q, d)| (&self.queries[q], &self.documents[d])).collect();
                let scored = model.score(&pairs).unwrap();
                assert_eq!(scored.len(), keys.len());
                for (key, scored) in keys.iter().zip(scored) {
                    assert_eq!(
                        bits(&scored.logits),
                        truth[key],
                        "{what}: score, pair {key:?} among {keys:?}"
                    );
                }
            }
            1 => {
                let (q, drawn) = (random.below(self.queries.len()), self.draw(random, most));
                let documents: Vec<_> = drawn.iter().map(|&d| &self.documents[d]).collect();
                let ranking = model.rerank(&self.queries[q], &documents, &options).unwrap();
                assert_eq!(ranking.results.len(), drawn.len());
                for r in ranking.results {
                    let key = (q, drawn[r.index]);
                    assert_eq!(bits(&[r.logit]), truth[&key], "{what}: rerank, pair {key:?} among {drawn:?}");
                }
            }
            _ => {
                let drawn: Vec<_> = (0..1 + random.below(3))
                    .map(|_| (random.below(self.queries.len()), self.draw(random, most)))
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
                            truth[&key],
                            "{what}: rerank_many, pair {key:?} among {drawn:?}"
                        );
                    }
                }
            }
        }
    }
}
