//! Which instruction sets this machine has.

use crate::options::Isa;

/// Every instruction set that runs here, slowest first.
pub fn available() -> Vec<Isa> {
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(unused_mut, reason = "nothing to add")
    )]
    let mut isas = vec![Isa::Scalar];
    #[cfg(target_arch = "aarch64")]
    isas.extend(super::simd::Neon::detect().map(|_| Isa::Neon));
    #[cfg(target_arch = "x86_64")]
    {
        isas.extend(super::simd::Avx2::detect().map(|_| Isa::Avx2));
        isas.extend(super::simd::Avx512::detect().map(|_| Isa::Avx512));
    }
    isas
}

/// The best instruction set that runs here and is no higher than `cap`.
pub fn best(cap: Option<Isa>) -> Isa {
    let below = |isa: &Isa| cap.is_none_or(|cap| *isa <= cap);
    available().into_iter().rev().find(below).unwrap_or(Isa::Scalar)
}

impl Isa {
    /// The name that the command line takes: `scalar`, `neon`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}
