//! The GPU backend against the reference: every word in both modes, with poisoned padding, and what becomes of faults.
//!
//! Runs on any adapter, a software one included. Without one the tests print that they were skipped and why, and
//! `CROSSRANK_REQUIRE_GPU=1` turns that into a failure.

mod common;
#[path = "kernels/words.rs"]
mod words;

use crossrank::gpu::device::DeviceOptions;
use crossrank::gpu::{Gpu, GpuOptions, Tile};

use crossrank::reference::Reference;
use words::{Output, Sizes, disagreements, outputs};

/// Around the edges of the tiles (32, 64, 128 rows and columns; 16 steps of k) and of the blocks of keys (4, 32, 64).
const SIZES: Sizes = Sizes {
    rows: &[1, 7, 31, 33, 64, 65, 129],
    shapes: &[(20, 33), (1, 1), (64, 130), (383, 17)],
    activated: 1,
    lengths: &[100, 1, 64, 2, 15, 16, 17, 31, 33],
    heads: &[(64, 2), (128, 2), (40, 2), (45, 3), (66, 33), (200, 2)],
};

/// Like the CPU's, but for drivers' exp2 and division, which are right to a few units in the last place, and for
/// a softmax that is rescaled as it goes.
fn tolerance(output: &Output) -> f32 {
    match output.word {
        "norm" if output.case.ends_with("1000") => 5e-4,
        "first_tokens" => 0.0,
        _ => 4e-6,
    }
}

/// Options for whatever adapter there is.
fn options(checked: bool) -> GpuOptions {
    let device = DeviceOptions { allow_software: true, checked, ..DeviceOptions::default() };
    GpuOptions { device, poison: true, ..GpuOptions::default() }
}

/// Whether the GPU tests run here; if not, why, printed.
fn available() -> bool {
    let adapters = crossrank::gpu::adapters().unwrap();
    if adapters.is_empty() {
        let required = std::env::var_os("CROSSRANK_REQUIRE_GPU").is_some_and(|v| v == "1");
        assert!(!required, "CROSSRANK_REQUIRE_GPU is set and there is no adapter");
        println!("SKIP: no GPU adapter, not even a software one");
    }
    !adapters.is_empty()
}

fn matches_the_reference(checked: bool, tile: Option<Tile>) {
    if !available() {
        return;
    }
    let mut gpu = Gpu::open(GpuOptions { tile, ..options(checked) }).unwrap();
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    if tile.is_some() {
        words::linear(&mut gpu, &SIZES, &mut ours);
        words::linear(&mut Reference, &SIZES, &mut reference);
    } else {
        ours = outputs(&mut gpu, &SIZES);
        reference = outputs(&mut Reference, &SIZES);
    }
    let found = disagreements(&ours, &reference, tolerance);
    assert!(found.is_empty(), "{}:\n{}", gpu.adapter().name, found.join("\n"));
}

#[test]
fn every_word_matches_the_reference_unchecked() {
    matches_the_reference(false, None);
}

#[test]
fn every_word_matches_the_reference_checked() {
    matches_the_reference(true, None);
}

#[test]
fn every_tile_matches_the_reference() {
    for tile in [Tile::Small, Tile::Medium, Tile::Large] {
        matches_the_reference(false, Some(tile));
    }
}
