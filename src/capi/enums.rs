//! Enumerations that options, model facts and usage share: one table each, for both directions.

use super::status::Failure;
use crate::options::{Backend, GpuPrecision, Isa, Precision};
use crate::rerank_options::Truncation;

/// Backend: the fastest that this machine has.
pub const CROSSRANK_BACKEND_AUTO: i32 = 0;
/// Backend: SIMD kernels on the CPU.
pub const CROSSRANK_BACKEND_CPU: i32 = 1;
/// Backend: the reference implementation, plain float64 loops. Slow; for comparison.
pub const CROSSRANK_BACKEND_REFERENCE: i32 = 2;
/// Backend: shaders on a GPU, in libraries that were built with GPU support. A call whose GPU fails is finished on the CPU,
/// and its usage says so.
pub const CROSSRANK_BACKEND_GPU: i32 = 3;

/// Precision: the type that the model's files store.
pub const CROSSRANK_PRECISION_AUTO: i32 = 0;
/// Precision: float32, 4 bytes per weight.
pub const CROSSRANK_PRECISION_F32: i32 = 1;
/// Precision: float16, or bfloat16 where the files store that: 2 bytes per weight, and for such files the same bits in every
/// score as F32. Rounding float32 files moves logits by about 1e-3.
pub const CROSSRANK_PRECISION_F16_WEIGHTS: i32 = 2;
/// Precision: 8-bit integers with one float32 scale per output feature: 1 byte per weight, two to three times as fast as
/// float32, and logits move by a few hundredths of their spread. Not for the GPU.
pub const CROSSRANK_PRECISION_INT8: i32 = 3;

/// GPU precision: float32, with logits within 1e-4 of float64.
pub const CROSSRANK_GPU_PRECISION_F32: i32 = 0;
/// GPU precision: float16, with cooperative matrices where the GPU has them: faster, half the memory for weights, and logits
/// within 5e-3 of float64.
pub const CROSSRANK_GPU_PRECISION_F16: i32 = 1;

/// Instruction set: the best that this machine has; in results of the reference backend, none.
pub const CROSSRANK_ISA_AUTO: i32 = 0;
/// Instruction set: portable code without SIMD instructions.
pub const CROSSRANK_ISA_SCALAR: i32 = 1;
/// Instruction set: 64-bit Arm with NEON.
pub const CROSSRANK_ISA_NEON: i32 = 2;
/// Instruction set: x86-64 with AVX2 and FMA.
pub const CROSSRANK_ISA_AVX2: i32 = 3;
/// Instruction set: x86-64 with AVX-512.
pub const CROSSRANK_ISA_AVX512: i32 = 4;

/// Truncation: DOCUMENT_ONLY in crossrank_rerank, LONGEST_FIRST in crossrank_score.
pub const CROSSRANK_TRUNCATION_DEFAULT: i32 = 0;
/// Truncation: cut the longer of query and document first, as Hugging Face does.
pub const CROSSRANK_TRUNCATION_LONGEST_FIRST: i32 = 1;
/// Truncation: keep the whole query where it fits.
pub const CROSSRANK_TRUNCATION_DOCUMENT_ONLY: i32 = 2;
/// Truncation: refuse the call with CROSSRANK_ERR_TOO_LONG.
pub const CROSSRANK_TRUNCATION_ERROR: i32 = 3;

/// A type whose values the header names by numbers.
pub trait CValue: Sized {
    /// What a value is called in messages.
    const NAME: &'static str;

    /// The number of a value.
    fn to_c(self) -> i32;

    /// The value of a number; none for a number that the header does not list.
    fn from_c(number: i32) -> Option<Self>;

    /// [`CValue::from_c`] for an argument.
    fn from_argument(number: i32) -> Result<Self, Failure> {
        Self::from_c(number)
            .ok_or_else(|| Failure::argument(format!("{number} is no {name}", name = Self::NAME)))
    }
}

/// Makes both directions from one table. The compiler refuses a table that lacks a variant or lists a number twice.
macro_rules! c_values {
    ($type:ty, $name:literal, { $($number:ident = ($($variant:tt)+)),+ $(,)? }) => {
        impl CValue for $type {
            const NAME: &'static str = $name;

            fn to_c(self) -> i32 {
                match self {
                    $($($variant)+ => $number,)+
                }
            }

            fn from_c(number: i32) -> Option<Self> {
                match number {
                    $($number => Some($($variant)+),)+
                    _ => None,
                }
            }
        }
    };
}

c_values!(Backend, "backend", {
    CROSSRANK_BACKEND_AUTO = (Backend::Auto),
    CROSSRANK_BACKEND_CPU = (Backend::Cpu),
    CROSSRANK_BACKEND_REFERENCE = (Backend::Reference),
    CROSSRANK_BACKEND_GPU = (Backend::Gpu),
});

c_values!(Precision, "precision", {
    CROSSRANK_PRECISION_AUTO = (Precision::Auto),
    CROSSRANK_PRECISION_F32 = (Precision::F32),
    CROSSRANK_PRECISION_F16_WEIGHTS = (Precision::F16Weights),
    CROSSRANK_PRECISION_INT8 = (Precision::Int8),
});

c_values!(GpuPrecision, "GPU precision", {
    CROSSRANK_GPU_PRECISION_F32 = (GpuPrecision::F32),
    CROSSRANK_GPU_PRECISION_F16 = (GpuPrecision::F16),
});

c_values!(Option<Isa>, "instruction set", {
    CROSSRANK_ISA_AUTO = (None),
    CROSSRANK_ISA_SCALAR = (Some(Isa::Scalar)),
    CROSSRANK_ISA_NEON = (Some(Isa::Neon)),
    CROSSRANK_ISA_AVX2 = (Some(Isa::Avx2)),
    CROSSRANK_ISA_AVX512 = (Some(Isa::Avx512)),
});

c_values!(Option<Truncation>, "truncation", {
    CROSSRANK_TRUNCATION_DEFAULT = (None),
    CROSSRANK_TRUNCATION_LONGEST_FIRST = (Some(Truncation::LongestFirst)),
    CROSSRANK_TRUNCATION_DOCUMENT_ONLY = (Some(Truncation::DocumentOnly)),
    CROSSRANK_TRUNCATION_ERROR = (Some(Truncation::Error)),
});

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trips<T: CValue>(count: i32) {
        for number in -2..100 {
            let value = T::from_c(number);
            assert_eq!(value.is_some(), (0..count).contains(&number), "{number} of {}", T::NAME);
            assert!(value.is_none_or(|value| value.to_c() == number), "{number} of {}", T::NAME);
        }
    }

    #[test]
    fn every_number_of_the_header_stands_for_one_value_and_back() {
        round_trips::<Backend>(4);
        round_trips::<Precision>(4);
        round_trips::<GpuPrecision>(2);
        round_trips::<Option<Isa>>(5);
        round_trips::<Option<Truncation>>(4);
        assert!(Backend::from_argument(9).is_err());
    }
}
