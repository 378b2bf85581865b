//! The tokenizer classes of transformers, and what each does without a key.

/// A tokenizer class, without the `Fast` at the end of its name.
pub struct Class {
    pub name: &'static str,
    /// The special tokens that it has without a key.
    pub tokens: &'static [(&'static str, &'static str)],
    pub extra_tokens: &'static [&'static str],
    /// Whether a special token that is a string takes its properties from the class and not from the file: the mask token
    /// takes the spaces before it.
    pub mask_takes_spaces: bool,
    /// Whether that is so for every special token.
    pub owns_all_tokens: bool,
    pub rebuild: Rebuild,
    /// Whether texts have token types without `model_input_names`.
    pub token_types_in_4: bool,
    pub token_types_in_5: bool,
    /// What version 5 puts around the texts.
    pub template: Option<Template>,
}

/// The parts that a class decides on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rebuild {
    Nothing,
    /// BERT's normalizer. `keeps_chinese`: version 4 leaves the file's handling of ideographs.
    WordPiece {
        keeps_chinese: bool,
    },
    ByteLevel,
    Unigram,
}

/// The special tokens around a pair.
#[derive(Clone, Copy)]
pub enum Template {
    /// BERT's: the document and what follows it have token type 1.
    Bert,
    /// RoBERTa's, with these two tokens: two separators between the texts, and no token types.
    Roberta(&'static str, &'static str),
}

const BERT_TOKENS: &[(&str, &str)] = &[
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
const DEBERTA_TOKENS: &[(&str, &str)] = &[
    ("bos_token", "[CLS]"),
    ("eos_token", "[SEP]"),
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
const ROBERTA_TOKENS: &[(&str, &str)] = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];
const MPNET_TOKENS: &[(&str, &str)] = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "[UNK]"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];

const BASE: Class = Class {
    name: "PreTrainedTokenizerFast",
    tokens: &[],
    extra_tokens: &[],
    mask_takes_spaces: false,
    owns_all_tokens: false,
    rebuild: Rebuild::Nothing,
    token_types_in_4: true,
    token_types_in_5: false,
    template: None,
};
const BERT: Class = Class {
    name: "BertTokenizer",
    tokens: BERT_TOKENS,
    rebuild: Rebuild::WordPiece { keeps_chinese: false },
    token_types_in_5: true,
    template: Some(Template::Bert),
    ..BASE
};
const ROBERTA: Class = Class {
    name: "RobertaTokenizer",
    tokens: ROBERTA_TOKENS,
    mask_takes_spaces: true,
    rebuild: Rebuild::ByteLevel,
    token_types_in_4: false,
    template: Some(Template::Roberta("cls_token", "sep_token")),
    ..BASE
};
const XLM_ROBERTA: Class = Class {
    name: "XLMRobertaTokenizer",
    rebuild: Rebuild::Unigram,
    template: Some(Template::Roberta("bos_token", "eos_token")),
    ..ROBERTA
};

static CLASSES: [Class; 9] = [
    BASE,
    BERT,
    Class { name: "DistilBertTokenizer", token_types_in_4: false, token_types_in_5: false, ..BERT },
    Class { name: "ElectraTokenizer", ..BERT },
    Class {
        name: "MPNetTokenizer",
        tokens: MPNET_TOKENS,
        owns_all_tokens: true,
        rebuild: Rebuild::WordPiece { keeps_chinese: true },
        ..ROBERTA
    },
    ROBERTA,
    XLM_ROBERTA,
    Class {
        name: "CamembertTokenizer",
        extra_tokens: &["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"],
        ..XLM_ROBERTA
    },
    Class {
        name: "DebertaV2Tokenizer",
        tokens: DEBERTA_TOKENS,
        rebuild: Rebuild::Unigram,
        token_types_in_5: true,
        template: Some(Template::Bert),
        ..BASE
    },
];

/// The class of a tokenizer that is its tokenizer.json and nothing else.
pub fn base() -> &'static Class {
    &CLASSES[0]
}

/// The names of all classes.
pub fn names() -> impl Iterator<Item = &'static str> {
    CLASSES.iter().map(|class| class.name)
}

pub fn by_name(name: &str) -> Option<&'static Class> {
    let plain = name.strip_suffix("Fast").unwrap_or(name);
    if ["PreTrainedTokenizer", "TokenizersBackend"].contains(&plain) {
        return Some(base());
    }
    CLASSES.iter().find(|class| class.name == plain)
}

/// The class of a model whose files name none; the base class for a type that has none.
pub fn of_model_type(model_type: &str, version_5: bool) -> &'static Class {
    let name = match model_type {
        "distilbert" | "electra" if version_5 => "BertTokenizer",
        "bert" => "BertTokenizer",
        "distilbert" => "DistilBertTokenizer",
        "electra" => "ElectraTokenizer",
        "mpnet" => "MPNetTokenizer",
        "roberta" => "RobertaTokenizer",
        "xlm-roberta" => "XLMRobertaTokenizer",
        // Only version 5 has this type.
        "gte" => "XLMRobertaTokenizer",
        "camembert" => "CamembertTokenizer",
        "deberta-v2" => "DebertaV2Tokenizer",
        _ => "",
    };
    by_name(name).unwrap_or(base())
}
