//! vocab.txt: one token a line, whose number is its id.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::json;

use super::class::{Class, Source};
use super::files::{VocabularyFiles, check_count};
use super::keys::Keys;
use super::parts::{Model, Parts, TokenIds, required, template};
use crate::error::Result;

const FILE: &str = "vocab.txt";

pub fn make(files: &VocabularyFiles<'_>, class: &Class, keys: &Keys) -> Result<Parts<'static>> {
    let vocab = read(&files.lines(class, FILE)?, files.rows)?;
    let tokens = keys.special_tokens(class)?;
    let token = |key| required(&tokens, key, FILE, |token| vocab.id(token));
    let separators = if let Source::WordPiece { separators } = class.source { separators } else { 1 };
    let (unk_token, _) = token("unk_token")?;
    Ok(Parts {
        added_tokens: Vec::new(),
        normalizer: json!({
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": keys.flag("tokenize_chinese_chars", true)?,
            "strip_accents": keys.optional_flag("strip_accents")?,
            "lowercase": keys.flag("do_lower_case", true)?,
        }),
        pre_tokenizer: json!({"type": "BertPreTokenizer"}),
        post_processor: template(&token("cls_token")?, &token("sep_token")?, separators, 1),
        model: Model::WordPiece {
            unk_token,
            continuing_subword_prefix: "##",
            max_input_chars_per_word: 100,
            vocab,
        },
    })
}

/// The tokens in the order of their ids. Of a token that is there twice, the last line counts.
fn read(text: &str, rows: usize) -> Result<TokenIds<'static>> {
    let lines = || text.strip_suffix('\n').unwrap_or(text).split('\n').filter(|_| !text.is_empty());
    check_count(FILE, lines().count(), rows)?;
    let ids: HashMap<&str, u32> = lines().zip(0..).collect();
    let mut vocab: Vec<(Cow<'static, str>, u32)> =
        ids.into_iter().map(|(token, id)| (token.to_owned().into(), id)).collect();
    vocab.sort_by_key(|(_, id)| *id);
    Ok(TokenIds(vocab))
}
