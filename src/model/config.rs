//! config.json and tokenizer_config.json -> [`Spec`]. What differs between families is here and nowhere else.

use serde_json::{Map, json};

use crate::error::{Error, Result};
use crate::kernels::Activation;
use crate::model::files::{ModelFiles, parse_json};
use crate::model::json::{
    Config, MAX_BUCKETS, MAX_LAYERS, MAX_POSITIONS, MAX_SEGMENTS, MAX_VOCABULARY, MAX_WIDTH, printable,
};
use crate::model::names;
use crate::model::spec::{Attention, Biases, FeedForward, NormOrder, Pooling, Spec};

/// The most numbers that are computed about positions at load: 32 times what 8192 tokens and 16 heads need.
const MAX_POSITION_NUMBERS: usize = 1 << 23;

/// Derives everything the network and the text layer need from the configuration files.
pub fn read(files: &ModelFiles) -> Result<Spec> {
    let config = Config { file: "config.json", map: parse_json("config.json", &files.config)? };
    let tokenizer = match &files.tokenizer_config {
        Some(bytes) => parse_json("tokenizer_config.json", bytes)?,
        None => Map::new(),
    };
    let tokenizer = Config { file: "tokenizer_config.json", map: tokenizer };
    let architectures = config.architectures()?;
    let mut spec = architectures.iter().find_map(|name| family(name)).map_or_else(
        || Err(unsupported_architecture(architectures[0])),
        |(architecture, family)| family(architecture, &config),
    )?;
    if let Some(length) = tokenizer.model_max_length()? {
        spec.max_tokens = spec.max_tokens.min(length);
    }
    check_sizes(&spec)?;
    Ok(spec)
}

type Family = fn(&str, &Config) -> Result<Spec>;

/// The function that reads an architecture's configuration.
fn family(architecture: &str) -> Option<(&str, Family)> {
    let family: Family = match architecture {
        "BertForSequenceClassification" => bert,
        "RobertaForSequenceClassification"
        | "XLMRobertaForSequenceClassification"
        | "CamembertForSequenceClassification" => roberta,
        "DistilBertForSequenceClassification" => distilbert,
        "ElectraForSequenceClassification" => electra,
        "MPNetForSequenceClassification" => mpnet,
        _ => return None,
    };
    Some((architecture, family))
}

/// BERT: positions from 0, segments, a tanh pooler over the first token, then the classifier. The keys that most others
/// share with it.
fn bert(architecture: &str, config: &Config) -> Result<Spec> {
    config.only("position_embedding_type", &json!("absolute"), "use a model with absolute positions")?;
    if config.flag("is_decoder")? {
        return Err(Error::Unsupported {
            what: "is_decoder `true`".into(),
            hint: "use an encoder, in which every token sees the whole pair".into(),
        });
    }
    let (hidden, heads) = config.hidden_and_heads("hidden_size", "num_attention_heads")?;
    let positions = config.count("max_position_embeddings", MAX_POSITIONS)?;
    let labels = config.labels()?;
    Ok(Spec {
        architecture: architecture.into(),
        names: &names::BERT,
        layers: config.count("num_hidden_layers", MAX_LAYERS)?,
        hidden,
        heads,
        intermediate: config.count("intermediate_size", MAX_WIDTH)?,
        vocabulary: config.count("vocab_size", MAX_VOCABULARY)?,
        embedding: hidden,
        positions,
        first_position: 0,
        segments: config.count_or("type_vocab_size", MAX_SEGMENTS, 2)?,
        epsilon: config.epsilon("layer_norm_eps", 1e-12)?,
        attention: Attention::Content,
        order: NormOrder::After,
        feed_forward: FeedForward::Plain,
        activation: config.activation("hidden_act")?,
        biases: Biases::ALL,
        pooling: Pooling::First,
        head_activation: Activation::Tanh,
        score: config.score(labels.len())?,
        labels,
        max_tokens: positions,
    })
}

/// RoBERTa, XLM-RoBERTa, CamemBERT: positions count from the row after the padding token's, and a head of two layers
/// takes the place of the pooler.
fn roberta(architecture: &str, config: &Config) -> Result<Spec> {
    let base = bert(architecture, config)?;
    let (max_tokens, first_position) = config.positions_after_padding(base.positions)?;
    Ok(Spec { names: &names::ROBERTA, first_position, max_tokens, ..base })
}

