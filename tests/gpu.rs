//! The GPU backend against the reference: every op with and without the driver's checks, with poisoned padding, and the
//! errors of what it cannot do. Faults while a model runs are tested in src/reranker/gpu/.
//!
//! The tests run on any adapter, a software one included. Without an adapter they print that they are skipped and why, and
//! `CROSSRANK_REQUIRE_GPU=1` turns that into a failure.

mod common;
#[path = "kernels/families.rs"]
mod families;
#[path = "kernels/ops.rs"]
mod ops;

use crossrank::gpu::adapter::{AdapterKind, Tier};
use crossrank::gpu::device::DeviceOptions;
use crossrank::gpu::shaders::Tile;
use crossrank::gpu::{Gpu, GpuOptions};

use common::{gpu_adapter, max_logit_error};
use crossrank::kernels::{Activation, Dtype, Epilogue, Kernels, LinearPart, Tensor, WeightStorage};
use crossrank::model::forward::{
    Activations, FirstTokenLayer, HeadWeights, LastLayer, Layer, PositionMode, PostAttention, Weights,
    forward,
};
use crossrank::model::names::BERT;
use crossrank::model::spec::{
    Attention, Biases, DenseLayer, FeedForward, HeadLayer, NormOrder, Pooling, Residual, ScoreActivation,
    Spec,
};
use crossrank::reference::Reference;
use crossrank::{Backend, Error, GpuPrecision, RerankOptions, Reranker};
use ops::{Output, Sizes, batch, disagreements};

/// Sizes around the edges of tiles (32, 64 and 128 rows and columns, 16 along k) and of blocks of keys (4, 32 and 64).
const SIZES: Sizes = Sizes {
    rows: &[1, 7, 31, 33, 64, 65, 129],
    shapes: &[(20, 33), (1, 1), (64, 130), (383, 17)],
    int8_shapes: &[],
    activated_shapes: 1,
    lengths: &[100, 1, 64, 2, 15, 16, 17, 31, 33],
    heads: &[(64, 2), (128, 2), (40, 2), (45, 3), (66, 33), (200, 2)],
};

/// The outputs of every op.
fn outputs<K: Kernels>(k: &mut K) -> Vec<Output> {
    let mut all = ops::outputs(k, &SIZES);
    all.extend(families::outputs(k));
    all
}

/// As for the CPU, but wider for drivers' exp2 and division, which are accurate to a few units in the last place, and for a
/// softmax that is rescaled block by block.
fn tolerance(output: &Output) -> f32 {
    match output.op {
        "norm" if output.case.ends_with("1000") => 5e-4,
        "first_tokens" => 0.0,
        _ => 4e-6,
    }
}

/// Linear layers round their inputs, by a relative error of at most 2^-12, and their activated outputs. Relative positions are
/// projected by a linear layer. The other ops read and compute f32 as in the tier F32.
fn tolerance_f16(output: &Output) -> f32 {
    match output.op {
        "linear" | "attention_disentangled" => 3e-3,
        _ => tolerance(output),
    }
}

/// Options that accept any adapter.
fn options(checked: bool) -> GpuOptions {
    let device = DeviceOptions { allow_software: true, checked, ..DeviceOptions::default() };
    GpuOptions { device, poison: true, ..GpuOptions::default() }
}

/// The same options with another tier.
fn with_tier(tier: Tier, mut options: GpuOptions) -> GpuOptions {
    options.device.tier = tier;
    options
}

/// The tiers that the adapter offers. `CROSSRANK_REQUIRE_COOPERATIVE=1` turns a lack of cooperative matrices into a failure.
fn tiers() -> Vec<Tier> {
    if gpu_adapter().is_none() {
        return Vec::new();
    }
    let offered = crossrank::gpu::adapters().unwrap()[0].tier;
    if offered < Tier::Cooperative {
        let required = std::env::var_os("CROSSRANK_REQUIRE_COOPERATIVE").is_some_and(|v| v == "1");
        assert!(!required, "CROSSRANK_REQUIRE_COOPERATIVE is set and the adapter offers {offered:?}");
        println!("SKIP: the adapter has no cooperative matrices");
    }
    [Tier::F32, Tier::F16, Tier::Cooperative].into_iter().filter(|tier| *tier <= offered).collect()
}

