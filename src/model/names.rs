//! What each family calls its tensors. Data only: a family whose names differ is one more constant.

/// Names of a family's modules, without `.weight` and `.bias`. Those of the encoder follow `prefix`, those of a layer
/// follow `layer` and the layer's number; the head's are whole.
#[derive(Debug, PartialEq)]
pub struct Names {
    /// What the encoder's names start with; a checkpoint may leave it out.
    pub prefix: &'static str,
    /// Word table.
    pub word: &'static str,
    /// Position table, in families that have one.
    pub position: Option<&'static str>,
    /// Segment table, in families that have one.
    pub kind: Option<&'static str>,
    /// Norm of the embeddings.
    pub embed_norm: &'static str,
    /// Projection of the embeddings where they are narrower than the residual stream.
    pub project: Option<&'static str>,
    /// What a layer's names start with, up to its number.
    pub layer: &'static str,
    /// Queries, keys and values.
    pub qkv: Qkv,
    /// Attention's output projection.
    pub out: &'static str,
    /// Norm at attention.
    pub attention_norm: &'static str,
    /// First feed-forward layer; of a gated one both halves.
    pub up: &'static str,
    /// Second feed-forward layer.
    pub down: &'static str,
    /// Norm at the feed-forward.
    pub output_norm: &'static str,
    /// First linear layer of the head.
    pub dense: &'static str,
    /// Second linear layer of the head.
    pub classifier: &'static str,
}

/// Names of the projections to queries, keys and values.
#[derive(Debug, PartialEq)]
pub enum Qkv {
    /// Three layers.
    Three([&'static str; 3]),
}

/// BERT, and what most others were written after.
pub const BERT: Names = Names {
    prefix: "bert.",
    word: "embeddings.word_embeddings",
    position: Some("embeddings.position_embeddings"),
    kind: Some("embeddings.token_type_embeddings"),
    embed_norm: "embeddings.LayerNorm",
    project: None,
    layer: "encoder.layer.",
    qkv: Qkv::Three(["attention.self.query", "attention.self.key", "attention.self.value"]),
    out: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
    dense: "bert.pooler.dense",
    classifier: "classifier",
};

/// RoBERTa, XLM-RoBERTa and CamemBERT.
pub const ROBERTA: Names =
    Names { prefix: "roberta.", dense: "classifier.dense", classifier: "classifier.out_proj", ..BERT };

/// DistilBERT: no segments.
pub const DISTILBERT: Names = Names {
    prefix: "distilbert.",
    kind: None,
    layer: "transformer.layer.",
    qkv: Qkv::Three(["attention.q_lin", "attention.k_lin", "attention.v_lin"]),
    out: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
    dense: "pre_classifier",
    ..BERT
};

/// ELECTRA: RoBERTa's head, and embeddings that may be narrower than the layers.
pub const ELECTRA: Names = Names {
    prefix: "electra.",
    project: Some("embeddings_project"),
    dense: "classifier.dense",
    classifier: "classifier.out_proj",
    ..BERT
};
