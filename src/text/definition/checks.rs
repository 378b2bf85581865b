//! Checks of the parts of tokenizer.json around the model: what the `tokenizers` crate would trust.

use std::collections::HashMap;

use serde_json::Value;

/// A result whose error is a sentence about the content of tokenizer.json.
pub type DefinitionResult<T> = Result<T, String>;

/// Limit of the factor by which normalization may lengthen a text. The longest expansion in Unicode (NFKC of U+FDFA) is
/// 11-fold, the character maps of sentencepiece double that, and rewriting spaces triples it.
const MAX_EXPANSION: usize = 256;

const NORMALIZERS: &[&str] = &[
    "BertNormalizer",
    "ByteLevel",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Precompiled",
    "Prepend",
    "Replace",
    "Sequence",
    "Strip",
    "StripAccents",
];
const PRE_TOKENIZERS: &[&str] = &[
    "BertPreTokenizer",
    "ByteLevel",
    "CharDelimiterSplit",
    "Digits",
    "Metaspace",
    "Punctuation",
    "Sequence",
    "Split",
    "UnicodeScripts",
    "Whitespace",
    "WhitespaceSplit",
];
const POST_PROCESSORS: &[&str] =
    &["BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"];

/// Calls `visit` with a component or, if it is a sequence, with the components inside.
fn visit_components<'a>(
    part: &'a Value,
    what: &str,
    children: &str,
    allowed: &[&str],
    visit: &mut impl FnMut(&str, &'a Value) -> DefinitionResult<()>,
) -> DefinitionResult<()> {
    let kind = part["type"].as_str().ok_or_else(|| format!("{what} has no type"))?;
    if !allowed.contains(&kind) {
        return Err(format!("{what} `{kind:.40}` is not one of {}", allowed.join(", ")));
    }
    if kind != "Sequence" {
        return visit(kind, part);
    }
    let inside =
        part[children].as_array().ok_or_else(|| format!("the sequence of {what} has no {children}"))?;
    inside.iter().try_for_each(|part| visit_components(part, what, children, allowed, visit))
}

/// Checks a normalizer and the normalizers inside: that each is known, and how much longer they may make a text.
pub fn check_normalizer(part: &Value) -> DefinitionResult<()> {
    let mut expansion = 1usize;
    visit_components(part, "normalizer", "normalizers", NORMALIZERS, &mut |kind, part| {
        let factor = match kind {
            "Replace" => {
                let content = part["content"].as_str().map_or(0, str::len);
                match part["pattern"]["String"].as_str() {
                    // An empty pattern matches between any two characters.
                    Some(pattern) if !pattern.is_empty() => content.div_ceil(pattern.len()),
                    _ => content.saturating_add(1),
                }
            }
            // A byte becomes a character of at most two.
            "ByteLevel" => 2,
            "Prepend" => match part["prepend"].as_str() {
                // The crate loses count of the characters.
                None | Some("") => {
                    return Err("normalizer `Prepend` has nothing to prepend: remove it".into());
                }
                Some(prepended) => prepended.len().saturating_add(1),
            },
            "Precompiled" => check_character_map(&character_map_bytes(part)?)?,
            _ => 1,
        };
        expansion = expansion.saturating_mul(factor.max(1));
        Ok(())
    })?;
    if expansion > MAX_EXPANSION {
        return Err(format!(
            "the normalizer can make a text {expansion} times as long, at most {MAX_EXPANSION} is supported"
        ));
    }
    Ok(())
}

/// Checks that every pre-tokenizer is known.
pub fn check_pre_tokenizer(part: &Value) -> DefinitionResult<()> {
    visit_components(part, "pre_tokenizer", "pretokenizers", PRE_TOKENIZERS, &mut |_, _| Ok(()))
}

/// The bytes of a `Precompiled` normalizer.
pub fn character_map_bytes(part: &Value) -> DefinitionResult<Vec<u8>> {
    let text = part["precompiled_charsmap"].as_str().ok_or("precompiled_charsmap is not a string")?;
    base64::decode(text).map_err(|e| format!("precompiled_charsmap: {e}"))
}

/// sentencepiece's character map: the byte length of a double-array trie (u32), the trie (u32 units), then UTF-8
/// replacements that end with NUL each. Follows every path of the trie to make sure that none leads outside. Returns the
/// length of the longest replacement in bytes.
fn check_character_map(bytes: &[u8]) -> DefinitionResult<usize> {
    const BROKEN: &str = "precompiled_charsmap is broken";
    let (header, rest) = bytes.split_first_chunk().ok_or(BROKEN)?;
    let (trie, replacements) =
        rest.split_at_checked(u32::from_le_bytes(*header) as usize / 4 * 4).ok_or(BROKEN)?;
    let trie: Vec<usize> = trie.as_chunks().0.iter().map(|unit| u32::from_le_bytes(*unit) as usize).collect();
    let replacements = std::str::from_utf8(replacements).map_err(|_| BROKEN)?;
    // A unit's fields: bits 0-7 and 31 are the label, bit 8 says whether a value follows, bit 9 scales bits 10-31, which
    // are the distance to its children (by exclusive or).
    let children = |at: usize| at ^ (trie[at] >> 10 << ((trie[at] & 1 << 9) >> 6));
    if trie.is_empty() {
        return Err(BROKEN.into());
    }
    let mut seen = vec![false; trie.len()];
    let mut open = vec![0];
    while let Some(at) = open.pop() {
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        let base = children(at);
        // Children differ from the base only in their lowest byte.
        if base | 0xff >= trie.len() {
            return Err(BROKEN.into());
        }
        if at != 0 && trie[at] >> 8 & 1 == 1 && !replacements.is_char_boundary(trie[base] & 0x7fff_ffff) {
            return Err(BROKEN.into());
        }
        open.extend((1..=0xff).filter(|c| trie[base ^ c] & 0x8000_00ff == *c).map(|c| base ^ c));
    }
    Ok(replacements.split('\0').map(str::len).max().unwrap_or(0))
}

/// Special tokens of a template must be defined, and only one processor may add any: the crate's second one would treat
/// the pieces of the first as further texts.
pub fn check_post_processor(part: &Value) -> DefinitionResult<()> {
    let mut adding = 0;
    visit_components(part, "post_processor", "processors", POST_PROCESSORS, &mut |kind, part| {
        adding += usize::from(kind != "ByteLevel");
        if kind != "TemplateProcessing" {
            return Ok(());
        }
        let counts: HashMap<&str, usize> = part["special_tokens"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, token)| Some((name.as_str(), token["ids"].as_array()?.len())))
            .collect();
        let pieces = part["pair"].as_array().ok_or("the template for pairs is missing")?;
        let mut names = pieces.iter().filter_map(|piece| piece["SpecialToken"]["id"].as_str());
        match names.find(|name| !counts.contains_key(name)) {
            Some(name) => Err(format!("the template for pairs has a special token `{name:.40}` without ids")),
            None => Ok(()),
        }
    })?;
    if adding > 1 {
        return Err("more than one post-processor adds special tokens".into());
    }
    Ok(())
}
