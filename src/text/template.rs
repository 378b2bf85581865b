//! Tokens of a query and a document -> [`Pair`]: truncated, or cut into windows, with the special tokens in place.

use std::ops::Range;
use std::slice;

use super::batch::Pair;
use super::definition::{self, DefinitionResult};
use super::encoded::Encoded;
use super::truncation::{self, TruncationSide};
use super::windows::{self, Layout};
use crate::error::{Error, Result};
use crate::ranking::TruncatedTokens;
use crate::rerank_options::{Truncation, Windows};

/// One entry of a template, with its token type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplatePiece {
    /// A special token: its id and its token type.
    Special(u32, u32),
    /// All tokens of the query.
    Query(u32),
    /// All tokens of the document.
    Document(u32),
}

impl TemplatePiece {
    /// The id of a special token.
    pub fn id(&self) -> Option<u32> {
        match self {
            Self::Special(id, _) => Some(*id),
            Self::Query(_) | Self::Document(_) => None,
        }
    }
}

/// How a query and a document become one sequence.
pub struct PairTemplate {
    pieces: Vec<TemplatePiece>,
    special_tokens: usize,
    /// Where tokens are dropped.
    side: TruncationSide,
}

impl PairTemplate {
    /// Checks that each text occurs once and that every id has its row: `vocabulary` is the number of rows of the model's
    /// word table, `token_types` that of its token type table. With fewer than two token types the model does not
    /// distinguish them, and all are 0.
    pub fn new(
        mut pieces: Vec<TemplatePiece>,
        vocabulary: usize,
        token_types: usize,
    ) -> DefinitionResult<Self> {
        let queries = pieces.iter().filter(|p| matches!(p, TemplatePiece::Query(_))).count();
        let documents = pieces.iter().filter(|p| matches!(p, TemplatePiece::Document(_))).count();
        if (queries, documents) != (1, 1) {
            return Err("the template for pairs must have each text once".into());
        }
        for piece in &mut pieces {
            let (TemplatePiece::Special(_, token_type)
            | TemplatePiece::Query(token_type)
            | TemplatePiece::Document(token_type)) = piece;
            if token_types < 2 {
                *token_type = 0;
            } else if *token_type as usize >= token_types {
                return Err(format!(
                    "token type {token_type} is outside of the token type table, which has {token_types} rows"
                ));
            }
            if let TemplatePiece::Special(id, _) = *piece {
                definition::check_id(id.into(), vocabulary)?;
            }
        }
        let special_tokens = pieces.len() - 2;
        Ok(Self { pieces, special_tokens, side: TruncationSide::Right })
    }

    /// The same template for pairs that are truncated at this side.
    pub fn truncated_at(self, side: TruncationSide) -> Self {
        Self { side, ..self }
    }

    /// Special tokens of every pair.
    pub fn special_tokens(&self) -> usize {
        self.special_tokens
    }

    /// A pair truncated to `max_tokens` by `policy`. `index` is that of the pair in the input, for errors.
    /// [`Truncation::DocumentOnly`] truncates as `LongestFirst` where the query leaves no room for a document token.
    ///
    /// Errors: [`Error::TooLong`] by policy; [`Error::InvalidOption`] for fewer tokens than the special ones.
    pub fn truncated_pair(
        &self,
        query: &Encoded,
        document: &Encoded,
        max_tokens: usize,
        policy: Truncation,
        index: usize,
    ) -> Result<Pair> {
        let budget = self.text_tokens(max_tokens)?;
        let (q, d) = (query.ids.len(), document.ids.len());
        let kept = truncation::kept_lengths(q, d, budget, policy);
        let unread = !query.complete || !document.complete;
        let Some((kept_q, kept_d)) = kept.filter(|_| policy != Truncation::Error || !unread) else {
            return Err(self.too_long(query, document, max_tokens, index));
        };
        let truncated = truncated_tokens((query, kept_q), (document, kept_d));
        Ok(self.fill(self.kept(query, kept_q), self.kept(document, kept_d), truncated))
    }

