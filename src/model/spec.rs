//! A cross-encoder as plain data: sizes, and one enum per axis on which families differ.

use std::borrow::Cow;

use crate::kernels::{Activation, PoolMode};
use crate::model::names::TensorNames;
use crate::text::batch::{PackedBatch, Pair};

/// Everything `forward` and the text layer need to know about a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The architecture as config.json names it, for people.
    pub architecture: String,
    /// What the tensors are called.
    pub names: &'static TensorNames,
    /// Encoder layers.
    pub layers: usize,
    /// Features of the residual stream (H).
    pub hidden: usize,
    /// Attention heads (N); divides `hidden`.
    pub heads: usize,
    /// Features of the feed-forward layer (F).
    pub intermediate: usize,
    /// Rows of the word-embedding table (V).
    pub vocabulary: usize,
    /// Columns of the embedding tables; where this is not `hidden`, a projection follows.
    pub embedding: usize,
    /// Rows of the position table, in families that have one.
    pub positions: usize,
    /// Position id of a sequence's first token.
    pub first_position: u32,
    /// Rows of the token-type table; 1 in families that have none.
    pub token_types: usize,
    /// Added to the variance in every layer norm.
    pub epsilon: f32,
    /// How attention sees positions.
    pub attention: Attention,
    /// Whether a layer's norms come before or after its two sublayers, attention and feed-forward.
    pub norm_order: NormOrder,
    /// What lies between the two linear layers of the feed-forward.
    pub feed_forward: FeedForward,
    /// Activation of the feed-forward layers.
    pub activation: Activation,
    /// Which linear layers and norms have biases.
    pub biases: Biases,
    /// What the head reads.
    pub pooling: Pooling,
    /// The layers of the head, in order. The last one is dense and has one output per label.
    pub head: Vec<HeadLayer>,
    /// What turns the outputs of the last layer of the head into logits; the identity in all families.
    pub logit: ScoreActivation,
    /// Names of the outputs, in order.
    pub labels: Vec<String>,
    /// What turns logits into scores.
    pub score: ScoreActivation,
    /// The longest input in tokens, special tokens included.
    pub max_tokens: usize,
    /// What of the configuration is not applied, as sentences for people.
    pub warnings: Vec<String>,
}

impl Spec {
    /// Whether the last layer is computed for the first token alone, and absorbs its key and value projections: where
    /// attention sees no positions and the head reads only the first token.
    pub fn absorbs_last_layer(&self) -> bool {
        self.attention == Attention::Content
            && self.norm_order == NormOrder::Post
            && self.pooling == Pooling::First
    }

    /// Features of the widest layer of the head.
    pub fn head_width(&self) -> usize {
        self.head.iter().map(HeadLayer::outputs).max().unwrap_or(0)
    }
}

impl HeadLayer {
    /// Number of output features.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.outputs,
            Self::Norm { features, .. } => *features,
        }
    }
}

/// How attention sees positions.
#[derive(Clone, Debug, PartialEq)]
pub enum Attention {
    /// Not at all: positions are part of the embeddings.
    Content,
    /// A learned bias for each head and bucket of relative positions, shared by all layers: MPNet and T5.
    Buckets {
        /// Rows of the table.
        count: usize,
    },
    /// A bias that falls linearly with the distance, with a slope for each head.
    Alibi,
    /// Rotary position embeddings (RoPE): rotated queries and keys.
    Rotary {
        /// Base of the rotation frequencies in layers with full attention.
        theta: f64,
        /// Factor of NTK-aware RoPE scaling: all frequencies are divided by this to the power of 2/D. 1 without scaling.
        ntk_factor: f64,
        /// Layers with sliding-window attention.
        window: Option<SlidingWindow>,
    },
    /// Queries and keys are also compared with embeddings of relative positions: DeBERTa.
    Disentangled {
        /// Rows of the embedding table for each sign of the relative position: half of its rows.
        rows_per_side: usize,
        /// The largest relative position of the logarithmic buckets, which share rows from `rows_per_side / 2` on. `None`
        /// without buckets: every relative position has its own row.
        max_position: Option<usize>,
        /// Whether queries are compared with relative positions.
        content_to_position: bool,
        /// Whether keys are compared with relative positions.
        position_to_content: bool,
        /// Whether a layer norm is applied to the table.
        norm: bool,
    },
}

/// Sliding-window attention in some of the layers.
#[derive(Clone, Debug, PartialEq)]
pub struct SlidingWindow {
    /// Base of the rotation frequencies in these layers.
    pub theta: f64,
    /// A query attends to the keys that are at most this many tokens away.
    pub radius: usize,
    /// For each layer of the encoder, whether its attention has the window.
    pub layers: Vec<bool>,
}

/// Where the norms of a layer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormOrder {
    /// Post-norm: after each sublayer, on the residual stream.
    Post,
    /// Pre-norm: before each sublayer, beside the residual stream. The first sublayer has none, because it reads the normed
    /// embeddings, and a final norm follows the last layer.
    Pre,
}

/// What lies between the two linear layers of the feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeedForward {
    /// An activation.
    Plain,
    /// A gated linear unit (GLU): the activation of one half of the values, times the other half.
    Gated,
}

