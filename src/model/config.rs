//! config.json and tokenizer_config.json -> [`Spec`]. All code that depends on the family is here.

use serde_json::{Map, json};

use crate::error::{Error, Result};
use crate::kernels::Activation;
use crate::model::files::{ModelFiles, SENTENCE_TRANSFORMERS};
use crate::model::io::parse_json;
use crate::model::json::{
    Config, MAX_BUCKETS, MAX_FEATURES, MAX_LAYERS, MAX_POSITIONS, MAX_VOCABULARY, printable,
};
use crate::model::modules;
use crate::model::names;
use crate::model::spec::{Attention, Biases, FeedForward, NormOrder, Pooling, SlidingWindow, Spec};

/// The most elements of the position tables computed at load: 32 times what 8192 tokens and 16 heads need.
const MAX_POSITION_ELEMENTS: usize = 1 << 23;

/// Derives everything the network and the text layer need from the configuration files.
pub fn read_spec(files: &ModelFiles) -> Result<Spec> {
    let config = Config { file: "config.json".into(), map: parse_json("config.json", &files.config)? };
    let tokenizer = match &files.tokenizer_config {
        Some(bytes) => parse_json("tokenizer_config.json", bytes)?,
        None => Map::new(),
    };
    let tokenizer = Config { file: "tokenizer_config.json".into(), map: tokenizer };
    let architectures = config.architectures()?;
    let mut spec = match architectures.iter().find_map(|name| family(name)) {
        Some((architecture, family)) => family(architecture, &config)?,
        None => match encoder(architectures[0]).filter(|_| !files.modules.is_empty()) {
            Some(family) => modules::with_head(family(architectures[0], &config)?, files)?,
            None => return Err(unsupported_architecture(architectures[0])),
        },
    };
    if let Some(bytes) = &files.sentence_transformers {
        let (file, map) = (SENTENCE_TRANSFORMERS.into(), parse_json(SENTENCE_TRANSFORMERS, bytes)?);
        // This file takes precedence over all others that name a score activation, as in sentence-transformers.
        spec.score = Config { file, map }.score_of("activation_fn")?.unwrap_or(spec.score);
    }
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
        "ModernBertForSequenceClassification" => modernbert,
        "GteForSequenceClassification" | "NewForSequenceClassification" => gte,
        "DebertaV2ForSequenceClassification" => deberta_v2,
        "JinaBertForSequenceClassification" => jinabert,
        _ => return None,
    };
    Some((architecture, family))
}

/// The function that reads the configuration of an encoder without a head.
fn encoder(architecture: &str) -> Option<Family> {
    let name = architecture.strip_suffix("Model")?;
    Some(family(&format!("{name}ForSequenceClassification"))?.1)
}

/// BERT: positions from 0, token types, a tanh pooler over the first token, then the classifier.
fn bert(architecture: &str, config: &Config) -> Result<Spec> {
    config.only("position_embedding_type", &json!("absolute"), "use a model with absolute positions")?;
    bert_sizes(architecture, config)
}

/// A BERT with the sizes in config.json, which most families name by the same keys.
fn bert_sizes(architecture: &str, config: &Config) -> Result<Spec> {
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
        intermediate: config.count("intermediate_size", MAX_FEATURES)?,
        vocabulary: config.count("vocab_size", MAX_VOCABULARY)?,
        embedding: hidden,
        positions,
        first_position: 0,
        token_types: config.token_types()?,
        epsilon: config.epsilon("layer_norm_eps", 1e-12)?,
        attention: Attention::Content,
        norm_order: NormOrder::Post,
        feed_forward: FeedForward::Plain,
        activation: config.activation("hidden_act")?,
        biases: Biases::ALL,
        pooling: Pooling::First,
        head_activation: Activation::Tanh,
        head: None,
        score: config.score(labels.len())?,
        labels,
        max_tokens: positions,
    })
}

