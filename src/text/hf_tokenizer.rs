//! The `tokenizers` crate behind one type: the only file that imports it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPieceTrainer;
use tokenizers::normalizers::{Precompiled, Sequence};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{
    DecoderWrapper, Encoding, Model as _, ModelWrapper, NormalizedString, Normalizer as _, NormalizerWrapper,
    OffsetReferential, OffsetType, PostProcessor, PostProcessorWrapper, PreTokenizedString,
    PreTokenizer as _, Token, TokenizerImpl, TruncationDirection,
};

use super::definition::{self, AddedToken, DefinitionResult, SubwordModel};
use super::encoded::Encoded;
use super::settled::Neighbours;
use super::template::TemplatePiece;
use super::wordpiece::WordPiece;

/// The crate's tokenizer without truncation, padding, post-processor and decoder, and with our own WordPiece in place of
/// the crate's.
pub struct HfTokenizer {
    inner: Inner,
    /// Whether [`Neighbours`] apply to the model: a Unigram, or a BPE whose tokens have no marks of the word's edges.
    neighbours_apply: bool,
    /// The last character of a Unigram's unknown token. A text that contains it as such may be fused with unknown text.
    unknown_end: Option<char>,
    /// Made when they are needed for the first time.
    neighbours: OnceLock<Neighbours>,
}

type Inner =
    TokenizerImpl<WordModel, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Divides words into tokens.
enum WordModel {
    WordPiece(WordPiece),
    Crate(Box<ModelWrapper>),
}

/// For a WordPiece, only what the crate calls while it adds tokens and tokenizes.
impl tokenizers::Model for WordModel {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Self::WordPiece(model) => {
                let mut tokens = Vec::new();
                model.tokenize(word, &mut tokens);
                Ok(tokens.into_iter().map(|(id, span)| Token::new(id, String::new(), span)).collect())
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

impl HfTokenizer {
    /// Assembles a tokenizer of checked parts. Every token id is below `vocabulary`.
    ///
    /// The error is a sentence about the file's content.
    pub fn new(
        model: SubwordModel<'_>,
        normalizer: Option<Value>,
        pre_tokenizer: Option<Value>,
        added_tokens: Vec<AddedToken>,
        vocabulary: usize,
    ) -> DefinitionResult<Self> {
        let (neighbours_apply, unknown_end) = match &model {
            SubwordModel::WordPiece { .. } => (false, None),
            SubwordModel::Bpe { options, .. } => {
                let marks = [&options.prefix, &options.suffix];
                (marks.iter().all(|mark| mark.as_deref().is_none_or(str::is_empty)), None)
            }
            SubwordModel::Unigram { vocab, unk, .. } => {
                (true, vocab.get(*unk).and_then(|(token, _)| token.chars().next_back()))
            }
        };
        let mut tokenizer = Inner::new(word_model(model)?);
        if let Some(part) = normalizer {
            tokenizer
                .with_normalizer(Some(build_normalizer(part)?))
                .map_err(|e| format!("normalizer: {e}"))?;
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
        let neighbours = OnceLock::new();
        Ok(Self { inner: tokenizer, neighbours_apply, unknown_end, neighbours })
    }

    /// The model of words, if it is a WordPiece.
    pub fn word_piece(&self) -> Option<&WordPiece> {
        match self.inner.get_model() {
            WordModel::WordPiece(model) => Some(model),
            WordModel::Crate(_) => None,
        }
    }

    /// Tokenizes the words of `text` until there are at least `min_tokens` and `margin` more tokens, or to its end. Then it
    /// drops the last `margin` tokens and, unless that is 0, as many before them as may depend on what follows the text.
    /// `None` where the crate fails or panics: its message is dropped, because it may quote the text.
    pub fn tokenize(
        &self,
        text: &str,
        min_tokens: usize,
        margin: usize,
        with_spans: bool,
    ) -> Option<Encoded> {
        let tokenize = || self.try_tokenize(text, min_tokens, margin, with_spans);
        catch_unwind(AssertUnwindSafe(tokenize)).ok()?.ok()
    }

    /// Whether words end before every space, so that a text may be divided there. The pre-tokenizer says so of a space
    /// between characters of every kind that it could tell apart.
    pub fn splits_at_spaces(&self) -> bool {
        let splits = |text: &str, space: usize| {
            let words = self.words(text).ok()?;
            let words = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let across = |(start, end): (usize, usize)| start < space && space < end;
            Some(!words.into_iter().any(|(_, span, _)| across(span)))
        };
        const SIDES: [&str; 6] = ["a", "bc", "D", "1", ".", "ж"];
        SIDES.iter().all(|before| {
            SIDES.iter().all(|after| {
                let split = || splits(&format!("{before} {after}"), before.len());
                catch_unwind(AssertUnwindSafe(split)).ok().flatten() == Some(true)
            })
        })
    }

    /// The words of a text, without tokens.
    fn words(&self, text: &str) -> tokenizers::Result<PreTokenizedString> {
        let tokenizer = &self.inner;
        let mut words =
            tokenizer.get_added_vocabulary().extract_and_normalize(tokenizer.get_normalizer(), text);
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut words)?;
        }
        Ok(words)
    }

