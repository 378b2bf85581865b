//! The forward pass: the order of the words, written once for every backend.

use std::sync::Arc;

use crate::error::Result;
use crate::kernels::{Epilogue, Kernels};
use crate::model::spec::{FeedForward, NormOrder, Pooling, Spec};
use crate::text::batch::PackedBatch;

/// The weights of a model as backend `K` holds them.
pub struct Weights<K: Kernels + ?Sized> {
    /// Word table `[V,E]`.
    pub word: K::Table,
    /// Position table.
    pub position: K::Table,
    /// Segment table.
    pub token_type: K::Table,
    /// Norm of the embeddings.
    pub embed_norm: K::Norm,
    /// Embeddings E -> H, where E is not H.
    pub project: Option<K::Linear>,
    /// All layers but the last.
    pub layers: Vec<Layer<K>>,
    /// The last layer.
    pub last: Last<K>,
    /// Norm after the last layer, in families that norm before each part of a layer.
    pub final_norm: Option<K::Norm>,
    /// First linear layer of the head.
    pub dense: K::Linear,
    /// Norm in the middle of the head.
    pub head_norm: Option<K::Norm>,
    /// Second linear layer of the head: one output per label.
    pub classifier: K::Linear,
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

/// How attention sees positions, with what it needs for that; what layers share they share by `Arc`.
pub enum PositionMode<K: Kernels + ?Sized> {
    /// Not at all.
    Content,
    /// A bias by distance.
    Biased(Arc<K::Bias>),
    /// Rotated queries and keys; with a reach, keys no further away than that.
    Rotary(Arc<K::Rotary>, Option<usize>),
    /// Queries and keys are compared with distances too.
    Disentangled(K::Relative),
}

/// The last encoder layer.
pub enum Last<K: Kernels + ?Sized> {
    /// Computed for the first token only, with keys and values absorbed.
    FirstToken(FirstToken<K>),
    /// Where scores depend on positions, or all tokens are read.
    Whole(Layer<K>),
}

/// The last encoder layer where only its first token is read.
pub struct FirstToken<K: Kernels + ?Sized> {
    /// Queries, scaled by 1/sqrt(D).
    pub query: K::Linear,
    /// Keys and values.
    pub key_value: K::KeyValue,
    /// Everything after attention.
    pub rest: PostAttention<K>,
}

/// What is left of a layer without its attention.
pub struct PostAttention<K: Kernels + ?Sized> {
    /// Attention's output projection H -> H.
    pub out: K::Linear,
    /// Norm at attention; `None` is the identity.
    pub attention_norm: Option<K::Norm>,
    /// Feed-forward H -> F, or H -> 2F where it is gated: first what the activation takes, then what it multiplies.
    pub up: K::Linear,
    /// Feed-forward F -> H.
    pub down: K::Linear,
    /// Norm at the feed-forward.
    pub output_norm: K::Norm,
}

/// The activations of one run; reused, so that a warm run allocates nothing.
pub struct Activations<K: Kernels + ?Sized> {
    x: K::Buf,
    y: K::Buf,
    qkv: K::Buf,
    context: K::Buf,
    up: K::Buf,
    gated: K::Buf,
    first: K::Buf,
    query: K::Buf,
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
            first: buf(),
            query: buf(),
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
/// An error ends the run: this is how cancellation gets in.
pub type Between<'a, K> = &'a mut dyn FnMut(&mut K, usize, &<K as Kernels>::Buf) -> Result<()>;

/// Reads a batch and writes its logits `[S, labels]`, row after row, into `logits`.
pub fn forward<K: Kernels>(
    k: &mut K,
    spec: &Spec,
    w: &Weights<K>,
    a: &mut Activations<K>,
    batch: &PackedBatch,
    between: Between<'_, K>,
    logits: &mut [f32],
) -> Result<()> {
    let (tokens, sequences, hidden) = (batch.tokens(), batch.sequences(), spec.hidden);
    k.begin(batch, hidden, spec.heads)?;
    k.shape(&mut a.x, tokens, hidden)?;
    k.shape(&mut a.qkv, tokens, 3 * hidden)?;
    k.shape(&mut a.first, sequences, hidden)?;
    k.shape(&mut a.query, sequences, hidden)?;
    k.shape(&mut a.logits, sequences, spec.labels.len())?;

    match &w.project {
        None => k.embed(batch, &w.word, &w.position, &w.token_type, &w.embed_norm, &mut a.x),
        Some(project) => {
            k.shape(&mut a.y, tokens, spec.embedding)?;
            k.embed(batch, &w.word, &w.position, &w.token_type, &w.embed_norm, &mut a.y);
            k.linear(&a.y, project, Epilogue::Store, &mut a.x);
        }
    }
    between(k, 0, &a.x)?;
    a.shape(k, spec, tokens)?;
    match spec.order {
        NormOrder::After => norm_after(k, spec, w, a, batch, between)?,
        NormOrder::Before => norm_before(k, spec, w, a, batch, between)?,
    }

    k.linear(&a.first, &w.dense, Epilogue::Activate(spec.head_activation), &mut a.query);
    if let Some(norm) = &w.head_norm {
        k.norm(&a.query, norm, &mut a.first);
        std::mem::swap(&mut a.query, &mut a.first);
    }
    k.linear(&a.query, &w.classifier, Epilogue::Store, &mut a.logits);
    k.read(&a.logits, logits)
}

/// The layers of BERT and its kind, from `a.x` to what the head reads in `a.first`: each half of a layer ends with a norm,
/// x = norm(x + attention(x)), x = norm(x + feed_forward(x)).
fn norm_after<K: Kernels>(
    k: &mut K,
    spec: &Spec,
    w: &Weights<K>,
    a: &mut Activations<K>,
    batch: &PackedBatch,
    between: Between<'_, K>,
) -> Result<()> {
    let half = |k: &mut K,
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
        half(k, &layer.post_attention, &mut a.x, &a.context, [&mut a.y, &mut a.up, &mut a.gated]);
        between(k, index + 1, &a.x)?;
    }
    // From the last layer on for the first token of each sequence only: nobody reads the others.
    k.first_tokens(batch, &a.x, &mut a.first);
    let rest = match &w.last {
        Last::FirstToken(last) => {
            k.linear(&a.first, &last.query, Epilogue::Store, &mut a.query);
            a.shape(k, spec, batch.sequences())?;
            k.attention_first(batch, &a.query, &a.x, &last.key_value, &mut a.context);
            &last.rest
        }
        Last::Whole(last) => {
            k.linear(&a.x, &last.qkv, Epilogue::Store, &mut a.qkv);
            attention(k, spec, batch, &last.position_mode, &mut a.qkv, &mut a.context);
            if spec.pooling == Pooling::Mean {
                half(k, &last.post_attention, &mut a.x, &a.context, [&mut a.y, &mut a.up, &mut a.gated]);
                k.mean_tokens(batch, &a.x, &mut a.first);
                return Ok(());
            }
            k.first_tokens(batch, &a.context, &mut a.query);
            a.shape(k, spec, batch.sequences())?;
            std::mem::swap(&mut a.context, &mut a.query);
            &last.post_attention
        }
    };
    half(k, rest, &mut a.first, &a.context, [&mut a.y, &mut a.up, &mut a.gated]);
    Ok(())
}

/// The layers of ModernBERT, from `a.x` to what the head reads in `a.first`: each half of a layer begins with a norm,
/// x = x + attention(norm(x)), x = x + feed_forward(norm(x)), and one more follows the last layer.
fn norm_before<K: Kernels>(
    k: &mut K,
    spec: &Spec,
    w: &Weights<K>,
    a: &mut Activations<K>,
    batch: &PackedBatch,
    between: Between<'_, K>,
) -> Result<()> {
    let attend = |k: &mut K, layer: &Layer<K>, a: &mut Activations<K>| {
        match &layer.post_attention.attention_norm {
            Some(norm) => {
                k.norm(&a.x, norm, &mut a.y);
                k.linear(&a.y, &layer.qkv, Epilogue::Store, &mut a.qkv);
            }
            None => k.linear(&a.x, &layer.qkv, Epilogue::Store, &mut a.qkv),
        }
        attention(k, spec, batch, &layer.position_mode, &mut a.qkv, &mut a.context);
    };
    // The sum ends up in `context`, which it has no more use for.
    let half = |k: &mut K,
                w: &PostAttention<K>,
                x: &mut K::Buf,
                context: &mut K::Buf,
                [y, up, gated]: [&mut K::Buf; 3]| {
        k.linear(context, &w.out, Epilogue::Add(x), y);
        k.norm(y, &w.output_norm, x);
        feed_forward(k, spec, w, x, y, up, gated, context);
        std::mem::swap(x, context);
    };
    for (index, layer) in w.layers.iter().enumerate() {
        attend(k, layer, a);
        half(k, &layer.post_attention, &mut a.x, &mut a.context, [&mut a.y, &mut a.up, &mut a.gated]);
        between(k, index + 1, &a.x)?;
    }
    let Last::Whole(last) = &w.last else { unreachable!("keys that are normed first are never absorbed") };
    attend(k, last, a);
    match spec.pooling {
        Pooling::First => {
            k.first_tokens(batch, &a.x, &mut a.first);
            k.first_tokens(batch, &a.context, &mut a.query);
            a.shape(k, spec, batch.sequences())?;
            half(k, &last.post_attention, &mut a.first, &mut a.query, [&mut a.y, &mut a.up, &mut a.gated]);
            norm_or_swap(k, w.final_norm.as_ref(), &mut a.first, &mut a.query);
            std::mem::swap(&mut a.first, &mut a.query);
        }
        Pooling::Mean => {
            half(k, &last.post_attention, &mut a.x, &mut a.context, [&mut a.y, &mut a.up, &mut a.gated]);
            norm_or_swap(k, w.final_norm.as_ref(), &mut a.x, &mut a.context);
            k.mean_tokens(batch, &a.context, &mut a.first);
        }
    }
    Ok(())
}

/// to = norm(from), or from itself.
fn norm_or_swap<K: Kernels>(k: &mut K, norm: Option<&K::Norm>, from: &mut K::Buf, to: &mut K::Buf) {
    match norm {
        Some(norm) => k.norm(from, norm, to),
        None => std::mem::swap(from, to),
    }
}

/// context `[T,H]` = attention over qkv `[T,3H]`, in which queries and keys may end up rotated.
fn attention<K: Kernels>(
    k: &mut K,
    spec: &Spec,
    batch: &PackedBatch,
    attend: &PositionMode<K>,
    qkv: &mut K::Buf,
    context: &mut K::Buf,
) {
    match attend {
        PositionMode::Content => k.attention(batch, qkv, spec.heads, context),
        PositionMode::Biased(bias) => k.attention_biased(batch, qkv, bias, spec.heads, context),
        PositionMode::Rotary(rotary, reach) => {
            k.rotate(batch, rotary, spec.heads, qkv);
            match reach {
                None => k.attention(batch, qkv, spec.heads, context),
                Some(reach) => k.attention_local(batch, qkv, *reach, spec.heads, context),
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
