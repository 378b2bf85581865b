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
    pub token_type: Option<&'static str>,
    /// Norm of the embeddings.
    pub embed_norm: &'static str,
    /// Projection of the embeddings where they are narrower than the residual stream.
    pub project: Option<&'static str>,
    /// Table of what attention knows about distances, whole, in families that have one.
    pub distances: Option<&'static str>,
    /// Norm of that table.
    pub distances_norm: Option<&'static str>,
    /// What a layer's names start with, up to its number.
    pub layer: &'static str,
    /// Queries, keys and values.
    pub qkv: Qkv,
    /// Attention's output projection.
    pub out: &'static str,
    /// Norm at attention. A family that norms before it may have none in the first layer.
    pub attention_norm: &'static str,
    /// First feed-forward layer; of a gated one both halves.
    pub up: &'static str,
    /// Whether the activation takes the second half of a gated one.
    pub gate_last: bool,
    /// Second feed-forward layer.
    pub down: &'static str,
    /// Norm at the feed-forward.
    pub output_norm: &'static str,
    /// Norm after the last layer.
    pub final_norm: Option<&'static str>,
    /// First linear layer of the head.
    pub dense: &'static str,
    /// Norm in the middle of the head.
    pub head_norm: Option<&'static str>,
    /// Second linear layer of the head.
    pub classifier: &'static str,
    /// Part of a tensor's name that only variants have which compute something else.
    pub foreign: &'static [&'static str],
}

/// Names of the projections to queries, keys and values.
#[derive(Debug, PartialEq)]
pub enum Qkv {
    /// Three layers.
    Three([&'static str; 3]),
    /// One layer, the three stacked along its outputs.
    Packed(&'static str),
}

/// BERT, and what most others were written after.
pub const BERT: Names = Names {
    prefix: "bert.",
    word: "embeddings.word_embeddings",
    position: Some("embeddings.position_embeddings"),
    token_type: Some("embeddings.token_type_embeddings"),
    embed_norm: "embeddings.LayerNorm",
    project: None,
    distances: None,
    distances_norm: None,
    layer: "encoder.layer.",
    qkv: Qkv::Three(["attention.self.query", "attention.self.key", "attention.self.value"]),
    out: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    gate_last: false,
    down: "output.dense",
    output_norm: "output.LayerNorm",
    final_norm: None,
    dense: "bert.pooler.dense",
    head_norm: None,
    classifier: "classifier",
    foreign: &[],
};

/// RoBERTa, XLM-RoBERTa and CamemBERT.
pub const ROBERTA: Names =
    Names { prefix: "roberta.", dense: "classifier.dense", classifier: "classifier.out_proj", ..BERT };

/// DistilBERT: no segments.
pub const DISTILBERT: Names = Names {
    prefix: "distilbert.",
    token_type: None,
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

/// MPNet: one table of biases by distance.
pub const MPNET: Names = Names {
    prefix: "mpnet.",
    token_type: None,
    distances: Some("encoder.relative_attention_bias"),
    qkv: Qkv::Three(["attention.attn.q", "attention.attn.k", "attention.attn.v"]),
    out: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    dense: "classifier.dense",
    classifier: "classifier.out_proj",
    ..BERT
};

/// ModernBERT.
pub const MODERNBERT: Names = Names {
    prefix: "model.",
    word: "embeddings.tok_embeddings",
    position: None,
    token_type: None,
    embed_norm: "embeddings.norm",
    layer: "layers.",
    qkv: Qkv::Packed("attn.Wqkv"),
    out: "attn.Wo",
    attention_norm: "attn_norm",
    up: "mlp.Wi",
    down: "mlp.Wo",
    output_norm: "mlp_norm",
    final_norm: Some("final_norm"),
    dense: "head.dense",
    head_norm: Some("head.norm"),
    ..BERT
};

/// GTE as transformers names it.
pub const GTE: Names = Names {
    prefix: "gte.",
    position: None,
    qkv: Qkv::Packed("attention.qkv_proj"),
    out: "attention.o_proj",
    attention_norm: "attn_ln",
    up: "mlp.up_gate_proj",
    gate_last: true,
    down: "mlp.down_proj",
    output_norm: "mlp_ln",
    dense: "gte.pooler.dense",
    ..BERT
};

/// GTE as its own code names it.
pub const NEW: Names = Names { prefix: "new.", dense: "new.pooler.dense", ..GTE };

/// DeBERTa version 2 and 3.
pub const DEBERTA_V2: Names = Names {
    prefix: "deberta.",
    position: None,
    token_type: None,
    distances: Some("encoder.rel_embeddings"),
    distances_norm: Some("encoder.LayerNorm"),
    qkv: Qkv::Three(["attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"]),
    dense: "pooler.dense",
    foreign: &["encoder.conv.", ".pos_key_proj.", ".pos_query_proj."],
    ..BERT
};

/// JinaBERT: BERT without positions and with a gated feed-forward.
pub const JINABERT: Names = Names {
    position: None,
    up: "mlp.gated_layers",
    down: "mlp.wo",
    output_norm: "mlp.layernorm",
    foreign: &[".layer_norm_q.", ".layer_norm_k."],
    ..BERT
};
