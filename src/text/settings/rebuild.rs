//! What version 5 of transformers makes anew for a class, and what of it is refused.

use serde_json::{Map, Value, json};

use super::classes::{Class, Template};
use super::files::{TOKENIZER_CONFIG, flag};
use super::special_tokens::SpecialTokens;
use crate::error::{Error, Result};
use crate::text::definition::Definition;

/// The post-processor that version 5 makes for a class.
pub fn post_processor(
    template: Template,
    tokens: &SpecialTokens,
    definition: &Definition<'_>,
) -> Result<Value> {
    let (first, separator, middle, second) = match template {
        Template::Bert => ("cls_token", "sep_token", 1, 1),
        Template::Roberta(first, separator) => (first, separator, 2, 0),
    };
    let (first, first_id) = tokens.with_id(first, definition)?;
    let (separator, separator_id) = tokens.with_id(separator, definition)?;
    let special =
        |token: &str, token_type: u32| json!({"SpecialToken": {"id": token, "type_id": token_type}});
    let mut pair = vec![special(first, 0), json!({"Sequence": {"id": "A", "type_id": 0}})];
    pair.extend((0..middle).map(|_| special(separator, 0)));
    pair.push(json!({"Sequence": {"id": "B", "type_id": second}}));
    pair.push(special(separator, second));
    Ok(json!({
        "type": "TemplateProcessing",
        "single": [],
        "pair": pair,
        "special_tokens": {
            first: {"id": first, "ids": [first_id], "tokens": [first]},
            separator: {"id": separator, "ids": [separator_id], "tokens": [separator]},
        },
    }))
}

/// The keys that version 5 reads where it makes the normalizer and the pre-tokenizer of a Unigram model anew.
pub fn refuse_unigram_keys(tokenizer: &Map<String, Value>, class: &Class) -> Result<()> {
    let deberta = class.name == "DebertaV2Tokenizer";
    for (key, default, reads) in [
        ("add_prefix_space", true, true),
        ("do_lower_case", false, deberta),
        ("split_by_punct", false, deberta),
    ] {
        if reads && flag(tokenizer, key, default)? != default {
            return Err(Error::Unsupported {
                what: format!(
                    "`{TOKENIZER_CONFIG}`: key `{key}` of the class `{}` of transformers 5",
                    class.name
                ),
                hint: format!(
                    "say it in tokenizer.json's normalizer and pre_tokenizer, and set the key to {default}"
                ),
            });
        }
    }
    Ok(())
}

/// The error of a class over the model of another one, of which version 5 would make a tokenizer that the model was not
/// trained with.
pub fn other_model(class: &Class) -> Error {
    Error::Unsupported {
        what: format!(
            "`{TOKENIZER_CONFIG}`: key `tokenizer_class`: the class `{}` over another kind of model in tokenizer.json",
            class.name
        ),
        hint: "name the class that made the tokenizer, or PreTrainedTokenizerFast".into(),
    }
}
