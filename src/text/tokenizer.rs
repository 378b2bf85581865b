//! (query, document) -> [`Pair`]. The only file that imports `tokenizers`, and long because that library is kept in here.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPieceTrainer;
use tokenizers::normalizers::{Precompiled, Sequence};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{
    DecoderWrapper, Encoding, Model as _, ModelWrapper, NormalizedString, Normalizer as _, NormalizerWrapper,
    OffsetReferential, OffsetType, PostProcessor, PostProcessorWrapper, PreTokenizer as _, Token,
    TokenizerImpl, TruncationDirection,
};

use super::batch::Pair;
use super::definition::{self, Definition, DefinitionResult, SubwordModel};
use super::plain::{Chunk, PlainWords};
use super::prefix::{self, ShortenedText};
use super::truncation;
use super::windows::{self, Layout};
use super::wordpiece::WordPiece;
use crate::error::{Error, Result};
use crate::ranking::TruncatedTokens;
use crate::rerank_options::{Truncation, Windows};

/// English has 4 to 5 bytes per token: the first prefix is nearly always enough, and little is read in vain.
const BYTES_PER_TOKEN: usize = 6;
/// What is read at most of a text that gives next to no tokens (control characters for megabytes): this, and
/// `SPARSE_BYTES_PER_TOKEN` for each token that is asked for.
const SPARSE_BYTES: usize = 1 << 20;
const SPARSE_BYTES_PER_TOKEN: usize = 512;
/// Tokens at the end of a prefix that ends inside a word and may come out otherwise in the whole text. WordPiece needs
/// the longest word that it looks up; for Unigram and byte pairs, a choice that reaches further back is not known.
const RAGGED_MARGIN: usize = 128;

/// Turns texts into token ids, as the model's tokenizer.json says.
pub struct Tokenizer {
    inner: Inner,
    file: String,
    template: Vec<Piece>,
    special_tokens: usize,
    /// Tokens not to trust at the end of a prefix that ends at a space, and of any other prefix.
    clean_margin: usize,
    ragged_margin: usize,
    /// Whether [`Squeezed`] keeps the tokens.
    squeezes: bool,
    /// Words that need no more than a look into a WordPiece vocabulary.
    plain: Option<PlainWords>,
}

/// The crate's tokenizer, with our own WordPiece in place of the crate's.
type Inner =
    TokenizerImpl<WordModel, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// What turns words into tokens.
enum WordModel {
    WordPiece(WordPiece),
    Crate(Box<ModelWrapper>),
}

/// Of a WordPiece only what the crate asks for while it adds tokens and tokenizes.
impl tokenizers::Model for WordModel {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Self::WordPiece(model) => {
                let mut pieces = Vec::new();
                model.tokenize(word, &mut pieces);
                Ok(pieces.into_iter().map(|(id, span)| Token::new(id, String::new(), span)).collect())
            }
            Self::Crate(model) => model.tokenize(word),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::WordPiece(model) => model.id(token),
            Self::Crate(model) => model.token_to_id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::WordPiece(_) => None,
            Self::Crate(model) => model.id_to_token(id),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::WordPiece(_) => HashMap::new(),
            Self::Crate(model) => model.get_vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::WordPiece(model) => model.vocabulary_size(),
            Self::Crate(model) => model.get_vocab_size(),
        }
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("a model is only read".into())
    }

    fn get_trainer(&self) -> TrainerWrapper {
        match self {
            Self::WordPiece(_) => WordPieceTrainer::default().into(),
            Self::Crate(model) => model.get_trainer(),
        }
    }
}

/// The token ids of a query or of a document, without special tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// The bytes of the text that each token stands for, where they were asked for.
    pub spans: Vec<(usize, usize)>,
    /// Whether the text was read to its end; if not, there were enough tokens.
    pub complete: bool,
}

/// One entry of the pair template, with its segment id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Special(u32, u32),
    Query(u32),
    Document(u32),
}

