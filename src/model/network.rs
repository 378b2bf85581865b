//! Which tensors a network is made of: their names per family, and their shapes.

use crate::error::Result;
use crate::model::checkpoint::{Checkpoint, Matrix};
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
    pub position: Matrix<'c>,
    pub kind: Matrix<'c>,
    pub embed_norm: Affine<'c>,
    pub layers: Vec<EncoderLayer<'c>>,
    pub pooler: Affine<'c>,
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
    /// Locates and checks every tensor of a BERT.
    pub fn locate(checkpoint: &'c Checkpoint<'_>, spec: &Spec) -> Result<Self> {
        let names = Names { checkpoint, spec };
        let (h, f) = (spec.hidden, spec.intermediate);
        let p = spec.prefix;
        Ok(Self {
            word: names.table(&format!("{p}embeddings.word_embeddings"), [spec.vocabulary, h])?,
            position: names.table(&format!("{p}embeddings.position_embeddings"), [spec.positions, h])?,
            kind: names.table(&format!("{p}embeddings.token_type_embeddings"), [spec.segments, h])?,
            embed_norm: names.norm(&format!("{p}embeddings.LayerNorm"))?,
            layers: (0..spec.layers)
                .map(|index| {
                    let at = |name: &str| format!("{p}encoder.layer.{index}.{name}");
                    Ok(EncoderLayer {
                        query: names.linear(&at("attention.self.query"), [h, h])?,
                        key: names.linear(&at("attention.self.key"), [h, h])?,
                        value: names.linear(&at("attention.self.value"), [h, h])?,
                        out: names.linear(&at("attention.output.dense"), [h, h])?,
                        attention_norm: names.norm(&at("attention.output.LayerNorm"))?,
                        up: names.linear(&at("intermediate.dense"), [f, h])?,
                        down: names.linear(&at("output.dense"), [h, f])?,
                        output_norm: names.norm(&at("output.LayerNorm"))?,
                    })
                })
                .collect::<Result<_>>()?,
            pooler: names.linear(&format!("{p}pooler.dense"), [h, h])?,
            classifier: names.linear("classifier", [spec.labels.len(), h])?,
        })
    }

    /// Calls `f` with every tensor.
    pub fn each(&self, mut f: impl FnMut(Matrix<'c>)) {
        [self.word, self.position, self.kind].into_iter().for_each(&mut f);
        let layers = self
            .layers
            .iter()
            .flat_map(|l| [l.query, l.key, l.value, l.out, l.attention_norm, l.up, l.down, l.output_norm]);
        for affine in [self.embed_norm, self.pooler, self.classifier].into_iter().chain(layers) {
            f(affine.weight);
            f(affine.bias);
        }
    }
}

/// Finds layers by the name they have in transformers.
struct Names<'c, 's> {
    checkpoint: &'c Checkpoint<'c>,
    spec: &'s Spec,
}

impl<'c> Names<'c, '_> {
    fn table(&self, name: &str, [rows, cols]: [usize; 2]) -> Result<Matrix<'c>> {
        self.checkpoint.find(&[format!("{name}.weight")], &[rows, cols], self.spec)
    }

    fn linear(&self, name: &str, [rows, cols]: [usize; 2]) -> Result<Affine<'c>> {
        let weight = self.checkpoint.find(&[format!("{name}.weight")], &[rows, cols], self.spec)?;
        let bias = self.checkpoint.find(&[format!("{name}.bias")], &[rows], self.spec)?;
        Ok(Affine { weight, bias })
    }

    /// Checkpoints converted from TensorFlow call the gain gamma and the bias beta.
    fn norm(&self, name: &str) -> Result<Affine<'c>> {
        let shape = [self.spec.hidden];
        let weight =
            self.checkpoint.find(&[format!("{name}.weight"), format!("{name}.gamma")], &shape, self.spec)?;
        let bias =
            self.checkpoint.find(&[format!("{name}.bias"), format!("{name}.beta")], &shape, self.spec)?;
        Ok(Affine { weight, bias })
    }
}
