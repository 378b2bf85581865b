//! f64 functions that consist of additions, multiplications and divisions alone. The standard library's functions come from
//! the platform and differ in their last bits; tables computed with these are the same everywhere.

use std::f64::consts::{FRAC_2_PI, LN_2, LOG2_E, SQRT_2};

/// exp(x), for x below 709: x = n ln 2 + r, exp(r) by its Taylor series to r^13 (|r| <= 0.35: the next term is below
/// 1e-17), times 2^n. Below -700 the result, less than 1e-304, is zero.
pub fn exp(x: f64) -> f64 {
    if x < -700.0 {
        return 0.0;
    }
    if x.is_nan() {
        return x;
    }
    // ln 2 in two parts; n times the first, which has 32 bits, is exact.
    const LN2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    let n = (x * LOG2_E).round_ties_even();
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let series = (1..=13).rev().fold(1.0, |sum, k| 1.0 + r * sum / f64::from(k));
    series * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// ln(x) for normal x above 0: x = m 2^e with m within a factor sqrt 2 of 1, ln m = 2 artanh((m - 1) / (m + 1)) by its
/// series (the argument is at most 0.172: the term after the 12th is below 1e-20).
pub fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    let (m, e) = if mantissa > SQRT_2 { (mantissa / 2.0, exponent + 1) } else { (mantissa, exponent) };
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = (0..12).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    e as f64 * LN_2 + 2.0 * s * series
}

/// (sin x, cos x) for |x| below 2^20: x = n pi/2 + r, both by their Taylor series to r^19 (|r| <= 0.79: the next terms
/// are below 1e-19).
pub fn sin_cos(x: f64) -> (f64, f64) {
    // pi/2 in two parts; n times the first, which has 33 bits, is exact.
    const HALF_PI_HIGH: f64 = f64::from_bits(0x3FF9_21FB_5440_0000);
    const HALF_PI_LOW: f64 = 6.077_100_506_506_192e-11;
    let n = (x * FRAC_2_PI).round_ties_even();
    let r = (x - n * HALF_PI_HIGH) - n * HALF_PI_LOW;
    let square = r * r;
    // 1 - square/(a(a+1)) (1 - square/((a+2)(a+3)) (1 - ...))
    let series = |first: i32| {
        (0..9)
            .rev()
            .map(|k| f64::from(first + 2 * k))
            .fold(1.0, |sum, a| 1.0 - square / (a * (a + 1.0)) * sum)
    };
    let (sin, cos) = (r * series(2), series(1));
    match (n as i64).rem_euclid(4) {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_equal_the_platforms_up_to_the_last_bits() {
        for i in 1..200_000 {
            let x = f64::from(i) / 17.0;
            let (sin, cos) = sin_cos(x);
            // The platform's are right to a unit in the last place; the argument reduction here loses n 1e-27.
            assert!((sin - x.sin()).abs() < 1e-15 && (cos - x.cos()).abs() < 1e-15, "{x}: {sin} {cos}");
            let (sin, cos) = sin_cos(-x);
            assert!((sin + x.sin()).abs() < 1e-15 && (cos - x.cos()).abs() < 1e-15, "-{x}: {sin} {cos}");
            assert!((ln(x) - x.ln()).abs() < 1e-15 * (1.0 + x.ln().abs()), "ln {x}: {}", ln(x));
            let y = -x / 30.0;
            assert!((exp(y) / y.exp() - 1.0).abs() < 2e-15, "exp {y}: {}", exp(y));
        }
        assert_eq!((ln(1.0), sin_cos(0.0), exp(0.0)), (0.0, (0.0, 1.0), 1.0));
    }
}