impl Tokenizer {
    /// Reads a tokenizer.json; `file` names it in messages. `vocabulary` is the number of rows of the model's word
    /// table, `segments` that of its segment table: every id that can come out has its row. With fewer than two
    /// segments the model tells none apart, and all segment ids are 0.
    ///
    /// Errors: [`Error::Format`].
    pub fn new(file: &str, json: &[u8], vocabulary: usize, segments: usize) -> Result<Self> {
        let format = |message| Error::Format { file: file.to_owned(), message };
        let definition = Definition::parse(json, vocabulary).map_err(format)?;
        let build = || Self::build(file, definition, vocabulary, segments);
        // Whatever the checks have missed.
        catch_unwind(AssertUnwindSafe(build))
            .unwrap_or_else(|_| Err("the tokenizers library refuses it".into()))
            .map_err(format)
    }

    fn build(
        file: &str,
        definition: Definition<'_>,
        vocabulary: usize,
        segments: usize,
    ) -> DefinitionResult<Self> {
        let kind = |part: &Option<Value>| part.as_ref().and_then(|p| p["type"].as_str()).map(str::to_owned);
        let bert = kind(&definition.normalizer).as_deref() == Some("BertNormalizer")
            && kind(&definition.pre_tokenizer).as_deref() == Some("BertPreTokenizer");
        let (word_piece, longest_word) = match &definition.model {
            SubwordModel::WordPiece { max_word_chars: max_word, .. } => (true, *max_word),
            _ => (false, 0),
        };
        let added = &definition.added_tokens;
        let unbroken = |text: &str| text.starts_with(prefix::breaks_runs);
        let squeezes = bert && word_piece && added.iter().all(|t| unbroken(&t.content));
        let lowercase = definition.normalizer.as_ref().is_some_and(|part| part["lowercase"] != false);
        let plain = (bert && word_piece).then(|| PlainWords::new(lowercase, added)).flatten();
        let longest = added.iter().map(|t| t.content.len()).max().unwrap_or(0);
        // Added tokens with a space inside can be cut even there.
        let spaced = added.iter().map(|t| t.content.trim_start()).filter(|t| t.contains(char::is_whitespace));
        let clean_margin = spaced.map(str::len).max().unwrap_or(0);
        let ragged_margin = RAGGED_MARGIN.max(longest_word) + longest;

        let template = template(definition.post_processor, segments)?;
        for piece in &template {
            if let Piece::Special(id, _) = *piece {
                definition::check_id(id.into(), vocabulary)?;
            }
        }
        let tokenizer = Self {
            inner: assemble(
                definition.model,
                definition.normalizer,
                definition.pre_tokenizer,
                definition.added_tokens,
                vocabulary,
            )?,
            file: file.to_owned(),
            special_tokens: template.len() - 2,
            template,
            clean_margin,
            ragged_margin,
            squeezes,
            plain,
        };
        // Every kind of component meets a text before the first caller's does.
        for text in ["", " ", "What is 1 + 1?", " e\u{301} \u{fb01}\u{3000}漢字 😀\u{200d}\u{1} "] {
            tokenizer.read(text, usize::MAX, 0, true).map_err(|_| "it fails on a plain text")?;
        }
        Ok(tokenizer)
    }

    /// Reads `text` until there are at least `enough` tokens, or to its end. The ids are the first ones of the whole
    /// text's; work is bounded by `enough`, not by the text: of a text with less than one token in 512 bytes, about
    /// the first MiB is read.
    ///
    /// [`pair`](Self::pair) wants more than the window of both sides; and since Hugging Face's `longest_first` gives an
    /// odd token to the side that is longer as a whole, it wants more of the document than the query has:
    /// `max(window, query.ids.len()) + 1`.
    ///
    /// Errors: [`Error::Internal`].
    pub fn encode(&self, text: &str, enough: usize) -> Result<Encoded> {
        self.encode_as(text, enough, false)
    }

    /// [`encode`](Self::encode), and the bytes of the text that each token stands for.
    pub fn encode_with_spans(&self, text: &str, enough: usize) -> Result<Encoded> {
        self.encode_as(text, enough, true)
    }

