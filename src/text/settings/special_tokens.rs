//! The special and added tokens of a model, as transformers collects them from tokenizer_config.json and, in models of former
//! versions, special_tokens_map.json and added_tokens.json.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::classes::{Class, Rebuild};
use super::files::{Files, TOKENIZER_CONFIG, Version, file_error, key_error, shown};
use crate::error::{Error, Result};
use crate::text::definition::{AddedToken, Definition, SubwordModel};

/// Keys of single tokens, in the order in which they are added.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const ADDITIONAL: &str = "additional_special_tokens";
const EXTRA: &str = "extra_special_tokens";
const DECODER: &str = "added_tokens_decoder";

/// The special tokens by key, and all tokens that are matched in a text.
pub struct SpecialTokens {
    named: Vec<(String, Token)>,
    pub added: Vec<AddedToken>,
}

/// A token as a file names it.
#[derive(Clone, PartialEq)]
enum Token {
    /// A string: its properties are those of a token that is known already.
    Text(String),
    /// An object with properties. Without `normalized`, a special token is not normalized and any other is.
    Full { token: AddedToken, normalized: Option<bool> },
}

impl Token {
    fn content(&self) -> &str {
        match self {
            Self::Text(content) => content,
            Self::Full { token, .. } => &token.content,
        }
    }

    fn into_added(self, special: bool) -> AddedToken {
        match self {
            Self::Text(content) => AddedToken::plain(content, special),
            Self::Full { token, normalized } => {
                let special = special || token.special;
                AddedToken { special, normalized: normalized.unwrap_or(!special), ..token }
            }
        }
    }
}

impl From<&AddedToken> for Token {
    fn from(token: &AddedToken) -> Self {
        Self::Full { normalized: Some(token.normalized), token: token.clone() }
    }
}

impl SpecialTokens {
    fn get(&self, key: &str) -> Option<&Token> {
        self.named.iter().find(|(name, _)| name == key).map(|(_, token)| token)
    }

    /// The content of a token that the class needs.
    pub fn required(&self, key: &str) -> Result<&str> {
        let token = self.get(key);
        Ok(token.ok_or_else(|| key_error(key, "is null, and the tokenizer's class needs it"))?.content())
    }

    /// A token that the class's template needs, with its id.
    pub fn with_id(&self, key: &str, definition: &Definition<'_>) -> Result<(&str, u64)> {
        let content = self.required(key)?;
        let id = definition.id_of(content).ok_or_else(|| Error::Unsupported {
            what: format!("`{TOKENIZER_CONFIG}`: key `{key}`: the token `{}`", shown(content)),
            hint: "name a token of the vocabulary".into(),
        })?;
        Ok((content, id))
    }
}

pub fn read(
    files: &Files,
    class: &Class,
    version: Version,
    definition: &Definition<'_>,
) -> Result<SpecialTokens> {
    let mut keys = files.tokenizer.clone();
    if version == Version::V5 && is_empty(keys.get(EXTRA)) {
        // There the one key is another name of the other.
        if let Some(tokens) = keys.remove(ADDITIONAL) {
            keys.insert(EXTRA.to_owned(), tokens);
        }
    }
    let (decoder, known) = added_tokens(files, &mut keys, version, definition)?;
    let mut named = named_tokens(&keys, class, definition, &known)?;
    let mut extra = listed(&keys, ADDITIONAL)?;
    if !keys.contains_key(ADDITIONAL) {
        extra.extend(class.extra_tokens.iter().map(|text| Token::Text((*text).to_owned())));
    }
    match keys.get(EXTRA) {
        Some(Value::Object(tokens)) => {
            for (name, token) in tokens {
                named.push((name.clone(), value(TOKENIZER_CONFIG, EXTRA, token)?));
            }
        }
        _ if version == Version::V5 && keys.contains_key(EXTRA) => extra = listed(&keys, EXTRA)?,
        _ => extra.extend(listed(&keys, EXTRA)?),
    }
    if version == Version::V5 {
        // Any key that ends so names a special token there.
        let others = keys.iter().filter(|(key, value)| {
            key.ends_with("_token") && !NAMED.contains(&key.as_str()) && value.is_string()
        });
        named.extend(
            others.map(|(key, value)| (key.clone(), Token::Text(value.as_str().unwrap_or("").into()))),
        );
    }
    // Version 5 makes the tokenizers of its classes anew, with nothing of the file but the vocabulary.
    let rebuilt = version == Version::V5
        && matches!(
            (class.rebuild, &definition.model),
            (Rebuild::WordPiece { .. }, SubwordModel::WordPiece { .. })
                | (Rebuild::ByteLevel, SubwordModel::Bpe { .. })
                | (Rebuild::Unigram, SubwordModel::Unigram { .. })
        );
    let base = if rebuilt { Vec::new() } else { definition.added_tokens.clone() };
    let mut tokens = SpecialTokens { named, added: base };
    collect(&mut tokens, decoder, extra, version);
    Ok(tokens)
}

