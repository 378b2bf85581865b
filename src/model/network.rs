//! Which tensors a network consists of, and their shapes. Their names are in names.rs.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::model::checkpoint::{Checkpoint, MODULE_SEPARATOR};
use crate::model::files::MERGE_ADAPTER;
use crate::model::matrix::StoredMatrix;
use crate::model::names::Qkv;
use crate::model::spec::{Attention, DenseLayer, FeedForward, HeadLayer, NormOrder, Residual, Spec};
use crate::options::Precision;
use crate::tensor::Dtype;

/// Weight and bias of a linear layer, or gain and bias of a norm.
#[derive(Clone, Copy)]
pub(super) struct Affine<'c> {
    pub weight: StoredMatrix<'c>,
    /// `None` is zero.
    pub bias: Option<StoredMatrix<'c>>,
}

impl Affine<'_> {
    /// Some of the outputs.
    fn slice(&self, outputs: Range<usize>) -> Self {
        Self { weight: self.weight.slice(outputs.clone()), bias: self.bias.map(|bias| bias.slice(outputs)) }
    }
}

/// How a tensor is kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TensorRole {
    /// An embedding table: in the precision of the load, or as it is stored where that is float32.
    Table,
    /// The weight of one of the encoder's linear layers: in the precision of the load.
    EncoderWeight,
    /// The weight of a key or value projection that the last layer absorbs: converted to the precision of the load, and
    /// then kept in float32.
    AbsorbedWeight,
    /// Everything else, in float32: biases, norms, the head, and the table of relative positions.
    Float,
}

/// All tensors of a network, located and checked but not read. The only code that looks tensors up by name is here, and
/// every later step takes what it found: planning, loading and quantizing.
pub struct Network<'c> {
    pub(super) spec: &'c Spec,
    pub(super) checkpoint: &'c Checkpoint<'c>,
    /// What stands before the names of all tensors but those of modules: [`TensorNames::wrapper`].
    pub(super) wrapper: &'c str,
    pub(super) word: StoredMatrix<'c>,
    pub(super) position: Option<StoredMatrix<'c>>,
    pub(super) token_type: Option<StoredMatrix<'c>>,
    pub(super) embed_norm: Affine<'c>,
    pub(super) project: Option<Affine<'c>>,
    pub(super) relative_table: Option<StoredMatrix<'c>>,
    pub(super) relative_norm: Option<Affine<'c>>,
    pub(super) layers: Vec<EncoderLayer<'c>>,
    pub(super) final_norm: Option<Affine<'c>>,
    pub(super) head: Vec<HeadTensors<'c>>,
}

/// One layer of the head.
#[derive(Clone, Copy)]
pub(super) enum HeadTensors<'c> {
    Dense { linear: Affine<'c>, residual: ResidualTensors<'c> },
    Norm { norm: Affine<'c>, epsilon: f32 },
}

/// What a dense layer of the head adds to its result.
#[derive(Clone, Copy)]
pub(super) enum ResidualTensors<'c> {
    None,
    /// Its input, which has so many features.
    Input(usize),
    Projected(Affine<'c>),
}

/// One encoder layer.
pub(super) struct EncoderLayer<'c> {
    pub query: Affine<'c>,
    pub key: Affine<'c>,
    pub value: Affine<'c>,
    pub out: Affine<'c>,
    pub attention_norm: Option<Affine<'c>>,
    /// One part, or two: the activation's input, and the factor of its result.
    pub up: Vec<Affine<'c>>,
    pub down: Affine<'c>,
    pub output_norm: Affine<'c>,
}

impl<'c> Network<'c> {
    /// Locates every tensor that `spec` asks for, and checks its type and shape.
    pub fn locate(checkpoint: &'c Checkpoint<'c>, spec: &'c Spec) -> Result<Self> {
        let names = spec.names;
        let wrapper = names.wrapper(checkpoint.names());
        let locator = Locator { checkpoint, spec, wrapper };
        let (h, e) = (spec.hidden, spec.embedding);
        let encoder = |name: &str| format!("{}{name}", names.prefix);
        let table = |name: &str, rows| locator.table(&encoder(name), [rows, e]);
        let norm = |name: &str| locator.norm(&encoder(name), h);
        locator.refuse_variants()?;
        Ok(Self {
            spec,
            checkpoint,
            wrapper,
            word: table(names.word, spec.vocabulary)?,
            position: names.position.map(|name| table(name, spec.positions)).transpose()?,
            token_type: names.token_type.map(|name| table(name, spec.token_types)).transpose()?,
            embed_norm: locator.norm(&encoder(names.embed_norm), e)?,
            project: match names.project {
                Some(name) if e != h => Some(locator.linear(&encoder(name), [h, e], true)?),
                _ => None,
            },
            relative_table: locator.relative_table()?,
            relative_norm: match (names.relative_norm, &spec.attention) {
                (Some(name), Attention::Disentangled { norm: true, .. }) => Some(norm(name)?),
                _ => None,
            },
            layers: (0..spec.layers).map(|index| locator.layer(index)).collect::<Result<_>>()?,
            final_norm: names.final_norm.map(norm).transpose()?,
            head: spec.head.iter().map(|layer| locator.head(layer)).collect::<Result<_>>()?,
        })
    }

