//! The located tensors of a [`Network`] -> the [`Weights`] of a backend.

use std::sync::Arc;

use crate::error::Result;
use crate::kernels::{Distances, Keep, Kernels, Part};
use crate::model::checkpoint::{Checkpoint, Loaded, Matrix};
use crate::model::distance;
use crate::model::forward::{Attend, FirstToken, Last, Layer, Rest, Weights};
use crate::model::network::{Affine, EncoderLayer, Network};
use crate::model::spec::{Attention, Spec};
use crate::options::Precision;

impl<'a> Checkpoint<'a> {
    /// Reads, checks and packs the tensors that `spec` asks for.
    pub fn load<K: Kernels>(&self, k: &K, spec: &Spec) -> Result<Weights<K>> {
        let network = Network::locate(self, spec)?;
        let shared = Shared::new(self, k, spec, &network)?;
        let (last, layers) = network.layers.split_last().expect("a Spec has at least one layer");
        // The head stays in floats: it is small, and the last to round.
        let head = |affine: Affine<'_>| k.make_linear(&[self.read_affine(affine)?.part(1.0)], Keep::Wide);
        let norm =
            |norm: Option<Affine<'_>>, epsilon| norm.map(|norm| self.norm(k, norm, epsilon)).transpose();
        let head_epsilon = spec.head.as_ref().map_or(spec.epsilon, |head| head.epsilon);
        Ok(Weights {
            word: self.table(k, Some(network.word), spec)?,
            position: self.table(k, network.position, spec)?,
            kind: self.table(k, network.kind, spec)?,
            embed_norm: self.norm(k, network.embed_norm, spec.epsilon)?,
            project: network.project.map(|project| self.linear(k, spec, &[(project, 1.0)])).transpose()?,
            layers: layers
                .iter()
                .enumerate()
                .map(|(index, layer)| self.layer(k, spec, &shared, layer, index))
                .collect::<Result<_>>()?,
            last: if spec.absorbs() {
                let (key, value) =
                    (self.read_rounded_affine(last.key, spec)?, self.read_rounded_affine(last.value, spec)?);
                Last::FirstToken(FirstToken {
                    query: self.linear(k, spec, &[(last.query, scale(spec))])?,
                    key_value: k.make_key_value(key.part(1.0), value.part(1.0), spec.heads)?,
                    rest: self.rest(k, spec, last)?,
                })
            } else {
                Last::Whole(self.layer(k, spec, &shared, last, layers.len())?)
            },
            final_norm: norm(network.final_norm, spec.epsilon)?,
            dense: head(network.dense)?,
            head_norm: norm(network.head_norm, head_epsilon)?,
            classifier: head(network.classifier)?,
        })
    }

