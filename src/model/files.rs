//! The files of a model as plain data: their bytes, or where they lie on disk.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::error::Error;

/// The file that sentence-transformers writes beside config.json.
pub const SENTENCE_TRANSFORMERS: &str = "config_sentence_transformers.json";
/// The tokenizer's settings.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// The special tokens by name, in models of former versions of transformers.
pub const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
/// Tokens beside the vocabulary, in models of former versions of transformers.
pub const ADDED_TOKENS: &str = "added_tokens.json";
/// The settings of sentence-transformers' first module.
pub const SENTENCE_BERT_CONFIG: &str = "sentence_bert_config.json";

/// The files that a tokenizer is made from where there is no tokenizer.json, and the most bytes that are read of each: the
/// largest of known models has 5 MB.
pub const VOCABULARY_FILES: [(&str, u64); 5] = [
    ("vocab.txt", 32 << 20),
    ("vocab.json", 32 << 20),
    ("merges.txt", 32 << 20),
    // An empty piece takes 2 bytes in the file, and 40 in memory.
    ("sentencepiece.bpe.model", 8 << 20),
    ("spm.model", 8 << 20),
];
/// What to do about a tokenizer.json that is not there.
pub const MAKE_TOKENIZER: &str = "Python's transformers makes one: \
                                  `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)`";

/// What to do about an adapter.
pub const MERGE_ADAPTER: &str = "merge it with Python's peft: \
                                 `AutoPeftModelForSequenceClassification.from_pretrained(folder, \
                                 num_labels=N).merge_and_unload().save_pretrained(merged)`, and put the \
                                 tokenizer beside it";

/// The files of one model in Hugging Face layout.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// The name or path the user gave.
    pub name: String,
    /// The contents of config.json.
    pub config: Vec<u8>,
    /// The contents of tokenizer.json; empty where the tokenizer is made from [`vocabulary`](Self::vocabulary).
    pub tokenizer: Vec<u8>,
    /// Without tokenizer.json: the names and contents of the files of [`VOCABULARY_FILES`] that are there.
    pub vocabulary: Vec<(&'static str, Vec<u8>)>,
    /// The contents of tokenizer_config.json, where there is one.
    pub tokenizer_config: Option<Vec<u8>>,
    /// The contents of special_tokens_map.json, where there is one: older models name their special tokens in it.
    pub special_tokens_map: Option<Vec<u8>>,
    /// The contents of added_tokens.json, where there is one: older models list tokens in it that tokenizer.json may lack.
    pub added_tokens: Option<Vec<u8>>,
    /// The contents of sentence_bert_config.json, where there is one: it may limit the length of a pair.
    pub sentence_bert_config: Option<Vec<u8>>,
    /// The contents of config_sentence_transformers.json, where there is one: it may name the score activation.
    pub sentence_transformers: Option<Vec<u8>>,
    /// model.safetensors, or its shards.
    pub weights: Vec<WeightFile>,
    /// Where the head is not in `weights`: the modules that follow the encoder, as modules.json lists them.
    pub modules: Vec<ModuleFiles>,
}

/// A safetensors file.
#[derive(Clone, Debug)]
pub enum WeightFile {
    /// On disk; read tensor by tensor during loading, and closed afterwards.
    Path(PathBuf),
    /// In memory, with a name for error messages.
    Bytes(String, Cow<'static, [u8]>),
}

/// One module after the encoder.
#[derive(Clone, Debug)]
pub struct ModuleFiles {
    /// The folder, for example `2_Dense`.
    pub path: String,
    /// The Python class, for example `sentence_transformers.models.Dense`.
    pub class: String,
    /// The contents of its config.json; empty where there is none.
    pub config: Vec<u8>,
    /// Its model.safetensors, where it has weights.
    pub weights: Option<WeightFile>,
}

impl ModelFiles {
    /// A model in memory: the contents of config.json, tokenizer.json and model.safetensors (or of its shards).
    /// Set [`tokenizer_config`](Self::tokenizer_config) and the other optional files on the result where the model has them:
    /// they can change what is read of a text.
    pub fn from_bytes(
        name: impl Into<String>,
        config: impl Into<Vec<u8>>,
        tokenizer: impl Into<Vec<u8>>,
        weights: impl IntoIterator<Item = Cow<'static, [u8]>>,
    ) -> Self {
        let mut weights: Vec<_> = weights
            .into_iter()
            .enumerate()
            .map(|(i, bytes)| WeightFile::Bytes(format!("model-{i}.safetensors"), bytes))
            .collect();
        if let [WeightFile::Bytes(name, _)] = &mut weights[..] {
            *name = "model.safetensors".into();
        }
        Self {
            name: name.into(),
            config: config.into(),
            tokenizer: tokenizer.into(),
            vocabulary: Vec::new(),
            tokenizer_config: None,
            special_tokens_map: None,
            added_tokens: None,
            sentence_bert_config: None,
            sentence_transformers: None,
            weights,
            modules: Vec::new(),
        }
    }

    /// The names and contents of all files but weights and modules, in a fixed order, without those that are not there.
    pub fn small_files(&self) -> Vec<(&'static str, &[u8])> {
        let optional = [
            (TOKENIZER_CONFIG, &self.tokenizer_config),
            (SPECIAL_TOKENS_MAP, &self.special_tokens_map),
            (ADDED_TOKENS, &self.added_tokens),
            (SENTENCE_BERT_CONFIG, &self.sentence_bert_config),
            (SENTENCE_TRANSFORMERS, &self.sentence_transformers),
        ];
        let optional = optional.into_iter().filter_map(|(name, bytes)| Some((name, bytes.as_deref()?)));
        let tokenizer = ("tokenizer.json", &*self.tokenizer);
        let tokenizer = Some(tokenizer).filter(|_| self.vocabulary.is_empty());
        std::iter::once(("config.json", &*self.config))
            .chain(tokenizer)
            .chain(self.vocabulary.iter().map(|(name, bytes)| (*name, &**bytes)))
            .chain(optional)
            .collect()
    }

    /// The model embedded in the library: crossrank-mini with its weights in 8 bits.
    #[cfg(feature = "bundled-model")]
    pub fn bundled() -> Self {
        macro_rules! bytes {
            ($file:literal) => {
                &include_bytes!(concat!("../../models/crossrank-mini-int8/", $file))[..]
            };
        }
        let weights = Cow::Borrowed(bytes!("model.safetensors"));
        Self {
            tokenizer_config: Some(bytes!("tokenizer_config.json").to_vec()),
            ..Self::from_bytes("crossrank-mini", bytes!("config.json"), bytes!("tokenizer.json"), [weights])
        }
    }

    /// Puts the folder of these files, where they are on disk, before the file name in an error about one of them.
    pub(crate) fn with_folder(&self, error: Error) -> Error {
        match (error, self.weights.first()) {
            (Error::Format { file, message }, Some(WeightFile::Path(weights)))
                if !file.contains(['/', '\\']) =>
            {
                Error::Format { file: weights.with_file_name(file).display().to_string(), message }
            }
            (error, _) => error,
        }
    }

    /// A copy from which the weights can be read again later: files on disk by their path. `None` where weights are bytes
    /// in memory that is not `'static`: the copy would hold the whole model a second time.
    pub fn reopenable(&self) -> Option<Self> {
        let modules = self.modules.iter().filter_map(|module| module.weights.as_ref());
        let owned = |weights: &WeightFile| matches!(weights, WeightFile::Bytes(_, Cow::Owned(_)));
        (!self.weights.iter().chain(modules).any(owned)).then(|| self.clone())
    }
}
