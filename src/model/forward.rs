//! The forward pass: the order of the ops, written once for every backend.

use std::sync::Arc;

use crate::error::Result;
use crate::kernels::{Epilogue, Kernels};
use crate::model::spec::{FeedForward, HeadLayer, NormOrder, Pooling, ScoreActivation, Spec};
use crate::text::batch::PackedBatch;

/// The weights of a model as backend `K` holds them.
pub struct Weights<K: Kernels + ?Sized> {
    /// Word-embedding table `[V,E]`.
    pub word: K::Table,
    /// Position table.
    pub position: K::Table,
    /// Token-type table.
    pub token_type: K::Table,
    /// Norm of the embeddings.
    pub embed_norm: K::Norm,
    /// Projection of the embeddings E -> H, where E is not H.
    pub project: Option<K::Linear>,
    /// All layers but the last.
    pub layers: Vec<Layer<K>>,
    /// The last layer.
    pub last: LastLayer<K>,
    /// Norm after the last layer, in pre-norm families.
    pub final_norm: Option<K::Norm>,
    /// The layers of the head. The last one is dense and has one output per label.
    pub head: Vec<HeadWeights<K>>,
}

/// One layer of the head.
pub enum HeadWeights<K: Kernels + ?Sized> {
    /// A linear layer.
    Dense {
        /// The layer itself.
        linear: K::Linear,
        /// What turns its result into what is added to it. A residual without a projection is projected by the identity
        /// matrix, which changes no bit, so that no op has a second form.
        residual: Option<K::Linear>,
    },
    /// A layer norm.
    Norm(K::Norm),
}

/// One encoder layer.
pub struct Layer<K: Kernels + ?Sized> {
    /// Queries (scaled), keys and values as one layer H -> 3H.
    pub qkv: K::Linear,
    /// How attention sees positions.
    pub position_mode: PositionMode<K>,
    /// Everything after attention.
    pub post_attention: PostAttention<K>,
}

/// How attention sees positions, and the tables it needs for that. Layers that share a table share it by `Arc`.
pub enum PositionMode<K: Kernels + ?Sized> {
    /// Not at all.
    Content,
    /// A bias for each relative position.
    Biased(Arc<K::Bias>),
    /// Rotated queries and keys; with a window radius, a query attends only to the keys within it.
    Rotary(Arc<K::Rotary>, Option<usize>),
    /// Queries and keys are also compared with embeddings of relative positions.
    Disentangled(K::Relative),
}

/// The last encoder layer.
pub enum LastLayer<K: Kernels + ?Sized> {
    /// Computed for the first token only, with the key and value projections absorbed.
    FirstToken(FirstTokenLayer<K>),
    /// Computed for all tokens up to attention: where attention sees positions, or the head reads all tokens.
    AllTokens(Layer<K>),
}

/// The last encoder layer where only its first token is read.
pub struct FirstTokenLayer<K: Kernels + ?Sized> {
    /// Queries, scaled by 1/sqrt(D).
    pub query: K::Linear,
    /// Keys and values.
    pub key_value: K::KeyValue,
    /// Everything after attention.
    pub post_attention: PostAttention<K>,
}

/// The part of a layer that follows its attention.
pub struct PostAttention<K: Kernels + ?Sized> {
    /// Attention's output projection H -> H.
    pub out: K::Linear,
    /// Norm of the attention sublayer; `None` is the identity.
    pub attention_norm: Option<K::Norm>,
    /// Feed-forward H -> F, or H -> 2F where it is gated: first the activation's input, then the factor of its result.
    pub up: K::Linear,
    /// Feed-forward F -> H.
    pub down: K::Linear,
    /// Norm of the feed-forward sublayer.
    pub output_norm: K::Norm,
}

/// The activation buffers of one call; reused, so that a warm call allocates nothing. T tokens, S sequences.
pub struct Activations<K: Kernels + ?Sized> {
    /// The residual stream `[T,H]`.
    x: K::Buf,
    /// A second `[T,H]`: sums before they are normed, or normed values before they are read.
    y: K::Buf,
    /// `[T,3H]`.
    qkv: K::Buf,
    /// Attention's output `[T,H]`.
    context: K::Buf,
    /// Output of the first feed-forward layer, `[T,F]` or `[T,2F]`.
    up: K::Buf,
    /// Its two halves after the gate, `[T,F]`.
    gated: K::Buf,
    /// One row per sequence `[S,H]`: the residual stream of its first token, in the end what the head reads.
    pooled: K::Buf,
    /// A second `[S,H]`: queries or attention output of the first tokens, then the output of a layer of the head.
    per_sequence: K::Buf,
    /// A third one: the output of a layer of the head that has a residual, before that is added.
    before_residual: K::Buf,
    /// `[S,labels]`.
    logits: K::Buf,
}

