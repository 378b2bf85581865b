//! The tokenizer classes of transformers that have vocabulary files.

/// A tokenizer class, without the `Fast` at the end of its name.
pub struct Class {
    pub name: &'static str,
    /// The `model_type` of config.json that stands for it where no file names a class.
    pub model_type: &'static str,
    pub source: Source,
    /// The special tokens that it has without a key, in the order in which it adds them.
    pub tokens: &'static [(&'static str, &'static str)],
    /// Whether the mask token takes the spaces before it.
    pub mask_takes_spaces: bool,
    /// Which special tokens are matched after normalization; all others are matched before it.
    pub normalized: &'static [&'static str],
}

/// What a tokenizer is made from.
#[derive(Clone, Copy)]
pub enum Source {
    /// vocab.txt, with so many separators between the texts of a pair.
    WordPiece { separators: usize },
    /// vocab.json and merges.txt.
    ByteLevel,
    /// The model file of sentencepiece.
    SentencePiece(Pieces),
}

/// What a class makes of the pieces of a sentencepiece model.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pieces {
    XlmRoberta,
    Camembert,
    Deberta,
}

impl Source {
    pub fn files(self) -> &'static [&'static str] {
        match self {
            Self::WordPiece { .. } => &["vocab.txt"],
            Self::ByteLevel => &["vocab.json", "merges.txt"],
            Self::SentencePiece(Pieces::Deberta) => &["spm.model"],
            Self::SentencePiece(_) => &["sentencepiece.bpe.model"],
        }
    }
}

const BERT: Class = Class {
    name: "BertTokenizer",
    model_type: "bert",
    source: Source::WordPiece { separators: 1 },
    tokens: &[
        ("unk_token", "[UNK]"),
        ("sep_token", "[SEP]"),
        ("pad_token", "[PAD]"),
        ("cls_token", "[CLS]"),
        ("mask_token", "[MASK]"),
    ],
    mask_takes_spaces: false,
    normalized: &[],
};
const ROBERTA: Class = Class {
    name: "RobertaTokenizer",
    model_type: "roberta",
    source: Source::ByteLevel,
    tokens: &[
        ("bos_token", "<s>"),
        ("eos_token", "</s>"),
        ("unk_token", "<unk>"),
        ("sep_token", "</s>"),
        ("pad_token", "<pad>"),
        ("cls_token", "<s>"),
        ("mask_token", "<mask>"),
    ],
    mask_takes_spaces: true,
    normalized: &["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token"],
};

const XLM_ROBERTA: Class = Class {
    name: "XLMRobertaTokenizer",
    model_type: "xlm-roberta",
    source: Source::SentencePiece(Pieces::XlmRoberta),
    normalized: &[],
    ..ROBERTA
};

static CLASSES: [Class; 8] = [
    BERT,
    Class { name: "ElectraTokenizer", model_type: "electra", ..BERT },
    Class { name: "DistilBertTokenizer", model_type: "distilbert", ..BERT },
    Class {
        name: "MPNetTokenizer",
        model_type: "mpnet",
        source: Source::WordPiece { separators: 2 },
        tokens: &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("unk_token", "[UNK]"),
            ("sep_token", "</s>"),
            ("pad_token", "<pad>"),
            ("cls_token", "<s>"),
            ("mask_token", "<mask>"),
        ],
        mask_takes_spaces: true,
        normalized: &[],
    },
    ROBERTA,
    XLM_ROBERTA,
    Class {
        name: "CamembertTokenizer",
        model_type: "camembert",
        source: Source::SentencePiece(Pieces::Camembert),
        ..XLM_ROBERTA
    },
    Class {
        name: "DebertaV2Tokenizer",
        model_type: "deberta-v2",
        source: Source::SentencePiece(Pieces::Deberta),
        tokens: &[
            ("bos_token", "[CLS]"),
            ("eos_token", "[SEP]"),
            ("unk_token", "[UNK]"),
            ("sep_token", "[SEP]"),
            ("pad_token", "[PAD]"),
            ("cls_token", "[CLS]"),
            ("mask_token", "[MASK]"),
        ],
        mask_takes_spaces: false,
        normalized: &["unk_token"],
    },
];

pub fn by_name(name: &str) -> Option<&'static Class> {
    let name = name.strip_suffix("Fast").unwrap_or(name);
    CLASSES.iter().find(|class| class.name == name)
}

pub fn by_model_type(model_type: &str) -> Option<&'static Class> {
    CLASSES.iter().find(|class| class.model_type == model_type)
}

/// Whether a class is one that has its tokenizer.json and no other file.
pub fn is_base(name: &str) -> bool {
    ["PreTrainedTokenizerFast", "TokenizersBackend"].contains(&name)
}