    fn try_tokenize(
        &self,
        text: &str,
        min_tokens: usize,
        margin: usize,
        with_spans: bool,
    ) -> tokenizers::Result<Encoded> {
        let mut words = self.words(text)?;
        let count = words.get_splits(OffsetReferential::Normalized, OffsetType::None).len();
        let model = self.inner.get_model();
        words.tokenize_with_limit(
            |word| model.tokenize(word.get()),
            min_tokens.saturating_add(margin),
            TruncationDirection::Right,
        )?;
        let splits = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
        let complete = splits.len() == count;
        let splits: Vec<(&str, &[Token])> = splits
            .into_iter()
            .map(|(word, _, tokens)| (word, tokens.as_deref().unwrap_or_default()))
            .collect();
        let tokens = || splits.iter().flat_map(|(_, tokens)| tokens.iter());
        let kept = if margin == 0 {
            usize::MAX
        } else {
            self.settled(&splits, tokens().count().saturating_sub(margin))
        };
        let ids: Vec<u32> = tokens().map(|token| token.id).take(kept).collect();
        let spans = if with_spans {
            let encoding = words.into_encoding(None, 0, OffsetType::Byte)?;
            encoding.get_offsets().iter().map(|span| widen_to_characters(text, *span)).take(kept).collect()
        } else {
            Vec::new()
        };
        Ok(Encoded { ids, spans, complete })
    }

    /// How many of the first `kept` tokens of these words end with a word, or where [`Neighbours`] divide one: at most those
    /// do not depend on what follows the last word, by which it may go on.
    fn settled(&self, words: &[(&str, &[Token])], kept: usize) -> usize {
        let mut start = 0;
        for (word, tokens) in words {
            if kept < start + tokens.len() {
                let settled = |&count: &usize| {
                    let at = tokens[count - 1].offsets.1;
                    at == tokens[count].offsets.0 && self.neighbours().settled(word, at)
                };
                let in_word = (1..=kept - start).rev().filter(|_| self.neighbours_apply).find(settled);
                return start + in_word.unwrap_or(0);
            }
            start += tokens.len();
        }
        kept
    }

    fn neighbours(&self) -> &Neighbours {
        self.neighbours.get_or_init(|| {
            let mut neighbours = match self.inner.get_model() {
                WordModel::WordPiece(_) => Neighbours::new(std::iter::empty()),
                WordModel::Crate(model) => match &**model {
                    ModelWrapper::Unigram(model) => {
                        Neighbours::new(model.iter().map(|(token, _)| token.as_str()))
                    }
                    model => Neighbours::new(model.get_vocab().keys().map(String::as_str)),
                },
            };
            if let Some(end) = self.unknown_end {
                neighbours.remove_token(end);
            }
            neighbours
        })
    }
}

/// The smallest range around `span` that begins and ends between characters: a token of bytes may be a part of one.
fn widen_to_characters(text: &str, span: (usize, usize)) -> (usize, usize) {
    let (start, end) = (span.0.min(text.len()), span.1.min(text.len()));
    let start = (0..=start).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    (start, (end..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len()))
}

fn word_model(model: SubwordModel<'_>) -> DefinitionResult<WordModel> {
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

fn build_normalizer(mut part: Value) -> DefinitionResult<NormalizerWrapper> {
    match part["type"].as_str() {
        Some("Sequence") => {
            let Value::Array(parts) = part["normalizers"].take() else {
                return Err("normalizers is not a list".into());
            };
            Ok(Sequence::new(parts.into_iter().map(build_normalizer).collect::<DefinitionResult<_>>()?)
                .into())
        }
        Some("Precompiled") => Precompiled::from(&definition::character_map_bytes(&part)?)
            .map(Into::into)
            .map_err(|e| format!("normalizer: {e}")),
        _ => serde_json::from_value(part).map_err(|e| format!("normalizer: {e}")),
    }
}

/// The template of pairs, found by sending two marked tokens through the post-processor. Without one, the query and then
/// the document.
pub fn template_pieces(post_processor: Option<Value>) -> DefinitionResult<Vec<TemplatePiece>> {
    const QUERY: u32 = u32::MAX;
    const DOCUMENT: u32 = u32::MAX - 1;
    let Some(part) = post_processor else {
        return Ok(vec![TemplatePiece::Query(0), TemplatePiece::Document(1)]);
    };
    let processor: PostProcessorWrapper =
        serde_json::from_value(part).map_err(|e| format!("post_processor: {e}"))?;
    let marked = |id| Encoding::from_tokens(vec![Token::new(id, "a".into(), (0, 1))], 0);
    let pair = processor
        .process(marked(QUERY), Some(marked(DOCUMENT)), true)
        .map_err(|e| format!("post_processor: {e}"))?;
    let piece = |(&id, &token_type)| match id {
        QUERY => TemplatePiece::Query(token_type),
        DOCUMENT => TemplatePiece::Document(token_type),
        special => TemplatePiece::Special(special, token_type),
    };
    Ok(pair.get_ids().iter().zip(pair.get_type_ids()).map(piece).collect())
}
