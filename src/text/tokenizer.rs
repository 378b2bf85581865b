//! Texts -> token ids, as the model's tokenizer.json says: no more of a text is read than the window needs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use super::definition::{Definition, DefinitionResult, SubwordModel};
pub use super::encoded::Encoded;
use super::hf_tokenizer::{self, HfTokenizer};
use super::plain::{Chunk, PlainWords};
use super::prefix::{self, ShortenedText, Shortening};
use super::settings::{Settings, SettingsFiles};
use super::template::PairTemplate;
use super::truncation::TruncationSide;
use super::wordpiece::WordPiece;
use crate::error::{Error, Result};

/// English has 4 to 5 bytes per token, so the first prefix nearly always has enough tokens, and few of its bytes are read
/// for nothing.
const BYTES_PER_TOKEN: usize = 6;
/// Bytes that are read at most of a text with next to no tokens (control characters for megabytes): this, and
/// `SPARSE_BYTES_PER_TOKEN` for each token that is asked for.
const SPARSE_BYTES: usize = 1 << 20;
const SPARSE_BYTES_PER_TOKEN: usize = 512;
/// Tokens at the end of a prefix that ends inside a word: the words that they are of may be others in the whole text, as where
/// a contraction is one word and its beginning two, and so may characters that normalization composes. WordPiece needs as many
/// as the longest word that it looks up has characters. Of Unigram and BPE, more tokens are dropped: all that are not settled,
/// see settled.rs.
const RAGGED_MARGIN: usize = 128;

/// Turns texts into token ids.
pub struct Tokenizer {
    library: HfTokenizer,
    /// The name of the tokenizer.json, for errors.
    file: String,
    template: PairTemplate,
    /// The end of a text at which a pair is truncated.
    side: TruncationSide,
    /// Whether words end before every space.
    splits_at_spaces: bool,
    /// Tokens to drop at the end of a prefix that ends at a space, if words end there.
    clean_margin: usize,
    /// Tokens to drop at the end of any other prefix.
    ragged_margin: usize,
    /// How to make a [`ShortenedText`] that has the same tokens as the text, if there is a way.
    shortens: Option<Shortening>,
    /// Finds the words that only need a look-up in the WordPiece vocabulary.
    plain_words: Option<PlainWords>,
}

impl Tokenizer {
    /// Reads a tokenizer.json; `file` names it in errors. `vocabulary` is the number of rows of the model's word table,
    /// `token_types` that of its token type table: every id that the tokenizer can return has its row. With fewer than two
    /// token types the model does not distinguish them, and all token types are 0.
    ///
    /// Errors: [`Error::Format`].
    pub fn new(file: &str, json: &[u8], vocabulary: usize, token_types: usize) -> Result<Self> {
        let format = |message| Error::Format { file: file.to_owned(), message };
        let definition = Definition::parse(json, vocabulary).map_err(format)?;
        Self::checked(file, definition, vocabulary, token_types)
    }

    /// Reads a tokenizer.json as the files beside it say. Also returns sentences for people about what was decided.
    ///
    /// Errors: [`Error::Format`], and [`Error::Unsupported`] for settings that are not supported.
    pub fn with_settings(
        file: &str,
        json: &[u8],
        files: &SettingsFiles<'_>,
        vocabulary: usize,
        token_types: usize,
    ) -> Result<(Self, Vec<String>)> {
        let format = |message| Error::Format { file: file.to_owned(), message };
        let mut definition = Definition::parse(json, vocabulary).map_err(format)?;
        let settings = Settings::apply(files, &mut definition, token_types)?;
        let tokenizer = Self::checked(file, definition, vocabulary, token_types)?;
        let side = settings.side;
        let template = tokenizer.template.truncated_at(side);
        let mut warnings = settings.warnings;
        if !tokenizer.library.without_row.is_empty() {
            let tokens: Vec<String> =
                tokenizer.library.without_row.iter().map(|token| format!("`{token:.40}`")).collect();
            warnings.push(format!(
                "the word table has no row for added tokens of the tokenizer's settings, which transformers fails on where a \
                 text has them: {} here are text like any other",
                tokens.join(", ")
            ));
        }
        Ok((Self { side, template, ..tokenizer }, warnings))
    }