fn assert_matches_reference(checked: bool, tile: Option<Tile>, tier: Tier) {
    if gpu_adapter().is_none() {
        return;
    }
    let mut gpu = Gpu::open(with_tier(tier, GpuOptions { tile, ..options(checked) })).unwrap();
    assert_eq!(gpu.adapter().tier, tier, "{:?}", gpu.downgrades());
    let (mut outputs_on_gpu, mut expected) = (Vec::new(), Vec::new());
    if tile.is_some() {
        ops::linear(&mut gpu, &SIZES, &mut outputs_on_gpu);
        ops::linear(&mut Reference, &SIZES, &mut expected);
    } else {
        outputs_on_gpu = outputs(&mut gpu);
        expected = outputs(&mut Reference);
    }
    let tolerance = if tier == Tier::F32 { tolerance } else { tolerance_f16 };
    let found = disagreements(&outputs_on_gpu, &expected, tolerance);
    assert!(found.is_empty(), "{}:\n{}", gpu.adapter().name, found.join("\n"));
}

#[test]
fn every_op_matches_the_reference_unchecked() {
    assert_matches_reference(false, None, Tier::F32);
}

#[test]
fn every_op_matches_the_reference_in_every_tier() {
    for tier in tiers().into_iter().filter(|tier| *tier > Tier::F32) {
        assert_matches_reference(false, None, tier);
    }
}

/// The ops that each tier has of its own: its linear layers.
#[test]
fn every_tier_matches_the_reference_checked() {
    for tier in tiers().into_iter().filter(|tier| *tier > Tier::F32) {
        assert_matches_reference(true, Some(Tile::Small), tier);
    }
}

#[test]
fn every_op_matches_the_reference_checked() {
    assert_matches_reference(true, None, Tier::F32);
}

/// A dense layer that is wider than the encoder, and one with a residual.
fn odd_head(hidden: usize) -> Vec<HeadLayer> {
    let layer = |inputs, outputs, activation, residual| {
        HeadLayer::Dense(DenseLayer { name: "".into(), inputs, outputs, bias: true, activation, residual })
    };
    vec![
        layer(hidden, 70, Some(Activation::Tanh), Residual::None),
        layer(70, 3, Some(Activation::Gelu), Residual::Projected(String::new())),
    ]
}

