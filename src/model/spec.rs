//! A cross-encoder as plain data: sizes, and one enum per axis on which families differ.

use crate::kernels::Activation;
use crate::model::names::Names;
use crate::options::Precision;
use crate::text::batch::{PackedBatch, Pair};

/// Everything `forward` and the text layer need to know about a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The architecture as config.json names it, for people.
    pub architecture: String,
    /// What the tensors are called.
    pub names: &'static Names,
    /// Encoder layers.
    pub layers: usize,
    /// Width of the residual stream (H).
    pub hidden: usize,
    /// Attention heads (N); divides `hidden`.
    pub heads: usize,
    /// Width of the feed-forward layer (F).
    pub intermediate: usize,
    /// Rows of the word table (V).
    pub vocabulary: usize,
    /// Width of the embedding tables; where it is not `hidden`, a projection follows.
    pub embedding: usize,
    /// Rows of the position table, in families that have one.
    pub positions: usize,
    /// Position id of a sequence's first token.
    pub first_position: u32,
    /// Rows of the segment table; 1 in families that have none.
    pub token_types: usize,
    /// Added to the variance in every layer norm.
    pub epsilon: f32,
    /// How attention sees positions.
    pub attention: Attention,
    /// Whether a layer's norms come before or after its halves.
    pub order: NormOrder,
    /// What lies between the two linear layers of the feed-forward.
    pub feed_forward: FeedForward,
    /// Of the feed-forward layers.
    pub activation: Activation,
    /// Which linear layers and norms have biases.
    pub biases: Biases,
    /// What the head reads.
    pub pooling: Pooling,
    /// Names of the head's modules where they are not the family's.
    pub head: Option<Head>,
    /// Between the two linear layers of the head.
    pub head_activation: Activation,
    /// Names of the outputs, in order.
    pub labels: Vec<String>,
    /// What turns logits into scores.
    pub score: ScoreActivation,
    /// The longest input in tokens, special tokens included.
    pub max_tokens: usize,
    /// What weights are kept as; `Auto` is float32.
    pub precision: Precision,
}

impl Spec {
    /// Whether the last layer is computed for the first token alone, with keys and values absorbed: where scores see no
    /// positions, and nothing else is read.
    pub fn absorbs(&self) -> bool {
        self.attention == Attention::Content
            && self.order == NormOrder::After
            && self.pooling == Pooling::First
    }
}

/// How attention sees positions.
#[derive(Clone, Debug, PartialEq)]
pub enum Attention {
    /// Not at all: they are in the embeddings.
    Content,
    /// A learned bias by head and bucket of distances, shared by all layers: MPNet and T5.
    Buckets {
        /// Rows of the table.
        count: usize,
    },
    /// A bias that falls linearly with the distance, at a slope of its own for each head.
    Alibi,
    /// Rotated queries and keys.
    Rotary {
        /// Base of the rotation frequencies in layers that see everything.
        theta: f64,
        /// All frequencies are divided by this to the power of 2/D. 1 unless the positions are stretched.
        shrink: f64,
        /// What differs in layers that see their neighbourhood.
        local: Option<Local>,
    },
    /// Distances as queries and keys of their own: DeBERTa.
    Disentangled {
        /// Distances up to this are told apart on each side: half of the rows of the table.
        span: usize,
        /// Beyond `span / 2`, distances share rows, evenly in their logarithm up to this one. 0: none are shared.
        farthest: usize,
        /// Whether queries are compared with distances.
        content_to_position: bool,
        /// Whether keys are compared with distances.
        position_to_content: bool,
        /// Whether the table is normed.
        norm: bool,
    },
}

/// Layers that see a neighbourhood only.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    /// Base of their rotation frequencies.
    pub theta: f64,
    /// A query sees the keys that are at most this many tokens away.
    pub reach: usize,
    /// Layer by layer, whether it is one of them.
    pub layers: Vec<bool>,
}

/// Where the norms of a layer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormOrder {
    /// After each half, on the residual stream.
    After,
    /// Before each half, beside the residual stream; none before the first, and one after the last.
    Before,
}

/// What lies between the two linear layers of the feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeedForward {
    /// An activation.
    Plain,
    /// An activation of one half of the values, times the other half.
    Gated,
}

/// What the head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The first token.
    First,
    /// The mean of all tokens.
    Mean,
}

/// A head made of modules beside the encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// First linear layer.
    pub dense: String,
    /// Norm between the two.
    pub norm: Option<String>,
    /// Second linear layer.
    pub classifier: String,
    /// Added to the variance in that norm.
    pub epsilon: f32,
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
    /// First linear layer of the head.
    pub dense: bool,
    /// Second linear layer of the head.
    pub classifier: bool,
}

impl Biases {
    /// Everywhere.
    pub const ALL: Self =
        Self { norms: true, attention: true, up: true, down: true, dense: true, classifier: true };
}

impl Spec {
    /// Concatenates pairs, each with positions as the model counts them.
    pub fn pack<'a>(&self, pairs: impl IntoIterator<Item = &'a Pair>) -> PackedBatch {
        let mut batch = PackedBatch::new(pairs, self.first_position);
        if self.names.position.is_none() {
            // The one row of the table that stands for none.
            batch.positions.fill(0);
        } else if let Some(padding) = self.first_position.checked_sub(1) {
            // Where positions count from behind the padding token's, a text that spells that token out gets its position
            // and the count goes on after it, as in transformers.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names;

    #[test]
    fn positions_pass_over_padding_tokens_where_they_count_from_behind_them() {
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
            order: NormOrder::After,
            feed_forward: FeedForward::Plain,
            activation: Activation::Gelu,
            biases: Biases::ALL,
            pooling: Pooling::First,
            head: None,
            head_activation: Activation::Gelu,
            labels: vec![],
            score: ScoreActivation::Identity,
            max_tokens: 7,
            precision: Precision::F32,
        };
        assert_eq!(spec(&names::ROBERTA, 2).pack(&pairs).positions, [2, 3, 1, 4, 5, 2, 3]);
        assert_eq!(spec(&names::BERT, 0).pack(&pairs).positions, [0, 1, 2, 3, 4, 0, 1]);
    }
}
