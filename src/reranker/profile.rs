//! Time and operations of each stage of the computation: a backend that calls another one and measures each op.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::error::Result;
use crate::kernels::{
    Activation, Epilogue, Kernels, LinearPart, OwnedTensor, PoolMode, RelativePositions, Tensor,
    WeightStorage,
};
use crate::text::batch::PackedBatch;

/// A part of the computation of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Tokenization.
    Tokenize,
    /// Rows of the embedding tables, added and normed.
    Embed,
    /// Linear layers of the encoder that are computed for every token, with their epilogues.
    Linear,
    /// Attention of every layer, with the rotations of queries and keys before it. Where the last layer is computed for the
    /// first token only, with the projections of its keys and values.
    Attention,
    /// Layer norms of every token, except that of [`Embed`](Self::Embed).
    Norm,
    /// Everything that is computed once per pair: the last layer after its attention where only its first token is read,
    /// what is pooled of all tokens, and the layers that compute logits.
    Head,
}

impl Stage {
    /// Every stage, in the order of the computation.
    pub const ALL: [Self; 6] =
        [Self::Tokenize, Self::Embed, Self::Linear, Self::Attention, Self::Norm, Self::Head];

    /// Its name in output: `tokenize`, `embed`, `linear`, `attention`, `norm` or `head`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokenize => "tokenize",
            Self::Embed => "embed",
            Self::Linear => "linear",
            Self::Attention => "attention",
            Self::Norm => "norm",
            Self::Head => "head",
        }
    }
}

/// The time and the operations of one stage.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StageTime {
    /// Which stage.
    pub stage: Stage,
    /// Thread-milliseconds: the sum over threads. A group that all threads share counts the time of all of them.
    pub thread_ms: f64,
    /// Floating-point or integer operations of matrix products: two per multiply-add. Masked or unread elements do not
    /// count. 0 for stages without matrix products.
    pub operations: u64,
}

/// Time and operations by stage, summed over all threads.
#[derive(Default)]
pub struct Counters {
    nanoseconds: [AtomicU64; Stage::ALL.len()],
    operations: [AtomicU64; Stage::ALL.len()],
}

impl Counters {
    /// Runs `work`, which occupies `threads` threads, and adds its time to the stage.
    pub fn time<T>(&self, stage: Stage, threads: usize, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = work();
        let nanoseconds = start.elapsed().as_nanos() as u64 * threads as u64;
        self.nanoseconds[stage as usize].fetch_add(nanoseconds, Ordering::Relaxed);
        value
    }

    /// Returns the counters and sets them to zero.
    pub fn take(&self) -> Vec<StageTime> {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        let time = |stage: Stage| StageTime {
            stage,
            thread_ms: take(&self.nanoseconds[stage as usize]) as f64 / 1e6,
            operations: take(&self.operations[stage as usize]),
        };
        Stage::ALL.map(time).to_vec()
    }
}

/// A backend that measures each op of another one, if there are counters.
pub struct TimedKernels<K> {
    kernels: K,
    counters: Option<Arc<Counters>>,
    /// Threads that each op occupies.
    threads: usize,
    /// Tokens of the current batch.
    tokens: usize,
    /// Sequences of the current batch.
    sequences: usize,
}

/// A buffer and its shape.
pub struct ShapedBuf<B> {
    buf: B,
    rows: usize,
    cols: usize,
}

/// A linear layer and its number of input features.
pub struct SizedLinear<L> {
    linear: L,
    inputs: usize,
}

/// The key and value projections of [`Kernels::attention_first`], and the number of heads.
pub struct CountedKeyValue<V> {
    key_value: V,
    heads: usize,
}

/// Relative positions, and what is needed to count the operations of their products.
pub struct CountedRelative<R> {
    relative: R,
    /// Products with relative positions, by queries and by keys: 0, 1 or 2.
    products: usize,
    row_of: Vec<u32>,
}

impl<R> CountedRelative<R> {
    /// Rows that occur in a sequence of `len` tokens: row numbers never fall and rise by at most 1.
    fn rows(&self, len: usize) -> usize {
        let middle = self.row_of.len() / 2;
        (self.row_of[middle + len - 1] - self.row_of[middle + 1 - len]) as usize + 1
    }
}

impl<K: Kernels> TimedKernels<K> {
    /// Measures into `counters`; without any, only forwards.
    pub fn new(kernels: K, counters: Option<Arc<Counters>>, threads: usize) -> Self {
        Self { kernels, counters, threads, tokens: 0, sequences: 0 }
    }