/// The logits of a network whose sizes are multiples of no tile, of no vec4 and not of KC, computed from the embedding to the
/// head.
fn odd_network_logits<K: Kernels>(k: &mut K) -> Vec<f32> {
    let spec = Spec {
        architecture: String::new(),
        names: &BERT,
        layers: 2,
        hidden: 45,
        heads: 3,
        intermediate: 50,
        vocabulary: 8,
        embedding: 45,
        positions: 40,
        first_position: 0,
        token_types: 2,
        epsilon: 1e-12,
        attention: Attention::Content,
        norm_order: NormOrder::Post,
        feed_forward: FeedForward::Plain,
        activation: Activation::Gelu,
        biases: Biases::ALL,
        pooling: Pooling::First,
        head: odd_head(45),
        logit: ScoreActivation::Identity,
        labels: vec![String::new(); 3],
        score: ScoreActivation::Identity,
        max_tokens: 40,
        warnings: vec![],
    };
    let mut noise = ops::Noise(5);
    let h = spec.hidden;
    let table = |k: &K, rows, noise: &mut ops::Noise| {
        k.make_table(ops::tensor(rows, h, &noise.bytes(rows * h, 1.0)).into()).unwrap()
    };
    let linear = |k: &K, outputs, inputs: usize, noise: &mut ops::Noise| {
        let (weight, bias) = (noise.bytes(outputs * inputs, 0.3), noise.bytes(outputs, 0.5));
        let (weight, bias) = (ops::tensor(outputs, inputs, &weight), ops::tensor(1, outputs, &bias));
        k.make_linear(&[LinearPart { weight, bias, scale: 1.0 }], WeightStorage::F32).unwrap()
    };
    let norm = |k: &K, noise: &mut ops::Noise| {
        let (gain, bias) = (noise.bytes(h, 1.0), noise.bytes(h, 1.0));
        k.make_norm(ops::tensor(1, h, &gain), ops::tensor(1, h, &bias), spec.epsilon).unwrap()
    };
    let post_attention = |k: &K, noise: &mut ops::Noise| PostAttention {
        out: linear(k, h, h, noise),
        attention_norm: Some(norm(k, noise)),
        up: linear(k, spec.intermediate, h, noise),
        down: linear(k, h, spec.intermediate, noise),
        output_norm: norm(k, noise),
    };
    let (square, bias) = (noise.bytes(h * h, 0.3), noise.bytes(h, 0.5));
    let part = LinearPart { weight: ops::tensor(h, h, &square), bias: ops::tensor(1, h, &bias), scale: 1.0 };
    let weights = Weights {
        word: table(k, spec.vocabulary, &mut noise),
        position: table(k, spec.positions, &mut noise),
        token_type: table(k, spec.token_types, &mut noise),
        embed_norm: norm(k, &mut noise),
        project: None,
        layers: vec![Layer {
            qkv: linear(k, 3 * h, h, &mut noise),
            position_mode: PositionMode::Content,
            post_attention: post_attention(k, &mut noise),
        }],
        last: LastLayer::FirstToken(FirstTokenLayer {
            query: linear(k, h, h, &mut noise),
            key_value: k.make_key_value(part, part, spec.heads).unwrap(),
            post_attention: post_attention(k, &mut noise),
        }),
        final_norm: None,
        head: vec![
            HeadWeights::Dense { linear: linear(k, 70, h, &mut noise), residual: None },
            HeadWeights::Dense {
                linear: linear(k, 3, 70, &mut noise),
                residual: Some(linear(k, 3, 70, &mut noise)),
            },
        ],
    };
    let mut activations = Activations::new(k);
    let mut all = Vec::new();
    // The second batch is smaller, so its buffers still hold results of the first.
    for lengths in [&[33, 17, 1, 5][..], &[2, 3]] {
        let mut logits = vec![f32::NAN; 3 * lengths.len()];
        let batch = batch(lengths, 8);
        forward(k, &spec, &weights, &mut activations, &batch, &mut |_, _, _| Ok(()), &mut logits).unwrap();
        all.extend(logits);
    }
    all
}

/// Each op reads the padding of its input's rows. Here the padding is NaN unless the op that wrote the rows wrote it too.
#[test]
fn no_padding_leaks_from_op_to_op() {
    if gpu_adapter().is_none() {
        return;
    }
    let expected = odd_network_logits(&mut Reference);
    for tier in tiers() {
        let logits = odd_network_logits(&mut Gpu::open(with_tier(tier, options(false))).unwrap());
        let max_difference = if tier == Tier::F32 { 1e-5 } else { 5e-3 };
        let differs = |(a, b): (&f32, &f32)| (a - b).abs() > max_difference || a.is_nan();
        assert!(!logits.iter().zip(&expected).any(differs), "{tier:?} {logits:?}\n{expected:?}");
    }
}

#[test]
fn every_tile_matches_the_reference() {
    for tile in [Tile::Small, Tile::Medium, Tile::Large] {
        assert_matches_reference(false, Some(tile), Tier::F32);
        assert_matches_reference(false, Some(tile), Tier::F16);
    }
}

/// Model folders of every family, and the bundled model.
fn folders() -> Vec<String> {
    let fixtures = [
        "bert",
        "bert-3-labels",
        "bert-f16",
        "bert-bf16",
        "roberta",
        "xlm-roberta",
        "camembert",
        "distilbert",
        "electra",
        "mpnet",
        "modernbert",
        "ettin",
        "gte",
        "deberta-v2",
        "jinabert",
    ];
    let folders = fixtures.map(|fixture| format!("tests/fixtures/{fixture}"));
    folders.into_iter().chain(["models/crossrank-mini".to_owned()]).collect()
}

