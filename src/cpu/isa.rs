//! The instruction sets that this machine has.

use super::simd::{self, peak};
use crate::options::Isa;

/// Every instruction set that runs here, slowest first.
pub fn available() -> Vec<Isa> {
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(unused_mut, reason = "nothing to add")
    )]
    let mut isas = vec![Isa::Scalar];
    #[cfg(target_arch = "aarch64")]
    isas.extend(simd::Neon::detect().map(|_| Isa::Neon));
    #[cfg(target_arch = "x86_64")]
    {
        isas.extend(simd::Avx2::detect().map(|_| Isa::Avx2));
        isas.extend(simd::Avx512::detect().map(|_| Isa::Avx512));
    }
    isas
}

/// The best instruction set that runs here and is no higher than `cap`.
pub fn best(cap: Option<Isa>) -> Isa {
    let below = |isa: &Isa| cap.is_none_or(|cap| *isa <= cap);
    available().into_iter().rev().find(below).unwrap_or(Isa::Scalar)
}

/// The peak throughput of one core with an instruction set, as measured just now.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// f32 operations per second, a multiply-add as two.
    pub f32_per_second: f64,
    /// The same for operations on 8-bit integers.
    pub int8_per_second: f64,
}

/// Measures the core that the calling thread runs on, in some 100 ms; `None` where the instruction set is missing.
pub fn measure_peak(isa: Isa) -> Option<Peak> {
    let f32_per_second = match isa {
        Isa::Scalar => peak::f32_per_second(simd::Scalar),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => peak::f32_per_second(simd::Neon::detect()?),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => peak::f32_per_second(simd::Avx2::detect()?),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => peak::f32_per_second(simd::Avx512::detect()?),
        _ => return None,
    };
    Some(Peak { f32_per_second, int8_per_second: peak::int8_per_second(simd::Int8Kernel::best(isa)) })
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
