//! Which tensors a network is made of, and their shapes. Their names are in names.rs.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::model::checkpoint::{Checkpoint, Matrix};
use crate::model::names::Qkv;
use crate::model::spec::{Attention, FeedForward, NormOrder, Spec};

/// Weight and bias of a linear layer, or gain and bias of a norm.
#[derive(Clone, Copy)]
pub(super) struct Affine<'c> {
    pub weight: Matrix<'c>,
    /// `None` is zero.
    pub bias: Option<Matrix<'c>>,
}

impl Affine<'_> {
    /// Some of the outputs.
    fn part(&self, outputs: Range<usize>) -> Self {
        Self { weight: self.weight.part(outputs.clone()), bias: self.bias.map(|bias| bias.part(outputs)) }
    }
}

/// All tensors of a network, located and checked but not read.
pub(super) struct Network<'c> {
    pub word: Matrix<'c>,
    pub position: Option<Matrix<'c>>,
    pub token_type: Option<Matrix<'c>>,
    pub embed_norm: Affine<'c>,
    pub project: Option<Affine<'c>>,
    pub distances: Option<Matrix<'c>>,
    pub distances_norm: Option<Affine<'c>>,
    pub layers: Vec<EncoderLayer<'c>>,
    pub final_norm: Option<Affine<'c>>,
    pub dense: Affine<'c>,
    pub head_norm: Option<Affine<'c>>,
    pub classifier: Affine<'c>,
}

/// One encoder layer.
pub(super) struct EncoderLayer<'c> {
    pub query: Affine<'c>,
    pub key: Affine<'c>,
    pub value: Affine<'c>,
    pub out: Affine<'c>,
    pub attention_norm: Option<Affine<'c>>,
    /// One part, or two: what the activation takes and what it multiplies.
    pub up: Vec<Affine<'c>>,
    pub down: Affine<'c>,
    pub output_norm: Affine<'c>,
}

impl<'c> Network<'c> {
    /// Locates and checks every tensor.
    pub fn locate(checkpoint: &'c Checkpoint<'_>, spec: &Spec) -> Result<Self> {
        let find = Find { checkpoint, spec };
        let (names, biases) = (spec.names, spec.biases);
        let (h, e) = (spec.hidden, spec.embedding);
        let encoder = |name: &str| format!("{}{name}", names.prefix);
        let table = |name: &str, rows| find.table(&encoder(name), [rows, e]);
        let norm = |name: &str| find.norm(&encoder(name), h);
        find.refuse_foreign()?;
        let (dense, head_norm, classifier) = match &spec.head {
            None => (names.dense, names.head_norm, names.classifier),
            Some(head) => (&head.dense[..], head.norm.as_deref(), &head.classifier[..]),
        };
        Ok(Self {
            word: table(names.word, spec.vocabulary)?,
            position: names.position.map(|name| table(name, spec.positions)).transpose()?,
            token_type: names.token_type.map(|name| table(name, spec.token_types)).transpose()?,
            embed_norm: find.norm(&encoder(names.embed_norm), e)?,
            project: match names.project {
                Some(name) if e != h => Some(find.linear(&encoder(name), [h, e], true)?),
                _ => None,
            },
            distances: match (names.distances, &spec.attention) {
                (Some(name), Attention::Buckets { count }) => {
                    Some(find.table(&encoder(name), [*count, spec.heads])?)
                }
                (Some(name), Attention::Disentangled { span, .. }) => {
                    Some(find.table(&encoder(name), [2 * span, h])?)
                }
                _ => None,
            },
            distances_norm: match (names.distances_norm, &spec.attention) {
                (Some(name), Attention::Disentangled { norm: true, .. }) => Some(norm(name)?),
                _ => None,
            },
            layers: (0..spec.layers).map(|index| find.layer(index)).collect::<Result<_>>()?,
            final_norm: names.final_norm.map(norm).transpose()?,
            dense: find.linear(dense, [h, h], biases.dense)?,
            head_norm: match (&spec.head, head_norm) {
                // A module's norm has its bias whatever the encoder's have.
                (Some(_), Some(name)) => Some(find.norm_with(name, h, true)?),
                (None, Some(name)) => Some(find.norm(name, h)?),
                (_, None) => None,
            },
            classifier: find.linear(classifier, [spec.labels.len(), h], biases.classifier)?,
        })
    }