/// The tokens that the files add, by id, and all tokens whose properties are known, by content.
type AddedTokens = (BTreeMap<u64, Token>, HashMap<String, Token>);

/// The added tokens of tokenizer_config.json or, where it has none, of the other files.
fn added_tokens(
    files: &Files,
    keys: &mut Map<String, Value>,
    version: Version,
    definition: &Definition<'_>,
) -> Result<AddedTokens> {
    let mut decoder: BTreeMap<u64, Token> = BTreeMap::new();
    let mut known: HashMap<String, Token> = HashMap::new();
    if let Some(tokens) = keys.remove(DECODER) {
        let wrong = || key_error(DECODER, "expected an object from ids to tokens");
        for (id, token) in tokens.as_object().ok_or_else(wrong)? {
            let id = id.parse().map_err(|_| wrong())?;
            let token = full(TOKENIZER_CONFIG, DECODER, token)?;
            known.insert(token.content().to_owned(), token.clone());
            decoder.insert(id, token);
        }
    } else {
        read_former_files(files, keys, version, (&mut decoder, &mut known))?;
        for token in &definition.added_tokens {
            decoder.insert(token.id.into(), token.into());
            known.insert(token.content.clone(), token.into());
        }
    }
    Ok((decoder, known))
}

/// special_tokens_map.json takes precedence over tokenizer_config.json, and added_tokens.json adds tokens.
fn read_former_files(
    files: &Files,
    keys: &mut Map<String, Value>,
    version: Version,
    (decoder, known): (&mut BTreeMap<u64, Token>, &mut HashMap<String, Token>),
) -> Result<()> {
    const MAP: &str = "special_tokens_map.json";
    const ADDED: &str = "added_tokens.json";
    for (key, token) in files.special_tokens_map.iter().flatten() {
        let mut token = token.clone();
        if let Value::Object(properties) = &mut token {
            properties.insert("special".into(), true.into());
            properties.insert("__type".into(), "AddedToken".into());
        }
        if let (ADDITIONAL | EXTRA, Value::Array(list)) = (key.as_str(), &mut token) {
            for entry in list.iter_mut().filter_map(Value::as_object_mut) {
                entry.insert("special".into(), true.into());
                entry.insert("__type".into(), "AddedToken".into());
            }
            let before = keys.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
            let new: Vec<Value> = list.iter().filter(|token| !before.contains(token)).cloned().collect();
            *list = [before, new].concat();
        }
        if !(token.is_object() || token.is_string() || token.is_array() || token.is_null()) {
            return Err(file_error(MAP, key, "expected a token"));
        }
        keys.insert(key.clone(), token);
    }
    let special: Vec<&str> = NAMED
        .iter()
        .filter_map(|key| keys.get(*key))
        .chain(keys.get(ADDITIONAL).and_then(Value::as_array).into_iter().flatten())
        .filter_map(|token| token.as_str().or_else(|| token.get("content")?.as_str()))
        .collect();
    for (content, id) in files.added_tokens.iter().flatten() {
        let id = id.as_u64().ok_or_else(|| file_error(ADDED, &shown(content), "expected an id"))?;
        let special = special.contains(&content.as_str());
        let token = Token::from(&AddedToken::plain(content.clone(), special));
        if version == Version::V5 {
            known.insert(content.clone(), token.clone());
        }
        decoder.insert(id, token);
    }
    Ok(())
}

fn named_tokens(
    keys: &Map<String, Value>,
    class: &Class,
    definition: &Definition<'_>,
    known: &HashMap<String, Token>,
) -> Result<Vec<(String, Token)>> {
    let mut named = Vec::new();
    for key in NAMED {
        let token = match keys.get(key) {
            Some(Value::Null) => continue,
            Some(token) => {
                let token = value(TOKENIZER_CONFIG, key, token)?;
                known.get(token.content()).cloned().unwrap_or(token)
            }
            None => {
                let default = class.tokens.iter().find(|(name, _)| *name == key).map(|(_, token)| *token);
                let padding = definition.pad_token.as_deref().filter(|_| key == "pad_token");
                match default.or(padding) {
                    Some(token) => Token::Text(token.to_owned()),
                    None => continue,
                }
            }
        };
        let takes_spaces = class.mask_takes_spaces && key == "mask_token";
        let token = match token {
            Token::Text(content) if takes_spaces || class.owns_all_tokens => {
                let token = AddedToken { lstrip: takes_spaces, ..AddedToken::plain(content, false) };
                Token::Full { token, normalized: None }
            }
            token => token,
        };
        named.push((key.to_owned(), token));
    }
    Ok(named)
}