/// What the head reads of each pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The first token.
    First,
    /// What [`Kernels::pool`](crate::kernels::Kernels::pool) makes of all tokens.
    All(PoolMode),
}

/// One layer of the head.
#[derive(Clone, Debug, PartialEq)]
pub enum HeadLayer {
    /// A linear layer.
    Dense(DenseLayer),
    /// A layer norm.
    Norm {
        /// Its name in the checkpoint.
        name: Cow<'static, str>,
        /// Number of features.
        features: usize,
        /// Whether it has a bias.
        bias: bool,
        /// Added to the variance.
        epsilon: f32,
    },
}

/// out = activation(x w^T + bias) + residual(x).
#[derive(Clone, Debug, PartialEq)]
pub struct DenseLayer {
    /// Its name in the checkpoint.
    pub name: Cow<'static, str>,
    /// Input features.
    pub inputs: usize,
    /// Output features.
    pub outputs: usize,
    /// Whether it has a bias.
    pub bias: bool,
    /// `None` is the identity.
    pub activation: Option<Activation>,
    /// What is added to the result.
    pub residual: Residual,
}

/// What a dense layer of the head adds to its result.
#[derive(Clone, Debug, PartialEq)]
pub enum Residual {
    /// Nothing.
    None,
    /// Its input, which is as wide.
    Input,
    /// Its input after a linear layer of this name, without a bias.
    Projected(String),
}

/// Which linear layers and norms have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Biases {
    /// All norms.
    pub norms: bool,
    /// Projections to queries, keys and values, and attention's output projection.
    pub attention: bool,
    /// First feed-forward layer.
    pub up: bool,
    /// Second feed-forward layer.
    pub down: bool,
}

impl Biases {
    /// Everywhere.
    pub const ALL: Self = Self { norms: true, attention: true, up: true, down: true };
}

impl Spec {
    /// Concatenates pairs, each with positions as the model counts them.
    pub fn pack<'a>(&self, pairs: impl IntoIterator<Item = &'a Pair>) -> PackedBatch {
        let mut batch = PackedBatch::new(pairs, self.first_position);
        if self.names.position.is_none() {
            // The table of zeros that stands for no position table has one row.
            batch.positions.fill(0);
        } else if let Some(padding) = self.first_position.checked_sub(1) {
            // Where positions count from the row after the padding token's, a padding token that a text spells out has the
            // padding row and does not advance the count, as in transformers.
            for rows in batch.starts.windows(2).map(|w| w[0]..w[1]) {
                let mut next = self.first_position;
                for row in rows {
                    batch.positions[row] = if batch.ids[row] == padding { padding } else { next };
                    next += u32::from(batch.ids[row] != padding);
                }
            }
        }
        batch
    }
}

/// What turns the logits of a pair into its scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScoreActivation {
    /// The logits themselves.
    Identity,
    /// 1 / (1 + exp(-x)), each label on its own.
    Sigmoid,
    /// Hyperbolic tangent, each label on its own.
    Tanh,
    /// exp(x) over the sum of all labels' exp(x).
    Softmax,
    /// max(x, 0), each label on its own, as all below.
    Relu,
    /// x, but at least 0 and at most 6.
    Relu6,
    /// x where it is above 0, else x/100.
    LeakyRelu,
    /// x where it is above 0, else exp(x) - 1.
    Elu,
    /// The same function by another name.
    Celu,
    /// [`Elu`](Self::Elu) with a factor for all x, and one more below 0.
    Selu,
    /// ln(1 + exp(x)).
    Softplus,
    /// x / (1 + |x|).
    Softsign,
    /// ln(1 / (1 + exp(-x))).
    LogSigmoid,
    /// x/6 + 1/2, but at least 0 and at most 1.
    Hardsigmoid,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names;

    #[test]
    fn a_padding_token_in_a_text_has_the_padding_row_and_does_not_advance_positions() {
        let pair = |ids: &[u32]| Pair { ids: ids.into(), token_types: vec![0; ids.len()], ..Pair::default() };
        let pairs = [pair(&[0, 7, 1, 8, 2]), pair(&[0, 2])];
        let spec = |names, first_position| Spec {
            architecture: String::new(),
            names,
            layers: 1,
            hidden: 1,
            heads: 1,
            intermediate: 1,
            vocabulary: 9,
            embedding: 1,
            positions: 9,
            first_position,
            token_types: 1,
            epsilon: 1.0,
            attention: Attention::Content,
            norm_order: NormOrder::Post,
            feed_forward: FeedForward::Plain,
            activation: Activation::Gelu,
            biases: Biases::ALL,
            pooling: Pooling::First,
            head: vec![],
            logit: ScoreActivation::Identity,
            labels: vec![],
            score: ScoreActivation::Identity,
            max_tokens: 7,
            warnings: vec![],
        };
        assert_eq!(spec(&names::ROBERTA, 2).pack(&pairs).positions, [2, 3, 1, 4, 5, 2, 3]);
        assert_eq!(spec(&names::BERT, 0).pack(&pairs).positions, [0, 1, 2, 3, 4, 0, 1]);
    }
}