    fn checked(
        file: &str,
        definition: Definition<'_>,
        vocabulary: usize,
        token_types: usize,
    ) -> Result<Self> {
        let format = |message| Error::Format { file: file.to_owned(), message };
        let build = || Self::build(file, definition, vocabulary, token_types);
        // Catches what the checks have missed.
        catch_unwind(AssertUnwindSafe(build))
            .unwrap_or_else(|_| Err("the tokenizers library refuses it".into()))
            .map_err(format)
    }

    fn build(
        file: &str,
        definition: Definition<'_>,
        vocabulary: usize,
        token_types: usize,
    ) -> DefinitionResult<Self> {
        let type_of =
            |part: &Option<Value>| part.as_ref().and_then(|p| p["type"].as_str()).map(str::to_owned);
        let bert = type_of(&definition.normalizer).as_deref() == Some("BertNormalizer")
            && type_of(&definition.pre_tokenizer).as_deref() == Some("BertPreTokenizer");
        let (word_piece, max_word_chars) = match &definition.model {
            SubwordModel::WordPiece { max_word_chars, .. } => (true, *max_word_chars),
            _ => (false, 0),
        };
        let added = &definition.added_tokens;
        let ends_runs = |text: &str| text.starts_with(prefix::ends_runs);
        let normalizes = |step: &str| definition.normalizer.as_ref().is_some_and(|part| part[step] != false);
        let lowercase = normalizes("lowercase");
        // Absent or null, accents are stripped where letters are lowercased.
        let strips_accents = definition
            .normalizer
            .as_ref()
            .and_then(|part| part["strip_accents"].as_bool())
            .unwrap_or(lowercase);
        let shortening = Shortening { drops_controls: normalizes("clean_text"), drops_marks: strips_accents };
        let shortens = bert && word_piece && added.iter().all(|t| ends_runs(&t.content));
        let shortens = shortens.then_some(shortening);
        let plain_words = (bert && word_piece).then(|| PlainWords::new(lowercase, added)).flatten();
        let longest_added = added.iter().map(|t| t.content.len()).max().unwrap_or(0);
        // A prefix can end inside an added token even at a space, if the token contains one.
        let spaced = added.iter().map(|t| t.content.trim_start()).filter(|t| t.contains(char::is_whitespace));
        let clean_margin = spaced.map(str::len).max().unwrap_or(0);
        let ragged_margin = RAGGED_MARGIN.max(max_word_chars) + longest_added;

        let pieces = hf_tokenizer::template_pieces(definition.post_processor, definition.token_types)?;
        let library = HfTokenizer::new(
            definition.model,
            definition.normalizer,
            definition.pre_tokenizer,
            (definition.added_tokens, definition.added_tokens_normalizer),
            definition.split_special_tokens,
            vocabulary,
        )?;
        let tokenizer = Self {
            template: PairTemplate::new(pieces, vocabulary, token_types)?,
            splits_at_spaces: library.splits_at_spaces(),
            library,
            file: file.to_owned(),
            side: TruncationSide::Right,
            clean_margin,
            ragged_margin,
            shortens,
            plain_words,
        };
        // Every component processes a text before the first caller's, so that what fails always fails at load.
        for text in ["", " ", "What is 1 + 1?", " e\u{301} \u{fb01}\u{3000}漢字 😀\u{200d}\u{1} "] {
            tokenizer.tokenize(text, usize::MAX, 0, true).map_err(|_| "it fails on a plain text")?;
        }
        Ok(tokenizer)
    }

    /// How the tokens of a query and a document become one sequence.
    pub fn template(&self) -> &PairTemplate {
        &self.template
    }

    /// Reads `text` until there are at least `min_tokens` tokens, or to its end. The ids are the first ones of the whole
    /// text's; where tokenizer_config.json has `truncation_side` left, the last ones, and the text is read from its end.
    ///
    /// Work is bounded by `min_tokens`, not by the text: about the first MiB is read of a text with less than one token in 512
    /// bytes, or of one word or run of that size whose first tokens depend on its end. Such a text is tokenized as if it ended
    /// there, and is not [`complete`](Encoded::complete).
    ///
    /// [`PairTemplate::truncated_pair`] needs more than `max_tokens` tokens of both sides. Since Hugging Face's
    /// `longest_first` gives an odd token to the side that is longer as a whole, it also needs more tokens of the document
    /// than the query has: `max(max_tokens, query.ids.len()) + 1`.
    ///
    /// Errors: [`Error::Internal`].
    pub fn encode(&self, text: &str, min_tokens: usize) -> Result<Encoded> {
        match self.side {
            TruncationSide::Right => self.encode_as(text, min_tokens, false),
            TruncationSide::Left => self.encode_end(text, min_tokens),
        }
    }

