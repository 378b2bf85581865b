//! The documents of a call as the model reads them.

use std::ops::Range;

use crate::error::Result;
use crate::rerank_options::{Truncation, Windows};
use crate::text::batch::Pair;
use crate::text::tokenizer::{Encoded, Tokenizer};
use crate::text::windows;

/// A query and a document as token ids: one window with the truncated pair, or, where the call asks for windows, as many
/// as the document needs.
pub struct TokenizedDocument {
    /// At least one, in the order of the document.
    pub windows: Vec<DocumentWindow>,
}

/// One window of a document, with the query and the special tokens.
pub struct DocumentWindow {
    /// What the model reads.
    pub pair: Pair,
    /// The bytes of the document in this window; `None` unless the call asks for windows.
    pub bytes: Option<Range<usize>>,
}

/// How a call's pairs are fitted to the model.
#[derive(Clone, Copy)]
pub struct FitOptions {
    /// Maximum tokens of a window, special tokens included.
    pub max_tokens: usize,
    /// What to do with longer pairs.
    pub truncation: Truncation,
    /// Whether longer documents are read in several windows.
    pub windows: Option<Windows>,
}

impl TokenizedDocument {
    /// Tokenizes a document beside its query, which has tokens already. `index` is that of the pair in the call, for
    /// errors.
    ///
    /// Errors: those of [`PairTemplate::truncated_pair`](crate::text::template::PairTemplate::truncated_pair) and
    /// [`window_pairs`](crate::text::template::PairTemplate::window_pairs).
    pub fn new(
        tokenizer: &Tokenizer,
        query: &Encoded,
        text: &str,
        fit: FitOptions,
        index: usize,
    ) -> Result<Self> {
        let FitOptions { max_tokens, truncation, windows } = fit;
        let template = tokenizer.template();
        let windows = match windows {
            None => {
                let document = tokenizer.encode(text, max_tokens.max(query.ids.len()) + 1)?;
                let pair = template.truncated_pair(query, &document, max_tokens, truncation, index)?;
                vec![DocumentWindow { pair, bytes: None }]
            }
            Some(options) => {
                let min_tokens = windows::tokens_needed(max_tokens, options);
                let document = tokenizer.encode_with_spans(text, min_tokens)?;
                let policies = (options, truncation);
                let document = (&document, text);
                let windows = template.window_pairs(query, document, max_tokens, policies, index)?;
                windows.into_iter().map(|(pair, bytes)| DocumentWindow { pair, bytes: Some(bytes) }).collect()
            }
        };
        Ok(Self { windows })
    }

    /// Tokens of all windows.
    pub fn tokens(&self) -> usize {
        self.windows.iter().map(|window| window.pair.ids.len()).sum()
    }
}
