//! tokenizer.json, parsed and checked before the `tokenizers` crate sees any of it: the crate trusts the file where it
//! indexes, allocates and unwraps. A file that this module accepts can be loaded and run by the crate without a panic.
//!
//! Ignored on purpose: `truncation` but for its side and `padding` but for its token (often stale, and decided by the
//! caller), and `decoder` (never used).

mod checks;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

pub use self::checks::{DefinitionResult, character_map_bytes};
use self::checks::{check_normalizer, check_post_processor, check_pre_tokenizer};
use super::truncation::TruncationSide;

/// The largest file in use, XLM-RoBERTa's, has 17 MB.
const MAX_FILE_BYTES: usize = 64 << 20;
/// The longest tokens in use are runs of about 128 spaces or dashes. Unigram tries tokens up to the longest one at every
/// position.
const MAX_TOKEN_BYTES: usize = 1024;
/// Limit of `max_input_chars_per_word`: WordPiece takes cubic time in the length of a word. Every known model has 100.
pub const MAX_WORD_CHARS: usize = 1000;

/// A checked tokenizer.json.
pub struct Definition<'a> {
    pub added_tokens: Vec<AddedToken>,
    pub normalizer: Option<Value>,
    /// The normalizer that added tokens have gone through, where it is not that of texts.
    pub added_tokens_normalizer: Option<Value>,
    pub pre_tokenizer: Option<Value>,
    pub post_processor: Option<Value>,
    pub model: SubwordModel<'a>,
    /// The side of the file's own truncation, which transformers takes where tokenizer_config.json names none.
    pub truncation_side: TruncationSide,
    /// The padding token of the file's own padding.
    pub pad_token: Option<String>,
    /// Whether the two texts of a pair have the token types of the template, and not 0.
    pub token_types: bool,
    /// Whether special tokens in a text are read as text.
    pub split_special_tokens: bool,
}

/// A token that is matched in the text, before or after normalization, instead of being found by the model.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct AddedToken {
    /// Its id in the file.
    #[serde(default)]
    pub id: u32,
    /// Whether a file beside tokenizer.json adds it.
    #[serde(skip)]
    pub from_settings: bool,
    pub content: String,
    pub single_word: bool,
    pub lstrip: bool,
    pub rstrip: bool,
    pub normalized: bool,
    pub special: bool,
}

impl AddedToken {
    /// A token without other properties: a special one is matched before normalization, any other after it.
    pub fn plain(content: String, special: bool) -> Self {
        let (single_word, lstrip, rstrip) = (false, false, false);
        Self {
            id: 0,
            from_settings: false,
            content,
            single_word,
            lstrip,
            rstrip,
            normalized: !special,
            special,
        }
    }
}

/// Tokens are equal that match the same: wherever they come from, and whatever their id.
impl PartialEq for AddedToken {
    fn eq(&self, other: &Self) -> bool {
        let key =
            |token: &Self| (token.single_word, token.lstrip, token.rstrip, token.normalized, token.special);
        self.content == other.content && key(self) == key(other)
    }
}

/// The part that divides words into tokens.
pub enum SubwordModel<'a> {
    WordPiece { vocab: TokenIds<'a>, unk: Cow<'a, str>, prefix: Cow<'a, str>, max_word_chars: usize },
    Bpe { vocab: TokenIds<'a>, merges: Vec<(String, String)>, options: BpeOptions<'a> },
    Unigram { vocab: Vec<(String, f64)>, unk: usize, byte_fallback: bool },
}

/// How a byte pair encoding treats the edges of words and unknown characters.
#[derive(Default)]
pub struct BpeOptions<'a> {
    pub unk: Option<Cow<'a, str>>,
    pub prefix: Option<Cow<'a, str>>,
    pub suffix: Option<Cow<'a, str>>,
    pub fuse_unk: bool,
    pub byte_fallback: bool,
    pub ignore_merges: bool,
}

#[derive(serde::Deserialize)]
struct DefinitionFile<'a> {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    #[serde(default)]
    truncation: Value,
    #[serde(default)]
    padding: Value,
    #[serde(borrow)]
    model: SubwordModelFile<'a>,
}

#[derive(serde::Deserialize)]
struct SubwordModelFile<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    vocab: VocabularyFile<'a>,
    merges: Option<Vec<MergeEntry>>,
    #[serde(borrow)]
    unk_token: Option<Cow<'a, str>>,
    unk_id: Option<usize>,
    #[serde(borrow)]
    continuing_subword_prefix: Option<Cow<'a, str>>,
    #[serde(borrow)]
    end_of_word_suffix: Option<Cow<'a, str>>,
    max_input_chars_per_word: Option<usize>,
    dropout: Option<f64>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum MergeEntry {
    Pair(String, String),
    Line(String),
}