    fn op<T>(&mut self, stage: Stage, operations: impl FnOnce() -> usize, op: impl FnOnce(&mut K) -> T) -> T {
        let Some(counters) = &self.counters else { return op(&mut self.kernels) };
        counters.operations[stage as usize].fetch_add(operations() as u64, Ordering::Relaxed);
        counters.time(stage, self.threads, || op(&mut self.kernels))
    }

    /// `stage`, or [`Stage::Head`] for an op whose output has one row per pair instead of one per token.
    fn stage_of(&self, stage: Stage, out: &ShapedBuf<K::Buf>) -> Stage {
        if out.rows == self.sequences && out.rows < self.tokens { Stage::Head } else { stage }
    }
}

/// Operations of attention: scores and their product with the values. `pairs` is the number of (query, key) pairs of a
/// sequence by its length.
fn attention_operations(batch: &PackedBatch, hidden: usize, pairs: impl Fn(usize) -> usize) -> usize {
    batch.rows().map(|rows| 4 * hidden * pairs(rows.len())).sum()
}

impl<K: Kernels> Kernels for TimedKernels<K> {
    type Buf = ShapedBuf<K::Buf>;
    type Linear = SizedLinear<K::Linear>;
    type Table = K::Table;
    type Norm = K::Norm;
    type KeyValue = CountedKeyValue<K::KeyValue>;
    type Bias = K::Bias;
    type Rotary = K::Rotary;
    type Relative = CountedRelative<K::Relative>;

