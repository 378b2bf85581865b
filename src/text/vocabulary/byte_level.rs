//! vocab.json, an object from tokens to ids, and merges.txt, the pairs of tokens that become one.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::class::Class;
use super::files::{VocabularyFiles, format_error};
use super::keys::Keys;
use super::parts::{Model, Parts, TokenIds, required};
use crate::error::Result;

const VOCABULARY: &str = "vocab.json";
pub const MERGES: &str = "merges.txt";

pub fn make<'a>(
    files: &VocabularyFiles<'_>,
    class: &Class,
    keys: &Keys,
    merges: &'a str,
) -> Result<Parts<'a>> {
    let ids: HashMap<String, u32> = serde_json::from_slice(files.file(class, VOCABULARY)?)
        .map_err(|e| format_error(VOCABULARY, format_args!("not an object from tokens to ids: {e}")))?;
    let mut vocab: Vec<_> = ids.into_iter().map(|(token, id)| (token.into(), id)).collect();
    vocab.sort_by_key(|(_, id)| *id);
    let vocab = TokenIds(vocab);
    let tokens = keys.special_tokens(class)?;
    let token = |key| required(&tokens, key, VOCABULARY, |token| vocab.id(token));
    let add_prefix_space = keys.flag("add_prefix_space", false)?;
    Ok(Parts {
        added_tokens: Vec::new(),
        normalizer: json!(null),
        pre_tokenizer: json!({
            "type": "ByteLevel",
            "add_prefix_space": add_prefix_space,
            "trim_offsets": true,
            "use_regex": true,
        }),
        post_processor: json!({
            "type": "RobertaProcessing",
            "sep": token("sep_token")?,
            "cls": token("cls_token")?,
            "trim_offsets": true,
            "add_prefix_space": add_prefix_space,
        }),
        model: Model::Bpe {
            dropout: (),
            unk_token: None,
            continuing_subword_prefix: Some(""),
            end_of_word_suffix: Some(""),
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            merges: read_merges(merges)?,
            vocab,
        },
    })
}

/// The merges of all lines but the first, which names the format's version, and what follows the last line end. Of a merge
/// that is there twice, the first counts: the converter lists the keys of a Python dictionary, in the order of their first
/// insertion.
fn read_merges(text: &str) -> Result<Vec<(&str, &str)>> {
    let mut lines: Vec<&str> = text.split('\n').skip(1).collect();
    lines.pop();
    let mut seen = HashSet::new();
    let mut merges = Vec::with_capacity(lines.len());
    for (i, line) in lines.into_iter().enumerate() {
        let mut parts = line.split_whitespace();
        let (Some(left), Some(right), None) = (parts.next(), parts.next(), parts.next()) else {
            let message = format!("line {}: expected two tokens with a space between", i + 2);
            return Err(format_error(MERGES, message));
        };
        if seen.insert((left, right)) {
            merges.push((left, right));
        }
    }
    Ok(merges)
}