/// Appends the tokens of the decoder and then the special ones, as far as they are not there already.
fn collect(tokens: &mut SpecialTokens, decoder: BTreeMap<u64, Token>, extra: Vec<Token>, version: Version) {
    let base = std::mem::take(&mut tokens.added);
    let mut added: Vec<Token> =
        decoder.into_values().filter(|token| !base.iter().any(|old| *token == Token::from(old))).collect();
    let decoded = added.len();
    let there: Vec<String> =
        base.iter().map(|t| t.content.clone()).chain(added.iter().map(|t| t.content().to_owned())).collect();
    let specials: Vec<&Token> = tokens.named.iter().map(|(_, token)| token).chain(&extra).collect();
    let mut seen: Vec<&str> = Vec::new();
    for (i, &token) in specials.iter().enumerate() {
        // Version 4 takes one named token of each content, and adds one with properties again even where it is there already.
        let new = match (version, token) {
            (Version::V4, _) if seen.contains(&token.content()) => false,
            (Version::V4, Token::Full { .. }) => !added[..decoded].contains(token),
            _ => !there.iter().any(|old| old == token.content()) && !added.contains(token),
        };
        if i < tokens.named.len() {
            seen.push(token.content());
        }
        if new {
            added.push(token.clone());
        }
    }
    let is_named = |token: &Token| {
        let special = if version == Version::V4 { &specials[..] } else { &specials[..tokens.named.len()] };
        special.iter().any(|special| special.content() == token.content())
    };
    let from_settings = added.iter().enumerate().map(|(i, token)| {
        // A string among the special tokens is special.
        let special = is_named(token) || (i >= decoded && matches!(token, Token::Text(_)));
        AddedToken { from_settings: true, ..token.clone().into_added(special) }
    });
    tokens.added = base;
    for mut token in from_settings {
        let mut before = tokens.added.iter().filter(|old| old.special && old.content == token.content);
        if let (Version::V4, Some(old)) = (version, before.next()) {
            // The tokenizers library of that version changes the other properties alone.
            token.normalized = old.normalized;
        }
        tokens.added.push(token);
    }
}

/// Whether a list or object is not there, or has nothing in it.
fn is_empty(tokens: Option<&Value>) -> bool {
    tokens.is_none_or(|tokens| match tokens {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        other => other.is_null(),
    })
}

/// A list of tokens; none without the key.
fn listed(keys: &Map<String, Value>, key: &str) -> Result<Vec<Token>> {
    match keys.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(|token| value(TOKENIZER_CONFIG, key, token)).collect(),
        Some(_) => Err(key_error(key, "expected a list of tokens")),
    }
}

/// A string, or an object of the type AddedToken.
fn value(file: &str, key: &str, token: &Value) -> Result<Token> {
    match token {
        Value::String(content) => Ok(Token::Text(content.clone())),
        Value::Object(properties) if properties.get("__type").is_some_and(|kind| kind == "AddedToken") => {
            full(file, key, token)
        }
        _ => Err(file_error(file, key, "expected a string, or an object whose `__type` is AddedToken")),
    }
}

fn full(file: &str, key: &str, token: &Value) -> Result<Token> {
    let wrong = || file_error(file, key, "expected tokens with their properties");
    let flag = |name: &str| match token.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_bool().map(Some).ok_or_else(wrong),
    };
    let content = token.get("content").and_then(Value::as_str).ok_or_else(wrong)?;
    let special = flag("special")?.unwrap_or(false);
    let token = AddedToken {
        single_word: flag("single_word")?.unwrap_or(false),
        lstrip: flag("lstrip")?.unwrap_or(false),
        rstrip: flag("rstrip")?.unwrap_or(false),
        special,
        ..AddedToken::plain(content.to_owned(), special)
    };
    let normalized = flag("normalized")?;
    Ok(Token::Full { token: AddedToken { normalized: normalized.unwrap_or(!special), ..token }, normalized })
}
