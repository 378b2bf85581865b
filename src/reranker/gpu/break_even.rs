//! The number of tokens from which on the GPU is faster than the CPU, as measured.

use std::time::{Duration, Instant};

use super::engine::GpuEngine;
use crate::cpu::threads::physical_cores;
use crate::error::Result;

/// Lengths of the sequences of the two measured batches: one small enough to be mostly fixed costs, and one large enough to
/// be mostly work.
const FEW: [usize; 1] = [16];
const MANY: [usize; 64] = [16; 64];

impl GpuEngine {
    /// The number of tokens from which on the GPU is faster; `None` if it never is. The model: the GPU takes a fixed time and
    /// a time per token, the CPU a time per token.
    pub(super) fn measure_break_even(&self) -> Result<Option<usize>> {
        let never = || Ok(());
        let (few, many) = (self.probe_batch(&FEW), self.probe_batch(&MANY));
        let mut out = self.logits_buffer(&many);
        let mut run = self.run.lock_uncancellable();
        let gpu_few = seconds(|| self.compute_on_gpu(&mut run, &few, &never, &mut out))?;
        let gpu_many = seconds(|| self.compute_on_gpu(&mut run, &many, &never, &mut out))?;
        let cpu_many = seconds(|| self.compute_on_cpu(&many, None, &never, &mut out).map(drop))?;
        let threads = physical_cores() as f64;
        Ok(break_even([few.tokens(), many.tokens()], [gpu_few, gpu_many], cpu_many / threads))
    }
}

/// The shorter of two runs: the first may have to allocate.
fn seconds(mut compute: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = Duration::MAX;
    for _ in 0..2 {
        let start = Instant::now();
        compute()?;
        best = best.min(start.elapsed());
    }
    Ok(best.as_secs_f64())
}

/// The number of tokens from which on the GPU is faster, from its seconds for `few` and `many` tokens and the CPU's for `many`.
fn break_even([few, many]: [usize; 2], [gpu_few, gpu_many]: [f64; 2], cpu_many: f64) -> Option<usize> {
    let gpu_per_token = (gpu_many - gpu_few).max(0.0) / (many - few) as f64;
    let gpu_fixed = (gpu_few - gpu_per_token * few as f64).max(0.0);
    let saved_per_token = cpu_many / many as f64 - gpu_per_token;
    (saved_per_token > 0.0).then(|| (gpu_fixed / saved_per_token).ceil() as usize)
}

#[cfg(test)]
mod tests {
    use super::break_even;

    #[test]
    fn the_break_even_is_where_the_savings_equal_the_fixed_costs() {
        // 1 ms and 1 us per token, against 6 us per token on the CPU.
        let tokens = break_even([16, 1024], [1.016e-3, 2.024e-3], 6.144e-3).unwrap();
        assert!((200..=201).contains(&tokens), "{tokens}");
        assert_eq!(break_even([16, 1024], [1e-3, 7e-3], 6e-3), None);
    }
}