    fn encode_as(&self, text: &str, enough: usize, spans: bool) -> Result<Encoded> {
        let bytes = enough.saturating_mul(BYTES_PER_TOKEN).max(256);
        if let Some(encoded) = self.encode_prefix(text, true, bytes, enough, spans)? {
            return Ok(encoded);
        }
        let limit = SPARSE_BYTES.saturating_add(enough.saturating_mul(SPARSE_BYTES_PER_TOKEN));
        let mut squeezed = ShortenedText::new(text);
        let mut bytes = bytes;
        loop {
            bytes = bytes.saturating_mul(2).min(limit);
            // Of a shortened text the spans would be others.
            let (text, whole) = if self.squeezes && !spans {
                squeezed.extend(bytes);
                (squeezed.shortened.as_str(), squeezed.ended())
            } else {
                (text, true)
            };
            if let Some(encoded) = self.encode_prefix(text, whole, bytes, enough, spans)? {
                return Ok(encoded);
            }
            if bytes == limit {
                let end = prefix::prefix_end(text, bytes);
                let Words { ids, spans, .. } = self.read(&text[..end.bytes], enough, 0, spans)?;
                return Ok(Encoded { ids, spans, complete: false });
            }
        }
    }

    /// The tokens of the first `bytes` bytes of `text`, or `None` if they are too few. `whole` says whether nothing
    /// follows after `text`.
    fn encode_prefix(
        &self,
        text: &str,
        whole: bool,
        bytes: usize,
        enough: usize,
        spans: bool,
    ) -> Result<Option<Encoded>> {
        let end = prefix::prefix_end(text, bytes);
        let whole = whole && end.bytes == text.len();
        let margin = match (whole, end.clean && end.bytes < text.len()) {
            (true, _) => 0,
            (_, true) => self.clean_margin,
            _ => self.ragged_margin,
        };
        let Words { ids, spans, ended } = self.read(&text[..end.bytes], enough, margin, spans)?;
        let found = whole || ids.len() >= enough;
        Ok(found.then_some(Encoded { ids, spans, complete: whole && ended }))
    }

    /// The tokens of the words of `text` up to the one that makes them `enough` and `margin` more, without the last
    /// `margin` tokens.
    fn read(&self, text: &str, enough: usize, margin: usize, spans: bool) -> Result<Words> {
        let limit = enough.saturating_add(margin);
        let mut words = match (&self.plain, self.inner.get_model()) {
            (Some(plain), WordModel::WordPiece(model)) => {
                self.read_plain(plain, model, text, limit, spans)?
            }
            _ => self.read_any(text, limit, spans)?,
        };
        let kept = words.ids.len().saturating_sub(margin);
        words.ids.truncate(kept);
        words.spans.truncate(kept);
        Ok(words)
    }

    /// The tokens of the words of `text` up to the one that makes them `limit`; the crate sees only words that are not plain.
    fn read_plain(
        &self,
        plain: &PlainWords,
        model: &WordPiece,
        text: &str,
        limit: usize,
        spans: bool,
    ) -> Result<Words> {
        let mut words = Words { ids: Vec::new(), spans: Vec::new(), ended: true };
        let (mut lower, mut pieces) = (String::new(), Vec::new());
        for part in plain.chunks(text) {
            let full = words.ids.len() >= limit;
            match part {
                Chunk::PlainWord(_) if full => words.ended = false,
                Chunk::PlainWord(range) => {
                    plain.normalize(&text[range.clone()], &mut lower);
                    pieces.clear();
                    model.tokenize(&lower, &mut pieces);
                    words.ids.extend(pieces.iter().map(|(id, _)| id));
                    if spans {
                        let whole = |(start, end)| (range.start + start, range.start + end);
                        words.spans.extend(pieces.iter().map(|(_, span)| whole(*span)));
                    }
                }
                Chunk::NotPlain(range) => {
                    let other =
                        self.read_any(&text[range.clone()], limit.saturating_sub(words.ids.len()), spans)?;
                    // There may be no word in it.
                    let unread = full && !other.ids.is_empty();
                    words.ended = other.ended && !unread;
                    if !full {
                        words.ids.extend(other.ids);
                        let whole = |(start, end)| (range.start + start, range.start + end);
                        words.spans.extend(other.spans.into_iter().map(whole));
                    }
                }
            }
            if !words.ended {
                break;
            }
        }
        Ok(words)
    }

