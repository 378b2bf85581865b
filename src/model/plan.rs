//! What is loaded, in which precision, and the memory it takes. Made once per load, from the located network.

use std::collections::BTreeSet;

use crate::model::header::StoredTensor;
use crate::model::matrix::{StoredMatrix, scales_name};
use crate::model::network::{Network, TensorRole};
use crate::model::position_tables;
use crate::model::spec::{DenseLayer, HeadLayer, Residual, Spec};
use crate::options::Precision;
use crate::tensor::Dtype;

/// A located network and the precision in which it is loaded.
pub struct LoadPlan<'c> {
    network: Network<'c>,
    /// Never `Auto`.
    precision: Precision,
    tensors: Vec<(StoredMatrix<'c>, TensorRole)>,
}

impl<'c> LoadPlan<'c> {
    /// `Auto` stands for the type that the weights are stored in.
    pub fn new(network: Network<'c>, precision: Precision) -> Self {
        let precision = match precision {
            Precision::Auto => network.stored_precision(),
            chosen => chosen,
        };
        let tensors = network.tensors();
        Self { network, precision, tensors }
    }

    /// The model whose weights are loaded.
    pub fn spec(&self) -> &'c Spec {
        self.network.spec
    }

    /// What weights are kept as; never [`Precision::Auto`].
    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub(super) fn network(&self) -> &Network<'c> {
        &self.network
    }

    /// Bytes in memory of the tensors, and of the position tables that are computed from them, in a backend that computes
    /// in f32.
    pub fn weight_bytes(&self) -> u64 {
        let f32_bytes = |elements: u64| elements * size_of::<f32>() as u64;
        let bytes = |(matrix, role): &(StoredMatrix<'_>, TensorRole)| {
            let elements = matrix.elements();
            // Int8 has a scale for each row, and in a linear layer also the sum of the row's weights.
            let (as_stored, bytes_per_row) = match role {
                TensorRole::Table => (matrix.bytes_with_scales(), size_of::<f32>()),
                TensorRole::EncoderWeight => (f32_bytes(elements), size_of::<f32>() + size_of::<i32>()),
                TensorRole::AbsorbedWeight | TensorRole::Float => return f32_bytes(elements),
            };
            match self.precision {
                Precision::Int8 => elements + (matrix.rows() * bytes_per_row) as u64,
                Precision::F16Weights => elements * Dtype::F16.elem_bytes() as u64,
                Precision::F32 | Precision::Auto => as_stored,
            }
        };
        self.tensors.iter().map(bytes).sum::<u64>() + f32_bytes(self.computed_elements())
    }

    /// [`weight_bytes`](Self::weight_bytes) in the reference backend, which keeps everything in f64.
    pub fn weight_bytes_f64(&self) -> u64 {
        let elements: u64 = self.tensors.iter().map(|(matrix, _)| matrix.elements()).sum();
        (elements + self.computed_elements()) * size_of::<f64>() as u64
    }

    /// Elements of what is computed at load and not read: position tables, and the identity matrices of residuals.
    fn computed_elements(&self) -> u64 {
        let identity = |layer: &HeadLayer| match layer {
            HeadLayer::Dense(DenseLayer { inputs, residual: Residual::Input, .. }) => {
                (inputs * inputs) as u64
            }
            _ => 0,
        };
        position_tables::elements(self.spec()) + self.spec().head.iter().map(identity).sum::<u64>()
    }

    /// A sentence about names that only a wrapped model has, and one for every tensor of the checkpoint that the network does
    /// not use. Pre-training heads and position buffers are expected and not mentioned.
    pub fn warnings(&self) -> Vec<String> {
        let used: BTreeSet<&str> = self.tensors.iter().map(|(matrix, _)| matrix.name()).collect();
        let scales: BTreeSet<String> = used.iter().map(|name| scales_name(name)).collect();
        let wrapper = self.network.wrapper;
        let expected = |name: &str| {
            let name = name.strip_prefix(wrapper).unwrap_or(name);
            name.starts_with("cls.")
                || name.ends_with("embeddings.position_ids")
                || name.ends_with("embeddings.token_type_ids")
        };
        let checkpoint = self.network.checkpoint;
        let unused = checkpoint
            .tensors()
            .filter(|(name, _)| !used.contains(name) && !scales.contains(*name) && !expected(name));
        let sentence = |(name, stored): (&str, &StoredTensor)| {
            let file = checkpoint.source(stored).name();
            format!("`{file}`: tensor `{name}` is not part of {}", self.spec().architecture)
        };
        let file = checkpoint.source(self.network.word.stored()).name();
        let wrapped = (!wrapper.is_empty()).then(|| {
            format!(
                "`{file}`: the names of the tensors start with `{wrapper}`, as a wrapper saves them, and are read without it; \
                 transformers may find none of them"
            )
        });
        wrapped.into_iter().chain(unused.map(sentence)).collect()
    }
}