/// Within 1e-5 of float64 like the CPU, a tenth of the tolerance that is promised for the GPU.
#[test]
fn every_family_equals_its_golden_values() {
    let Some(adapter) = gpu_adapter() else { return };
    for folder in folders() {
        let builder = Reranker::builder().backend(Backend::Gpu).allow_software_gpu(true);
        let worst = max_logit_error(&folder, &format!("gpu {adapter}"), builder);
        assert!(worst <= 1e-5, "{folder}: {worst:e}");
    }
}

#[test]
fn heads_in_modules_equal_sentence_transformers() {
    let Some(adapter) = gpu_adapter() else { return };
    let builder = || Reranker::builder().backend(Backend::Gpu).allow_software_gpu(true);
    common::assert_modules(&format!("gpu {adapter}"), builder);
}

/// Within 5e-3 of float64 in the highest tier of the adapter, so two logits that differ by more than twice that keep their
/// order.
#[test]
fn every_family_is_near_its_golden_values_in_f16() {
    let Some(adapter) = gpu_adapter() else { return };
    let highest = tiers().pop().unwrap().name();
    for folder in folders() {
        let builder = Reranker::builder().backend(Backend::Gpu).allow_software_gpu(true);
        let builder = builder.gpu_precision(GpuPrecision::F16);
        let worst = max_logit_error(&folder, &format!("gpu {adapter} {highest}"), builder);
        assert!(worst <= 5e-3, "{folder}: {worst:e}");
    }
}

/// Five rows of one value pass through a layer of one weight: values beyond the range of f16 saturate, and NaN does not.
#[test]
fn values_beyond_f16_saturate_and_nan_stays_nan() {
    for tier in tiers().into_iter().filter(|tier| *tier > Tier::F32) {
        let mut gpu = Gpu::open(with_tier(tier, options(false))).unwrap();
        let x = [1e6, -1e6, f32::MAX, f32::NAN, 40_000.0];
        let x = gpu.write(x.len(), 1, &x).unwrap();
        let (weight, bias) = (1e9_f32.to_le_bytes(), 0_f32.to_le_bytes());
        let part = |weight, scale| LinearPart {
            weight: ops::tensor(1, 1, weight),
            bias: ops::tensor(1, 1, &bias),
            scale,
        };
        let mut out = gpu.make_buf();
        let mut apply_layer = |part: LinearPart<'_>, epilogue: Epilogue<'_, _>| {
            let w = gpu.make_linear(&[part], WeightStorage::F32).unwrap();
            gpu.shape(&mut out, 5, 1).unwrap();
            gpu.linear(&x, &w, epilogue, &mut out);
            let mut values = [0.0; 5];
            gpu.read(&out, &mut values).unwrap();
            values
        };
        let one = 1.0_f32.to_le_bytes();
        let [a, b, c, d, e] = apply_layer(part(&one, 1.0), Epilogue::Store);
        assert_eq!([a, b, c, e], [65504.0, -65504.0, 65504.0, 40_000.0], "{tier:?}");
        assert!(d.is_nan(), "{tier:?}: {d}");
        let [a, b, c, d, e] = apply_layer(part(&weight, 1.0), Epilogue::Activate(Activation::Relu));
        assert_eq!([a, b, c, e], [65504.0, 0.0, 65504.0, 65504.0], "{tier:?}");
        assert!(d.is_nan(), "{tier:?}: {d}");
    }
}

#[test]
fn a_tier_that_computes_other_numbers_is_not_used_and_says_so() {
    for lowest in tiers().into_iter().filter(|tier| *tier > Tier::F32) {
        let offered = tiers().into_iter().filter(|tier| *tier >= lowest).count();
        let options = GpuOptions { fail_self_test_from: Some(lowest), ..options(false) };
        let gpu = Gpu::open(with_tier(Tier::Cooperative, options)).unwrap();
        assert_eq!(gpu.adapter().tier, lowest.lower());
        assert!(gpu.downgrades().len() >= offered, "{:?}", gpu.downgrades());
        assert!(gpu.downgrades().iter().all(|why| why.contains("is right")), "{:?}", gpu.downgrades());
    }
}