    /// [`read_plain`](Self::read_plain) of any text, all by the crate.
    fn read_any(&self, text: &str, limit: usize, spans: bool) -> Result<Words> {
        let run = || -> tokenizers::Result<Words> {
            let tokenizer = &self.inner;
            let mut words =
                tokenizer.get_added_vocabulary().extract_and_normalize(tokenizer.get_normalizer(), text);
            if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut words)?;
            }
            let count = words.get_splits(OffsetReferential::Normalized, OffsetType::None).len();
            let model = tokenizer.get_model();
            words.tokenize_with_limit(
                |word| model.tokenize(word.get()),
                limit,
                TruncationDirection::Right,
            )?;
            let splits = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
            let ended = splits.len() == count;
            let tokens = splits.iter().flat_map(|(_, _, tokens)| tokens.iter().flatten());
            let ids: Vec<u32> = tokens.map(|token| token.id).collect();
            let spans = if spans {
                let encoding = words.into_encoding(None, 0, OffsetType::Byte)?;
                encoding.get_offsets().iter().map(|span| whole_characters(text, *span)).collect()
            } else {
                Vec::new()
            };
            Ok(Words { ids, spans, ended })
        };
        // Without the panic's words or the error's: they may quote the text.
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(words)) => Ok(words),
            _ => Err(Error::Internal { message: format!("the tokenizer of {} failed on a text", self.file) }),
        }
    }

    /// Special tokens that the pair template adds.
    pub fn special_tokens(&self) -> usize {
        self.special_tokens
    }

    /// Cuts both sides to `window` tokens by `policy` and fills the template. `index` is that of the pair in the input.
    /// [`Truncation::DocumentOnly`] cuts as `LongestFirst` where the query leaves no room for a document token.
    ///
    /// Errors: [`Error::TooLong`] by policy; [`Error::InvalidOption`] for windows smaller than the special tokens.
    pub fn pair(
        &self,
        query: &Encoded,
        document: &Encoded,
        window: usize,
        policy: Truncation,
        index: usize,
    ) -> Result<Pair> {
        let budget = self.budget(window)?;
        let (q, d) = (query.ids.len(), document.ids.len());
        let Some((keep_q, keep_d)) = truncation::kept_lengths(q, d, budget, policy) else {
            let tokens = q + d + self.special_tokens;
            return Err(Error::TooLong { index, tokens, max_tokens: window });
        };
        let truncated = TruncatedTokens { query: q - keep_q, document: d - keep_d };
        Ok(self.fill(&query.ids[..keep_q], &document.ids[..keep_d], truncated))
    }

    /// The windows of a pair, each with the bytes of the document, `text`, that it holds. The document was read with
    /// [`encode_with_spans`](Self::encode_with_spans) up to [`windows::enough`].
    ///
    /// Errors: as [`pair`](Self::pair); by the policy `Error` where the query takes more than half of the window.
    pub fn windows(
        &self,
        query: &Encoded,
        document: &Encoded,
        text: &str,
        window: usize,
        (options, policy): (Windows, Truncation),
        index: usize,
    ) -> Result<Vec<(Pair, Range<usize>)>> {
        let budget = self.budget(window)?;
        let (q, d) = (query.ids.len(), document.ids.len());
        let Layout { query_tokens: keep, windows } = windows::layout(q, d, budget, options);
        let end = windows.last().map_or(0, |last| last.end);
        if policy == Truncation::Error && (keep < q || end < d) {
            let tokens = q + d + self.special_tokens;
            return Err(Error::TooLong { index, tokens, max_tokens: window });
        }
        let truncated = TruncatedTokens { query: q - keep, document: d - end };
        let pair = |tokens: Range<usize>| {
            let bytes = if tokens.len() == d && document.complete {
                0..text.len()
            } else {
                match &document.spans[tokens.clone()] {
                    [] => 0..0,
                    [first, .., last] => first.0..last.1,
                    [only] => only.0..only.1,
                }
            };
            (self.fill(&query.ids[..keep], &document.ids[tokens], truncated), bytes)
        };
        Ok(windows.into_iter().map(pair).collect())
    }

    /// Tokens of both texts that a window has room for.
    fn budget(&self, window: usize) -> Result<usize> {
        window.checked_sub(self.special_tokens).ok_or_else(|| {
            let least = self.special_tokens;
            let message = format!("{window} is less than the {least} special tokens of a pair");
            Error::InvalidOption { option: "max_tokens", message }
        })
    }

    /// The template with both sides in place.
    fn fill(&self, query: &[u32], document: &[u32], truncated: TruncatedTokens) -> Pair {
        let length = query.len() + document.len() + self.special_tokens;
        let mut pair =
            Pair { ids: Vec::with_capacity(length), token_types: Vec::with_capacity(length), truncated };
        for piece in &self.template {
            let (ids, kind) = match piece {
                Piece::Special(id, kind) => (std::slice::from_ref(id), *kind),
                Piece::Query(kind) => (query, *kind),
                Piece::Document(kind) => (document, *kind),
            };
            pair.ids.extend_from_slice(ids);
            pair.token_types.resize(pair.ids.len(), kind);
        }
        pair
    }
}

