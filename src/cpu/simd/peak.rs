//! The peak throughput of a core, with which every kernel is compared.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::dot::{Int8Kernel, KC_BYTES, LHS_STRIDE};
use super::lanes::{LANES, Simd, SimdKernel};

/// Iterations of one timed loop: 0.1 ms with AVX-512, some 30 ms in plain Rust.
const ITERATIONS: usize = 1 << 16;

/// Loops are repeated for this long, so that the core reaches its full clock, and the fastest loop counts: other work on the
/// machine only makes loops slower.
const DURATION: Duration = Duration::from_millis(50);

/// The f32 peak of the calling thread's core, in floating-point operations per second, a multiply-add as two: fused
/// multiply-adds that never leave the registers.
pub fn f32_per_second<S: Simd>(simd: S) -> f64 {
    per_second(|| simd.dispatch(MultiplyAdds))
}

/// The same for 8-bit integers: full tiles, repeated on bytes that stay in L1, some 6 KiB of weights. Where instructions are as
/// wide as registers, a tile has so many multiplications per load that loads do not limit it.
pub fn int8_per_second(kernel: &Int8Kernel) -> f64 {
    let (mr, nr, kr) = (kernel.mr(), kernel.nr, kernel.kr());
    let k_groups = 96 / kr;
    let lhs = vec![1; (mr - 1) * LHS_STRIDE + KC_BYTES];
    let rhs = vec![1; k_groups * kr * nr];
    let mut sums = vec![0; mr * nr];
    per_second(|| {
        // 0.1 ms with the widest instructions.
        let tiles = 1024;
        for _ in 0..tiles {
            kernel.multiply_tile(mr, k_groups, black_box(&lhs), &rhs, &mut sums, false);
        }
        black_box(&sums);
        tiles * 2 * mr * nr * k_groups * kr
    })
}

/// The highest rate of the operations that `work` counts, per second.
fn per_second(mut work: impl FnMut() -> usize) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed() < DURATION {
        let before = Instant::now();
        let operations = work();
        best = best.min(before.elapsed().as_secs_f64() / operations as f64);
    }
    1.0 / best
}

/// Independent chains of multiply-adds. Its output is the number of operations.
struct MultiplyAdds;

impl SimdKernel for MultiplyAdds {
    type Output = usize;

    #[inline(always)]
    fn compute<S: Simd>(self, s: S) -> usize {
        // Enough chains that none waits for its own result (two pipes of latency 4 need 8 registers, four need 16), and few
        // enough for the registers, of which a vector takes one, two (12 of 16) or four (24 of 32).
        if S::MR * S::NV > 12 { chains::<S, 12>(s) } else { chains::<S, 6>(s) }
    }
}

#[inline(always)]
fn chains<S: Simd, const N: usize>(s: S) -> usize {
    // Values as in a network; black_box keeps the compiler from knowing them.
    let (x, y) = (s.splat(black_box(0.5)), s.splat(black_box(0.25)));
    let mut sums: [S::V; N] = std::array::from_fn(|i| s.splat(i as f32));
    for _ in 0..ITERATIONS {
        for sum in &mut sums {
            *sum = s.fma(*sum, x, y);
        }
    }
    black_box(sums.map(|sum| s.lanes(sum)));
    ITERATIONS * N * LANES * 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::Scalar;

    #[test]
    fn the_peak_counts_every_operation_of_the_loop() {
        assert_eq!(Scalar.dispatch(MultiplyAdds), ITERATIONS * 6 * LANES * 2);
        let peak = f32_per_second(Scalar);
        assert!(peak.is_finite() && peak > 1e6, "{peak}");
    }

    #[test]
    fn every_int8_kernel_has_a_peak() {
        for kernel in Int8Kernel::available() {
            let peak = int8_per_second(kernel);
            assert!(peak.is_finite() && peak > 1e6, "{}: {peak}", kernel.name);
        }
    }
}
