//! Plain Rust: the lanes are an array. Every other instruction set must equal it bit for bit.

use super::lanes::{LANES, Simd, SimdKernel};
use crate::options::Isa;

/// The token of plain Rust, which runs everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

type Lanes = [f32; LANES];

#[inline(always)]
fn zip(a: Lanes, b: Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Scalar {
    const ISA: Isa = Isa::Scalar;
    // Four rows of sixteen lanes: wide enough to reuse what is loaded, small enough to compile to plain loops.
    const MR: usize = 4;
    const NV: usize = 1;
    type V = Lanes;

    fn dispatch<K: SimdKernel>(self, kernel: K) -> K::Output {
        kernel.compute(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Lanes {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Lanes {
        *from
    }

    #[inline(always)]
    fn store(self, v: Lanes, to: &mut [f32; LANES]) {
        *to = v;
    }

    #[inline(always)]
    fn add(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    fn max(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn shift_to_exponent(self, v: Lanes) -> Lanes {
        v.map(|x| f32::from_bits(x.to_bits() << 23))
    }
}
