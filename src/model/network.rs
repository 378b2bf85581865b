//! Which tensors a network is made of, and their shapes. Their names are in names.rs.

use crate::error::Result;
use crate::model::checkpoint::{Checkpoint, Matrix};
use crate::model::names::Qkv;
use crate::model::spec::Spec;

/// Weight and bias of a linear layer, or gain and bias of a norm.
#[derive(Clone, Copy)]
pub(super) struct Affine<'c> {
    pub weight: Matrix<'c>,
    pub bias: Matrix<'c>,
}

/// All tensors of a network, located and checked but not read.
pub(super) struct Network<'c> {
    pub word: Matrix<'c>,
    pub position: Option<Matrix<'c>>,
    pub kind: Option<Matrix<'c>>,
    pub embed_norm: Affine<'c>,
    pub project: Option<Affine<'c>>,
    pub layers: Vec<EncoderLayer<'c>>,
    pub dense: Affine<'c>,
    pub classifier: Affine<'c>,
}

/// One encoder layer.
pub(super) struct EncoderLayer<'c> {
    pub query: Affine<'c>,
    pub key: Affine<'c>,
    pub value: Affine<'c>,
    pub out: Affine<'c>,
    pub attention_norm: Affine<'c>,
    pub up: Affine<'c>,
    pub down: Affine<'c>,
    pub output_norm: Affine<'c>,
}

impl<'c> Network<'c> {
    /// Locates and checks every tensor.
    pub fn locate(checkpoint: &'c Checkpoint<'_>, spec: &Spec) -> Result<Self> {
        let find = Find { checkpoint, spec };
        let names = spec.names;
        let (h, e, f) = (spec.hidden, spec.embedding, spec.intermediate);
        let encoder = |name: &str| format!("{}{name}", names.prefix);
        let table = |name: &str, rows| find.table(&encoder(name), [rows, e]);
        Ok(Self {
            word: table(names.word, spec.vocabulary)?,
            position: names.position.map(|name| table(name, spec.positions)).transpose()?,
            kind: names.kind.map(|name| table(name, spec.segments)).transpose()?,
            embed_norm: find.norm(&encoder(names.embed_norm), e)?,
            project: match names.project {
                Some(name) if e != h => Some(find.linear(&encoder(name), [h, e])?),
                _ => None,
            },
            layers: (0..spec.layers)
                .map(|index| {
                    let at = |name: &str| format!("{}{}{index}.{name}", names.prefix, names.layer);
                    let Qkv::Three([query, key, value]) = names.qkv;
                    Ok(EncoderLayer {
                        query: find.linear(&at(query), [h, h])?,
                        key: find.linear(&at(key), [h, h])?,
                        value: find.linear(&at(value), [h, h])?,
                        out: find.linear(&at(names.out), [h, h])?,
                        attention_norm: find.norm(&at(names.attention_norm), h)?,
                        up: find.linear(&at(names.up), [f, h])?,
                        down: find.linear(&at(names.down), [h, f])?,
                        output_norm: find.norm(&at(names.output_norm), h)?,
                    })
                })
                .collect::<Result<_>>()?,
            dense: find.linear(names.dense, [h, h])?,
            classifier: find.linear(names.classifier, [spec.labels.len(), h])?,
        })
    }

    /// The tables, which stay as they are stored.
    pub fn tables(&self) -> impl Iterator<Item = Matrix<'c>> {
        [Some(self.word), self.position, self.kind].into_iter().flatten()
    }

    /// Everything that is widened: linear layers and norms.
    pub fn widened(&self) -> impl Iterator<Item = Matrix<'c>> {
        let layers = self
            .layers
            .iter()
            .flat_map(|l| [l.query, l.key, l.value, l.out, l.attention_norm, l.up, l.down, l.output_norm]);
        let single = [Some(self.embed_norm), self.project, Some(self.dense), Some(self.classifier)];
        single.into_iter().flatten().chain(layers).flat_map(|affine| [affine.weight, affine.bias])
    }
}

/// Finds layers by the name they have in transformers.
struct Find<'c, 's> {
    checkpoint: &'c Checkpoint<'c>,
    spec: &'s Spec,
}

impl<'c> Find<'c, '_> {
    fn table(&self, name: &str, [rows, cols]: [usize; 2]) -> Result<Matrix<'c>> {
        self.checkpoint.find(&[format!("{name}.weight")], &[rows, cols], self.spec)
    }

    fn linear(&self, name: &str, [rows, cols]: [usize; 2]) -> Result<Affine<'c>> {
        let weight = self.checkpoint.find(&[format!("{name}.weight")], &[rows, cols], self.spec)?;
        let bias = self.checkpoint.find(&[format!("{name}.bias")], &[rows], self.spec)?;
        Ok(Affine { weight, bias })
    }

    /// Checkpoints converted from TensorFlow call the gain gamma and the bias beta.
    fn norm(&self, name: &str, width: usize) -> Result<Affine<'c>> {
        let shape = [width];
        let weight =
            self.checkpoint.find(&[format!("{name}.weight"), format!("{name}.gamma")], &shape, self.spec)?;
        let bias =
            self.checkpoint.find(&[format!("{name}.bias"), format!("{name}.beta")], &shape, self.spec)?;
        Ok(Affine { weight, bias })
    }
}