/// The smallest range around `span` that begins and ends between characters: a token of bytes may be part of one.
fn whole_characters(text: &str, span: (usize, usize)) -> (usize, usize) {
    let (start, end) = (span.0.min(text.len()), span.1.min(text.len()));
    let start = (0..=start).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    (start, (end..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len()))
}

/// What one reading of a text gave.
#[derive(Debug)]
struct Words {
    ids: Vec<u32>,
    spans: Vec<(usize, usize)>,
    /// Whether every word was read.
    ended: bool,
}

/// The crate's tokenizer without truncation, padding, post-processor and decoder.
fn assemble(
    model: SubwordModel<'_>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    added_tokens: Vec<definition::AddedToken>,
    vocabulary: usize,
) -> DefinitionResult<Inner> {
    let mut tokenizer = Inner::new(words(model)?);
    if let Some(part) = normalizer {
        tokenizer.with_normalizer(Some(self::normalizer(part)?)).map_err(|e| format!("normalizer: {e}"))?;
    }
    if let Some(part) = pre_tokenizer {
        let part: PreTokenizerWrapper =
            serde_json::from_value(part).map_err(|e| format!("pre_tokenizer: {e}"))?;
        tokenizer.with_pre_tokenizer(Some(part));
    }
    for token in added_tokens.iter().filter(|t| t.normalized && !t.content.is_empty()) {
        let mut text = NormalizedString::from(token.content.as_str());
        if let Some(normalizer) = tokenizer.get_normalizer() {
            normalizer.normalize(&mut text).map_err(|e| format!("normalizer: {e}"))?;
        }
        if text.is_empty() {
            // It would match everywhere, even inside characters.
            return Err("nothing is left of an added token after normalization".into());
        }
    }
    let contents: Vec<String> = added_tokens.iter().map(|t| t.content.clone()).collect();
    let added = added_tokens.into_iter().map(|t| {
        tokenizers::AddedToken::from(t.content, t.special)
            .single_word(t.single_word)
            .lstrip(t.lstrip)
            .rstrip(t.rstrip)
            .normalized(t.normalized)
    });
    tokenizer.add_tokens(added).map_err(|e| format!("added_tokens: {e}"))?;
    for id in contents.iter().filter_map(|content| tokenizer.token_to_id(content)) {
        definition::check_id(id.into(), vocabulary)?;
    }
    Ok(tokenizer)
}