/// RoBERTa, XLM-RoBERTa, CamemBERT: positions count from the row after the padding token's, and a head of two layers
/// replaces the pooler.
fn roberta(architecture: &str, config: &Config) -> Result<Spec> {
    let base = bert(architecture, config)?;
    let (max_tokens, first_position) = config.positions_after_padding(base.positions)?;
    Ok(Spec { names: &names::ROBERTA, first_position, max_tokens, ..base })
}

/// DistilBERT: BERT without token types and with ReLU in the head. Its keys have other names.
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
        intermediate: config.count("hidden_dim", MAX_FEATURES)?,
        vocabulary: config.count("vocab_size", MAX_VOCABULARY)?,
        embedding: hidden,
        positions,
        first_position: 0,
        token_types: 1,
        // transformers has no key for it.
        epsilon: 1e-12,
        attention: Attention::Content,
        norm_order: NormOrder::Post,
        feed_forward: FeedForward::Plain,
        activation: config.activation("activation")?,
        biases: Biases::ALL,
        pooling: Pooling::First,
        head_activation: Activation::Relu,
        head: None,
        score: config.score(labels.len())?,
        labels,
        max_tokens: positions,
    })
}

/// ELECTRA: BERT with embeddings that may be narrower than the residual stream, and with RoBERTa's head, with GELU in it.
fn electra(architecture: &str, config: &Config) -> Result<Spec> {
    let base = bert(architecture, config)?;
    let embedding = config.embedding(base.hidden)?;
    Ok(Spec { names: &names::ELECTRA, embedding, head_activation: Activation::Gelu, ..base })
}

/// MPNet: RoBERTa without token types and with a bias for each relative position.
fn mpnet(architecture: &str, config: &Config) -> Result<Spec> {
    let base = roberta(architecture, config)?;
    const BUCKETS: &str = "relative_attention_num_buckets";
    let count = config.count_or(BUCKETS, MAX_BUCKETS, 32)?;
    if count < 4 {
        return Err(config.key_error(BUCKETS, "expected at least 4: exact and logarithmic ones on each side"));
    }
    Ok(Spec { names: &names::MPNET, token_types: 1, attention: Attention::Buckets { count }, ..base })
}

/// ModernBERT: rotary positions, sliding-window attention in some layers and full attention in the others, a gated
/// feed-forward, pre-norm layers, and a norm in the head.
fn modernbert(architecture: &str, config: &Config) -> Result<Spec> {
    let (hidden, heads) = config.hidden_and_heads("hidden_size", "num_attention_heads")?;
    let positions = config.count("max_position_embeddings", MAX_POSITIONS)?;
    let layers = config.count("num_hidden_layers", MAX_LAYERS)?;
    let labels = config.labels()?;
    let (attention, mlp) = (config.flag("attention_bias")?, config.flag("mlp_bias")?);
    Ok(Spec {
        architecture: architecture.into(),
        names: &names::MODERNBERT,
        layers,
        hidden,
        heads,
        intermediate: config.count("intermediate_size", MAX_FEATURES)?,
        vocabulary: config.count("vocab_size", MAX_VOCABULARY)?,
        embedding: hidden,
        positions: 0,
        first_position: 0,
        token_types: 1,
        epsilon: config.epsilon("norm_eps", 1e-5)?,
        attention: modernbert_attention(config, layers, hidden / heads)?,
        norm_order: NormOrder::Pre,
        feed_forward: FeedForward::Gated,
        activation: config.activation("hidden_activation")?,
        biases: Biases {
            norms: config.flag("norm_bias")?,
            attention,
            up: mlp,
            down: mlp,
            dense: config.flag("classifier_bias")?,
            classifier: true,
        },
        pooling: match config.string("classifier_pooling")?.unwrap_or("cls") {
            "cls" => Pooling::First,
            "mean" => Pooling::Mean,
            other => {
                return Err(config.unsupported("classifier_pooling", other, "use a model with cls or mean"));
            }
        },
        head_activation: config.activation("classifier_activation")?,
        head: None,
        score: config.score(labels.len())?,
        labels,
        max_tokens: positions,
    })
}