#[test]
fn a_software_adapter_is_used_only_where_it_is_allowed() {
    if gpu_adapter().is_none() {
        return;
    }
    let adapters = crossrank::gpu::adapters().unwrap();
    if adapters[0].kind != AdapterKind::Software {
        println!("SKIP: {} is no software adapter", adapters[0].name);
        return;
    }
    let load = |builder: crossrank::RerankerBuilder| builder.load("tests/fixtures/bert");
    let error = load(Reranker::builder().backend(Backend::Gpu)).err().unwrap();
    let Error::InvalidOption { option: "backend", message } = error else { panic!("{error}") };
    assert!(message.contains("allow_software_gpu"), "{message}");
    let auto = load(Reranker::builder().allow_software_gpu(true)).unwrap();
    assert_eq!((auto.info().backend, auto.info().adapter.as_deref()), (Backend::Cpu, None));
}

/// Work space that is too small for a call, or that still holds results of an earlier one, would change the scores.
#[test]
fn growing_and_shrinking_calls_give_the_cpus_scores() {
    let Some(adapter) = gpu_adapter() else { return };
    let builder = Reranker::builder().backend(Backend::Gpu).allow_software_gpu(true);
    let gpu = common::load("tests/fixtures/bert", builder);
    common::assert_runs(&format!("gpu {adapter}"), &gpu);
    let cpu = common::load("tests/fixtures/bert", Reranker::builder().backend(Backend::Cpu));
    let golden = common::golden("tests/fixtures/bert");
    let pairs: Vec<_> = golden.cases.iter().map(|c| (&c.query, &c.document)).collect();
    for count in [3, pairs.len(), 1, 7, 2] {
        let options = RerankOptions::new().max_tokens(golden.max_length);
        let from_gpu = gpu.score_with(&pairs[..count], &options).unwrap();
        assert_eq!(from_gpu.usage.backend, Backend::Gpu);
        let from_cpu = cpu.score_with(&pairs[..count], &options).unwrap();
        for (a, b) in from_gpu.results.iter().zip(&from_cpu.results) {
            let far = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-5;
            assert!(!a.logits.iter().zip(&b.logits).any(far), "{count}: {:?} {:?}", a.logits, b.logits);
        }
        gpu.trim();
    }
}

#[test]
fn a_score_depends_neither_on_the_tile_nor_on_the_other_rows() {
    for tier in tiers() {
        assert_same_bits_for_every_tile(tier);
    }
}

fn assert_same_bits_for_every_tile(tier: Tier) {
    let mut bits: Vec<Vec<u32>> = Vec::new();
    for tile in [Tile::Small, Tile::Medium, Tile::Large] {
        let mut gpu = Gpu::open(with_tier(tier, GpuOptions { tile: Some(tile), ..options(false) })).unwrap();
        let values =
            |salt: u32, count: u32| (0..count).map(move |i| ((i * 37 + salt) % 101) as f32 * 0.02 - 1.0);
        let bytes: Vec<u8> = values(3, 50 * 70).flat_map(f32::to_le_bytes).collect();
        let tensor = |rows, cols, bytes| Tensor::new(rows, cols, Dtype::F32, bytes);
        let part =
            LinearPart { weight: tensor(50, 70, &bytes), bias: tensor(1, 50, &bytes[..200]), scale: 1.0 };
        let w = gpu.make_linear(&[part], WeightStorage::F32).unwrap();
        for rows in [1, 40] {
            let x: Vec<f32> = values(1, 70 * rows).collect();
            let x = gpu.write(rows as usize, 70, &x).unwrap();
            let mut out = gpu.make_buf();
            gpu.shape(&mut out, rows as usize, 50).unwrap();
            gpu.linear(&x, &w, Epilogue::Activate(Activation::Gelu), &mut out);
            let mut all = vec![0.0; 50 * rows as usize];
            gpu.read(&out, &mut all).unwrap();
            bits.push(all[..50].iter().map(|v| v.to_bits()).collect());
        }
    }
    assert!(bits.iter().all(|b| *b == bits[0]), "{tier:?} {bits:x?}");
}