    /// Every tensor, once, and how it is kept; a packed projection as its parts.
    pub(super) fn tensors(&self) -> Vec<(StoredMatrix<'c>, TensorRole)> {
        let mut all = Vec::new();
        let mut add = |role, affine: Affine<'c>| {
            all.push((affine.weight, role));
            all.extend(affine.bias.map(|bias| (bias, TensorRole::Float)));
        };
        let absorbing_layer = self.spec.absorbs_last_layer().then(|| self.layers.len() - 1);
        for (index, layer) in self.layers.iter().enumerate() {
            let absorbed = absorbing_layer == Some(index);
            let key_value = if absorbed { TensorRole::AbsorbedWeight } else { TensorRole::EncoderWeight };
            for affine in [layer.key, layer.value] {
                add(key_value, affine);
            }
            for affine in [layer.query, layer.out, layer.down].into_iter().chain(layer.up.iter().copied()) {
                add(TensorRole::EncoderWeight, affine);
            }
            for norm in [layer.attention_norm, Some(layer.output_norm)].into_iter().flatten() {
                add(TensorRole::Float, norm);
            }
        }
        if let Some(project) = self.project {
            add(TensorRole::EncoderWeight, project);
        }
        for norm in [Some(self.embed_norm), self.relative_norm, self.final_norm].into_iter().flatten() {
            add(TensorRole::Float, norm);
        }
        for layer in &self.head {
            match layer {
                HeadTensors::Dense { linear, residual } => {
                    add(TensorRole::Float, *linear);
                    if let ResidualTensors::Projected(residual) = residual {
                        add(TensorRole::Float, *residual);
                    }
                }
                HeadTensors::Norm { norm, .. } => add(TensorRole::Float, *norm),
            }
        }
        let tables = [Some(self.word), self.position, self.token_type].into_iter().flatten();
        all.extend(tables.map(|table| (table, TensorRole::Table)));
        all.extend(self.relative_table.map(|table| (table, TensorRole::Float)));
        all
    }

    /// What [`Precision::Auto`] stands for: the type that the first layer's weights are stored in.
    pub fn stored_precision(&self) -> Precision {
        match self.layers.first().map(|layer| layer.query.weight.dtype()) {
            Some(Dtype::F16 | Dtype::Bf16) => Precision::F16Weights,
            Some(Dtype::I8) => Precision::Int8,
            _ => Precision::F32,
        }
    }
}

/// Locates tensors by the names that they have in transformers.
struct Locator<'c> {
    checkpoint: &'c Checkpoint<'c>,
    spec: &'c Spec,
    wrapper: &'c str,
}