impl<'a> Definition<'a> {
    /// Parses and checks a file. `vocabulary` is the number of rows of the word table: every id must be below it.
    pub fn parse(json: &'a [u8], vocabulary: usize) -> DefinitionResult<Self> {
        if json.len() > MAX_FILE_BYTES {
            return Err(format!(
                "{} bytes are more than the {MAX_FILE_BYTES} that a tokenizer may have",
                json.len()
            ));
        }
        // UTF-8 is checked once for the whole file: the parser would check every token on its own.
        let text = std::str::from_utf8(json).map_err(|e| e.to_string())?;
        // The parser refuses nesting beyond 128 levels.
        let DefinitionFile {
            added_tokens,
            normalizer,
            pre_tokenizer,
            post_processor,
            truncation,
            padding,
            model,
        } = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if let Some(part) = &normalizer {
            check_normalizer(part)?;
        }
        if let Some(part) = &pre_tokenizer {
            check_pre_tokenizer(part)?;
        }
        if let Some(part) = &post_processor {
            check_post_processor(part)?;
        }
        check_lengths(added_tokens.iter().map(|t| t.content.as_str()))?;
        let model = model.check(vocabulary)?;
        let left = truncation["direction"] == "Left";
        Ok(Self {
            added_tokens,
            normalizer,
            added_tokens_normalizer: None,
            pre_tokenizer,
            post_processor,
            model,
            truncation_side: if left { TruncationSide::Left } else { TruncationSide::Right },
            pad_token: padding["pad_token"].as_str().map(str::to_owned),
            token_types: true,
            split_special_tokens: false,
        })
    }

    /// The id of a token of the vocabulary or of the file's added tokens.
    pub fn id_of(&self, token: &str) -> Option<u64> {
        let in_vocabulary = match &self.model {
            SubwordModel::WordPiece { vocab, .. } | SubwordModel::Bpe { vocab, .. } => {
                vocab.0.iter().rev().find(|(entry, _)| entry == token).map(|(_, id)| u64::from(*id))
            }
            SubwordModel::Unigram { vocab, .. } => {
                vocab.iter().position(|(entry, _)| entry == token).map(|id| id as u64)
            }
        };
        let added = || self.added_tokens.iter().find(|added| added.content == token);
        in_vocabulary.or_else(|| added().map(|added| added.id.into()))
    }
}

impl<'a> SubwordModelFile<'a> {
    fn check(self, vocabulary: usize) -> DefinitionResult<SubwordModel<'a>> {
        // Old files have no type, but a field that only this kind of model has.
        let kind = match &self.kind {
            Some(kind) => kind.as_ref(),
            None if self.merges.is_some() => "BPE",
            None if self.max_input_chars_per_word.is_some() => "WordPiece",
            None if self.unk_id.is_some() => "Unigram",
            None => "",
        };
        match kind {
            "WordPiece" => self.check_word_piece(vocabulary),
            "BPE" => self.check_bpe(vocabulary),
            "Unigram" => self.check_unigram(vocabulary),
            other => Err(format!("model type `{other:.40}` is not one of WordPiece, BPE, Unigram")),
        }
    }

    fn check_word_piece(self, vocabulary: usize) -> DefinitionResult<SubwordModel<'a>> {
        let vocab = self.vocab.ids(vocabulary)?;
        let unk = self.unk_token.unwrap_or("[UNK]".into());
        check_present(&vocab, &unk)?;
        let max_word_chars = self.max_input_chars_per_word.unwrap_or(100);
        if max_word_chars > MAX_WORD_CHARS {
            return Err(format!(
                "max_input_chars_per_word is {max_word_chars}, at most {MAX_WORD_CHARS} is supported"
            ));
        }
        let prefix = self.continuing_subword_prefix.unwrap_or("##".into());
        Ok(SubwordModel::WordPiece { vocab, unk, prefix, max_word_chars })
    }

    fn check_bpe(self, vocabulary: usize) -> DefinitionResult<SubwordModel<'a>> {
        let vocab = self.vocab.ids(vocabulary)?;
        if let Some(unk) = &self.unk_token {
            check_present(&vocab, unk)?;
        }
        if self.dropout.is_some_and(|p| p != 0.0) {
            return Err("dropout would make scores random: set it to null".into());
        }
        let merges = parse_merges(self.merges.unwrap_or_default())?;
        check_merges(&vocab, &merges, self.continuing_subword_prefix.as_deref().unwrap_or(""))?;
        let options = BpeOptions {
            unk: self.unk_token,
            prefix: self.continuing_subword_prefix,
            suffix: self.end_of_word_suffix,
            fuse_unk: self.fuse_unk.unwrap_or(false),
            byte_fallback: self.byte_fallback.unwrap_or(false),
            ignore_merges: self.ignore_merges.unwrap_or(false),
        };
        Ok(SubwordModel::Bpe { vocab, merges, options })
    }

    fn check_unigram(self, vocabulary: usize) -> DefinitionResult<SubwordModel<'a>> {
        let VocabularyFile::Scored(vocab) = self.vocab else {
            return Err("model.vocab of a Unigram model is no list of tokens and their scores".into());
        };
        check_lengths(vocab.iter().map(|(token, _)| token.as_str()))?;
        if let Some(last) = vocab.len().checked_sub(1) {
            check_id(last as u64, vocabulary)?;
        }
        let unk = self.unk_id.filter(|&id| id < vocab.len());
        let unk = unk.ok_or("model.unk_id names no token of the vocabulary")?;
        Ok(SubwordModel::Unigram { vocab, unk, byte_fallback: self.byte_fallback.unwrap_or(false) })
    }
}