#[test]
fn impossible_requests_are_errors_and_the_device_works_on() {
    let Some(adapter) = gpu_adapter() else { return };
    let mut gpu = Gpu::open(options(false)).unwrap();
    let mut buf = gpu.make_buf();
    for (rows, cols) in [(usize::MAX, 1), (1, usize::MAX), (1 << 31, 1 << 31), (1 << 24, 1 << 12)] {
        let error = gpu.shape(&mut buf, rows, cols).unwrap_err();
        assert!(matches!(error, Error::Gpu { .. }), "{error}");
    }
    // Heads that are too wide for every shader.
    let batch = batch(&[2], 8);
    gpu.begin(&batch, 258, 2).unwrap();
    let qkv = gpu.write(2, 774, &[0.5; 2 * 774]).unwrap();
    gpu.shape(&mut buf, 2, 258).unwrap();
    gpu.attention(&batch, &qkv, 2, &mut buf);
    let error = gpu.read(&buf, &mut [0.0; 2 * 258]).unwrap_err();
    assert!(error.to_string().contains("head_dim 129"), "{error}");

    let written = gpu.write(1, 2, &[3.0, 4.0]).unwrap();
    let mut out = [0.0; 2];
    gpu.read(&written, &mut out).unwrap();
    assert_eq!((out, gpu.adapter().name.as_str()), ([3.0, 4.0], adapter.as_str()));
}

#[test]
fn compiled_shaders_are_kept_where_the_caller_says() {
    let Some(adapter) = gpu_adapter() else { return };
    let folder = tempfile::tempdir().unwrap();
    let load = |folder: &std::path::Path| {
        let builder = Reranker::builder().backend(Backend::Gpu).allow_software_gpu(true).gpu_cache(folder);
        let model = common::load("tests/fixtures/bert", builder);
        common::assert_runs(&format!("gpu {adapter}"), &model);
        model
    };
    let files = || std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    let logits = |model: &Reranker| model.score(&[("a", "b")]).unwrap().remove(0).logits;
    let model = load(folder.path());
    assert_eq!(files(), Vec::<std::path::PathBuf>::new(), "nothing is written but by warmup");
    model.warmup().unwrap();
    let tiles = |file: &std::path::PathBuf| file.to_string_lossy().contains("crossrank_tiles");
    assert_eq!(files().iter().filter(|file| tiles(file)).count(), 1, "{:?}", files());
    if files().len() == 1 {
        println!("SKIP: {adapter} keeps its shaders itself");
        return;
    }
    let expected = logits(&model);
    // One file of compiled pipelines and one of measured tiles.
    assert_eq!(files().len(), 2, "{:?}", files());
    for file in files() {
        let kept = std::fs::read(&file).unwrap();
        // With a bit flipped, cut short, empty, and as written.
        let mut flipped = kept.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for bytes in [&flipped[..], &kept[..20], &[], &kept] {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(logits(&load(folder.path())), expected);
        }
    }
    let error = load(&folder.path().join("none")).warmup().unwrap_err();
    let Error::InvalidOption { option: "gpu_cache", message } = error else { panic!("{error}") };
    assert!(message.contains("cannot write"), "{message}");
}

/// Runs in a process of its own, in which the Vulkan loader finds no driver.
#[test]
#[cfg(target_os = "linux")]
fn without_an_adapter_loading_says_what_to_do() {
    const NAME: &str = "without_an_adapter_loading_says_what_to_do";
    const CHILD: &str = "CROSSRANK_TEST_WITHOUT_ADAPTER";
    if std::env::var_os(CHILD).is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args([NAME, "--exact"]).env(CHILD, "1");
        // Loaders before 1.3.207 read the second variable.
        child.env("VK_DRIVER_FILES", "/nonexistent.json").env("VK_ICD_FILENAMES", "/nonexistent.json");
        let output = child.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    assert_eq!(crossrank::gpu::adapters().unwrap(), []);
    let builder = Reranker::builder().backend(Backend::Gpu).allow_software_gpu(true);
    let error = builder.load("tests/fixtures/bert").err().unwrap();
    let Error::InvalidOption { option: "backend", message } = error else { panic!("{error}") };
    assert!(message.starts_with("no GPU adapter: install"), "{message}");
}
