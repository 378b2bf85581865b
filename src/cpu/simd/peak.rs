//! What a core could do at most: the measure of every kernel.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::{LANES, Op, Simd};

/// Steps of one timed loop: 0.1 ms with AVX-512, some 30 ms in plain Rust.
const STEPS: usize = 1 << 16;

/// Loops are repeated for this long, so that the core reaches its full clock, and the best one counts: whatever else
/// runs on the machine only makes loops slower.
const TIME: Duration = Duration::from_millis(50);

/// The f32 peak of the calling thread's core, in floating-point operations per second, a multiply-add as two: fused
/// multiply-adds that never leave the registers.
pub fn f32_per_second<S: Simd>(simd: S) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed() < TIME {
        let before = Instant::now();
        let operations = simd.run(MultiplyAdds);
        best = best.min(before.elapsed().as_secs_f64() / operations as f64);
    }
    1.0 / best
}

/// Independent chains of multiply-adds; gives the number of operations.
struct MultiplyAdds;

impl Op for MultiplyAdds {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize {
        // Enough chains that none waits for itself (two pipes of latency 4 take 8 registers, four take 16), and few
        // enough for the registers, of which a vector takes one, two (12 of 16) or four (24 of 32).
        if S::MR * S::NV > 12 { chains::<S, 12>(s) } else { chains::<S, 6>(s) }
    }
}

#[inline(always)]
fn chains<S: Simd, const N: usize>(s: S) -> usize {
    // Values of the kind that a network has; black_box keeps them from being known at compile time.
    let (x, y) = (s.splat(black_box(0.5)), s.splat(black_box(0.25)));
    let mut sums: [S::V; N] = std::array::from_fn(|i| s.splat(i as f32));
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = s.fma(*sum, x, y);
        }
    }
    black_box(sums.map(|sum| s.lanes(sum)));
    STEPS * N * LANES * 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::Scalar;

    #[test]
    fn the_peak_counts_every_operation_of_the_loop() {
        assert_eq!(Scalar.run(MultiplyAdds), STEPS * 6 * LANES * 2);
        let peak = f32_per_second(Scalar);
        assert!(peak.is_finite() && peak > 1e6, "{peak}");
    }
}