    fn make_linear(&self, parts: &[LinearPart<'_>], storage: WeightStorage) -> Result<Self::Linear> {
        let inputs = parts.first().map_or(0, |part| part.weight.cols);
        Ok(SizedLinear { linear: self.kernels.make_linear(parts, storage)?, inputs })
    }

    fn make_table(&self, table: OwnedTensor) -> Result<Self::Table> {
        self.kernels.make_table(table)
    }

    fn make_norm(&self, gain: Tensor<'_>, bias: Tensor<'_>, epsilon: f32) -> Result<Self::Norm> {
        self.kernels.make_norm(gain, bias, epsilon)
    }

    fn make_key_value(
        &self,
        key: LinearPart<'_>,
        value: LinearPart<'_>,
        heads: usize,
    ) -> Result<Self::KeyValue> {
        Ok(CountedKeyValue { key_value: self.kernels.make_key_value(key, value, heads)?, heads })
    }

    fn make_bias(&self, bias: Tensor<'_>) -> Result<Self::Bias> {
        self.kernels.make_bias(bias)
    }

    fn make_rotary(&self, cos_sin: Tensor<'_>) -> Result<Self::Rotary> {
        self.kernels.make_rotary(cos_sin)
    }

    fn make_relative(
        &self,
        positions: RelativePositions<'_, Self::Norm>,
        heads: usize,
    ) -> Result<Self::Relative> {
        Ok(CountedRelative {
            products: usize::from(positions.query.is_some()) + usize::from(positions.key.is_some()),
            row_of: positions.row_of.to_vec(),
            relative: self.kernels.make_relative(positions, heads)?,
        })
    }

    fn make_buf(&self) -> Self::Buf {
        ShapedBuf { buf: self.kernels.make_buf(), rows: 0, cols: 0 }
    }

    fn shape(&mut self, buf: &mut Self::Buf, rows: usize, cols: usize) -> Result<()> {
        (buf.rows, buf.cols) = (rows, cols);
        self.kernels.shape(&mut buf.buf, rows, cols)
    }

    fn write(&mut self, rows: usize, cols: usize, values: &[f32]) -> Result<Self::Buf> {
        Ok(ShapedBuf { buf: self.kernels.write(rows, cols, values)?, rows, cols })
    }

    fn read(&mut self, buf: &Self::Buf, out: &mut [f32]) -> Result<()> {
        self.op(Stage::Head, || 0, |k| k.read(&buf.buf, out))
    }

    fn begin(&mut self, batch: &PackedBatch, hidden: usize, heads: usize) -> Result<()> {
        (self.tokens, self.sequences) = (batch.tokens(), batch.sequences());
        self.kernels.begin(batch, hidden, heads)
    }

    fn embed(
        &mut self,
        batch: &PackedBatch,
        word: &Self::Table,
        position: &Self::Table,
        token_type: &Self::Table,
        norm: &Self::Norm,
        out: &mut Self::Buf,
    ) {
        self.op(Stage::Embed, || 0, |k| k.embed(batch, word, position, token_type, norm, &mut out.buf));
    }

    fn linear(
        &mut self,
        x: &Self::Buf,
        w: &Self::Linear,
        epilogue: Epilogue<'_, Self::Buf>,
        out: &mut Self::Buf,
    ) {
        let epilogue = match epilogue {
            Epilogue::Store => Epilogue::Store,
            Epilogue::Activate(f) => Epilogue::Activate(f),
            Epilogue::Add(residual) => Epilogue::Add(&residual.buf),
        };
        let stage = self.stage_of(Stage::Linear, out);
        let operations = 2 * out.rows * out.cols * w.inputs;
        self.op(stage, || operations, |k| k.linear(&x.buf, &w.linear, epilogue, &mut out.buf));
    }

    fn norm(&mut self, x: &Self::Buf, norm: &Self::Norm, out: &mut Self::Buf) {
        self.op(self.stage_of(Stage::Norm, out), || 0, |k| k.norm(&x.buf, norm, &mut out.buf));
    }

    fn attention(&mut self, batch: &PackedBatch, qkv: &Self::Buf, heads: usize, out: &mut Self::Buf) {
        let operations = || attention_operations(batch, qkv.cols / 3, |len| len * len);
        self.op(Stage::Attention, operations, |k| k.attention(batch, &qkv.buf, heads, &mut out.buf));
    }

    fn attention_biased(
        &mut self,
        batch: &PackedBatch,
        qkv: &Self::Buf,
        bias: &Self::Bias,
        heads: usize,
        out: &mut Self::Buf,
    ) {
        let operations = || attention_operations(batch, qkv.cols / 3, |len| len * len);
        let op = |k: &mut K| k.attention_biased(batch, &qkv.buf, bias, heads, &mut out.buf);
        self.op(Stage::Attention, operations, op);
    }

    fn attention_local(
        &mut self,
        batch: &PackedBatch,
        qkv: &Self::Buf,
        radius: usize,
        heads: usize,
        out: &mut Self::Buf,
    ) {
        // Each query attends to itself and to up to `radius` keys on each side.
        let pairs = |len: usize| (0..len).map(|at| at.min(radius) + 1 + (len - 1 - at).min(radius)).sum();
        let op = |k: &mut K| k.attention_local(batch, &qkv.buf, radius, heads, &mut out.buf);
        self.op(Stage::Attention, || attention_operations(batch, qkv.cols / 3, pairs), op);
    }

    fn attention_disentangled(
        &mut self,
        batch: &PackedBatch,
        qkv: &Self::Buf,
        relative: &Self::Relative,
        heads: usize,
        out: &mut Self::Buf,
    ) {
        let operations = || {
            let relative_products = |len| 2 * relative.products * len * relative.rows(len) * (qkv.cols / 3);
            let content = attention_operations(batch, qkv.cols / 3, |len| len * len);
            content + batch.rows().map(|rows| relative_products(rows.len())).sum::<usize>()
        };
        let op =
            |k: &mut K| k.attention_disentangled(batch, &qkv.buf, &relative.relative, heads, &mut out.buf);
        self.op(Stage::Attention, operations, op);
    }

    fn rotate(&mut self, batch: &PackedBatch, rotary: &Self::Rotary, heads: usize, qkv: &mut Self::Buf) {
        self.op(Stage::Attention, || 0, |k| k.rotate(batch, rotary, heads, &mut qkv.buf));
    }

    fn gate(&mut self, x: &Self::Buf, f: Activation, out: &mut Self::Buf) {
        self.op(self.stage_of(Stage::Linear, out), || 0, |k| k.gate(&x.buf, f, &mut out.buf));
    }

    fn pool(&mut self, batch: &PackedBatch, mode: PoolMode, x: &Self::Buf, out: &mut Self::Buf) {
        self.op(Stage::Head, || 0, |k| k.pool(batch, mode, &x.buf, &mut out.buf));
    }

    fn first_tokens(&mut self, batch: &PackedBatch, x: &Self::Buf, out: &mut Self::Buf) {
        self.op(Stage::Head, || 0, |k| k.first_tokens(batch, &x.buf, &mut out.buf));
    }

    fn attention_first(
        &mut self,
        batch: &PackedBatch,
        q: &Self::Buf,
        x: &Self::Buf,
        kv: &Self::KeyValue,
        out: &mut Self::Buf,
    ) {
        // Per pair both projections, [H,H]; per token and head the score of a row of x and its part of the weighted mean.
        let hidden = x.cols;
        let operations = || 4 * q.rows * hidden * hidden + 4 * x.rows * kv.heads * hidden;
        let op = |k: &mut K| k.attention_first(batch, &q.buf, &x.buf, &kv.key_value, &mut out.buf);
        self.op(Stage::Attention, operations, op);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Backend;
    use crate::rerank_options::RerankOptions;
    use crate::reranker::Reranker;
    use crate::reranker::builder::RerankerBuilder;

    fn load(family: &str, builder: RerankerBuilder) -> Reranker {
        let root = env!("CARGO_MANIFEST_DIR");
        builder.load(format!("{root}/tests/fixtures/{family}")).unwrap()
    }

    /// One call with `count` equal documents: its stages, indexed by `Stage as usize`, and the tokens of each pair.
    fn call(model: &Reranker, count: usize) -> (Vec<StageTime>, usize) {
        let document = "a planet and its moons ".repeat(4);
        let ranking = model.rerank("planet", &vec![&document; count], &RerankOptions::new()).unwrap();
        (model.take_profile(), ranking.usage.tokens / count)
    }

    #[test]
    fn operations_are_those_of_the_networks_products() {
        let model = load("bert", Reranker::builder().threads(2).profile(true));
        let info = model.info();
        let (layers, hidden, wide) = (info.layers, info.hidden, info.intermediate);
        for count in [1, 3, 40] {
            let (stages, tokens) = call(&model, count);
            let operations = Stage::ALL.map(|stage| stages[stage as usize].operations as usize);
            // In every layer but the last: queries, keys, values and output; up and down.
            let linear = 2 * count * tokens * hidden * (4 * hidden + 2 * wide) * (layers - 1);
            let attention = 4 * count * tokens * tokens * hidden * (layers - 1);
            let first = count * (4 * hidden * hidden + 4 * tokens * info.heads * hidden);
            // In the last layer queries, output, up and down; then dense and one label.
            let head = 2 * count * hidden * (2 * hidden + 2 * wide + hidden + 1);
            assert_eq!(operations, [0, 0, linear, attention + first, 0, head], "{count} pairs of {tokens}");
            assert!(stages.iter().all(|stage| stage.thread_ms > 0.0), "{stages:?}");
            assert!(model.take_profile().iter().all(|stage| stage.thread_ms == 0.0 && stage.operations == 0));
        }
    }

    #[test]
    fn local_and_disentangled_attention_count_only_the_pairs_they_compute() {
        let batch = |len| PackedBatch { ids: vec![0; len], starts: vec![0, len], ..PackedBatch::default() };
        let mut timed = TimedKernels::new(crate::reference::Reference, Some(Arc::default()), 1);
        let (batch, hidden) = (batch(5), 2);
        timed.begin(&batch, hidden, 1).unwrap();
        let qkv = timed.write(5, 3 * hidden, &[0.5; 30]).unwrap();
        let mut out = timed.make_buf();
        timed.shape(&mut out, 5, hidden).unwrap();
        // Of 25 (query, key) pairs, the 13 at most one token apart.
        timed.attention_local(&batch, &qkv, 1, 1, &mut out);
        let counters = Arc::clone(timed.counters.as_ref().unwrap());
        assert_eq!(counters.take()[Stage::Attention as usize].operations, 4 * 2 * 13);
        // Nine relative positions in three rows: sequences of four tokens use all of them, of two tokens two.
        let relative = CountedRelative { relative: (), products: 2, row_of: vec![0, 0, 0, 1, 1, 2, 2, 2, 2] };
        assert_eq!([5, 4, 2, 1].map(|len| relative.rows(len)), [3, 3, 2, 1]);
    }

    #[test]
    fn a_profile_changes_no_bit_and_is_empty_unless_enabled() {
        for family in ["bert", "modernbert", "deberta-v2", "mpnet"] {
            for backend in [Backend::Cpu, Backend::Reference] {
                let builder = Reranker::builder().backend(backend).threads(1);
                let (plain, profiled) = (load(family, builder.clone()), load(family, builder.profile(true)));
                let pairs = [("planet", "moon"), ("a planet", "a moon of another planet")];
                assert_eq!(plain.score(&pairs).unwrap(), profiled.score(&pairs).unwrap());
                assert_eq!(plain.take_profile(), []);
                assert!(profiled.take_profile()[Stage::Attention as usize].operations > 0, "{family}");
            }
        }
    }

    #[test]
    fn an_op_that_threads_share_counts_the_time_of_all_of_them() {
        let counters = Counters::default();
        counters.time(Stage::Norm, 3, || std::thread::sleep(std::time::Duration::from_millis(2)));
        assert!(counters.take()[Stage::Norm as usize].thread_ms >= 6.0);
    }
}
