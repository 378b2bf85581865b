//! What the files beside tokenizer.json change about token ids, token types and truncation, as transformers reads them.
//!
//! | Key | Default | What is done |
//! | --- | --- | --- |
//! | tokenizer_class | config.json's, else that of model_type | chooses the row of `CLASSES` (settings/classes.rs); an unknown one is refused |
//! | do_lower_case, strip_accents, tokenize_chinese_chars | true, null, true | version 4: written into a BertNormalizer that differs, by classes with `Rebuild::WordPiece`; version 5: make a new one |
//! | add_prefix_space | false | written into a ByteLevel pre-tokenizer that differs; version 5: by RobertaTokenizer alone |
//! | trim_offsets | true | nothing: it moves offsets, and no id |
//! | truncation_side | tokenizer.json's truncation, else right | which end of a text is kept |
//! | model_input_names | the class's | without token_type_ids, token types are 0 |
//! | split_special_tokens | false | special tokens in a text are read as text |
//! | the special tokens, additional_special_tokens, extra_special_tokens, added_tokens_decoder | the class's | become added tokens: settings/special_tokens.rs; in version 5 the class's template has them |
//! | model_max_length, else max_len | no limit | model/config.rs; max_seq_length of sentence_bert_config.json takes its place |
//! | special_tokens_map.json, added_tokens.json | | version 4 and 5: only without added_tokens_decoder |
//! | add_bos_token, add_eos_token, padding_side, clean_up_tokenization_spaces, ... | | nothing: transformers does not read them when it encodes with a tokenizer.json |
//!
//! Version 5 rebuilds the normalizer and the pre-tokenizer of Unigram classes and drops those of the file: here the file's
//! are kept. Each row has a test in tests/models/settings.rs.

mod classes;
mod files;
mod rebuild;
mod special_tokens;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::classes::{Class, Rebuild};
pub use self::files::SettingsFiles;
use self::files::{Files, Version, flag, key_error, optional_flag};
use super::definition::{AddedToken, Definition, SubwordModel};
use super::hf_tokenizer;
use super::template::TemplatePiece;
use super::truncation::TruncationSide;
use crate::error::Result;

/// What the files say, for one version of transformers.
#[derive(Default)]
pub struct Settings {
    pub side: TruncationSide,
    /// Whether special tokens in a text are read as text.
    pub split_special_tokens: bool,
    /// Sentences for people.
    pub warnings: Vec<String>,
    /// Whether the two texts of a pair have different token types.
    token_types: bool,
    normalizer: Option<Value>,
    /// The normalizer that added tokens have gone through, where it is not that of texts.
    added_tokens_normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    /// All tokens that are matched in a text.
    added_tokens: Vec<AddedToken>,
    /// Where version 5 makes the subword model anew: its unknown token.
    new_model: Option<String>,
}

impl Settings {
    /// Reads the files, and writes what they say into the definition. `token_types` is the number of rows of the model's
    /// token type table.
    ///
    /// Errors: [`Error::Format`] and [`Error::Unsupported`], which name the file and the key.
    pub fn apply(
        files: &SettingsFiles<'_>,
        definition: &mut Definition<'_>,
        token_types: usize,
    ) -> Result<Self> {
        let files = Files::parse(files)?;
        let (version, reason) = files.version();
        let mut settings = Self::read(&files, version, definition)?;
        let other = if version == Version::V4 { Version::V5 } else { Version::V4 };
        // Where the other version does not load the files, there is nothing to choose.
        if let Ok(other) = Self::read(&files, other, definition) {
            let differences = settings.differences(&other, token_types);
            if !differences.is_empty() {
                let number = if version == Version::V4 { 4 } else { 5 };
                settings.warnings.push(format!(
                    "transformers 4 and 5 read a pair differently with these files ({}): version {number} is followed, \
                     because {reason}",
                    differences.join(", ")
                ));
            }
        }
        settings.write(definition);
        Ok(settings)
    }

    fn read(files: &Files, version: Version, definition: &Definition<'_>) -> Result<Self> {
        let class = files.class(version)?;
        let tokenizer = &files.tokenizer;
        let tokens = special_tokens::read(files, class, version, definition)?;
        let mut settings = Self {
            side: side(tokenizer, definition)?,
            split_special_tokens: flag(tokenizer, "split_special_tokens", false)?,
            token_types: match tokenizer.get("model_input_names") {
                None if version == Version::V5 => class.token_types_in_5,
                None => class.token_types_in_4,
                Some(names) => {
                    let names = names.as_array().filter(|names| names.iter().all(Value::is_string));
                    let names =
                        names.ok_or_else(|| key_error("model_input_names", "expected a list of strings"))?;
                    names.iter().any(|name| name == "token_type_ids")
                }
            },
            normalizer: definition.normalizer.clone(),
            pre_tokenizer: definition.pre_tokenizer.clone(),
            post_processor: definition.post_processor.clone(),
            ..Self::default()
        };
        match version {
            Version::V4 => settings.edit_as_version_4(tokenizer, class)?,
            Version::V5 => settings.rebuild_as_version_5(tokenizer, class, &tokens, definition)?,
        }
        settings.added_tokens = tokens.added;
        Ok(settings)
    }

