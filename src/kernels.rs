//! The op set of the forward pass: the ops that every backend implements, and the contract of each about shapes.
//!
//! Activations are row-major `[rows, features]`. Letters: T tokens, S sequences, H hidden, F feed-forward, N heads,
//! D = H / N head dimension, V vocabulary, L longest sequence.
//!
//! The contract of every op: calls take effect in order; effects are visible only through [`Kernels::read`]; `out` is a
//! different buffer from every input; a row belongs to one sequence from end to end, and no value of one sequence ever
//! enters another. Each output element is one sum in one fixed order, so that its bits depend neither on the other
//! rows, nor on threads, nor on the instruction set.

use crate::error::Result;
use crate::text::batch::PackedBatch;

pub use crate::tensor::{Dtype, OwnedTensor, Tensor};

/// How a linear layer keeps its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightStorage {
    /// Widened to the type that the backend computes in.
    F32,
    /// As they are stored. f16 and bf16 take half the memory and change no bit of a result. [`Dtype::I8`] takes a quarter,
    /// and is multiplied in integers: each row of x is quantized to 8 bits with its
    /// [`QuantParams`](crate::tensor::QuantParams), sums are exact, and each sum is multiplied once by both scales. A
    /// backend may widen instead.
    AsStored,
}

/// The activation functions that supported checkpoints use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x/2 * (1 + erf(x / sqrt 2)).
    Gelu,
    /// x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))).
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// x / (1 + exp(-x)).
    Silu,
    /// Hyperbolic tangent.
    Tanh,
}

/// How [`Kernels::pool`] makes one row of the n rows of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// Their sum divided by n.
    Mean,
    /// Their sum divided by the square root of n.
    MeanSqrtLen,
    /// The sum of i times row i, for i from 1 to n, divided by the sum of these i.
    WeightedMean,
    /// The largest value of each column.
    Max,
    /// The last row.
    Last,
}

/// What [`Kernels::linear`] applies to `x w^T + bias` before it is stored.
#[derive(Debug)]
pub enum Epilogue<'a, Buf: ?Sized> {
    /// Stores the sums as they are.
    Store,
    /// Applies an activation.
    Activate(Activation),
    /// Adds a residual of the output's shape.
    Add(&'a Buf),
}

impl<Buf: ?Sized> Clone for Epilogue<'_, Buf> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Buf: ?Sized> Copy for Epilogue<'_, Buf> {}

/// One linear layer, or one of several layers that are stacked into a single matrix along their output features.
#[derive(Clone, Copy, Debug)]
pub struct LinearPart<'a> {
    /// `[out, in]`.
    pub weight: Tensor<'a>,
    /// `[1, out]`.
    pub bias: Tensor<'a>,
    /// A factor of weight and bias, multiplied in f64 before rounding to f32. 1 unless a factor is folded in.
    pub scale: f64,
}

/// Embeddings of relative positions, and the projections that turn them into queries and keys.
#[derive(Clone, Copy, Debug)]
pub struct RelativePositions<'a, Norm> {
    /// `[R,H]`.
    pub rows: Tensor<'a>,
    /// The norm that is applied to the rows before they are projected.
    pub norm: Option<&'a Norm>,
    /// The projection to queries, scaled like those of tokens.
    pub query: Option<LinearPart<'a>>,
    /// The projection to keys.
    pub key: Option<LinearPart<'a>>,
    /// `2L-1` row numbers, each equal to the one before it or greater by 1: the row of a query and a key is number
    /// `query - key + L - 1`.
    pub row_of: &'a [u32],
}

/// One backend. The `make_` ops prepare weights once per load; the others run once per batch.
pub trait Kernels {
    /// A matrix of activations, in this backend's memory.
    type Buf: Send;
    /// A linear layer after it is packed or uploaded.
    type Linear: Send + Sync;
    /// An embedding table in the checkpoint's own precision.
    type Table: Send + Sync;
    /// Gain, bias and epsilon of a layer norm.
    type Norm: Send + Sync;
    /// Key and value projections of a layer of which only the first token is read.
    type KeyValue: Send + Sync;
    /// What attention adds to its scores by head and relative position.
    type Bias: Send + Sync;
    /// Cosines and sines of rotary positions.
    type Rotary: Send + Sync;
    /// Relative positions as queries and keys, for attention that compares both with them.
    type Relative: Send + Sync;

