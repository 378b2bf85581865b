//! Spreads a ranking over the frames of a game or an interface: each frame gives it some milliseconds, and the documents that
//! were not scored go on in the next one.
//!
//! ```text
//! cargo run --release --features bundled-model --example frame_loop -- [MILLISECONDS]
//! ```

use std::env;
use std::error::Error;
use std::time::Duration;

use crossrank::{PairStatus, RerankOptions, Reranker};

fn main() -> Result<(), Box<dyn Error>> {
    let mut budget = Duration::from_millis(env::args().nth(1).as_deref().unwrap_or("8").parse()?);
    let documents: Vec<String> = (1..=300).map(line).collect();
    let reranker = Reranker::bundled()?;

    let mut ranking = FrameRanking::new("Where is the key to the cellar?", &documents);
    let mut frames = 0;
    while !ranking.is_complete() {
        // The rest of a frame would be here: input, simulation, drawing.
        let scored = ranking.advance(&reranker, budget)?;
        frames += 1;
        println!("frame {frames}: {scored} scored, best so far: {:?}", ranking.best());
        if scored == 0 {
            // The next document does not fit into a frame: it would never be scored.
            budget = (2 * budget).max(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// A line of made-up dialogue.
fn line(number: usize) -> String {
    let speaker = ["the cook", "a guard", "the old miller", "your brother"][number % 4];
    let thing = ["key to the cellar", "map", "bucket", "lantern", "red coat"][number / 4 % 5];
    let place = ["behind the stove", "under the bridge", "in the well", "by the gate"][number / 20 % 4];
    format!("{number}: {speaker} says that the {thing} is {place}.")
}

/// A ranking that goes on from call to call.
struct FrameRanking<'a> {
    query: &'a str,
    documents: &'a [String],
    /// Indexes of the documents without a score, in the order in which they are scored.
    left: Vec<usize>,
    /// Index and logit of the others.
    scored: Vec<(usize, f32)>,
}

impl<'a> FrameRanking<'a> {
    fn new(query: &'a str, documents: &'a [String]) -> Self {
        Self { query, documents, left: (0..documents.len()).collect(), scored: Vec::new() }
    }

    /// Scores documents for about `budget` and returns how many. No score depends on when it is computed.
    fn advance(&mut self, reranker: &Reranker, budget: Duration) -> crossrank::Result<usize> {
        let texts: Vec<&str> = self.left.iter().map(|&index| self.documents[index].as_str()).collect();
        let options = RerankOptions::new().time_limit(budget);
        let mut results = reranker.rerank(self.query, &texts, &options)?.results;
        // Back into the order of the call, so that the documents that come first are scored first.
        results.sort_by_key(|ranked| ranked.index);
        let before = self.scored.len();
        let mut left = Vec::new();
        for ranked in results {
            let index = self.left[ranked.index];
            match ranked.status {
                PairStatus::Scored => self.scored.push((index, ranked.logit)),
                PairStatus::NotScored => left.push(index),
                PairStatus::Failed(error) => return Err(error),
                _ => {}
            }
        }
        self.left = left;
        Ok(self.scored.len() - before)
    }

    fn is_complete(&self) -> bool {
        self.left.is_empty()
    }

    fn best(&self) -> Option<&'a str> {
        let (index, _) = self.scored.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(&self.documents[*index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_score_every_document_once_as_one_call_does() {
        let documents: Vec<String> = (1..=40).map(line).collect();
        let reranker = Reranker::bundled().unwrap();
        let all = reranker.rerank("Who has the key?", &documents, &RerankOptions::new()).unwrap();
        let mut expected: Vec<(usize, u32)> =
            all.results.iter().map(|ranked| (ranked.index, ranked.logit.to_bits())).collect();
        expected.sort();

        let mut ranking = FrameRanking::new("Who has the key?", &documents);
        // A frame without time scores nothing and loses nothing.
        assert_eq!(ranking.advance(&reranker, Duration::ZERO).unwrap(), 0);
        assert_eq!((ranking.left.len(), ranking.best()), (40, None));
        // On a machine where no pair fits into a frame, the frames get longer.
        let mut budget = Duration::from_millis(2);
        while !ranking.is_complete() {
            if ranking.advance(&reranker, budget).unwrap() == 0 {
                budget *= 2;
            }
        }
        let mut scored: Vec<(usize, u32)> =
            ranking.scored.iter().map(|(i, logit)| (*i, logit.to_bits())).collect();
        scored.sort();
        assert_eq!(scored, expected);
        assert_eq!(ranking.best(), Some(documents[all.results[0].index].as_str()));
    }
}