fn words(model: SubwordModel<'_>) -> DefinitionResult<WordModel> {
    let message = |e: tokenizers::Error| format!("model: {e}");
    let made: tokenizers::Result<ModelWrapper> = match model {
        SubwordModel::WordPiece { vocab, unk, prefix, max_word_chars: max_word } => {
            let made = WordPiece::new(&vocab.0, &unk, &prefix, max_word);
            return made.map(WordModel::WordPiece).ok_or("the vocabulary lacks its own unknown token".into());
        }
        SubwordModel::Bpe { vocab, merges, options } => {
            let vocab = vocab.0.into_iter().map(|(token, id)| (token.into_owned(), id));
            let mut builder = BPE::builder()
                .vocab_and_merges(Vocab::from_iter(vocab), merges)
                .fuse_unk(options.fuse_unk)
                .byte_fallback(options.byte_fallback)
                .ignore_merges(options.ignore_merges)
                // The crate's cache belongs to the thread and outlives the tokenizer.
                .cache_capacity(0);
            if let Some(unk) = options.unk {
                builder = builder.unk_token(unk.into_owned());
            }
            if let Some(prefix) = options.prefix {
                builder = builder.continuing_subword_prefix(prefix.into_owned());
            }
            if let Some(suffix) = options.suffix {
                builder = builder.end_of_word_suffix(suffix.into_owned());
            }
            builder.build().map(Into::into)
        }
        SubwordModel::Unigram { vocab, unk, byte_fallback } => {
            Unigram::from(vocab, Some(unk), byte_fallback).map(Into::into)
        }
    };
    made.map(|model| WordModel::Crate(Box::new(model))).map_err(message)
}

fn normalizer(mut part: Value) -> DefinitionResult<NormalizerWrapper> {
    match part["type"].as_str() {
        Some("Sequence") => {
            let Value::Array(parts) = part["normalizers"].take() else {
                return Err("normalizers is not a list".into());
            };
            Ok(Sequence::new(parts.into_iter().map(normalizer).collect::<DefinitionResult<_>>()?).into())
        }
        Some("Precompiled") => Precompiled::from(&definition::character_map_bytes(&part)?)
            .map(Into::into)
            .map_err(|e| format!("normalizer: {e}")),
        _ => serde_json::from_value(part).map_err(|e| format!("normalizer: {e}")),
    }
}

