//! The parts of a tokenizer.json, and how they are written.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::class::Class;
use super::files::{format_error, shown};
use super::keys::{Keys, SpecialToken};
use crate::error::{Error, Result};

/// What a tokenizer is made of, but for its special tokens.
pub struct Parts<'a> {
    /// Tokens that are matched in texts besides the class's special ones.
    pub added_tokens: Vec<(SpecialToken, bool)>,
    pub normalizer: Value,
    pub pre_tokenizer: Value,
    pub post_processor: Value,
    pub model: Model<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type")]
pub enum Model<'a> {
    WordPiece {
        unk_token: String,
        continuing_subword_prefix: &'static str,
        max_input_chars_per_word: u32,
        vocab: TokenIds<'a>,
    },
    #[serde(rename = "BPE")]
    Bpe {
        dropout: (),
        unk_token: Option<String>,
        continuing_subword_prefix: Option<&'static str>,
        end_of_word_suffix: Option<&'static str>,
        fuse_unk: bool,
        byte_fallback: bool,
        ignore_merges: bool,
        vocab: TokenIds<'a>,
        merges: Vec<(&'a str, &'a str)>,
    },
    Unigram {
        unk_id: usize,
        byte_fallback: bool,
        vocab: Vec<(&'a str, f64)>,
    },
}

/// Tokens with their ids, each token once; written as an object.
pub struct TokenIds<'a>(pub Vec<(Cow<'a, str>, u32)>);

impl Serialize for TokenIds<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(token, id)| (token, id)))
    }
}

impl TokenIds<'_> {
    pub fn id(&self, token: &str) -> Option<u32> {
        self.0.iter().find(|(entry, _)| entry == token).map(|(_, id)| *id)
    }
}

impl Model<'_> {
    fn id(&self, token: &str) -> Option<u32> {
        match self {
            Self::WordPiece { vocab, .. } | Self::Bpe { vocab, .. } => vocab.id(token),
            Self::Unigram { vocab, .. } => {
                vocab.iter().rposition(|(entry, _)| *entry == token).map(|id| id as u32)
            }
        }
    }

    fn size(&self) -> u32 {
        match self {
            Self::WordPiece { vocab, .. } | Self::Bpe { vocab, .. } => vocab.0.len() as u32,
            Self::Unigram { vocab, .. } => vocab.len() as u32,
        }
    }
}

#[derive(Serialize)]
struct TokenizerFile<'a> {
    version: &'static str,
    added_tokens: Vec<Value>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    model: Model<'a>,
}

impl Parts<'_> {
    /// Adds the special tokens and writes the file. A special token that is not in the vocabulary gets the next id, unless
    /// another file lists added tokens, which come first then.
    pub fn write(self, class: &Class, keys: &Keys, others_listed: bool) -> Result<Vec<u8>> {
        let mut tokens = self.added_tokens;
        for (_, token) in keys.special_tokens(class)? {
            // The properties of the first token of a content count, as in transformers.
            if !tokens.iter().any(|(known, _)| known.content == token.content) {
                tokens.push((token, true));
            }
        }
        let others_listed = others_listed || keys.list_added_tokens();
        let mut next = self.model.size();
        let mut added_tokens = Vec::new();
        for (token, special) in tokens {
            let id = match self.model.id(&token.content) {
                Some(id) => id,
                None if others_listed => continue,
                None => {
                    next += 1;
                    next - 1
                }
            };
            added_tokens.push(json!({
                "id": id,
                "content": token.content,
                "single_word": token.single_word,
                "lstrip": token.lstrip,
                "rstrip": token.rstrip,
                "normalized": token.normalized,
                "special": special,
            }));
        }
        added_tokens.sort_by_key(|token| token["id"].as_u64());
        let file = TokenizerFile {
            version: "1.0",
            added_tokens,
            normalizer: self.normalizer,
            pre_tokenizer: self.pre_tokenizer,
            post_processor: self.post_processor,
            model: self.model,
        };
        serde_json::to_vec(&file).map_err(|e| Error::Internal { message: e.to_string() })
    }
}

/// The content and the id of a special token that a pair needs; `file` is the vocabulary.
pub fn required(
    tokens: &[(&'static str, SpecialToken)],
    key: &str,
    file: &str,
    id: impl Fn(&str) -> Option<u32>,
) -> Result<(String, u32)> {
    let found = tokens.iter().find(|(name, _)| *name == key);
    let (_, token) = found.ok_or_else(|| {
        format_error(
            "tokenizer_config.json",
            format_args!("key `{key}`: is null, and a pair needs this token"),
        )
    })?;
    let lacks = || {
        let message =
            format!("lacks the token `{}`, which is the {key} of the tokenizer", shown(&token.content));
        format_error(file, message)
    };
    Ok((token.content.clone(), id(&token.content).ok_or_else(lacks)?))
}

/// A pair between special tokens: `separators` of them between the texts, and `second` the token type of what follows.
pub fn template(cls: &(String, u32), sep: &(String, u32), separators: usize, second: u32) -> Value {
    let special =
        |token: &str, token_type: u32| json!({"SpecialToken": {"id": token, "type_id": token_type}});
    let text = |name: &str, token_type: u32| json!({"Sequence": {"id": name, "type_id": token_type}});
    let single = vec![special(&cls.0, 0), text("A", 0), special(&sep.0, 0)];
    let mut pair = single.clone();
    pair.extend((1..separators).map(|_| special(&sep.0, 0)));
    pair.extend([text("B", second), special(&sep.0, second)]);
    let entry = |(token, id): &(String, u32)| json!({"id": token, "ids": [id], "tokens": [token]});
    json!({
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {&cls.0: entry(cls), &sep.0: entry(sep)},
    })
}