    /// [`encode`](Self::encode) where a pair is truncated at its start: the ids are the last ones of the whole text's.
    fn encode_end(&self, text: &str, min_tokens: usize) -> Result<Encoded> {
        let max_bytes = max_bytes(min_tokens);
        let mut bytes = min_tokens.saturating_mul(BYTES_PER_TOKEN).max(256);
        loop {
            bytes = bytes.min(max_bytes);
            let start = prefix::suffix_start(text, bytes);
            // The first tokens may differ from those of the whole text, as the last ones of a prefix may. Of a text that is
            // not read any further they are kept.
            let margin = if start == 0 || bytes == max_bytes { 0 } else { self.ragged_margin };
            let ids = self.library.tokenize_end(&text[start..], margin).ok_or_else(|| self.failed())?;
            if ids.len() >= min_tokens || margin == 0 {
                return Ok(Encoded { ids, spans: Vec::new(), complete: start == 0 });
            }
            bytes = bytes.saturating_mul(2);
        }
    }

    /// [`encode`](Self::encode), and the bytes of the text that each token stands for.
    pub fn encode_with_spans(&self, text: &str, min_tokens: usize) -> Result<Encoded> {
        self.encode_as(text, min_tokens, true)
    }

    fn encode_as(&self, text: &str, min_tokens: usize, with_spans: bool) -> Result<Encoded> {
        let mut bytes = min_tokens.saturating_mul(BYTES_PER_TOKEN).max(256);
        if let Some(encoded) = self.encode_prefix(text, true, bytes, min_tokens, with_spans)? {
            return Ok(encoded);
        }
        let max_bytes = max_bytes(min_tokens);
        let mut shortened = self.shortens.filter(|_| !with_spans).map(|how| ShortenedText::new(text, how));
        loop {
            bytes = bytes.saturating_mul(2).min(max_bytes);
            // The spans of a shortened text would not be those of the text.
            let (text, to_end) = match &mut shortened {
                Some(shortened) => {
                    shortened.extend(bytes);
                    (shortened.text.as_str(), shortened.ended())
                }
                None => (text, true),
            };
            if let Some(encoded) = self.encode_prefix(text, to_end, bytes, min_tokens, with_spans)? {
                return Ok(encoded);
            }
            if bytes == max_bytes {
                let end = prefix::prefix_end(text, bytes);
                let encoded = self.tokenize(&text[..end.bytes], min_tokens, 0, with_spans)?;
                return Ok(Encoded { complete: false, ..encoded });
            }
        }
    }

    /// The tokens of the first `bytes` bytes of `text`, or `None` if they are too few. `to_end` says whether nothing
    /// follows after `text`.
    fn encode_prefix(
        &self,
        text: &str,
        to_end: bool,
        bytes: usize,
        min_tokens: usize,
        with_spans: bool,
    ) -> Result<Option<Encoded>> {
        let end = prefix::prefix_end(text, bytes);
        let to_end = to_end && end.bytes == text.len();
        let margin = match (to_end, end.clean && end.bytes < text.len()) {
            (true, _) => 0,
            (_, true) if self.splits_at_spaces => self.clean_margin,
            _ => self.ragged_margin,
        };
        let Encoded { ids, spans, complete } =
            self.tokenize(&text[..end.bytes], min_tokens, margin, with_spans)?;
        let found = to_end || ids.len() >= min_tokens;
        Ok(found.then_some(Encoded { ids, spans, complete: to_end && complete }))
    }

    /// Tokenizes the words of `text` until there are at least `min_tokens` and `margin` more, then drops the last `margin`
    /// tokens, and unless that is 0 those before them that may depend on what follows the text.
    fn tokenize(&self, text: &str, min_tokens: usize, margin: usize, with_spans: bool) -> Result<Encoded> {
        let (Some(plain), Some(model)) = (&self.plain_words, self.library.word_piece()) else {
            return self.tokenize_any(text, min_tokens, margin, with_spans);
        };
        let min_tokens = min_tokens.saturating_add(margin);
        let mut encoded = self.tokenize_plain(plain, model, text, min_tokens, with_spans)?;
        let kept = encoded.ids.len().saturating_sub(margin);
        encoded.ids.truncate(kept);
        encoded.spans.truncate(kept);
        Ok(encoded)
    }