    fn read_affine(&self, affine: Affine<'_>) -> Result<LoadedAffine<'a>> {
        self.with_bias(affine, self.read(affine.weight)?)
    }

    /// [`read_affine`](Self::read_affine) with the weight rounded to the model's precision.
    fn read_rounded_affine(&self, affine: Affine<'_>, spec: &Spec) -> Result<LoadedAffine<'a>> {
        self.with_bias(affine, self.read_rounded(affine.weight, spec.precision)?)
    }

    fn with_bias(&self, affine: Affine<'_>, weight: Loaded<'a>) -> Result<LoadedAffine<'a>> {
        let outputs = if affine.weight.is_vector() { weight.cols } else { weight.rows };
        let bias = affine.bias.map_or_else(|| Ok(Loaded::zeros(outputs)), |bias| self.read(bias))?;
        Ok(LoadedAffine { weight, bias })
    }

    /// A table that a family does not have is one row of zeros: adding it changes no bit, and `forward` needs no second
    /// way to embed.
    fn table<K: Kernels>(&self, k: &K, matrix: Option<Matrix<'_>>, spec: &Spec) -> Result<K::Table> {
        let table = match matrix {
            Some(matrix) => self.read_rounded(matrix, spec.precision)?,
            None => Loaded::zeros(spec.embedding),
        };
        k.make_table(table.tensor())
    }

    fn norm<K: Kernels>(&self, k: &K, norm: Affine<'_>, epsilon: f32) -> Result<K::Norm> {
        let norm = self.read_affine(norm)?;
        k.make_norm(norm.weight.tensor(), norm.bias.tensor(), epsilon)
    }

    /// One of the encoder's linear layers.
    fn linear<K: Kernels>(&self, k: &K, spec: &Spec, parts: &[(Affine<'_>, f64)]) -> Result<K::Linear> {
        let read = |(affine, _): &(Affine<'_>, f64)| self.read_rounded_affine(*affine, spec);
        let loaded = parts.iter().map(read).collect::<Result<Vec<_>>>()?;
        let parts: Vec<_> =
            loaded.iter().zip(parts).map(|(affine, (_, scale))| affine.part(*scale)).collect();
        let keep = match spec.precision {
            Precision::F32 | Precision::Auto => Keep::Wide,
            Precision::F16Weights | Precision::Int8 => Keep::Stored,
        };
        k.make_linear(&parts, keep)
    }

    fn layer<K: Kernels>(
        &self,
        k: &K,
        spec: &Spec,
        shared: &Shared<'a, K>,
        layer: &EncoderLayer<'_>,
        index: usize,
    ) -> Result<Layer<K>> {
        let qkv = [(layer.query, scale(spec)), (layer.key, 1.0), (layer.value, 1.0)];
        Ok(Layer {
            qkv: self.linear(k, spec, &qkv)?,
            attend: match shared {
                Shared::Content => Attend::Content,
                Shared::Bias(bias) => Attend::Biased(Arc::clone(bias)),
                Shared::Rotary(all, local) => match (&spec.attention, local) {
                    (Attention::Rotary { local: Some(near), .. }, Some(local)) if near.layers[index] => {
                        Attend::Rotary(Arc::clone(local), Some(near.reach))
                    }
                    _ => Attend::Rotary(Arc::clone(all), None),
                },
                Shared::Distances { rows, norm, row_of, queries, keys } => {
                    let query = self.read_rounded_affine(layer.query, spec)?;
                    let key = self.read_rounded_affine(layer.key, spec)?;
                    let distances = Distances {
                        rows: rows.tensor(),
                        norm: norm.as_ref(),
                        query: queries.then(|| query.part(scale(spec))),
                        key: keys.then(|| key.part(1.0)),
                        row_of,
                    };
                    Attend::Disentangled(k.make_relative(distances, spec.heads)?)
                }
            },
            rest: self.rest(k, spec, layer)?,
        })
    }

    fn rest<K: Kernels>(&self, k: &K, spec: &Spec, layer: &EncoderLayer<'_>) -> Result<Rest<K>> {
        let up: Vec<_> = layer.up.iter().map(|up| (*up, 1.0)).collect();
        Ok(Rest {
            out: self.linear(k, spec, &[(layer.out, 1.0)])?,
            attention_norm: layer.attention_norm.map(|norm| self.norm(k, norm, spec.epsilon)).transpose()?,
            up: self.linear(k, spec, &up)?,
            down: self.linear(k, spec, &[(layer.down, 1.0)])?,
            output_norm: self.norm(k, layer.output_norm, spec.epsilon)?,
        })
    }
}

struct LoadedAffine<'a> {
    weight: Loaded<'a>,
    bias: Loaded<'a>,
}

impl LoadedAffine<'_> {
    fn part(&self, scale: f64) -> Part<'_> {
        Part { weight: self.weight.tensor(), bias: self.bias.tensor(), scale }
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
enum Shared<'a, K: Kernels> {
    Content,
    Bias(Arc<K::Bias>),
    /// Of layers that see everything, and of those that see their neighbourhood.
    Rotary(Arc<K::Rotary>, Option<Arc<K::Rotary>>),
    Distances {
        rows: Loaded<'a>,
        norm: Option<K::Norm>,
        row_of: Vec<u32>,
        queries: bool,
        keys: bool,
    },
}

impl<'a, K: Kernels> Shared<'a, K> {
    fn new(checkpoint: &Checkpoint<'a>, k: &K, spec: &Spec, network: &Network<'_>) -> Result<Self> {
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
                let table = checkpoint.read(table())?.tensor().values();
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
                    rows: checkpoint.read(table())?,
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
