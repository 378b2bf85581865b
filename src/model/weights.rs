//! A load plan -> the [`Weights`] of a backend: tensors are read, converted and packed by several tasks at once.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};
use crate::kernels::{Kernels, LinearPart, OwnedTensor, RelativePositions, WeightStorage};
use crate::model::checkpoint::Checkpoint;
use crate::model::files::ModelFiles;
use crate::model::forward::{
    FirstTokenLayer, HeadWeights, LastLayer, Layer, PositionMode, PostAttention, Weights,
};
use crate::model::matrix::StoredMatrix;
use crate::model::network::{Affine, EncoderLayer, HeadTensors, Network, ResidualTensors};
use crate::model::plan::LoadPlan;
use crate::model::position_tables;
use crate::model::reader::{LoadedTensor, TensorReader};
use crate::model::spec::{Attention, Spec};
use crate::options::Precision;

/// Calls a task for every index below a count, each once, on any threads, and returns when all are done.
pub type ParallelFor<'s> = dyn Fn(usize, &(dyn Fn(usize) + Sync)) -> Result<()> + 's;

/// Runs all tasks on the calling thread.
pub fn serial(count: usize, task: &(dyn Fn(usize) + Sync)) -> Result<()> {
    (0..count).for_each(task);
    Ok(())
}

/// Loads the weights of a model in float32, on the calling thread.
pub fn load_f32<K: Kernels + Sync>(k: &K, spec: &Spec, files: &ModelFiles) -> Result<Weights<K>> {
    let checkpoint = Checkpoint::open(files)?;
    let plan = LoadPlan::new(Network::locate(&checkpoint, spec)?, Precision::F32);
    load_weights(k, &plan, &serial)
}

/// Reads, converts and packs the tensors of a plan, in tasks on the threads of `parallel_for`. The result does not depend on
/// the threads.
pub fn load_weights<K: Kernels + Sync>(
    k: &K,
    plan: &LoadPlan<'_>,
    parallel_for: &ParallelFor<'_>,
) -> Result<Weights<K>> {
    let (spec, network) = (plan.spec(), plan.network());
    let loader = WeightLoader::new(k, plan);
    let shared = SharedPositions::new(&loader, network)?;
    let (last, layers) = network.layers.split_last().expect("a Spec has at least one layer");

    let tasks = load_tasks(layers.len());
    let (word, position, token_type) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
    let (last_attention, head) = (OnceLock::new(), OnceLock::new());
    let (attentions, post_attentions) = (slots(layers.len()), slots(network.layers.len()));
    let run_task = |index: usize| match tasks[index] {
        LoadTask::WordTable => put(&word, loader.table(Some(network.word))),
        LoadTask::PositionTable => put(&position, loader.table(network.position)),
        LoadTask::TokenTypeTable => put(&token_type, loader.table(network.token_type)),
        LoadTask::PostAttention(layer) => {
            put(&post_attentions[layer], loader.post_attention(&network.layers[layer]));
        }
        LoadTask::Attention(layer) => {
            put(&attentions[layer], loader.attention(&shared, &layers[layer], layer));
        }
        LoadTask::LastAttention => {
            put(&last_attention, loader.last_attention(&shared, last, layers.len()));
        }
        LoadTask::Head => put(&head, loader.head(&network.head)),
    };
    parallel_for(tasks.len(), &run_task)?;

    let mut post_attentions = post_attentions.into_iter().map(take);
    let mut post_attention = || post_attentions.next().expect("one for each layer");
    Ok(Weights {
        word: take(word)?,
        position: take(position)?,
        token_type: take(token_type)?,
        embed_norm: loader.norm(network.embed_norm, spec.epsilon)?,
        project: network.project.map(|affine| loader.linear(&[(affine, 1.0)])).transpose()?,
        layers: attentions
            .into_iter()
            .map(|attention| take(attention)?.followed_by(post_attention()))
            .collect::<Result<_>>()?,
        last: match take(last_attention)? {
            LastAttention::FirstToken { query, key_value } => {
                LastLayer::FirstToken(FirstTokenLayer { query, key_value, post_attention: post_attention()? })
            }
            LastAttention::AllTokens(attention) => {
                LastLayer::AllTokens(attention.followed_by(post_attention())?)
            }
        },
        final_norm: network.final_norm.map(|norm| loader.norm(norm, spec.epsilon)).transpose()?,
        head: take(head)?,
    })
}