    /// Tokenizes the words of `text` until there are at least `min_tokens` tokens. Only words that are not plain go through
    /// the `tokenizers` crate.
    fn tokenize_plain(
        &self,
        plain: &PlainWords,
        model: &WordPiece,
        text: &str,
        min_tokens: usize,
        with_spans: bool,
    ) -> Result<Encoded> {
        let mut encoded = Encoded { ids: Vec::new(), spans: Vec::new(), complete: true };
        let (mut normalized, mut tokens) = (String::new(), Vec::new());
        for chunk in plain.chunks(text) {
            let full = encoded.ids.len() >= min_tokens;
            match chunk {
                Chunk::PlainWord(_) if full => encoded.complete = false,
                Chunk::PlainWord(range) => {
                    plain.normalize(&text[range.clone()], &mut normalized);
                    tokens.clear();
                    model.tokenize(&normalized, &mut tokens);
                    encoded.ids.extend(tokens.iter().map(|(id, _)| id));
                    if with_spans {
                        let in_text = |(start, end)| (range.start + start, range.start + end);
                        encoded.spans.extend(tokens.iter().map(|(_, span)| in_text(*span)));
                    }
                }
                Chunk::NotPlain(range) => {
                    let missing = min_tokens.saturating_sub(encoded.ids.len());
                    let other = self.tokenize_any(&text[range.clone()], missing, 0, with_spans)?;
                    // A chunk without a word does not count as unread text.
                    let unread = full && !other.ids.is_empty();
                    encoded.complete = other.complete && !unread;
                    if !full {
                        encoded.ids.extend(other.ids);
                        let in_text = |(start, end)| (range.start + start, range.start + end);
                        encoded.spans.extend(other.spans.into_iter().map(in_text));
                    }
                }
            }
            if !encoded.complete {
                break;
            }
        }
        Ok(encoded)
    }

    /// [`tokenize`](Self::tokenize) for any tokenizer: every word goes through the `tokenizers` crate.
    fn tokenize_any(
        &self,
        text: &str,
        min_tokens: usize,
        margin: usize,
        with_spans: bool,
    ) -> Result<Encoded> {
        self.library.tokenize(text, min_tokens, margin, with_spans).ok_or_else(|| self.failed())
    }

    fn failed(&self) -> Error {
        Error::Internal { message: format!("the tokenizer of {} failed on a text", self.file) }
    }
}

/// The most bytes of a text that are read for so many tokens.
fn max_bytes(min_tokens: usize) -> usize {
    SPARSE_BYTES.saturating_add(min_tokens.saturating_mul(SPARSE_BYTES_PER_TOKEN))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokenizers::normalizers::BertNormalizer;
    use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
    use tokenizers::{Normalizer as _, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

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
    fn plain_words_have_the_same_tokens_as_in_the_crate() {
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
            let (Some(plain), Some(model)) = (&tokenizer.plain_words, tokenizer.library.word_piece()) else {
                panic!("BERT's tokenizer has plain words")
            };
            for case in 0..3000 {
                let text = text(&mut state);
                let limit = if case % 2 == 0 { usize::MAX } else { case % 23 + 1 };
                let ours = tokenizer.tokenize_plain(plain, model, &text, limit, true).unwrap();
                let all = tokenizer.tokenize_any(&text, usize::MAX, 0, true).unwrap();
                let count = ours.ids.len();
                assert!(count >= limit.min(all.ids.len()), "{text:?}, {limit} tokens: {ours:?}");
                assert_eq!(ours.complete, count == all.ids.len(), "{text:?}, {limit} tokens");
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
            // Nothing where accents are stripped, and a word where they are kept.
            assert_eq!(words(&mark.to_string()), [1], "{mark:?}");
        }
    }

    #[test]
    fn a_dropped_character_neither_makes_nor_divides_nor_lengthens_a_word() {
        let controls = prefix::tests::controls();
        assert!(controls.len() > 60);
        for control in controls {
            assert_eq!(words(&control.to_string()), [0; 0], "{control:?}");
            assert_eq!(words(&format!("a{control}a")), [2, 2], "{control:?}");
        }
    }
}