/// DistilBERT: BERT without segments and with ReLU in the head. Its keys are its own.
fn distilbert(architecture: &str, config: &Config) -> Result<Spec> {
    let (hidden, heads) = config.hidden_and_heads("dim", "n_heads")?;
    let positions = config.count("max_position_embeddings", MAX_POSITIONS)?;
    let labels = config.labels()?;
    Ok(Spec {
        architecture: architecture.into(),
        names: &names::DISTILBERT,
        layers: config.count("n_layers", MAX_LAYERS)?,
        hidden,
        heads,
        intermediate: config.count("hidden_dim", MAX_WIDTH)?,
        vocabulary: config.count("vocab_size", MAX_VOCABULARY)?,
        embedding: hidden,
        positions,
        first_position: 0,
        segments: 1,
        // transformers has no key for it.
        epsilon: 1e-12,
        attention: Attention::Content,
        order: NormOrder::After,
        feed_forward: FeedForward::Plain,
        activation: config.activation("activation")?,
        biases: Biases::ALL,
        pooling: Pooling::First,
        head_activation: Activation::Relu,
        score: config.score(labels.len())?,
        labels,
        max_tokens: positions,
    })
}

/// ELECTRA: BERT with embeddings of a width of their own and RoBERTa's head, with GELU in it.
fn electra(architecture: &str, config: &Config) -> Result<Spec> {
    let base = bert(architecture, config)?;
    let embedding = config.embedding(base.hidden)?;
    Ok(Spec { names: &names::ELECTRA, embedding, head_activation: Activation::Gelu, ..base })
}

/// MPNet: RoBERTa without segments and with a bias by distance.
fn mpnet(architecture: &str, config: &Config) -> Result<Spec> {
    let base = roberta(architecture, config)?;
    // At least one bucket of its own and one shared one on each side.
    let count = config.count_or("relative_attention_num_buckets", MAX_BUCKETS, 32)?.max(4);
    Ok(Spec { names: &names::MPNET, segments: 1, attention: Attention::Buckets { count }, ..base })
}

/// Says what is missing for an unsupported architecture, and what comes nearest to it.
fn unsupported_architecture(architecture: &str) -> Error {
    let common = |name: &str| name.bytes().zip(architecture.bytes()).take_while(|(a, b)| a == b).count();
    let (nearest, example) = NEAREST
        .iter()
        .copied()
        .reduce(|best, next| if common(next.0) > common(best.0) { next } else { best })
        .expect("the table has rows");
    let example = example.map_or(String::new(), |example| format!(", for example `{example}`"));
    let nearest = format!("`{nearest}ForSequenceClassification`{example}");
    let hint = if architecture.ends_with("ForSequenceClassification") {
        format!("its layers are not implemented; the nearest supported architecture is {nearest}")
    } else if architecture.ends_with("Model") {
        format!(
            "it is an embedding model with no classifier head and cannot score pairs; use a cross-encoder: {nearest}"
        )
    } else {
        format!("it has no classifier head and cannot score pairs; use a cross-encoder: {nearest}")
    };
    Error::Unsupported { what: format!("architecture `{}`", printable(architecture)), hint }
}

/// Supported architectures without their ending, the default first, and a well-known model of each.
const NEAREST: &[(&str, Option<&str>)] = &[
    ("Bert", Some("cross-encoder/ms-marco-MiniLM-L6-v2")),
    ("Roberta", Some("cross-encoder/stsb-distilroberta-base")),
    ("XLMRoberta", Some("BAAI/bge-reranker-base")),
    ("Camembert", Some("dangvantuan/CrossEncoder-camembert-large")),
    ("DistilBert", None),
    ("Electra", Some("cross-encoder/ms-marco-electra-base")),
    ("MPNet", None),
];

/// Every array of the network must be addressable: its bytes in f32 fit in `isize`.
fn check_sizes(spec: &Spec) -> Result<()> {
    let rows = [spec.vocabulary, spec.positions, spec.segments, spec.intermediate, spec.labels.len()];
    let tallest = rows.into_iter().chain([3 * spec.hidden]).max().unwrap_or(0);
    let bytes = tallest.checked_mul(spec.hidden).and_then(|n| n.checked_mul(4));
    if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
        let message = format!("a matrix of {tallest} x {} is too large for this machine", spec.hidden);
        return Err(Error::Format { file: "config.json".into(), message });
    }
    let per_token = match &spec.attention {
        Attention::Content => 0,
        Attention::Buckets { .. } | Attention::Alibi => 2 * spec.heads,
        Attention::Rotary { .. } => 2 * spec.hidden / spec.heads,
        Attention::Disentangled { .. } => 2,
    };
    let numbers = per_token.saturating_mul(spec.max_tokens);
    if numbers > MAX_POSITION_NUMBERS {
        let message = format!(
            "positions up to {} need {numbers} numbers, the limit is {MAX_POSITION_NUMBERS}",
            spec.max_tokens
        );
        return Err(Error::Format { file: "config.json".into(), message });
    }
    Ok(())
}