/// A part of the weights that one thread loads.
#[derive(Clone, Copy)]
enum LoadTask {
    WordTable,
    PostAttention(usize),
    LastAttention,
    Attention(usize),
    Head,
    PositionTable,
    TokenTypeTable,
}

/// The tasks for a network with that many layers before the last, the longest first, so that no thread is left with a long
/// one at the end.
fn load_tasks(layers: usize) -> Vec<LoadTask> {
    std::iter::once(LoadTask::WordTable)
        .chain((0..=layers).map(LoadTask::PostAttention))
        .chain([LoadTask::LastAttention])
        .chain((0..layers).map(LoadTask::Attention))
        .chain([LoadTask::Head, LoadTask::PositionTable, LoadTask::TokenTypeTable])
        .collect()
}

/// A place for the result of each task.
fn slots<T>(count: usize) -> Vec<OnceLock<Result<T>>> {
    (0..count).map(|_| OnceLock::new()).collect()
}

fn put<T>(slot: &OnceLock<Result<T>>, value: Result<T>) {
    // Each task runs once.
    let _ = slot.set(value);
}

fn take<T>(slot: OnceLock<Result<T>>) -> Result<T> {
    let missing = || Err(Error::Internal { message: "a part of the weights was not loaded".into() });
    slot.into_inner().unwrap_or_else(missing)
}

/// A layer up to the end of its attention.
struct AttentionWeights<K: Kernels> {
    qkv: K::Linear,
    position_mode: PositionMode<K>,
}

impl<K: Kernels> AttentionWeights<K> {
    fn followed_by(self, post_attention: Result<PostAttention<K>>) -> Result<Layer<K>> {
        let Self { qkv, position_mode } = self;
        Ok(Layer { qkv, position_mode, post_attention: post_attention? })
    }
}

/// The last layer up to the end of its attention.
enum LastAttention<K: Kernels> {
    FirstToken { query: K::Linear, key_value: K::KeyValue },
    AllTokens(AttentionWeights<K>),
}

/// A linear layer or a norm in memory.
struct LoadedAffine<'r> {
    weight: LoadedTensor<'r>,
    bias: LoadedTensor<'r>,
}

impl LoadedAffine<'_> {
    fn part(&self, scale: f64) -> LinearPart<'_> {
        LinearPart { weight: self.weight.tensor(), bias: self.bias.tensor(), scale }
    }
}

/// Reads parts of the network and hands them to a backend.
struct WeightLoader<'l, K> {
    k: &'l K,
    spec: &'l Spec,
    precision: Precision,
    reader: TensorReader<'l>,
}

impl<'l, K: Kernels> WeightLoader<'l, K> {
    fn new(k: &'l K, plan: &'l LoadPlan<'_>) -> Self {
        let reader = TensorReader::new(plan.network().checkpoint);
        Self { k, spec: plan.spec(), precision: plan.precision(), reader }
    }

    fn attention(
        &self,
        shared: &SharedPositions<K>,
        layer: &EncoderLayer<'_>,
        index: usize,
    ) -> Result<AttentionWeights<K>> {
        let qkv = [(layer.query, query_scale(self.spec)), (layer.key, 1.0), (layer.value, 1.0)];
        let qkv = self.linear(&qkv)?;
        let position_mode = match shared {
            SharedPositions::Content => PositionMode::Content,
            SharedPositions::Bias(bias) => PositionMode::Biased(Arc::clone(bias)),
            SharedPositions::Rotary { global, local } => match (&self.spec.attention, local) {
                (Attention::Rotary { window: Some(window), .. }, Some(local)) if window.layers[index] => {
                    PositionMode::Rotary(Arc::clone(local), Some(window.radius))
                }
                _ => PositionMode::Rotary(Arc::clone(global), None),
            },
            SharedPositions::Relative { embeddings, norm, row_of, queries, keys } => {
                let [query, key] = self.read_affine([layer.query, layer.key], self.precision)?;
                let relative = RelativePositions {
                    rows: embeddings.tensor(),
                    norm: norm.as_ref(),
                    query: queries.then(|| query.part(query_scale(self.spec))),
                    key: keys.then(|| key.part(1.0)),
                    row_of,
                };
                PositionMode::Disentangled(self.k.make_relative(relative, self.spec.heads)?)
            }
        };
        Ok(AttentionWeights { qkv, position_mode })
    }