impl<K: Kernels> Activations<K> {
    /// Empty buffers; they grow to the largest batch they meet.
    pub fn new(k: &K) -> Self {
        let buf = || k.make_buf();
        Self {
            x: buf(),
            y: buf(),
            qkv: buf(),
            context: buf(),
            up: buf(),
            gated: buf(),
            pooled: buf(),
            per_sequence: buf(),
            before_residual: buf(),
            logits: buf(),
        }
    }

    /// Shapes what a layer writes for `rows` tokens.
    fn shape(&mut self, k: &mut K, spec: &Spec, rows: usize) -> Result<()> {
        k.shape(&mut self.y, rows, spec.hidden)?;
        k.shape(&mut self.context, rows, spec.hidden)?;
        match spec.feed_forward {
            FeedForward::Plain => k.shape(&mut self.up, rows, spec.intermediate),
            FeedForward::Gated => {
                k.shape(&mut self.up, rows, 2 * spec.intermediate)?;
                k.shape(&mut self.gated, rows, spec.intermediate)
            }
        }
    }
}

/// Called with the residual stream after the embeddings (0) and after each layer but the last (1, 2, ...).
/// An error ends the forward pass: cancellation works this way.
pub type AfterLayer<'a, K> = &'a mut dyn FnMut(&mut K, usize, &<K as Kernels>::Buf) -> Result<()>;

/// Computes the logits `[S, labels]` of a batch, and reads them into `logits`, row after row.
pub fn forward<K: Kernels>(
    k: &mut K,
    spec: &Spec,
    w: &Weights<K>,
    a: &mut Activations<K>,
    batch: &PackedBatch,
    after_layer: AfterLayer<'_, K>,
    logits: &mut [f32],
) -> Result<()> {
    let (tokens, sequences, hidden) = (batch.tokens(), batch.sequences(), spec.hidden);
    k.begin(batch, hidden, spec.heads)?;
    k.shape(&mut a.x, tokens, hidden)?;
    k.shape(&mut a.qkv, tokens, 3 * hidden)?;
    k.shape(&mut a.pooled, sequences, hidden)?;
    k.shape(&mut a.per_sequence, sequences, hidden)?;
    k.shape(&mut a.logits, sequences, spec.labels.len())?;

    match &w.project {
        None => k.embed(batch, &w.word, &w.position, &w.token_type, &w.embed_norm, &mut a.x),
        Some(project) => {
            k.shape(&mut a.y, tokens, spec.embedding)?;
            k.embed(batch, &w.word, &w.position, &w.token_type, &w.embed_norm, &mut a.y);
            k.linear(&a.y, project, Epilogue::Store, &mut a.x);
        }
    }
    after_layer(k, 0, &a.x)?;
    a.shape(k, spec, tokens)?;
    match spec.norm_order {
        NormOrder::Post => post_norm_layers(k, spec, w, a, batch, after_layer)?,
        NormOrder::Pre => pre_norm_layers(k, spec, w, a, batch, after_layer)?,
    }

    head(k, spec, w, a, sequences)?;
    k.read(&a.logits, logits)?;
    if spec.logit != ScoreActivation::Identity {
        // On the host and in f64, because torch has activations there that no backend has.
        for row in logits.chunks_exact_mut(spec.labels.len()) {
            let activated = spec.logit.apply(row);
            for (logit, activated) in row.iter_mut().zip(activated) {
                *logit = activated as f32;
            }
        }
    }
    Ok(())
}

/// The layers of the head, from `a.pooled` to `a.logits`.
fn head<K: Kernels>(
    k: &mut K,
    spec: &Spec,
    w: &Weights<K>,
    a: &mut Activations<K>,
    sequences: usize,
) -> Result<()> {
    let (x, y) = (&mut a.pooled, &mut a.per_sequence);
    for (index, (layer, weights)) in spec.head.iter().zip(&w.head).enumerate() {
        let last = index + 1 == spec.head.len();
        match (layer, weights) {
            (HeadLayer::Dense(dense), HeadWeights::Dense { linear, residual }) => {
                let out = if last { &mut a.logits } else { &mut *y };
                k.shape(out, sequences, dense.outputs)?;
                let epilogue = dense.activation.map_or(Epilogue::Store, Epilogue::Activate);
                match residual {
                    None => k.linear(x, linear, epilogue, out),
                    Some(residual) => {
                        k.shape(&mut a.before_residual, sequences, dense.outputs)?;
                        k.linear(x, linear, epilogue, &mut a.before_residual);
                        k.linear(x, residual, Epilogue::Add(&a.before_residual), out);
                    }
                }
            }
            (HeadLayer::Norm { features, .. }, HeadWeights::Norm(norm)) => {
                k.shape(y, sequences, *features)?;
                k.norm(x, norm, y);
            }
            _ => unreachable!("the weights are those of the layers"),
        }
        std::mem::swap(x, y);
    }
    Ok(())
}

