//! A cross-encoder as plain data: sizes, and one enum per axis on which families differ.

use crate::kernels::Activation;

/// Everything `forward` and the text layer need to know about a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The architecture as config.json names it, for people.
    pub architecture: String,
    /// Prefix of the encoder's tensor names, for example `bert.`.
    pub prefix: &'static str,
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
    /// Rows of the position table.
    pub positions: usize,
    /// Position id of a sequence's first token.
    pub first_position: u32,
    /// Rows of the segment table.
    pub segments: usize,
    /// Added to the variance in every layer norm.
    pub epsilon: f32,
    /// Of the feed-forward layers.
    pub activation: Activation,
    /// Between the two linear layers of the head.
    pub head_activation: Activation,
    /// Names of the outputs, in order.
    pub labels: Vec<String>,
    /// What turns logits into scores.
    pub score: ScoreActivation,
    /// The longest input in tokens, special tokens included.
    pub max_tokens: usize,
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
