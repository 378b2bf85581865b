//! THE forward pass, written once for every backend.

use crate::error::Result;
use crate::kernels::{Kernels, Then};
use crate::model::spec::Spec;
use crate::text::batch::PackedBatch;

/// The weights of a model as backend `K` holds them.
pub struct Weights<K: Kernels + ?Sized> {
    /// Word table `[V,E]`.
    pub word: K::Table,
    /// Position table.
    pub position: K::Table,
    /// Segment table.
    pub kind: K::Table,
    /// Norm of the embeddings.
    pub embed_norm: K::Norm,
    /// Embeddings E -> H, where E is not H.
    pub project: Option<K::Linear>,
    /// All layers but the last.
    pub layers: Vec<Layer<K>>,
    /// The last layer, of which only the first token is read.
    pub last: LastLayer<K>,
    /// First linear layer of the head.
    pub dense: K::Linear,
    /// Second linear layer of the head: one output per label.
    pub classifier: K::Linear,
}

/// One encoder layer.
pub struct Layer<K: Kernels + ?Sized> {
    /// Queries (scaled by 1/sqrt(D)), keys and values as one layer H -> 3H.
    pub qkv: K::Linear,
    /// Everything after attention.
    pub rest: Rest<K>,
}

/// The last encoder layer.
pub struct LastLayer<K: Kernels + ?Sized> {
    /// Queries, scaled by 1/sqrt(D).
    pub query: K::Linear,
    /// Keys and values.
    pub key_value: K::KeyValue,
    /// Everything after attention.
    pub rest: Rest<K>,
}

/// What follows attention in every layer.
pub struct Rest<K: Kernels + ?Sized> {
    /// Attention's output projection H -> H.
    pub out: K::Linear,
    /// Norm after attention.
    pub attention_norm: K::Norm,
    /// Feed-forward H -> F.
    pub up: K::Linear,
    /// Feed-forward F -> H.
    pub down: K::Linear,
    /// Norm after the feed-forward.
    pub output_norm: K::Norm,
}

/// The activations of one run; reused, so that a warm run allocates nothing.
pub struct Activations<K: Kernels + ?Sized> {
    x: K::Buf,
    y: K::Buf,
    qkv: K::Buf,
    context: K::Buf,
    up: K::Buf,
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
            first: buf(),
            query: buf(),
            logits: buf(),
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
    k.shape(&mut a.y, tokens, hidden)?;
    k.shape(&mut a.qkv, tokens, 3 * hidden)?;
    k.shape(&mut a.context, tokens, hidden)?;
    k.shape(&mut a.up, tokens, spec.intermediate)?;
    k.shape(&mut a.first, sequences, hidden)?;
    k.shape(&mut a.query, sequences, hidden)?;
    k.shape(&mut a.logits, sequences, spec.labels.len())?;

    match &w.project {
        None => k.embed(batch, &w.word, &w.position, &w.kind, &w.embed_norm, &mut a.x),
        Some(project) => {
            k.shape(&mut a.y, tokens, spec.embedding)?;
            k.embed(batch, &w.word, &w.position, &w.kind, &w.embed_norm, &mut a.y);
            k.linear(&a.y, project, Then::Store, &mut a.x);
            k.shape(&mut a.y, tokens, hidden)?;
        }
    }
    between(k, 0, &a.x)?;
    for (index, layer) in w.layers.iter().enumerate() {
        k.linear(&a.x, &layer.qkv, Then::Store, &mut a.qkv);
        k.attention(batch, &a.qkv, spec.heads, &mut a.context);
        rest(k, spec, &layer.rest, &mut a.x, &a.context, &mut a.y, &mut a.up);
        between(k, index + 1, &a.x)?;
    }

    // The last layer for the first token of each sequence only: nobody reads the others.
    k.first_tokens(batch, &a.x, &mut a.first);
    k.linear(&a.first, &w.last.query, Then::Store, &mut a.query);
    k.shape(&mut a.context, sequences, hidden)?;
    k.shape(&mut a.y, sequences, hidden)?;
    k.shape(&mut a.up, sequences, spec.intermediate)?;
    k.attention_first(batch, &a.query, &a.x, &w.last.key_value, &mut a.context);
    rest(k, spec, &w.last.rest, &mut a.first, &a.context, &mut a.y, &mut a.up);

    k.linear(&a.first, &w.dense, Then::Activate(spec.head_activation), &mut a.query);
    k.linear(&a.query, &w.classifier, Then::Store, &mut a.logits);
    k.read(&a.logits, logits)
}

/// x = norm(y + down(act(up(y)))) where y = norm(x + out(context)): the second half of a layer, in place.
fn rest<K: Kernels>(
    k: &mut K,
    spec: &Spec,
    w: &Rest<K>,
    x: &mut K::Buf,
    context: &K::Buf,
    y: &mut K::Buf,
    up: &mut K::Buf,
) {
    k.linear(context, &w.out, Then::Add(x), y);
    k.norm(y, &w.attention_norm, x);
    k.linear(x, &w.up, Then::Activate(spec.activation), up);
    k.linear(up, &w.down, Then::Add(x), y);
    k.norm(y, &w.output_norm, x);
}