fn modernbert_attention(config: &Config, layers: usize, head_dim: usize) -> Result<Attention> {
    // Newer files have a section for each type of layer, older ones one key for each theta.
    let theta = |layer_type: &str, old_key: &str, default| {
        let theta = config.theta(old_key, default)?;
        match config.section("rope_parameters")?.map(|all| all.section(layer_type)).transpose()?.flatten() {
            Some(section) => section.default_rope_theta(theta),
            None => Ok(theta),
        }
    };
    let window = SlidingWindow {
        theta: theta("sliding_attention", "local_rope_theta", 10_000.0)?,
        // The key is the diameter of the window.
        radius: config.count_or("local_attention", MAX_POSITIONS, 128)? / 2,
        layers: config.sliding_window_layers(layers)?,
    };
    let theta = theta("full_attention", "global_rope_theta", 160_000.0)?;
    config.require_even_head_dim(head_dim, Attention::Rotary { theta, ntk_factor: 1.0, window: Some(window) })
}

/// GTE: BERT with rotary positions and a gated feed-forward. The code published with it calls the architecture New.
fn gte(architecture: &str, config: &Config) -> Result<Spec> {
    const OTHER: &str = "use a GTE model with its usual configuration";
    config.only("position_embedding_type", &json!("rope"), OTHER)?;
    config.only("layer_norm_type", &json!("layer_norm"), OTHER)?;
    config.only("logn_attention_scale", &json!(false), OTHER)?;
    config.only("logn_attention_clip1", &json!(false), OTHER)?;
    config.only("pack_qkv", &json!(true), OTHER)?;
    let base = bert_sizes(architecture, config)?;
    let theta = config.theta("rope_theta", 10_000.0)?;
    let attention = match config.section("rope_parameters")? {
        Some(section) => {
            Attention::Rotary { theta: section.default_rope_theta(theta)?, ntk_factor: 1.0, window: None }
        }
        None => config.rope_scaling(theta)?,
    };
    Ok(Spec {
        names: if architecture.starts_with("New") { &names::NEW } else { &names::GTE },
        attention: config.require_even_head_dim(base.hidden / base.heads, attention)?,
        feed_forward: FeedForward::Gated,
        biases: Biases { up: false, ..Biases::ALL },
        positions: 0,
        ..base
    })
}

/// DeBERTa versions 2 and 3: no position table; attention also compares queries and keys with relative positions.
fn deberta_v2(architecture: &str, config: &Config) -> Result<Spec> {
    const OTHER: &str = "use a DeBERTa of version 2 or 3 with its usual configuration";
    for (key, value) in
        [("relative_attention", true), ("share_att_key", true), ("position_biased_input", false)]
    {
        config.exactly(key, &json!(value), OTHER)?;
    }
    for key in ["conv_kernel_size", "type_vocab_size"] {
        config.only(key, &json!(0), OTHER)?;
    }
    let base = bert_sizes(architecture, config)?;
    config.only("embedding_size", &json!(base.hidden), OTHER)?;
    config.only("pooler_hidden_size", &json!(base.hidden), OTHER)?;
    let max_position =
        config.count_unless_negative("max_relative_positions", MAX_POSITIONS)?.unwrap_or(base.positions);
    let buckets = config.count_unless_negative("position_buckets", MAX_POSITIONS)?;
    if buckets.is_some_and(|buckets| buckets < 4 || max_position <= buckets / 2 + 1) {
        let message = format_args!(
            "expected at least 4, and half of it plus 1 below the largest relative position {max_position}"
        );
        return Err(config.key_error("position_buckets", message));
    }
    let terms = config.strings("pos_att_type", '|')?;
    if let Some(other) = terms.iter().find(|term| !["c2p", "p2c"].contains(&term.as_str())) {
        return Err(config.unsupported("pos_att_type", other, OTHER));
    }
    Ok(Spec {
        names: &names::DEBERTA_V2,
        positions: 0,
        token_types: 1,
        epsilon: config.epsilon("layer_norm_eps", 1e-7)?,
        attention: Attention::Disentangled {
            rows_per_side: buckets.unwrap_or(max_position),
            max_position: buckets.map(|_| max_position),
            content_to_position: terms.iter().any(|term| term == "c2p"),
            position_to_content: terms.iter().any(|term| term == "p2c"),
            norm: config.strings("norm_rel_ebd", '|')?.iter().any(|norm| norm == "layer_norm"),
        },
        head_activation: config.activation("pooler_hidden_act")?,
        ..base
    })
}

