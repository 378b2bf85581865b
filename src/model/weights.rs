//! The located tensors of a network -> the [`Weights`] of a backend.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};
use crate::kernels::{Kernels, LinearPart, OwnedTensor, RelativePositions, WeightStorage};
use crate::model::checkpoint::{Checkpoint, Loaded, Matrix};
use crate::model::distance;
use crate::model::forward::{FirstToken, Last, Layer, PositionMode, PostAttention, Weights};
use crate::model::network::{Affine, EncoderLayer, Network};
use crate::model::spec::{Attention, Spec};
use crate::options::Precision;

/// Calls a task for every index below a count, each once, on any threads, and returns when all are done.
pub type ParallelFor<'s> = dyn Fn(usize, &(dyn Fn(usize) + Sync)) -> Result<()> + 's;

/// One thread does it all.
pub fn serial(count: usize, task: &(dyn Fn(usize) + Sync)) -> Result<()> {
    (0..count).for_each(task);
    Ok(())
}

impl Checkpoint<'_> {
    /// Reads, checks and packs the tensors that `spec` asks for.
    pub fn load<K: Kernels + Sync>(&self, k: &K, spec: &Spec) -> Result<Weights<K>> {
        self.load_on(k, spec, &serial)
    }

    /// [`load`](Self::load), its parts on the threads of `spread`. The result does not depend on them.
    pub fn load_on<K: Kernels + Sync>(
        &self,
        k: &K,
        spec: &Spec,
        spread: &ParallelFor<'_>,
    ) -> Result<Weights<K>> {
        let network = Network::locate(self, spec)?;
        let shared = Shared::new(self, k, spec, &network)?;
        let (last, layers) = network.layers.split_last().expect("a Spec has at least one layer");
        // The head stays in floats: it is small, and the last to round.
        let head = |affine: Affine<'_>| {
            let [affine] = self.read_affine([affine], Precision::F32)?;
            k.make_linear(&[affine.part(1.0)], WeightStorage::F32)
        };
        let (count, before) = (network.layers.len(), layers.len());
        let parts = std::iter::once(Piece::Word).chain((0..count).map(Piece::Rest));
        let parts = parts.chain([Piece::LastAttention]).chain((0..before).map(Piece::Attention));
        let parts: Vec<_> = parts.chain([Piece::Dense, Piece::Position, Piece::Kind]).collect();
        let (word, position, kind) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let (rests, attentions) = (slots(count), slots(before));
        let (last_attention, dense) = (OnceLock::new(), OnceLock::new());
        let make = |index: usize| match parts[index] {
            Piece::Word => put(&word, self.table(k, Some(network.word), spec)),
            Piece::Rest(index) => put(&rests[index], self.rest(k, spec, &network.layers[index])),
            Piece::LastAttention => {
                put(&last_attention, self.last_attention(k, spec, &shared, last, before));
            }
            Piece::Attention(index) => {
                put(&attentions[index], self.attention(k, spec, &shared, &layers[index], index));
            }
            Piece::Dense => put(&dense, head(network.dense)),
            Piece::Position => put(&position, self.table(k, network.position, spec)),
            Piece::Kind => put(&kind, self.table(k, network.token_type, spec)),
        };
        spread(parts.len(), &make)?;
        let mut rests = rests.into_iter().map(take);
        let mut rest = || rests.next().expect("one for each layer");

        let project = |affine: Affine<'_>| self.linear(k, spec, &[(affine, 1.0)]);
        let norm =
            |norm: Option<Affine<'_>>, epsilon| norm.map(|norm| self.norm(k, norm, epsilon)).transpose();
        let head_epsilon = spec.head.as_ref().map_or(spec.epsilon, |head| head.epsilon);
        Ok(Weights {
            word: take(word)?,
            position: take(position)?,
            token_type: take(kind)?,
            embed_norm: self.norm(k, network.embed_norm, spec.epsilon)?,
            project: network.project.map(project).transpose()?,
            layers: attentions
                .into_iter()
                .map(|attention| {
                    let (qkv, attend) = take(attention)?;
                    Ok(Layer { qkv, position_mode: attend, post_attention: rest()? })
                })
                .collect::<Result<_>>()?,
            last: match take(last_attention)? {
                LastAttention::First { query, key_value } => {
                    Last::FirstToken(FirstToken { query, key_value, rest: rest()? })
                }
                LastAttention::Whole(qkv, attend) => {
                    Last::Whole(Layer { qkv, position_mode: attend, post_attention: rest()? })
                }
            },
            final_norm: norm(network.final_norm, spec.epsilon)?,
            dense: take(dense)?,
            head_norm: norm(network.head_norm, head_epsilon)?,
            classifier: head(network.classifier)?,
        })
    }

    fn last_attention<K: Kernels>(
        &self,
        k: &K,
        spec: &Spec,
        shared: &Shared<K>,
        last: &EncoderLayer<'_>,
        index: usize,
    ) -> Result<LastAttention<K>> {
        if !spec.absorbs() {
            let (qkv, attend) = self.attention(k, spec, shared, last, index)?;
            return Ok(LastAttention::Whole(qkv, attend));
        }
        let query = self.linear(k, spec, &[(last.query, scale(spec))])?;
        let [key, value] = self.read_affine([last.key, last.value], spec.precision)?;
        let key_value = k.make_key_value(key.part(1.0), value.part(1.0), spec.heads)?;
        Ok(LastAttention::First { query, key_value })
    }

    fn read_affine<const N: usize>(
        &self,
        affine: [Affine<'_>; N],
        precision: Precision,
    ) -> Result<[LoadedAffine<'_>; N]> {
        let made = self.read_affines(&affine, precision)?.try_into();
        made.map_err(|_| Error::Internal { message: "other weights were read than asked for".into() })
    }

    /// Weights rounded to a precision, and their biases.
    fn read_affines(&self, affine: &[Affine<'_>], precision: Precision) -> Result<Vec<LoadedAffine<'_>>> {
        let matrices = affine.iter().flat_map(|affine| [Some(affine.weight), affine.bias]).flatten();
        let mut loaded = self.read(matrices, precision)?.into_iter();
        let mut next = || loaded.next().expect("one for each matrix");
        let made = affine.iter().map(|affine| {
            let weight = next();
            let outputs = if affine.weight.is_vector() { weight.cols } else { weight.rows };
            let bias = if affine.bias.is_some() { next() } else { Loaded::zeros(outputs) };
            LoadedAffine { weight, bias }
        });
        Ok(made.collect())
    }

    /// A table that a family does not have is one row of zeros: adding it changes no bit, and `forward` needs no second
    /// way to embed.
    fn table<K: Kernels>(&self, k: &K, matrix: Option<Matrix<'_>>, spec: &Spec) -> Result<K::Table> {
        k.make_table(match matrix {
            Some(matrix) => self.keep(matrix, spec.precision)?,
            None => Loaded::zeros(spec.embedding).tensor().into(),
        })
    }

    fn norm<K: Kernels>(&self, k: &K, norm: Affine<'_>, epsilon: f32) -> Result<K::Norm> {
        let [norm] = self.read_affine([norm], Precision::F32)?;
        k.make_norm(norm.weight.tensor(), norm.bias.tensor(), epsilon)
    }

    /// One of the encoder's linear layers.
    fn linear<K: Kernels>(&self, k: &K, spec: &Spec, parts: &[(Affine<'_>, f64)]) -> Result<K::Linear> {
        let affine: Vec<_> = parts.iter().map(|(affine, _)| *affine).collect();
        let loaded = self.read_affines(&affine, spec.precision)?;
        let parts: Vec<_> =
            loaded.iter().zip(parts).map(|(affine, (_, scale))| affine.part(*scale)).collect();
        let keep = match spec.precision {
            Precision::F32 | Precision::Auto => WeightStorage::F32,
            Precision::F16Weights | Precision::Int8 => WeightStorage::AsStored,
        };
        k.make_linear(&parts, keep)
    }

    fn attention<K: Kernels>(
        &self,
        k: &K,
        spec: &Spec,
        shared: &Shared<K>,
        layer: &EncoderLayer<'_>,
        index: usize,
    ) -> Result<(K::Linear, PositionMode<K>)> {
        let qkv = [(layer.query, scale(spec)), (layer.key, 1.0), (layer.value, 1.0)];
        let qkv = self.linear(k, spec, &qkv)?;
        let attend = match shared {
            Shared::Content => PositionMode::Content,
            Shared::Bias(bias) => PositionMode::Biased(Arc::clone(bias)),
            Shared::Rotary(all, local) => match (&spec.attention, local) {
                (Attention::Rotary { local: Some(near), .. }, Some(local)) if near.layers[index] => {
                    PositionMode::Rotary(Arc::clone(local), Some(near.reach))
                }
                _ => PositionMode::Rotary(Arc::clone(all), None),
            },
            Shared::Distances { rows, norm, row_of, queries, keys } => {
                let [query, key] = self.read_affine([layer.query, layer.key], spec.precision)?;
                let distances = RelativePositions {
                    rows: rows.tensor(),
                    norm: norm.as_ref(),
                    query: queries.then(|| query.part(scale(spec))),
                    key: keys.then(|| key.part(1.0)),
                    row_of,
                };
                PositionMode::Disentangled(k.make_relative(distances, spec.heads)?)
            }
        };
        Ok((qkv, attend))
    }

    fn rest<K: Kernels>(&self, k: &K, spec: &Spec, layer: &EncoderLayer<'_>) -> Result<PostAttention<K>> {
        let up: Vec<_> = layer.up.iter().map(|up| (*up, 1.0)).collect();
        Ok(PostAttention {
            out: self.linear(k, spec, &[(layer.out, 1.0)])?,
            attention_norm: layer.attention_norm.map(|norm| self.norm(k, norm, spec.epsilon)).transpose()?,
            up: self.linear(k, spec, &up)?,
            down: self.linear(k, spec, &[(layer.down, 1.0)])?,
            output_norm: self.norm(k, layer.output_norm, spec.epsilon)?,
        })
    }
}

/// What is made by whoever is free, the longest first.
#[derive(Clone, Copy)]
enum Piece {
    Word,
    Rest(usize),
    LastAttention,
    Attention(usize),
    Dense,
    Position,
    Kind,
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
    let missing = || Err(Error::Internal { message: "a part of the weights was not made".into() });
    slot.into_inner().unwrap_or_else(missing)
}

/// What the last layer does before the rest.
enum LastAttention<K: Kernels> {
    First { query: K::Linear, key_value: K::KeyValue },
    Whole(K::Linear, PositionMode<K>),
}

struct LoadedAffine<'c> {
    weight: Loaded<'c>,
    bias: Loaded<'c>,
}

impl LoadedAffine<'_> {
    fn part(&self, scale: f64) -> LinearPart<'_> {
        LinearPart { weight: self.weight.tensor(), bias: self.bias.tensor(), scale }
    }
}

/// Attention scores are divided by the square root of the head width, times the number of terms in them: done once, in
/// the weights of the queries.
fn scale(spec: &Spec) -> f64 {
    let terms = match spec.attention {
        Attention::Disentangled { content_to_position, position_to_content, .. } => {
            1 + usize::from(content_to_position) + usize::from(position_to_content)
        }
        _ => 1,
    };
    1.0 / ((spec.hidden / spec.heads * terms) as f64).sqrt()
}

/// Numbers that are computed at load for attention to see positions.
pub(super) fn numbers_made(spec: &Spec) -> u64 {
    let (tokens, width) = (spec.max_tokens as u64, (spec.hidden / spec.heads) as u64);
    match &spec.attention {
        Attention::Content => 0,
        Attention::Buckets { .. } | Attention::Alibi => spec.heads as u64 * (2 * tokens - 1),
        Attention::Rotary { local, .. } => tokens * width * if local.is_some() { 2 } else { 1 },
        Attention::Disentangled { span, content_to_position, position_to_content, .. } => {
            let terms = u64::from(*content_to_position) + u64::from(*position_to_content);
            (spec.layers * 2 * span * spec.hidden) as u64 * terms
        }
    }
}

/// What all layers have in common to see positions with.
enum Shared<K: Kernels> {
    Content,
    Bias(Arc<K::Bias>),
    /// Of layers that see everything, and of those that see their neighbourhood.
    Rotary(Arc<K::Rotary>, Option<Arc<K::Rotary>>),
    Distances {
        rows: OwnedTensor,
        norm: Option<K::Norm>,
        row_of: Vec<u32>,
        queries: bool,
        keys: bool,
    },
}

impl<K: Kernels> Shared<K> {
    fn new(checkpoint: &Checkpoint<'_>, k: &K, spec: &Spec, network: &Network<'_>) -> Result<Self> {
        let (tokens, heads) = (spec.max_tokens, spec.heads);
        let width = spec.hidden / heads;
        let table = || network.distances.expect("located for this kind of attention");
        let rotary = |theta: f64, shrink: f64| {
            let turns = Loaded::new(tokens, width, &distance::rotations(theta, shrink, width, tokens));
            k.make_rotary(turns.tensor()).map(Arc::new)
        };
        let bias = |values: &[f32]| {
            let bias = Loaded::new(heads, 2 * tokens - 1, values);
            Ok(Self::Bias(Arc::new(k.make_bias(bias.tensor())?)))
        };
        match &spec.attention {
            Attention::Content => Ok(Self::Content),
            Attention::Alibi => bias(&distance::alibi(heads, tokens)),
            Attention::Buckets { count } => {
                let table = checkpoint.keep(table(), Precision::F32)?.tensor().values();
                let of = |head: usize| {
                    let table = &table;
                    distance::buckets(*count, tokens).map(move |bucket| table[bucket * heads + head])
                };
                bias(&(0..heads).flat_map(of).collect::<Vec<_>>())
            }
            Attention::Rotary { theta, shrink, local } => {
                let local = local.as_ref().map(|local| rotary(local.theta, *shrink)).transpose()?;
                Ok(Self::Rotary(rotary(*theta, *shrink)?, local))
            }
            Attention::Disentangled { span, farthest, content_to_position, position_to_content, .. } => {
                Ok(Self::Distances {
                    rows: checkpoint.keep(table(), Precision::F32)?,
                    norm: network
                        .distances_norm
                        .map(|norm| checkpoint.norm(k, norm, spec.epsilon))
                        .transpose()?,
                    row_of: distance::rows(*span, *farthest, tokens),
                    queries: *position_to_content,
                    keys: *content_to_position,
                })
            }
        }
    }
}