/// The entries of a vocabulary in the order of the file, not in a hash table. Tokens borrow from the file unless they are
/// escaped in it.
pub struct TokenIds<'a>(pub Vec<(Cow<'a, str>, u32)>);

/// The vocabulary in the file: an object from tokens to ids, or a list of tokens with their scores.
enum VocabularyFile<'a> {
    Ids(TokenIds<'a>),
    Scored(Vec<(String, f64)>),
}

impl<'de: 'a, 'a> Deserialize<'de> for VocabularyFile<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A wrapper, because serde borrows a `Cow` only where it is a field.
        #[derive(serde::Deserialize)]
        struct Token<'a>(#[serde(borrow)] Cow<'a, str>);
        struct Entries;
        impl<'a> Visitor<'a> for Entries {
            type Value = VocabularyFile<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an object from tokens to ids, or a list of tokens and their scores, as model.vocab",
                )
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<VocabularyFile<'a>, A::Error> {
                let mut entries = Vec::new();
                while let Some((Token(token), id)) = map.next_entry().map_err(in_vocab)? {
                    entries.push((token, id));
                }
                Ok(VocabularyFile::Ids(TokenIds(entries)))
            }

            fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<VocabularyFile<'a>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element().map_err(in_vocab)? {
                    entries.push(entry);
                }
                Ok(VocabularyFile::Scored(entries))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

fn in_vocab<E: serde::de::Error>(error: E) -> E {
    E::custom(format_args!("model.vocab: {error}"))
}

impl<'a> VocabularyFile<'a> {
    /// The entries, if this is an object and each id is below `vocabulary`.
    fn ids(self, vocabulary: usize) -> DefinitionResult<TokenIds<'a>> {
        let Self::Ids(ids) = self else {
            return Err("model.vocab is a list, and no object from tokens to ids".into());
        };
        check_lengths(ids.0.iter().map(|(token, _)| &**token))?;
        for &(_, id) in &ids.0 {
            check_id(id.into(), vocabulary)?;
        }
        Ok(ids)
    }
}

/// Checks that an id has a row in a word table of `vocabulary` rows.
pub fn check_id(id: u64, vocabulary: usize) -> DefinitionResult<()> {
    if id < vocabulary as u64 {
        return Ok(());
    }
    Err(format!(
        "token id {id} is outside of the word table, which has {vocabulary} rows: these are files of two models"
    ))
}

fn check_lengths<'a>(mut tokens: impl Iterator<Item = &'a str>) -> DefinitionResult<()> {
    match tokens.find(|token| token.len() > MAX_TOKEN_BYTES) {
        Some(token) => {
            Err(format!("a token has {} bytes, at most {MAX_TOKEN_BYTES} are supported", token.len()))
        }
        None => Ok(()),
    }
}

fn check_present(vocab: &TokenIds<'_>, unk: &str) -> DefinitionResult<()> {
    if vocab.0.iter().any(|(token, _)| token == unk) {
        return Ok(());
    }
    Err(format!("the vocabulary lacks its own unknown token `{unk:.40}`"))
}

fn parse_merges(merges: Vec<MergeEntry>) -> DefinitionResult<Vec<(String, String)>> {
    let split = |(i, merge)| match merge {
        MergeEntry::Pair(a, b) => Ok((a, b)),
        MergeEntry::Line(line) => match line.split_once(' ') {
            Some((a, b)) if !b.contains(' ') => Ok((a.to_owned(), b.to_owned())),
            _ => Err(format!("model.merges[{i}] is not two tokens with a space between")),
        },
    };
    let version =
        |merge: &MergeEntry| matches!(merge, MergeEntry::Line(line) if line.starts_with("#version"));
    merges.into_iter().filter(|m| !version(m)).enumerate().map(split).collect()
}

/// The crate concatenates the two tokens, without the second one's prefix, in a buffer as long as the longest token.
fn check_merges(vocab: &TokenIds<'_>, merges: &[(String, String)], prefix: &str) -> DefinitionResult<()> {
    let longest = vocab.0.iter().map(|(token, _)| token.len()).max().unwrap_or(0);
    for (i, (a, b)) in merges.iter().enumerate() {
        match b.strip_prefix(prefix) {
            Some(b) if a.len() + b.len() <= longest => {}
            _ => return Err(format!("model.merges[{i}] gives no token of the vocabulary")),
        }
    }
    Ok(())
}
