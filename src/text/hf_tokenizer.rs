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
    /// The added tokens that are read as text, because the word table has no row for them.
    pub without_row: Vec<String>,
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
        (added_tokens, their_normalizer): (Vec<AddedToken>, Option<Value>),
        split_special_tokens: bool,
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
        check_normalized_tokens(&added_tokens, tokenizer.get_normalizer(), their_normalizer)?;
        let (more, of_file): (Vec<_>, Vec<_>) = added_tokens.into_iter().partition(|t| t.from_settings);
        let contents: Vec<String> = of_file.iter().map(|t| t.content.clone()).collect();
        let failed = |e| format!("added_tokens: {e}");
        tokenizer.add_tokens(of_file.into_iter().map(crate_token)).map_err(failed)?;
        for id in contents.iter().filter_map(|content| tokenizer.token_to_id(content)) {
            definition::check_id(id.into(), vocabulary)?;
        }
        let mut without_row = Vec::new();
        for token in more.into_iter().filter(|token| !token.content.is_empty()) {
            // With a token of the settings that the word table has no row for, transformers fails on the texts that contain it.
            let id = tokenizer.token_to_id(&token.content).unwrap_or_else(|| next_id(&tokenizer));
            if definition::check_id(id.into(), vocabulary).is_ok() {
                tokenizer.add_tokens([crate_token(token)]).map_err(failed)?;
            } else {
                without_row.push(token.content);
            }
        }
        tokenizer.set_encode_special_tokens(split_special_tokens);
        let neighbours = OnceLock::new();
        Ok(Self { inner: tokenizer, neighbours_apply, unknown_end, neighbours, without_row })
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
        let splits = words_and_tokens(&words);
        let complete = splits.len() == count;
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

    /// All tokens of a text that is the end of another one, but for the first `margin` and as many after them as may depend on
    /// what stands before the text. `None` as for [`tokenize`](Self::tokenize).
    pub fn tokenize_end(&self, text: &str, margin: usize) -> Option<Vec<u32>> {
        let tokenize = || -> tokenizers::Result<Vec<u32>> {
            let mut words = self.words(text)?;
            let model = self.inner.get_model();
            words.tokenize(|word| model.tokenize(word.get()))?;
            let words = words_and_tokens(&words);
            let dropped = if margin == 0 { 0 } else { self.unsettled_start(&words, margin) };
            let tokens = words.iter().flat_map(|(_, tokens)| tokens.iter());
            Ok(tokens.map(|token| token.id).skip(dropped).collect())
        };
        catch_unwind(AssertUnwindSafe(tokenize)).ok()?.ok()
    }

    /// How many of the first tokens of these words, `margin` or more, may depend on what stands before the first word: those
    /// after them begin with a word, or where [`Neighbours`] divide one.
    fn unsettled_start(&self, words: &[(&str, &[Token])], margin: usize) -> usize {
        let mut start = 0;
        for (word, tokens) in words {
            if start >= margin {
                return start;
            }
            let settled = |&count: &usize| {
                let at = tokens[count].offsets.0;
                tokens[count - 1].offsets.1 == at && self.neighbours().settled(word, at)
            };
            let in_word = (margin - start..tokens.len()).filter(|_| self.neighbours_apply).find(settled);
            if let Some(count) = in_word {
                return start + count;
            }
            start += tokens.len();
        }
        start
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

/// Checks the tokens that are matched in a normalized text. `theirs` is the normalizer that they have gone through, where it
/// is not the text's.
fn check_normalized_tokens(
    tokens: &[AddedToken],
    normalizer: Option<&NormalizerWrapper>,
    theirs: Option<Value>,
) -> DefinitionResult<()> {
    let theirs = theirs.map(build_normalizer).transpose()?;
    let normalized = |content: &str, normalizer: Option<&NormalizerWrapper>| {
        let mut text = NormalizedString::from(content);
        let done = normalizer.map_or(Ok(()), |normalizer| normalizer.normalize(&mut text));
        done.map(|()| text.get().to_owned()).map_err(|e| format!("normalizer: {e}"))
    };
    for token in tokens.iter().filter(|t| t.normalized && !t.content.is_empty()) {
        let text = normalized(&token.content, normalizer)?;
        if text.is_empty() {
            // It would match everywhere, even inside characters.
            return Err("nothing is left of an added token after normalization".into());
        }
        if theirs.is_some() && normalized(&token.content, theirs.as_ref())? != text {
            return Err(format!(
                "added_tokens: transformers 4 looks for the token `{:.40}` as the file's normalizer writes it, in texts that \
                 tokenizer_config.json normalizes in another way: give its `do_lower_case`, `strip_accents` and \
                 `tokenize_chinese_chars` the values of the file, or the token `\"normalized\": false`",
                token.content
            ));
        }
    }
    Ok(())
}

fn words_and_tokens(words: &PreTokenizedString) -> Vec<(&str, &[Token])> {
    let splits = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
    splits.into_iter().map(|(word, _, tokens)| (word, tokens.as_deref().unwrap_or_default())).collect()
}

fn crate_token(token: AddedToken) -> tokenizers::AddedToken {
    tokenizers::AddedToken::from(token.content, token.special)
        .single_word(token.single_word)
        .lstrip(token.lstrip)
        .rstrip(token.rstrip)
        .normalized(token.normalized)
}

/// The id that the crate gives to the next token that is not in the vocabulary.
fn next_id(tokenizer: &Inner) -> u32 {
    let size = tokenizer.get_model().get_vocab_size() as u32;
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder().keys().max();
    added.map_or(size, |last| size.max(last + 1))
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

/// The template of pairs, with its token types or with 0, found by sending two marked tokens through the post-processor. Without one, the query and then
/// the document.
pub fn template_pieces(
    post_processor: Option<Value>,
    token_types: bool,
) -> DefinitionResult<Vec<TemplatePiece>> {
    const QUERY: u32 = u32::MAX;
    const DOCUMENT: u32 = u32::MAX - 1;
    let Some(part) = post_processor else {
        return Ok(vec![TemplatePiece::Query(0), TemplatePiece::Document(token_types.into())]);
    };
    let processor: PostProcessorWrapper =
        serde_json::from_value(part).map_err(|e| format!("post_processor: {e}"))?;
    let marked = |id| Encoding::from_tokens(vec![Token::new(id, "a".into(), (0, 1))], 0);
    let pair = processor
        .process(marked(QUERY), Some(marked(DOCUMENT)), true)
        .map_err(|e| format!("post_processor: {e}"))?;
    let of_template = |token_type| if token_types { token_type } else { 0 };
    let piece = |(&id, &token_type)| match (id, of_template(token_type)) {
        (QUERY, token_type) => TemplatePiece::Query(token_type),
        (DOCUMENT, token_type) => TemplatePiece::Document(token_type),
        (special, token_type) => TemplatePiece::Special(special, token_type),
    };
    Ok(pair.get_ids().iter().zip(pair.get_type_ids()).map(piece).collect())
}
