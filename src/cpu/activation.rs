//! Elementwise functions, sixteen lanes at a time, from polynomials of our own: the same bits on every instruction set.

use super::simd::Simd;
use crate::kernels::Activation;

/// c[0] + c[1] x + c[2] x^2 + ..., by Horner's rule.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::V, c: [f32; N]) -> S::V {
    let mut sum = s.splat(c[N - 1]);
    for i in (0..N - 1).rev() {
        sum = s.fma(sum, x, s.splat(c[i]));
    }
    sum
}

/// x P(x^2) / Q(x^2) for x clamped to +-limit. A NaN passes through: it is the second operand of each comparison.
#[inline(always)]
fn odd_rational<S: Simd, const P: usize, const Q: usize>(
    s: S,
    x: S::V,
    limit: f32,
    p: [f32; P],
    q: [f32; Q],
) -> S::V {
    let x = s.max(s.splat(-limit), s.min(s.splat(limit), x));
    let square = s.mul(x, x);
    s.div(s.mul(x, polynomial(s, square, p)), polynomial(s, square, q))
}

/// The error function. Minimax rational fit of relative error 2e-8 on [-4, 4]; erf(4) differs from 1 by 1.5e-8, less
/// than half a unit in the last place. With rounding, within 3.3e-7.
#[inline(always)]
#[expect(clippy::approx_constant, reason = "a fitted coefficient that happens to be near 2 / sqrt(pi)")]
pub fn erf<S: Simd>(s: S, x: S::V) -> S::V {
    const P: [f32; 6] = [1.1283791, 0.19354539, 0.053101793, 0.0038833595, 0.0002845666, 1.9867841e-6];
    const Q: [f32; 6] = [1.0, 0.50485766, 0.11535013, 0.01520728, 0.0011855757, 3.7420232e-5];
    odd_rational(s, x, 4.0, P, Q)
}

/// The hyperbolic tangent. Minimax rational fit of relative error 1.3e-9 on [-9, 9]; tanh(9) differs from 1 by 3e-8.
/// With rounding, within 2.8e-7.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    const P: [f32; 6] = [1.0, 0.13680853, 0.003869503, 2.8031214e-5, 3.0642305e-8, -1.2246091e-11];
    const Q: [f32; 5] = [1.0, 0.47014186, 0.027250139, 0.00039407046, 1.2890284e-6];
    odd_rational(s, x, 9.0, P, Q)
}

/// Where [`exp`] is clamped from below: its result here is only just a normal number.
pub const EXP_MIN: f32 = -87.0;

/// exp(x) for x in [-87, 88]; the value at the limit for other x.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    exp_within(s, s.max(s.splat(EXP_MIN), s.min(s.splat(88.0), x)))
}

/// exp(x) for x in [-87, 88] or NaN. x = n ln 2 + r with n an integer and |r| <= ln 2 / 2; exp(r) by a minimax polynomial
/// of relative error 1e-7, and n goes straight into the exponent.
#[inline(always)]
pub fn exp_within<S: Simd>(s: S, x: S::V) -> S::V {
    const P: [f32; 6] = [1.0, 0.999_999_7, 0.499_991_48, 0.166_676_39, 0.041_898_16, 0.008_290_272];
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the lowest bits of the fraction; 127 is the bias of
    // the exponent, into which those bits are shifted.
    const ROUND: f32 = 12_582_912.0 + 127.0;
    // ln 2 in two parts; the first has so few bits that n times it is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let shifted = s.fma(x, s.splat(std::f32::consts::LOG2_E), s.splat(ROUND));
    let n = s.sub(shifted, s.splat(ROUND));
    let r = s.fma(n, s.splat(-LN2_HIGH), x);
    let r = s.fma(n, s.splat(-LN2_LOW), r);
    // The shift drops all bits above the integer.
    s.mul(polynomial(s, r, P), s.shift_to_exponent(shifted))
}

/// One of the network's activation functions.
#[inline(always)]
pub fn activate<S: Simd>(s: S, f: Activation, x: S::V) -> S::V {
    let half = |s: S, x: S::V| s.mul(x, s.splat(0.5));
    match f {
        Activation::Gelu => {
            let h = half(s, x);
            s.fma(h, erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2))), h)
        }
        Activation::GeluTanh => {
            // sqrt(2 / pi) and 0.044715 times it.
            let cubic = s.fma(s.mul(x, x), s.splat(0.035_677_408), s.splat(0.797_884_6));
            let h = half(s, x);
            s.fma(h, tanh(s, s.mul(x, cubic)), h)
        }
        Activation::Relu => s.max(s.splat(0.0), x),
        Activation::Silu => {
            let e = exp(s, s.sub(s.splat(0.0), x));
            s.div(x, s.add(s.splat(1.0), e))
        }
        Activation::Tanh => tanh(s, x),
    }
}