/// JinaBERT: BERT with ALiBi in place of a position table, and a gated feed-forward.
fn jinabert(architecture: &str, config: &Config) -> Result<Spec> {
    const OTHER: &str = "use a JinaBERT with its usual configuration";
    config.exactly("position_embedding_type", &json!("alibi"), OTHER)?;
    let base = bert_sizes(architecture, config)?;
    let activation = match config.string("feed_forward_type")?.unwrap_or("geglu") {
        "geglu" => Activation::Gelu,
        "reglu" => Activation::Relu,
        other => return Err(config.unsupported("feed_forward_type", other, OTHER)),
    };
    Ok(Spec {
        names: &names::JINABERT,
        attention: Attention::Alibi,
        feed_forward: FeedForward::Gated,
        activation,
        biases: Biases { up: false, ..Biases::ALL },
        positions: 0,
        ..base
    })
}

/// The error for an unsupported architecture: what is missing, and the nearest supported one.
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

/// Supported architectures without the suffix `ForSequenceClassification`, the default first, each with a well-known model.
const NEAREST: &[(&str, Option<&str>)] = &[
    ("Bert", Some("cross-encoder/ms-marco-MiniLM-L6-v2")),
    ("Roberta", Some("cross-encoder/stsb-distilroberta-base")),
    ("XLMRoberta", Some("BAAI/bge-reranker-base")),
    ("Camembert", Some("dangvantuan/CrossEncoder-camembert-large")),
    ("DistilBert", None),
    ("Electra", Some("cross-encoder/ms-marco-electra-base")),
    ("MPNet", None),
    ("ModernBert", Some("Alibaba-NLP/gte-reranker-modernbert-base")),
    ("New", Some("Alibaba-NLP/gte-multilingual-reranker-base")),
    ("DebertaV2", Some("mixedbread-ai/mxbai-rerank-base-v1")),
    ("JinaBert", Some("jinaai/jina-reranker-v1-turbo-en")),
];

/// Refuses sizes with which a matrix of the network would not be addressable: its bytes in f32 must fit in `isize`.
fn check_sizes(spec: &Spec) -> Result<()> {
    let rows = [spec.vocabulary, spec.positions, spec.token_types, 2 * spec.intermediate, spec.labels.len()];
    let max_rows = rows.into_iter().chain([3 * spec.hidden]).max().unwrap_or(0);
    let bytes = max_rows.checked_mul(spec.hidden).and_then(|n| n.checked_mul(4));
    if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
        let message = format!("a matrix of {max_rows} x {} is too large for this machine", spec.hidden);
        return Err(Error::Format { file: "config.json".into(), message });
    }
    let per_token = match &spec.attention {
        Attention::Content => 0,
        Attention::Buckets { .. } | Attention::Alibi => 2 * spec.heads,
        Attention::Rotary { .. } => 2 * spec.hidden / spec.heads,
        Attention::Disentangled { .. } => 2,
    };
    let elements = per_token.saturating_mul(spec.max_tokens);
    if elements > MAX_POSITION_ELEMENTS {
        let message = format!(
            "positions up to {} need {elements} numbers, the limit is {MAX_POSITION_ELEMENTS}",
            spec.max_tokens
        );
        return Err(Error::Format { file: "config.json".into(), message });
    }
    Ok(())
}