    /// The windows of a pair, each with the bytes of the document, `text`, that it holds. The document was encoded with
    /// spans, and with at least [`windows::tokens_needed`] tokens.
    ///
    /// Errors: as [`truncated_pair`](Self::truncated_pair); by the policy `Error` where the query takes more than half of
    /// a window.
    pub fn window_pairs(
        &self,
        query: &Encoded,
        (document, text): (&Encoded, &str),
        max_tokens: usize,
        (options, policy): (Windows, Truncation),
        index: usize,
    ) -> Result<Vec<(Pair, Range<usize>)>> {
        let budget = self.text_tokens(max_tokens)?;
        let (q, d) = (query.ids.len(), document.ids.len());
        let Layout { query_tokens: kept_q, windows } = windows::layout(q, d, budget, options);
        let end = windows.last().map_or(0, |last| last.end);
        let truncated = truncated_tokens((query, kept_q), (document, end));
        if policy == Truncation::Error && truncated.any() {
            return Err(self.too_long(query, document, max_tokens, index));
        }
        let window_pair = |tokens: Range<usize>| {
            let bytes = if tokens.len() == d && document.complete {
                0..text.len()
            } else {
                match &document.spans[tokens.clone()] {
                    [] => 0..0,
                    [first, .., last] => first.0..last.1,
                    [only] => only.0..only.1,
                }
            };
            (self.fill(self.kept(query, kept_q), &document.ids[tokens], truncated), bytes)
        };
        Ok(windows.into_iter().map(window_pair).collect())
    }

    /// The `count` tokens of a text that truncation keeps.
    fn kept<'a>(&self, text: &'a Encoded, count: usize) -> &'a [u32] {
        match self.side {
            TruncationSide::Right => &text.ids[..count],
            TruncationSide::Left => &text.ids[text.ids.len() - count..],
        }
    }

    /// The error of a pair that is longer than the window, or not known to fit it because a text was not read to its end:
    /// then it counts as one token too long at least.
    fn too_long(&self, query: &Encoded, document: &Encoded, max_tokens: usize, index: usize) -> Error {
        let tokens = query.ids.len() + document.ids.len() + self.special_tokens;
        let read = query.complete && document.complete;
        let tokens = if read { tokens } else { tokens.max(max_tokens.saturating_add(1)) };
        Error::TooLong { index, tokens, max_tokens }
    }

    /// Checks that a window of `max_tokens` has room for a token of each text. With less, pairs would lose a whole text.
    ///
    /// Errors: [`Error::InvalidOption`].
    pub fn check_window(&self, max_tokens: usize) -> Result<()> {
        let (special, min) = (self.special_tokens, self.special_tokens + 2);
        if max_tokens >= min {
            return Ok(());
        }
        let message = format!(
            "{max_tokens} leaves no room for a token of the query and one of the document beside the {special} special tokens \
             of a pair: give {min} or more"
        );
        Err(Error::InvalidOption { option: "max_tokens", message })
    }

    /// Tokens of both texts that fit into `max_tokens` beside the special ones.
    fn text_tokens(&self, max_tokens: usize) -> Result<usize> {
        max_tokens.checked_sub(self.special_tokens).ok_or_else(|| {
            let special = self.special_tokens;
            let message = format!("{max_tokens} is less than the {special} special tokens of a pair");
            Error::InvalidOption { option: "max_tokens", message }
        })
    }

    /// The template with the token ids of both texts in place.
    fn fill(&self, query: &[u32], document: &[u32], truncated: TruncatedTokens) -> Pair {
        let length = query.len() + document.len() + self.special_tokens;
        let (ids, token_types) = (Vec::with_capacity(length), Vec::with_capacity(length));
        let mut pair = Pair { ids, token_types, truncated };
        for piece in &self.pieces {
            let (ids, token_type) = match piece {
                TemplatePiece::Special(id, token_type) => (slice::from_ref(id), *token_type),
                TemplatePiece::Query(token_type) => (query, *token_type),
                TemplatePiece::Document(token_type) => (document, *token_type),
            };
            pair.ids.extend_from_slice(ids);
            pair.token_types.resize(pair.ids.len(), token_type);
        }
        pair
    }
}

/// The report of the tokens that are not kept of each text. Of a text that was not read to its end, at least one is not.
fn truncated_tokens(
    (query, kept_q): (&Encoded, usize),
    (document, kept_d): (&Encoded, usize),
) -> TruncatedTokens {
    let removed = |text: &Encoded, kept: usize| (text.ids.len() - kept).max(usize::from(!text.complete));
    let at_least = !query.complete || !document.complete;
    TruncatedTokens { query: removed(query, kept_q), document: removed(document, kept_d), at_least }
}
