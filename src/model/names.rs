//! The names of each family's tensors, as data: a family whose names differ is one more constant.

/// Names of a family's modules, without `.weight` and `.bias`. The encoder's follow `prefix`, a layer's follow `prefix`,
/// `layer` and the layer's number, and the head's are complete.
#[derive(Debug, PartialEq)]
pub struct TensorNames {
    /// Prefix of the encoder's names; a checkpoint may leave it out.
    pub prefix: &'static str,
    /// Word-embedding table.
    pub word: &'static str,
    /// Position table, in families that have one.
    pub position: Option<&'static str>,
    /// Token-type table, in families that have one.
    pub token_type: Option<&'static str>,
    /// Norm of the embeddings.
    pub embed_norm: &'static str,
    /// Projection of the embeddings where they are narrower than the residual stream.
    pub project: Option<&'static str>,
    /// Table that attention reads by relative position, in families that have one.
    pub relative_table: Option<&'static str>,
    /// Norm of that table.
    pub relative_norm: Option<&'static str>,
    /// What a layer's names start with, up to the layer's number.
    pub layer: &'static str,
    /// Queries, keys and values.
    pub qkv: Qkv,
    /// Attention's output projection.
    pub out: &'static str,
    /// Norm of the attention sublayer. The first layer of a pre-norm family may have none.
    pub attention_norm: &'static str,
    /// First feed-forward layer; where it is gated, both halves in one.
    pub up: &'static str,
    /// Whether the activation applies to the second half of a gated layer.
    pub gate_last: bool,
    /// Second feed-forward layer.
    pub down: &'static str,
    /// Norm of the feed-forward sublayer.
    pub output_norm: &'static str,
    /// Norm after the last layer.
    pub final_norm: Option<&'static str>,
    /// First linear layer of the head.
    pub dense: &'static str,
    /// Second linear layer of the head.
    pub classifier: &'static str,
    /// Parts of tensor names that occur only in variants of the architecture which compute something else.
    pub variant_markers: &'static [&'static str],
}

/// Names of the projections to queries, keys and values.
#[derive(Debug, PartialEq)]
pub enum Qkv {
    /// Three layers.
    Separate([&'static str; 3]),
    /// One layer whose outputs are the queries, the keys and the values, in this order.
    Packed(&'static str),
}

/// What wrappers put before the names of a model's tensors, any of them after any other: torch.compile, data parallelism, a
/// model that is a field of another, and sentence-transformers' list of modules.
const WRAPPERS: [&str; 5] = ["_orig_mod.", "module.", "model.", "auto_model.", "0."];

impl TensorNames {
    /// What stands before every name of the encoder and of its head in a checkpoint with these tensors: nothing, unless the
    /// word table is there under the names of wrappers alone. One of them may be the family's own prefix too: then the head
    /// tells which it is.
    pub fn wrapper<'n>(&self, tensors: impl Iterator<Item = &'n str> + Clone) -> &'n str {
        let (word, head) = (format!("{}.weight", self.word), format!("{}.weight", self.classifier));
        let before = tensors.clone().filter_map(|name| name.strip_suffix(&word));
        let wrappers = before.flat_map(|before| [before.strip_suffix(self.prefix), Some(before)]).flatten();
        let wrappers = wrappers.filter(|before| is_wrapper(before));
        let has_head =
            |before: &&str| tensors.clone().any(|name| name.strip_prefix(*before) == Some(head.as_str()));
        let with_head = wrappers.clone().filter(has_head).min_by_key(|before| before.len());
        with_head.or_else(|| wrappers.min_by_key(|before| before.len())).unwrap_or_default()
    }
}

fn is_wrapper(mut before: &str) -> bool {
    while let Some(rest) = WRAPPERS.iter().find_map(|wrapper| before.strip_prefix(wrapper)) {
        before = rest;
    }
    before.is_empty()
}

/// BERT, from which most other families' names are derived.
pub const BERT: TensorNames = TensorNames {
    prefix: "bert.",
    word: "embeddings.word_embeddings",
    position: Some("embeddings.position_embeddings"),
    token_type: Some("embeddings.token_type_embeddings"),
    embed_norm: "embeddings.LayerNorm",
    project: None,
    relative_table: None,
    relative_norm: None,
    layer: "encoder.layer.",
    qkv: Qkv::Separate(["attention.self.query", "attention.self.key", "attention.self.value"]),
    out: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    gate_last: false,
    down: "output.dense",
    output_norm: "output.LayerNorm",
    final_norm: None,
    dense: "bert.pooler.dense",
    classifier: "classifier",
    variant_markers: &[],
};

/// RoBERTa, XLM-RoBERTa and CamemBERT.
pub const ROBERTA: TensorNames =
    TensorNames { prefix: "roberta.", dense: "classifier.dense", classifier: "classifier.out_proj", ..BERT };

/// DistilBERT: no token types.
pub const DISTILBERT: TensorNames = TensorNames {
    prefix: "distilbert.",
    token_type: None,
    layer: "transformer.layer.",
    qkv: Qkv::Separate(["attention.q_lin", "attention.k_lin", "attention.v_lin"]),
    out: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
    dense: "pre_classifier",
    ..BERT
};

/// ELECTRA: RoBERTa's head, and embeddings that may be narrower than the residual stream.
pub const ELECTRA: TensorNames = TensorNames {
    prefix: "electra.",
    project: Some("embeddings_project"),
    dense: "classifier.dense",
    classifier: "classifier.out_proj",
    ..BERT
};

/// MPNet: one table of biases by relative position.
pub const MPNET: TensorNames = TensorNames {
    prefix: "mpnet.",
    token_type: None,
    relative_table: Some("encoder.relative_attention_bias"),
    qkv: Qkv::Separate(["attention.attn.q", "attention.attn.k", "attention.attn.v"]),
    out: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    dense: "classifier.dense",
    classifier: "classifier.out_proj",
    ..BERT
};

/// ModernBERT.
pub const MODERNBERT: TensorNames = TensorNames {
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
    ..BERT
};

/// GTE as transformers names it.
pub const GTE: TensorNames = TensorNames {
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
pub const NEW: TensorNames = TensorNames { prefix: "new.", dense: "new.pooler.dense", ..GTE };

/// DeBERTa version 2 and 3.
pub const DEBERTA_V2: TensorNames = TensorNames {
    prefix: "deberta.",
    position: None,
    token_type: None,
    relative_table: Some("encoder.rel_embeddings"),
    relative_norm: Some("encoder.LayerNorm"),
    qkv: Qkv::Separate(["attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"]),
    dense: "pooler.dense",
    variant_markers: &["encoder.conv.", ".pos_key_proj.", ".pos_query_proj."],
    ..BERT
};

/// JinaBERT: BERT without a position table and with a gated feed-forward.
pub const JINABERT: TensorNames = TensorNames {
    position: None,
    up: "mlp.gated_layers",
    down: "mlp.wo",
    output_norm: "mlp.layernorm",
    variant_markers: &[".layer_norm_q.", ".layer_norm_k."],
    ..BERT
};
