//! config.json of each family -> its [`Spec`]. All code that depends on the family is here.

use serde_json::json;

use crate::error::{Error, Result};
use crate::kernels::{Activation, PoolMode};
use crate::model::json::{Config, MAX_BUCKETS, MAX_FEATURES, MAX_LAYERS, MAX_POSITIONS, MAX_VOCABULARY};
use crate::model::names::{self, TensorNames};
use crate::model::spec::{
    Attention, Biases, DenseLayer, FeedForward, HeadLayer, NormOrder, Pooling, Residual, ScoreActivation,
    SlidingWindow, Spec,
};

/// A function that reads the configuration of some architectures: all of the spec but `score`.
pub(super) type Family = fn(&str, &Config) -> Result<Spec>;

/// The usual head: a dense layer with an activation, and a dense layer with one output per label.
fn head(names: &TensorNames, hidden: usize, labels: usize, activation: Activation) -> Vec<HeadLayer> {
    let dense = |name: &'static str, outputs: usize, activation| {
        let (name, residual) = (name.into(), Residual::None);
        HeadLayer::Dense(DenseLayer { name, inputs: hidden, outputs, bias: true, activation, residual })
    };
    vec![dense(names.dense, hidden, Some(activation)), dense(names.classifier, labels, None)]
}

/// BERT: positions from 0, token types, a tanh pooler over the first token, then the classifier.
pub(super) fn bert(architecture: &str, config: &Config) -> Result<Spec> {
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
        head: head(&names::BERT, hidden, labels.len(), Activation::Tanh),
        logit: ScoreActivation::Identity,
        labels,
        score: ScoreActivation::Identity,
        max_tokens: positions,
        warnings: Vec::new(),
    })
}

/// RoBERTa, XLM-RoBERTa, CamemBERT: positions count from the row after the padding token's, and a head of two layers
/// replaces the pooler.
pub(super) fn roberta(architecture: &str, config: &Config) -> Result<Spec> {
    let base = bert(architecture, config)?;
    let (max_tokens, first_position) = config.positions_after_padding(base.positions)?;
    let head = head(&names::ROBERTA, base.hidden, base.labels.len(), Activation::Tanh);
    Ok(Spec { names: &names::ROBERTA, first_position, head, max_tokens, ..base })
}

/// DistilBERT: BERT without token types and with ReLU in the head. Its keys have other names.
pub(super) fn distilbert(architecture: &str, config: &Config) -> Result<Spec> {
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
        head: head(&names::DISTILBERT, hidden, labels.len(), Activation::Relu),
        logit: ScoreActivation::Identity,
        labels,
        score: ScoreActivation::Identity,
        max_tokens: positions,
        warnings: Vec::new(),
    })
}

/// ELECTRA: BERT with embeddings that may be narrower than the residual stream, and with RoBERTa's head, with GELU in it.
pub(super) fn electra(architecture: &str, config: &Config) -> Result<Spec> {
    let base = bert(architecture, config)?;
    let embedding = config.embedding(base.hidden)?;
    let head = head(&names::ELECTRA, base.hidden, base.labels.len(), Activation::Gelu);
    Ok(Spec { names: &names::ELECTRA, embedding, head, ..base })
}

/// MPNet: RoBERTa without token types and with a bias for each relative position.
pub(super) fn mpnet(architecture: &str, config: &Config) -> Result<Spec> {
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
pub(super) fn modernbert(architecture: &str, config: &Config) -> Result<Spec> {
    let (hidden, heads) = config.hidden_and_heads("hidden_size", "num_attention_heads")?;
    let positions = config.count("max_position_embeddings", MAX_POSITIONS)?;
    let layers = config.count("num_hidden_layers", MAX_LAYERS)?;
    let labels = config.labels()?;
    let (attention, mlp) = (config.flag("attention_bias")?, config.flag("mlp_bias")?);
    let (norms, epsilon) = (config.flag("norm_bias")?, config.epsilon("norm_eps", 1e-5)?);
    let activation = config.activation("classifier_activation")?;
    let mut head = head(&names::MODERNBERT, hidden, labels.len(), activation);
    if let [HeadLayer::Dense(dense), ..] = &mut head[..] {
        dense.bias = config.flag("classifier_bias")?;
    }
    head.insert(1, HeadLayer::Norm { name: "head.norm".into(), features: hidden, bias: norms, epsilon });
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
        epsilon,
        attention: modernbert_attention(config, layers, hidden / heads)?,
        norm_order: NormOrder::Pre,
        feed_forward: FeedForward::Gated,
        activation: config.activation("hidden_activation")?,
        biases: Biases { norms, attention, up: mlp, down: mlp },
        pooling: match config.string("classifier_pooling")?.unwrap_or("cls") {
            "cls" => Pooling::First,
            "mean" => Pooling::All(PoolMode::Mean),
            other => {
                return Err(config.unsupported("classifier_pooling", other, "use a model with cls or mean"));
            }
        },
        head,
        logit: ScoreActivation::Identity,
        labels,
        score: ScoreActivation::Identity,
        max_tokens: positions,
        warnings: Vec::new(),
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
pub(super) fn gte(architecture: &str, config: &Config) -> Result<Spec> {
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
    let names = if architecture.starts_with("New") { &names::NEW } else { &names::GTE };
    Ok(Spec {
        names,
        attention: config.require_even_head_dim(base.hidden / base.heads, attention)?,
        feed_forward: FeedForward::Gated,
        biases: Biases { up: false, ..Biases::ALL },
        head: head(names, base.hidden, base.labels.len(), Activation::Tanh),
        positions: 0,
        ..base
    })
}

/// DeBERTa versions 2 and 3: no position table; attention also compares queries and keys with relative positions.
pub(super) fn deberta_v2(architecture: &str, config: &Config) -> Result<Spec> {
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
    let pooler_activation = config.activation("pooler_hidden_act")?;
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
        head: head(&names::DEBERTA_V2, base.hidden, base.labels.len(), pooler_activation),
        ..base
    })
}

/// JinaBERT: BERT with ALiBi in place of a position table, and a gated feed-forward.
pub(super) fn jinabert(architecture: &str, config: &Config) -> Result<Spec> {
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