impl<'c> Locator<'c> {
    fn layer(&self, index: usize) -> Result<EncoderLayer<'c>> {
        let (spec, names, biases) = (self.spec, self.spec.names, self.spec.biases);
        let (h, f) = (spec.hidden, spec.intermediate);
        let at = |name: &str| format!("{}{}{index}.{name}", names.prefix, names.layer);
        let [query, key, value] = match names.qkv {
            Qkv::Separate(names) => {
                let [query, key, value] = names.map(|name| self.linear(&at(name), [h, h], biases.attention));
                [query?, key?, value?]
            }
            Qkv::Packed(name) => {
                let packed = self.linear(&at(name), [3 * h, h], biases.attention)?;
                [0, 1, 2].map(|third| packed.slice(third * h..(third + 1) * h))
            }
        };
        // The first pre-norm layer reads what the embeddings' own norm has just written.
        let identity = spec.norm_order == NormOrder::Pre && index == 0;
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
                    let (first, second) = (both.slice(0..f), both.slice(f..2 * f));
                    if names.gate_last { vec![second, first] } else { vec![first, second] }
                }
            },
            down: self.linear(&at(names.down), [h, f], biases.down)?,
            output_norm: self.norm(&at(names.output_norm), h)?,
        })
    }

    fn head(&self, layer: &HeadLayer) -> Result<HeadTensors<'c>> {
        match layer {
            HeadLayer::Dense(DenseLayer { name, inputs, outputs, bias, residual, .. }) => {
                Ok(HeadTensors::Dense {
                    linear: self.linear(name, [*outputs, *inputs], *bias)?,
                    residual: match residual {
                        Residual::None => ResidualTensors::None,
                        Residual::Input => ResidualTensors::Input(*inputs),
                        Residual::Projected(name) => {
                            ResidualTensors::Projected(self.linear(name, [*outputs, *inputs], false)?)
                        }
                    },
                })
            }
            HeadLayer::Norm { name, features, bias, epsilon } => {
                Ok(HeadTensors::Norm { norm: self.norm_with(name, *features, *bias)?, epsilon: *epsilon })
            }
        }
    }

    /// Refuses a checkpoint with tensors that only a variant of the architecture has: it would load, but compute something
    /// else. Refuses the tensors of an adapter too.
    fn refuse_variants(&self) -> Result<()> {
        // The matrices of an adapter, and that to which they are added.
        const ADAPTER: [&str; 2] = [".lora_", ".base_layer."];
        if let Some(name) =
            self.checkpoint.names().find(|name| ADAPTER.iter().any(|part| name.contains(part)))
        {
            let what = format!("a checkpoint with a tensor `{name}` of an adapter");
            return Err(Error::Unsupported { what, hint: MERGE_ADAPTER.into() });
        }
        let of_variant = |name: &&str| self.spec.names.variant_markers.iter().any(|part| name.contains(part));
        match self.checkpoint.names().find(of_variant) {
            None => Ok(()),
            Some(name) => Err(Error::Unsupported {
                what: format!("{} with a tensor `{name}`", self.spec.architecture),
                hint: "the checkpoint is of a variant whose layers are not implemented; use another model"
                    .into(),
            }),
        }
    }

    /// The table that attention reads by relative position, in families that have one.
    fn relative_table(&self) -> Result<Option<StoredMatrix<'c>>> {
        let shape = match &self.spec.attention {
            Attention::Buckets { count } => [*count, self.spec.heads],
            Attention::Disentangled { rows_per_side, .. } => [2 * rows_per_side, self.spec.hidden],
            _ => return Ok(None),
        };
        let table = |name| self.table(&format!("{}{name}", self.spec.names.prefix), shape);
        self.spec.names.relative_table.map(table).transpose()
    }

    fn table(&self, name: &str, shape: [usize; 2]) -> Result<StoredMatrix<'c>> {
        self.locate(&[format!("{name}.weight")], &shape)
    }

    fn linear(&self, name: &str, [rows, cols]: [usize; 2], bias: bool) -> Result<Affine<'c>> {
        let weight = self.locate(&[format!("{name}.weight")], &[rows, cols])?;
        let locate_bias = || self.locate(&[format!("{name}.bias")], &[rows]);
        Ok(Affine { weight, bias: bias.then(locate_bias).transpose()? })
    }

    fn norm(&self, name: &str, features: usize) -> Result<Affine<'c>> {
        self.norm_with(name, features, self.spec.biases.norms)
    }

    /// Checkpoints converted from TensorFlow call the gain gamma and the bias beta.
    fn norm_with(&self, name: &str, features: usize, bias: bool) -> Result<Affine<'c>> {
        let locate = |new: &str, old: &str| {
            self.locate(&[format!("{name}.{new}"), format!("{name}.{old}")], &[features])
        };
        let locate_bias = || locate("bias", "beta");
        Ok(Affine { weight: locate("weight", "gamma")?, bias: bias.then(locate_bias).transpose()? })
    }

    /// The first of `names` that the checkpoint holds, with or without the family's prefix, after the wrapper's.
    fn locate(&self, names: &[String], shape: &[usize]) -> Result<StoredMatrix<'c>> {
        // A module's tensors lie in a file of its own.
        let wrapper = if names[0].contains(MODULE_SEPARATOR) { "" } else { self.wrapper };
        StoredMatrix::locate(self.checkpoint, names, self.spec.names.prefix, wrapper, shape)
    }
}
