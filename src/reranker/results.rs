//! The results of a call, filled in as its windows are computed, in any order.

use super::tokenize::TokenizedDocument;
use crate::error::Error;
use crate::model::score::LabelScoring;
use crate::model::spec::ScoreActivation;
use crate::ranking::{PairStatus, Scored};

/// The best window of a document so far.
#[derive(Clone)]
struct BestWindow {
    /// Its index among the document's windows.
    index: usize,
    logits: Vec<f32>,
    scores: Vec<f64>,
}

/// One result per document. A document has its score when all of its windows are computed.
pub struct Results<'a> {
    documents: &'a [Option<TokenizedDocument>],
    /// Index of the first document in the call.
    first: usize,
    activation: ScoreActivation,
    label_scoring: Option<LabelScoring>,
    scored: Vec<Scored>,
    /// Windows of each document that are not computed yet.
    pending_windows: Vec<usize>,
    best_windows: Vec<Option<BestWindow>>,
    /// Documents of which every window is computed.
    done: usize,
}

impl<'a> Results<'a> {
    /// Nothing scored yet. The first document is number `first` of the call. With a `label_scoring` each pair gets one score,
    /// otherwise one per label.
    pub fn new(
        documents: &'a [Option<TokenizedDocument>],
        first: usize,
        labels: usize,
        activation: ScoreActivation,
        label_scoring: Option<LabelScoring>,
    ) -> Self {
        let scores = if label_scoring.is_some() { 1 } else { labels };
        let scored = documents.iter().zip(first..).map(|(d, i)| not_scored(i, d.as_ref(), scores)).collect();
        let pending_windows = documents.iter().map(|d| d.as_ref().map_or(0, |d| d.windows.len())).collect();
        let best_windows = vec![None; documents.len()];
        Self { documents, first, activation, label_scoring, scored, pending_windows, best_windows, done: 0 }
    }

    /// Adds the logits of one window. Returns whether it was the document's last one, so that its result is complete.
    pub fn add_window(&mut self, document: usize, window: usize, logits: &[f32]) -> bool {
        let scored = &mut self.scored[document];
        let best = &mut self.best_windows[document];
        if !logits.iter().all(|x| x.is_finite()) {
            scored.status = PairStatus::Failed(Error::NonFinite { index: self.first + document });
        } else {
            let (logits, scores) = match self.label_scoring {
                Some(label_scoring) => {
                    let (logit, score) = label_scoring.apply(logits);
                    (vec![logit], vec![score])
                }
                None => (logits.to_vec(), self.activation.apply(logits)),
            };
            // Of equal windows the first one wins, in whatever order they are computed.
            let better = |best: &BestWindow| {
                logits[0].total_cmp(&best.logits[0]).then(best.index.cmp(&window)).is_gt()
            };
            if best.as_ref().is_none_or(better) {
                *best = Some(BestWindow { index: window, logits, scores });
            }
        }
        self.pending_windows[document] -= 1;
        if self.pending_windows[document] > 0 {
            return false;
        }
        self.done += 1;
        if let (PairStatus::NotScored, Some(best)) = (&scored.status, best.take()) {
            (scored.logits, scored.scores) = (best.logits, best.scores);
            scored.window =
                self.documents[document].as_ref().and_then(|d| d.windows[best.index].bytes.clone());
            scored.status = PairStatus::Scored;
        }
        true
    }

    /// Documents of which every window is computed.
    pub fn done(&self) -> usize {
        self.done
    }

    /// The result of one document.
    pub fn scored(&self, document: usize) -> &Scored {
        &self.scored[document]
    }

    /// All results, in input order.
    pub fn into_scored(self) -> Vec<Scored> {
        self.scored
    }
}

/// The result of a document that the deadline left without a score; `scores` is how many a pair has.
pub fn not_scored(index: usize, document: Option<&TokenizedDocument>, scores: usize) -> Scored {
    let windows = document.map_or(&[][..], |d| &d.windows);
    Scored {
        index,
        logits: vec![f32::NAN; scores],
        scores: vec![f64::NAN; scores],
        tokens: document.map_or(0, TokenizedDocument::tokens),
        truncated: windows.first().map_or_else(Default::default, |window| window.pair.truncated),
        window: None,
        status: PairStatus::NotScored,
    }
}