    /// Stacks `parts` along their output features into one linear layer. Parts of different types are widened.
    fn make_linear(&self, parts: &[LinearPart<'_>], storage: WeightStorage) -> Result<Self::Linear>;
    /// Keeps a table whose rows are looked up by id.
    fn make_table(&self, table: OwnedTensor) -> Result<Self::Table>;
    /// Keeps a layer norm: gain `[1,H]`, bias `[1,H]`.
    fn make_norm(&self, gain: Tensor<'_>, bias: Tensor<'_>, epsilon: f32) -> Result<Self::Norm>;
    /// Prepares key and value projections for [`attention_first`](Self::attention_first).
    fn make_key_value(
        &self,
        key: LinearPart<'_>,
        value: LinearPart<'_>,
        heads: usize,
    ) -> Result<Self::KeyValue>;

    /// Keeps a bias of attention scores `[N, 2L-1]` for sequences of at most L tokens: the bias of a query and a key is in
    /// column `query - key + L - 1`.
    fn make_bias(&self, bias: Tensor<'_>) -> Result<Self::Bias>;
    /// Keeps the rotations of L positions `[L,D]`: in each row D/2 cosines and then D/2 sines.
    fn make_rotary(&self, cos_sin: Tensor<'_>) -> Result<Self::Rotary>;
    /// Projects embeddings of relative positions: see [`RelativePositions`].
    fn make_relative(
        &self,
        positions: RelativePositions<'_, Self::Norm>,
        heads: usize,
    ) -> Result<Self::Relative>;

    /// A buffer of shape `[0,0]`; it grows in [`shape`](Self::shape).
    fn make_buf(&self) -> Self::Buf;
    /// Gives a buffer a shape; its contents become unspecified. Allocates only where the shape is larger than all before.
    fn shape(&mut self, buf: &mut Self::Buf, rows: usize, cols: usize) -> Result<()>;
    /// A buffer holding `values` `[rows, cols]`.
    fn write(&mut self, rows: usize, cols: usize, values: &[f32]) -> Result<Self::Buf>;
    /// Waits for all ops so far and copies a buffer into `out`, row after row. The only op that synchronizes.
    fn read(&mut self, buf: &Self::Buf, out: &mut [f32]) -> Result<()>;

    /// Reserves work space for a batch of this layout. Called once before the ops below.
    fn begin(&mut self, batch: &PackedBatch, hidden: usize, heads: usize) -> Result<()>;

    /// out `[T,H]` = norm(the sum of each token's rows of `word` by token id, `position` by position, and `token_type` by
    /// token type). Every id is in range: the caller has checked.
    fn embed(
        &mut self,
        batch: &PackedBatch,
        word: &Self::Table,
        position: &Self::Table,
        token_type: &Self::Table,
        norm: &Self::Norm,
        out: &mut Self::Buf,
    );

    /// out `[rows, out]` = epilogue(x `[rows, in]` w^T + bias).
    fn linear(
        &mut self,
        x: &Self::Buf,
        w: &Self::Linear,
        epilogue: Epilogue<'_, Self::Buf>,
        out: &mut Self::Buf,
    );

    /// out `[rows, H]` = (x - mean) / sqrt(variance + epsilon) * gain + bias, row by row.
    fn norm(&mut self, x: &Self::Buf, norm: &Self::Norm, out: &mut Self::Buf);

    /// out `[T,H]`: per sequence and head, softmax(q k^T) v. `qkv` is `[T,3H]`: queries already multiplied by 1/sqrt(D),
    /// keys, values; each `[N,D]`.
    fn attention(&mut self, batch: &PackedBatch, qkv: &Self::Buf, heads: usize, out: &mut Self::Buf);

    /// [`attention`](Self::attention) with `bias` added to the scores by head and relative position. No sequence is longer
    /// than the bias was made for.
    fn attention_biased(
        &mut self,
        batch: &PackedBatch,
        qkv: &Self::Buf,
        bias: &Self::Bias,
        heads: usize,
        out: &mut Self::Buf,
    );

    /// [`attention`](Self::attention) in which a query sees the keys that are at most `radius` tokens away.
    fn attention_local(
        &mut self,
        batch: &PackedBatch,
        qkv: &Self::Buf,
        radius: usize,
        heads: usize,
        out: &mut Self::Buf,
    );

    /// [`attention`](Self::attention) with scores (q k + q K\[r\]) + k Q\[r\], where K and Q are the keys and queries of
    /// relative positions and r is the row of this query and key. A term whose projection is missing is left out.
    fn attention_disentangled(
        &mut self,
        batch: &PackedBatch,
        qkv: &Self::Buf,
        relative: &Self::Relative,
        heads: usize,
        out: &mut Self::Buf,
    );

    /// Rotates queries and keys of qkv `[T,3H]` in place, by the position in their sequence: in each head the values x and y
    /// at i and i + D/2 become (x cos - y sin, y cos + x sin).
    fn rotate(&mut self, batch: &PackedBatch, rotary: &Self::Rotary, heads: usize, qkv: &mut Self::Buf);

    /// out `[rows,F]` = f(first half of each row) * second half, for x `[rows,2F]`.
    fn gate(&mut self, x: &Self::Buf, f: Activation, out: &mut Self::Buf);

    /// out `[S,H]` = one row for each sequence's rows of x `[T,H]`, which are summed in their order.
    fn pool(&mut self, batch: &PackedBatch, mode: PoolMode, x: &Self::Buf, out: &mut Self::Buf);

    /// out `[S,H]` = the first row of each sequence of x `[T,H]`.
    fn first_tokens(&mut self, batch: &PackedBatch, x: &Self::Buf, out: &mut Self::Buf);

    /// out `[S,H]`: attention of one query per sequence over that sequence's rows of x `[T,H]`. `q` `[S,H]` holds the queries,
    /// already multiplied by 1/sqrt(D); keys and values are the projections of `x` by `kv`.
    fn attention_first(
        &mut self,
        batch: &PackedBatch,
        q: &Self::Buf,
        x: &Self::Buf,
        kv: &Self::KeyValue,
        out: &mut Self::Buf,
    );
}