    fn last_attention(
        &self,
        shared: &SharedPositions<K>,
        last: &EncoderLayer<'_>,
        index: usize,
    ) -> Result<LastAttention<K>> {
        if !self.spec.absorbs_last_layer() {
            return Ok(LastAttention::AllTokens(self.attention(shared, last, index)?));
        }
        let query = self.linear(&[(last.query, query_scale(self.spec))])?;
        let [key, value] = self.read_affine([last.key, last.value], self.precision)?;
        let key_value = self.k.make_key_value(key.part(1.0), value.part(1.0), self.spec.heads)?;
        Ok(LastAttention::FirstToken { query, key_value })
    }

    fn post_attention(&self, layer: &EncoderLayer<'_>) -> Result<PostAttention<K>> {
        let up: Vec<_> = layer.up.iter().map(|up| (*up, 1.0)).collect();
        let norm = |affine: Affine<'_>| self.norm(affine, self.spec.epsilon);
        Ok(PostAttention {
            out: self.linear(&[(layer.out, 1.0)])?,
            attention_norm: layer.attention_norm.map(norm).transpose()?,
            up: self.linear(&up)?,
            down: self.linear(&[(layer.down, 1.0)])?,
            output_norm: norm(layer.output_norm)?,
        })
    }

    /// One of the encoder's linear layers, of parts with a factor each.
    fn linear(&self, parts: &[(Affine<'_>, f64)]) -> Result<K::Linear> {
        let affine: Vec<_> = parts.iter().map(|(affine, _)| *affine).collect();
        let loaded = self.read_affines(&affine, self.precision)?;
        let parts: Vec<_> =
            loaded.iter().zip(parts).map(|(affine, (_, scale))| affine.part(*scale)).collect();
        let storage = match self.precision {
            Precision::F32 | Precision::Auto => WeightStorage::F32,
            Precision::F16Weights | Precision::Int8 => WeightStorage::AsStored,
        };
        self.k.make_linear(&parts, storage)
    }

    fn head(&self, layers: &[HeadTensors<'_>]) -> Result<Vec<HeadWeights<K>>> {
        let layer = |layer: &HeadTensors<'_>| match layer {
            HeadTensors::Dense { linear, residual } => Ok(HeadWeights::Dense {
                linear: self.head_linear(*linear)?,
                residual: match residual {
                    ResidualTensors::None => None,
                    ResidualTensors::Input(features) => Some(self.identity(*features)?),
                    ResidualTensors::Projected(residual) => Some(self.head_linear(*residual)?),
                },
            }),
            HeadTensors::Norm { norm, epsilon } => Ok(HeadWeights::Norm(self.norm(*norm, *epsilon)?)),
        };
        layers.iter().map(layer).collect()
    }

    /// The linear layer whose result is its input.
    fn identity(&self, features: usize) -> Result<K::Linear> {
        let mut values = vec![0.0; features * features];
        values.iter_mut().step_by(features + 1).for_each(|diagonal| *diagonal = 1.0);
        let weight = LoadedTensor::from_values(features, features, &values);
        let affine = LoadedAffine { weight, bias: LoadedTensor::zeros(features) };
        self.k.make_linear(&[affine.part(1.0)], WeightStorage::F32)
    }

    /// A linear layer of the head. It stays in float32: it is small, and no later layer averages its rounding errors out.
    fn head_linear(&self, affine: Affine<'_>) -> Result<K::Linear> {
        let [affine] = self.read_affine([affine], Precision::F32)?;
        self.k.make_linear(&[affine.part(1.0)], WeightStorage::F32)
    }

    fn norm(&self, norm: Affine<'_>, epsilon: f32) -> Result<K::Norm> {
        let [norm] = self.read_affine([norm], Precision::F32)?;
        self.k.make_norm(norm.weight.tensor(), norm.bias.tensor(), epsilon)
    }

    /// In place of a table that a family does not have, one row of zeros: adding it changes no bit, and `forward` needs no
    /// second way to embed.
    fn table(&self, matrix: Option<StoredMatrix<'_>>) -> Result<K::Table> {
        self.k.make_table(match matrix {
            Some(matrix) => self.reader.read_owned(matrix, self.precision)?,
            None => LoadedTensor::zeros(self.spec.embedding).tensor().into(),
        })
    }

    fn read_affine<const N: usize>(
        &self,
        affine: [Affine<'_>; N],
        precision: Precision,
    ) -> Result<[LoadedAffine<'_>; N]> {
        let loaded = self.read_affines(&affine, precision)?.try_into();
        loaded.map_err(|_| Error::Internal { message: "other weights were read than asked for".into() })
    }

    /// Weights, converted to `precision`, and their biases.
    fn read_affines(&self, affine: &[Affine<'_>], precision: Precision) -> Result<Vec<LoadedAffine<'_>>> {
        let matrices = affine.iter().flat_map(|affine| [Some(affine.weight), affine.bias]).flatten();
        let mut loaded = self.reader.read_staged(matrices, precision)?.into_iter();
        let mut next = || loaded.next().expect("one for each matrix");
        let pairs = affine.iter().map(|affine| {
            let weight = next();
            let outputs = if affine.weight.is_vector() { weight.cols() } else { weight.rows() };
            let bias = if affine.bias.is_some() { next() } else { LoadedTensor::zeros(outputs) };
            LoadedAffine { weight, bias }
        });
        Ok(pairs.collect())
    }
}

/// The factor of the queries' weights, in which attention's scaling is done once: scores are divided by the square root of
/// the head dimension times the number of their terms (content to content, and those with relative positions).
fn query_scale(spec: &Spec) -> f64 {
    let terms = match spec.attention {
        Attention::Disentangled { content_to_position, position_to_content, .. } => {
            1 + usize::from(content_to_position) + usize::from(position_to_content)
        }
        _ => 1,
    };
    1.0 / ((spec.hidden / spec.heads * terms) as f64).sqrt()
}

/// What attention needs to see positions, as far as the layers share it.
enum SharedPositions<K: Kernels> {
    Content,
    Bias(Arc<K::Bias>),
    Rotary {
        global: Arc<K::Rotary>,
        /// For layers with a sliding window.
        local: Option<Arc<K::Rotary>>,
    },
    Relative {
        embeddings: OwnedTensor,
        norm: Option<K::Norm>,
        /// The row of `embeddings` for each relative position.
        row_of: Vec<u32>,
        /// Whether relative positions are projected to queries, and to keys.
        queries: bool,
        keys: bool,
    },
}

impl<K: Kernels> SharedPositions<K> {
    fn new(loader: &WeightLoader<'_, K>, network: &Network<'_>) -> Result<Self> {
        let spec = loader.spec;
        let (tokens, heads, head_dim) = (spec.max_tokens, spec.heads, spec.hidden / spec.heads);
        let read_table = || {
            let table = network.relative_table.expect("located for this kind of attention");
            loader.reader.read_owned(table, Precision::F32)
        };
        let rotary = |theta: f64, ntk_factor: f64| {
            let values = position_tables::cos_sin(theta, ntk_factor, head_dim, tokens);
            let cos_sin = LoadedTensor::from_values(tokens, head_dim, &values);
            loader.k.make_rotary(cos_sin.tensor()).map(Arc::new)
        };
        let bias = |values: &[f32]| {
            let bias = LoadedTensor::from_values(heads, 2 * tokens - 1, values);
            Ok(Self::Bias(Arc::new(loader.k.make_bias(bias.tensor())?)))
        };
        match &spec.attention {
            Attention::Content => Ok(Self::Content),
            Attention::Alibi => bias(&position_tables::alibi(heads, tokens)),
            Attention::Buckets { count } => {
                let table = read_table()?.tensor().values();
                let of_head = |head: usize| {
                    let table = &table;
                    position_tables::buckets(*count, tokens).map(move |bucket| table[bucket * heads + head])
                };
                bias(&(0..heads).flat_map(of_head).collect::<Vec<_>>())
            }
            Attention::Rotary { theta, ntk_factor, window } => {
                let local = window.as_ref().map(|window| rotary(window.theta, *ntk_factor)).transpose()?;
                Ok(Self::Rotary { global: rotary(*theta, *ntk_factor)?, local })
            }
            Attention::Disentangled {
                rows_per_side,
                max_position,
                content_to_position,
                position_to_content,
                ..
            } => Ok(Self::Relative {
                embeddings: read_table()?,
                norm: network.relative_norm.map(|norm| loader.norm(norm, spec.epsilon)).transpose()?,
                row_of: position_tables::embedding_rows(*rows_per_side, *max_position, tokens),
                queries: *position_to_content,
                keys: *content_to_position,
            }),
        }
    }
}