/// The layers of BERT and its kind, from `a.x` to what the head reads in `a.pooled`: each sublayer ends with a norm,
/// x = norm(x + attention(x)), x = norm(x + feed_forward(x)).
fn post_norm_layers<K: Kernels>(
    k: &mut K,
    spec: &Spec,
    w: &Weights<K>,
    a: &mut Activations<K>,
    batch: &PackedBatch,
    after_layer: AfterLayer<'_, K>,
) -> Result<()> {
    let post_attention = |k: &mut K,
                          w: &PostAttention<K>,
                          x: &mut K::Buf,
                          context: &K::Buf,
                          [y, up, gated]: [&mut K::Buf; 3]| {
        k.linear(context, &w.out, Epilogue::Add(x), y);
        norm_or_swap(k, w.attention_norm.as_ref(), y, x);
        feed_forward(k, spec, w, x, x, up, gated, y);
        k.norm(y, &w.output_norm, x);
    };
    for (index, layer) in w.layers.iter().enumerate() {
        k.linear(&a.x, &layer.qkv, Epilogue::Store, &mut a.qkv);
        attention(k, spec, batch, &layer.position_mode, &mut a.qkv, &mut a.context);
        post_attention(k, &layer.post_attention, &mut a.x, &a.context, [&mut a.y, &mut a.up, &mut a.gated]);
        after_layer(k, index + 1, &a.x)?;
    }
    // The last layer is computed for the first token of each sequence only, where the head reads no others.
    k.first_tokens(batch, &a.x, &mut a.pooled);
    let last = match &w.last {
        LastLayer::FirstToken(last) => {
            let query = &mut a.per_sequence;
            k.linear(&a.pooled, &last.query, Epilogue::Store, query);
            a.shape(k, spec, batch.sequences())?;
            k.attention_first(batch, &a.per_sequence, &a.x, &last.key_value, &mut a.context);
            &last.post_attention
        }
        LastLayer::AllTokens(last) => {
            k.linear(&a.x, &last.qkv, Epilogue::Store, &mut a.qkv);
            attention(k, spec, batch, &last.position_mode, &mut a.qkv, &mut a.context);
            if let Pooling::All(mode) = spec.pooling {
                let buffers = [&mut a.y, &mut a.up, &mut a.gated];
                post_attention(k, &last.post_attention, &mut a.x, &a.context, buffers);
                k.pool(batch, mode, &a.x, &mut a.pooled);
                return Ok(());
            }
            let first_context = &mut a.per_sequence;
            k.first_tokens(batch, &a.context, first_context);
            a.shape(k, spec, batch.sequences())?;
            std::mem::swap(&mut a.context, &mut a.per_sequence);
            &last.post_attention
        }
    };
    post_attention(k, last, &mut a.pooled, &a.context, [&mut a.y, &mut a.up, &mut a.gated]);
    Ok(())
}