/// The pair template, found by sending two marked tokens through the post-processor.
fn template(post_processor: Option<Value>, segments: usize) -> DefinitionResult<Vec<Piece>> {
    const QUERY: u32 = u32::MAX;
    const DOCUMENT: u32 = u32::MAX - 1;
    let mut pieces = vec![Piece::Query(0), Piece::Document(1)];
    if let Some(part) = post_processor {
        let processor: PostProcessorWrapper =
            serde_json::from_value(part).map_err(|e| format!("post_processor: {e}"))?;
        let marked = |id| Encoding::from_tokens(vec![Token::new(id, "a".into(), (0, 1))], 0);
        let pair = processor
            .process(marked(QUERY), Some(marked(DOCUMENT)), true)
            .map_err(|e| format!("post_processor: {e}"))?;
        pieces.clear();
        pieces.extend(pair.get_ids().iter().zip(pair.get_type_ids()).map(|(&id, &kind)| match id {
            QUERY => Piece::Query(kind),
            DOCUMENT => Piece::Document(kind),
            special => Piece::Special(special, kind),
        }));
        let queries = pieces.iter().filter(|p| matches!(p, Piece::Query(_))).count();
        let documents = pieces.iter().filter(|p| matches!(p, Piece::Document(_))).count();
        if (queries, documents) != (1, 1) {
            return Err("the template for pairs must have each text once".into());
        }
    }
    for piece in &mut pieces {
        let (Piece::Special(_, kind) | Piece::Query(kind) | Piece::Document(kind)) = piece;
        if segments < 2 {
            *kind = 0;
        } else if *kind as usize >= segments {
            return Err(format!(
                "segment id {kind} is outside of the segment table, which has {segments} rows"
            ));
        }
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use tokenizers::PreTokenizedString;
    use tokenizers::normalizers::BertNormalizer;
    use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

    use super::*;

    /// Words and their lengths as BERT's tokenizer sees them, with accents stripped and kept.
    fn words(text: &str) -> Vec<usize> {
        let mut lengths = Vec::new();
        for strip_accents in [true, false] {
            let mut words = PreTokenizedString::from(text);
            let normalizer = BertNormalizer::new(true, true, Some(strip_accents), true);
            words.normalize(|word| normalizer.normalize(word)).unwrap();
            BertPreTokenizer.pre_tokenize(&mut words).unwrap();
            let words = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
            lengths.extend(words.iter().map(|(word, ..)| word.chars().count()));
        }
        lengths
    }

    /// Texts of plain words, of others, and of what an added token may be taken for.
    fn text(state: &mut u64) -> String {
        const PIECES: &[&str] = &[
            " ",
            " ",
            " ",
            "\t",
            "\r\n",
            "the",
            "Berlin",
            "unaffable",
            "it's",
            "3.14",
            "-",
            "#",
            "[",
            "[SEP]",
            "[sep]",
            "Q",
            "qed",
            "QED",
            "é",
            "e\u{301}",
            "\u{301}",
            "漢",
            "\u{a0}",
            "\0",
            "\u{7f}",
            "\u{1}",
            "İ",
            "xyzzyxyzzy",
            "😀",
            "\u{2028}",
        ];
        let mut below = |n: usize| {
            // Knuth's MMIX generator.
            *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (*state >> 33) as usize % n
        };
        (0..below(40)).map(|_| PIECES[below(PIECES.len())]).collect()
    }

    #[test]
    fn plain_words_give_the_tokens_that_the_crate_gives() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/crossrank-mini");
        let json = std::fs::read(folder.join("tokenizer.json")).unwrap();
        let mut json: Value = serde_json::from_slice(&json).unwrap();
        let mut state = 1;
        for (lowercase, normalized, single_word) in
            [(true, false, false), (true, true, false), (false, true, true)]
        {
            json["normalizer"]["lowercase"] = lowercase.into();
            let added = serde_json::json!({"id": 30522, "content": "Qed", "single_word": single_word, "lstrip": false,
                "rstrip": false, "normalized": normalized, "special": !normalized});
            json["added_tokens"].as_array_mut().unwrap().push(added);
            let tokenizer = Tokenizer::new("", json.to_string().as_bytes(), 30523, 2).unwrap();
            json["added_tokens"].as_array_mut().unwrap().pop();
            let (Some(plain), WordModel::WordPiece(model)) = (&tokenizer.plain, tokenizer.inner.get_model())
            else {
                panic!("BERT's tokenizer has plain words")
            };
            for case in 0..3000 {
                let text = text(&mut state);
                let limit = if case % 2 == 0 { usize::MAX } else { case % 23 + 1 };
                let ours = tokenizer.read_plain(plain, model, &text, limit, true).unwrap();
                let all = tokenizer.read_any(&text, usize::MAX, true).unwrap();
                let count = ours.ids.len();
                assert!(count >= limit.min(all.ids.len()), "{text:?}, {limit} tokens: {ours:?}");
                assert_eq!(ours.ended, count == all.ids.len(), "{text:?}, {limit} tokens");
                assert_eq!((&*ours.ids, &*ours.spans), (&all.ids[..count], &all.spans[..count]), "{text:?}");
            }
        }
    }

    #[test]
    fn shortened_runs_are_one_word_whose_length_counts() {
        let (letters, marks) = prefix::tests::letters_and_marks();
        assert!(letters.len() > 10_000 && marks.len() > 100);
        for letter in letters {
            let lengths = words(&letter.to_string());
            assert!(lengths.len() == 2 && lengths.iter().all(|&n| n > 0), "{letter:?}: {lengths:?}");
        }
        for mark in marks {
            assert_eq!(words(&format!("a{mark}a")).len(), 2, "{mark:?}");
        }
    }
}