    /// Version 4 changes single values of the file.
    fn edit_as_version_4(&mut self, tokenizer: &Map<String, Value>, class: &Class) -> Result<()> {
        if let (Rebuild::WordPiece { keeps_chinese }, Some(normalizer)) =
            (class.rebuild, &mut self.normalizer)
            && normalizer["type"] == "BertNormalizer"
        {
            let of_file = normalizer.clone();
            normalizer["lowercase"] = flag(tokenizer, "do_lower_case", true)?.into();
            normalizer["strip_accents"] = optional_flag(tokenizer, "strip_accents")?.into();
            if !keeps_chinese {
                normalizer["handle_chinese_chars"] = flag(tokenizer, "tokenize_chinese_chars", true)?.into();
            }
            // Tokens are added before the class sets its normalizer.
            self.added_tokens_normalizer = (of_file != *normalizer).then_some(of_file);
        }
        if let Some(pre_tokenizer) = &mut self.pre_tokenizer
            && pre_tokenizer["type"] == "ByteLevel"
            && !tokenizer.get("add_prefix_space").is_some_and(Value::is_null)
        {
            pre_tokenizer["add_prefix_space"] = flag(tokenizer, "add_prefix_space", false)?.into();
        }
        Ok(())
    }

    /// Version 5 makes the parts of WordPiece and BPE classes anew, and the template of all classes but the base class.
    fn rebuild_as_version_5(
        &mut self,
        tokenizer: &Map<String, Value>,
        class: &Class,
        tokens: &special_tokens::SpecialTokens,
        definition: &Definition<'_>,
    ) -> Result<()> {
        match (class.rebuild, &definition.model) {
            (Rebuild::WordPiece { .. }, SubwordModel::WordPiece { .. }) => {
                self.normalizer = Some(json!({
                    "type": "BertNormalizer",
                    "clean_text": true,
                    "handle_chinese_chars": flag(tokenizer, "tokenize_chinese_chars", true)?,
                    "strip_accents": optional_flag(tokenizer, "strip_accents")?,
                    "lowercase": flag(tokenizer, "do_lower_case", true)?,
                }));
                self.pre_tokenizer = Some(json!({"type": "BertPreTokenizer"}));
                self.new_model = Some(tokens.required("unk_token")?.to_owned());
            }
            (Rebuild::ByteLevel, SubwordModel::Bpe { .. }) => {
                self.normalizer = None;
                self.pre_tokenizer = Some(json!({
                    "type": "ByteLevel",
                    "add_prefix_space": flag(tokenizer, "add_prefix_space", false)?,
                    "trim_offsets": true,
                    "use_regex": true,
                }));
                self.new_model = Some(String::new());
            }
            (Rebuild::Unigram, SubwordModel::Unigram { .. }) => {
                rebuild::refuse_unigram_keys(tokenizer, class)?
            }
            (Rebuild::Nothing, _) => return Ok(()),
            _ => return Err(rebuild::other_model(class)),
        }
        if let Some(template) = class.template {
            self.post_processor = Some(rebuild::post_processor(template, tokens, definition)?);
        }
        Ok(())
    }

    /// In which respects the other version reads a pair differently.
    fn differences(&self, other: &Self, token_types: usize) -> Vec<&'static str> {
        let pieces = |settings: &Self| {
            let types = token_types > 1 && settings.token_types;
            hf_tokenizer::template_pieces(settings.post_processor.clone(), types).ok()
        };
        let ids = |pieces: &Option<Vec<TemplatePiece>>| {
            pieces.as_ref().map(|pieces| pieces.iter().map(|piece| piece.id()).collect::<Vec<_>>())
        };
        let (ours, theirs) = (pieces(self), pieces(other));
        // A token that is added again has its last properties.
        let added = |settings: &Self| -> BTreeMap<String, AddedToken> {
            settings.added_tokens.iter().map(|token| (token.content.clone(), token.clone())).collect()
        };
        [
            (ids(&ours) != ids(&theirs), "the special tokens of a pair"),
            (ids(&ours) == ids(&theirs) && ours != theirs, "token type ids"),
            (self.normalizer != other.normalizer, "the normalizer"),
            (self.pre_tokenizer != other.pre_tokenizer, "the pre-tokenizer"),
            (added(self) != added(other), "added tokens"),
        ]
        .into_iter()
        .filter_map(|(differs, what)| differs.then_some(what))
        .collect()
    }

    fn write(&mut self, definition: &mut Definition<'_>) {
        definition.normalizer = self.normalizer.take();
        definition.added_tokens_normalizer = self.added_tokens_normalizer.take();
        definition.pre_tokenizer = self.pre_tokenizer.take();
        definition.post_processor = self.post_processor.take();
        definition.added_tokens = std::mem::take(&mut self.added_tokens);
        definition.token_types = self.token_types;
        definition.split_special_tokens = self.split_special_tokens;
        match (&mut definition.model, self.new_model.take()) {
            (SubwordModel::WordPiece { unk, prefix, max_word_chars, .. }, Some(unknown)) => {
                // The defaults of the crate's WordPiece.
                (*unk, *prefix, *max_word_chars) = (unknown.into(), "##".into(), 100);
            }
            (SubwordModel::Bpe { options, .. }, Some(_)) => *options = Default::default(),
            _ => {}
        }
    }
}

fn side(tokenizer: &Map<String, Value>, definition: &Definition<'_>) -> Result<TruncationSide> {
    const KEY: &str = "truncation_side";
    match tokenizer.get(KEY).map(Value::as_str) {
        None => Ok(definition.truncation_side),
        Some(Some("right")) => Ok(TruncationSide::Right),
        Some(Some("left")) => Ok(TruncationSide::Left),
        Some(_) => Err(key_error(KEY, "expected `right` or `left`")),
    }
}