/// The layers of ModernBERT, from `a.x` to what the head reads in `a.pooled`: each sublayer begins with a norm,
/// x = x + attention(norm(x)), x = x + feed_forward(norm(x)), and a final norm follows the last layer.
fn pre_norm_layers<K: Kernels>(
    k: &mut K,
    spec: &Spec,
    w: &Weights<K>,
    a: &mut Activations<K>,
    batch: &PackedBatch,
    after_layer: AfterLayer<'_, K>,
) -> Result<()> {
    let post_attention = |k: &mut K,
                          w: &PostAttention<K>,
                          x: &mut K::Buf,
                          context: &mut K::Buf,
                          [y, up, gated]: [&mut K::Buf; 3]| {
        k.linear(context, &w.out, Epilogue::Add(x), y);
        k.norm(y, &w.output_norm, x);
        // Attention's output is not read again, so its buffer takes the sum.
        let sum = context;
        feed_forward(k, spec, w, x, y, up, gated, sum);
        std::mem::swap(x, sum);
    };
    for (index, layer) in w.layers.iter().enumerate() {
        pre_norm_attention(k, spec, batch, layer, a);
        let buffers = [&mut a.y, &mut a.up, &mut a.gated];
        post_attention(k, &layer.post_attention, &mut a.x, &mut a.context, buffers);
        after_layer(k, index + 1, &a.x)?;
    }
    let LastLayer::AllTokens(last) = &w.last else {
        unreachable!("a pre-norm layer never absorbs its projections")
    };
    pre_norm_attention(k, spec, batch, last, a);
    match spec.pooling {
        Pooling::First => {
            k.first_tokens(batch, &a.x, &mut a.pooled);
            k.first_tokens(batch, &a.context, &mut a.per_sequence);
            a.shape(k, spec, batch.sequences())?;
            let (first_x, first_context) = (&mut a.pooled, &mut a.per_sequence);
            let buffers = [&mut a.y, &mut a.up, &mut a.gated];
            post_attention(k, &last.post_attention, first_x, first_context, buffers);
            let normed = first_context;
            norm_or_swap(k, w.final_norm.as_ref(), first_x, normed);
            std::mem::swap(first_x, normed);
        }
        Pooling::All(mode) => {
            let buffers = [&mut a.y, &mut a.up, &mut a.gated];
            post_attention(k, &last.post_attention, &mut a.x, &mut a.context, buffers);
            let normed = &mut a.context;
            norm_or_swap(k, w.final_norm.as_ref(), &mut a.x, normed);
            k.pool(batch, mode, normed, &mut a.pooled);
        }
    }
    Ok(())
}

/// context = attention(norm(x)); without a norm, attention reads x.
fn pre_norm_attention<K: Kernels>(
    k: &mut K,
    spec: &Spec,
    batch: &PackedBatch,
    layer: &Layer<K>,
    a: &mut Activations<K>,
) {
    match &layer.post_attention.attention_norm {
        Some(norm) => {
            k.norm(&a.x, norm, &mut a.y);
            k.linear(&a.y, &layer.qkv, Epilogue::Store, &mut a.qkv);
        }
        None => k.linear(&a.x, &layer.qkv, Epilogue::Store, &mut a.qkv),
    }
    attention(k, spec, batch, &layer.position_mode, &mut a.qkv, &mut a.context);
}

/// to = norm(from); without a norm, `to` and `from` are swapped.
fn norm_or_swap<K: Kernels>(k: &mut K, norm: Option<&K::Norm>, from: &mut K::Buf, to: &mut K::Buf) {
    match norm {
        Some(norm) => k.norm(from, norm, to),
        None => std::mem::swap(from, to),
    }
}

/// context `[T,H]` = attention over qkv `[T,3H]`, whose queries and keys are rotated in place in some modes.
fn attention<K: Kernels>(
    k: &mut K,
    spec: &Spec,
    batch: &PackedBatch,
    position_mode: &PositionMode<K>,
    qkv: &mut K::Buf,
    context: &mut K::Buf,
) {
    match position_mode {
        PositionMode::Content => k.attention(batch, qkv, spec.heads, context),
        PositionMode::Biased(bias) => k.attention_biased(batch, qkv, bias, spec.heads, context),
        PositionMode::Rotary(rotary, radius) => {
            k.rotate(batch, rotary, spec.heads, qkv);
            match radius {
                None => k.attention(batch, qkv, spec.heads, context),
                Some(radius) => k.attention_local(batch, qkv, *radius, spec.heads, context),
            }
        }
        PositionMode::Disentangled(relative) => {
            k.attention_disentangled(batch, qkv, relative, spec.heads, context)
        }
    }
}

/// out = residual + down(act(up(x))), or residual + down(act(up_1(x)) * up_2(x)).
#[expect(clippy::too_many_arguments, reason = "each is a buffer of its own")]
fn feed_forward<K: Kernels>(
    k: &mut K,
    spec: &Spec,
    w: &PostAttention<K>,
    x: &K::Buf,
    residual: &K::Buf,
    up: &mut K::Buf,
    gated: &mut K::Buf,
    out: &mut K::Buf,
) {
    match spec.feed_forward {
        FeedForward::Plain => {
            k.linear(x, &w.up, Epilogue::Activate(spec.activation), up);
            k.linear(up, &w.down, Epilogue::Add(residual), out);
        }
        FeedForward::Gated => {
            k.linear(x, &w.up, Epilogue::Store, up);
            k.gate(up, spec.activation, gated);
            k.linear(gated, &w.down, Epilogue::Add(residual), out);
        }
    }
}