    /// The tables, which stay as they are stored.
    pub fn tables(&self) -> impl Iterator<Item = Matrix<'c>> {
        [Some(self.word), self.position, self.token_type].into_iter().flatten()
    }

    /// What [`Precision::Int8`](crate::Precision::Int8) rounds: the tables, and the weights of the encoder's linear layers.
    pub fn rounded(&self) -> impl Iterator<Item = Matrix<'c>> {
        let layers = self
            .layers
            .iter()
            .flat_map(|l| [l.query, l.key, l.value, l.out, l.down].into_iter().chain(l.up.iter().copied()));
        self.tables().chain(self.project.into_iter().chain(layers).map(|affine| affine.weight))
    }

    /// The weights that are kept in the precision of the model: those of the encoder's linear layers, but for keys and
    /// values of a last layer that absorbs them.
    pub fn kept(&self, spec: &Spec) -> impl Iterator<Item = Matrix<'c>> {
        let absorbing = if spec.absorbs() { self.layers.len() - 1 } else { usize::MAX };
        let layers = self.layers.iter().enumerate().flat_map(move |(index, l)| {
            let projected = if index == absorbing { vec![] } else { vec![l.key, l.value] };
            [l.query, l.out, l.down].into_iter().chain(projected).chain(l.up.iter().copied())
        });
        self.project.into_iter().chain(layers).map(|affine| affine.weight)
    }

    /// Everything that is not a table: linear layers, norms, and what is known about distances.
    pub fn widened(&self) -> impl Iterator<Item = Matrix<'c>> {
        let layers = self.layers.iter().flat_map(|l| {
            let all = [l.query, l.key, l.value, l.out, l.down, l.output_norm];
            all.into_iter().chain(l.attention_norm).chain(l.up.iter().copied())
        });
        let single = [
            Some(self.embed_norm),
            self.project,
            self.distances_norm,
            self.final_norm,
            Some(self.dense),
            self.head_norm,
            Some(self.classifier),
        ];
        let affine = single.into_iter().flatten().chain(layers);
        affine.flat_map(|affine| std::iter::once(affine.weight).chain(affine.bias)).chain(self.distances)
    }
}

/// Finds layers by the name they have in transformers.
struct Find<'c, 's> {
    checkpoint: &'c Checkpoint<'c>,
    spec: &'s Spec,
}

impl<'c> Find<'c, '_> {
    fn layer(&self, index: usize) -> Result<EncoderLayer<'c>> {
        let (spec, names, biases) = (self.spec, self.spec.names, self.spec.biases);
        let (h, f) = (spec.hidden, spec.intermediate);
        let at = |name: &str| format!("{}{}{index}.{name}", names.prefix, names.layer);
        let [query, key, value] = match names.qkv {
            Qkv::Three(names) => {
                let [query, key, value] = names.map(|name| self.linear(&at(name), [h, h], biases.attention));
                [query?, key?, value?]
            }
            Qkv::Packed(name) => {
                let packed = self.linear(&at(name), [3 * h, h], biases.attention)?;
                [0, 1, 2].map(|third| packed.part(third * h..(third + 1) * h))
            }
        };
        // Before the first layer the embeddings' own norm has just been.
        let identity = spec.order == NormOrder::Before && index == 0;
        Ok(EncoderLayer {
            query,
            key,
            value,
            out: self.linear(&at(names.out), [h, h], biases.attention)?,
            attention_norm: match identity {
                true => None,
                false => Some(self.norm(&at(names.attention_norm), h)?),
            },
            up: match spec.feed_forward {
                FeedForward::Plain => vec![self.linear(&at(names.up), [f, h], biases.up)?],
                FeedForward::Gated => {
                    let both = self.linear(&at(names.up), [2 * f, h], biases.up)?;
                    let (first, second) = (both.part(0..f), both.part(f..2 * f));
                    if names.gate_last { vec![second, first] } else { vec![first, second] }
                }
            },
            down: self.linear(&at(names.down), [h, f], biases.down)?,
            output_norm: self.norm(&at(names.output_norm), h)?,
        })
    }

    /// A variant whose tensors have other names as well would load and compute something else.
    fn refuse_foreign(&self) -> Result<()> {
        let foreign = |name: &&str| self.spec.names.foreign.iter().any(|part| name.contains(part));
        match self.checkpoint.names().find(foreign) {
            None => Ok(()),
            Some(name) => Err(Error::Unsupported {
                what: format!("{} with a tensor `{name}`", self.spec.architecture),
                hint: "the checkpoint is of a variant whose layers are not implemented; use another model"
                    .into(),
            }),
        }
    }

    fn table(&self, name: &str, [rows, cols]: [usize; 2]) -> Result<Matrix<'c>> {
        self.checkpoint.find(&[format!("{name}.weight")], &[rows, cols], self.spec)
    }

    fn linear(&self, name: &str, [rows, cols]: [usize; 2], bias: bool) -> Result<Affine<'c>> {
        let weight = self.checkpoint.find(&[format!("{name}.weight")], &[rows, cols], self.spec)?;
        let find = || self.checkpoint.find(&[format!("{name}.bias")], &[rows], self.spec);
        Ok(Affine { weight, bias: bias.then(find).transpose()? })
    }

    fn norm(&self, name: &str, width: usize) -> Result<Affine<'c>> {
        self.norm_with(name, width, self.spec.biases.norms)
    }

    /// Checkpoints converted from TensorFlow call the gain gamma and the bias beta.
    fn norm_with(&self, name: &str, width: usize, bias: bool) -> Result<Affine<'c>> {
        let find = |new: &str, old: &str| {
            self.checkpoint.find(&[format!("{name}.{new}"), format!("{name}.{old}")], &[width], self.spec)
        };
        let find_bias = || find("bias", "beta");
        Ok(Affine { weight: find("weight", "gamma")?, bias: bias.then(find_bias).transpose()? })
    }
}
