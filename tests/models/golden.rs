//! Every backend against logits and hidden states that transformers computed in float64.

use crossrank::cpu::simd::{self, Simd};
use crossrank::cpu::{Cpu, isa};
use crossrank::kernels::Kernels;
use crossrank::model::forward::{Activations, forward};
use crossrank::model::{config, weights};
use crossrank::reference::Reference;
use crossrank::text::batch::Pair;
use crossrank::{Isa, ModelFiles};
use serde_json::Value;

use crate::craft::{fixture, read, read_json};

/// The reference computes in float64 too; the remaining error is the rounding of logits below 8 to f32, at most 2.4e-7.
const REFERENCE_TOLERANCE: f64 = 1e-6;
/// The CPU sums in f32: transformers' f32 results differ by up to 1.6e-6 from its float64 results on these cases.
const CPU_TOLERANCE: f64 = 1e-5;

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u32).collect()
}

fn pairs(golden: &Value) -> Vec<Pair> {
    let pair = |case: &Value| Pair {
        ids: numbers(&case["input_ids"]),
        // transformers gives no token type ids for families without token types.
        token_types: match &case["token_type_ids"] {
            Value::Null => vec![0; case["input_ids"].as_array().unwrap().len()],
            types => numbers(types),
        },
        ..Pair::default()
    };
    golden["cases"].as_array().unwrap().iter().map(pair).collect()
}

fn expected_logits(golden: &Value) -> Vec<f64> {
    let logits = |case: &Value| case["logits"].as_array().unwrap().clone();
    let cases = golden["cases"].as_array().unwrap();
    cases.iter().flat_map(logits).map(|x| x.as_f64().unwrap()).collect()
}

/// Logits of the pairs, computed as one batch; `after_layer` is called with the hidden states [tokens, hidden].
fn compute_logits<K: Kernels + Sync>(
    mut k: K,
    files: &ModelFiles,
    pairs: &[Pair],
    mut after_layer: impl FnMut(usize, Vec<f32>),
) -> Vec<f32> {
    let spec = config::read_spec(files).unwrap();
    let weights = weights::load_f32(&k, &spec, files).unwrap();
    let mut activations = Activations::new(&k);
    let mut batch = spec.pack(pairs);
    if spec.token_types < 2 {
        // transformers makes token type ids for DeBERTa too, but its model does not read them.
        batch.token_types.fill(0);
    }
    let mut logits = vec![f32::NAN; pairs.len() * spec.labels.len()];
    let mut hook = |k: &mut K, layer: usize, x: &K::Buf| {
        let mut values = vec![f32::NAN; batch.tokens() * spec.hidden];
        k.read(x, &mut values)?;
        after_layer(layer, values);
        Ok(())
    };
    forward(&mut k, &spec, &weights, &mut activations, &batch, &mut hook, &mut logits).unwrap();
    logits
}

/// The largest difference from the golden logits of the `bert` fixture's first `count` cases.
pub fn max_diff_from_bert(files: &ModelFiles, count: usize) -> f64 {
    max_diff_from("bert", files, count)
}

/// The largest difference from the golden logits of a fixture's first `count` cases.
pub fn max_diff_from(family: &str, files: &ModelFiles, count: usize) -> f64 {
    let golden = read_json(fixture(family).join("golden.json"));
    max_diff(
        &compute_logits(Reference, files, &pairs(&golden)[..count], |_, _| {}),
        &expected_logits(&golden)[..count],
    )
}

/// The logits of a fixture's shortest case.
pub fn logits_of_shortest(family: &str, files: &ModelFiles) -> Vec<f32> {
    let pairs = pairs(&read_json(fixture(family).join("golden.json")));
    let shortest = pairs.into_iter().min_by_key(|pair| pair.ids.len()).unwrap();
    compute_logits(Reference, files, &[shortest], |_, _| {})
}

fn max_diff(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    // `f64::max` would drop a NaN.
    let differences = found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - e).abs());
    differences.fold(0.0, |worst, d| if worst.is_nan() || d <= worst { worst } else { d })
}

/// Compares logits of all cases and, for the first, hidden states layer by layer.
fn check_backend<K: Kernels + Sync>(name: &str, make: impl Fn() -> K, family: &str, tolerance: f64) {
    let dir = fixture(family);
    let files = ModelFiles::from_dir(&dir).unwrap();
    let golden = read_json(dir.join("golden.json"));
    let pairs = pairs(&golden);
    assert_eq!(pairs.len(), 26);

    let logits = compute_logits(make(), &files, &pairs, |_, _| {});
    let worst = max_diff(&logits, &expected_logits(&golden));
    assert!(worst <= tolerance, "{family} on {name}: logits are off by {worst:e}");

    // The last layer is computed for the first token only, and is compared by its logits alone.
    let stored = read(dir.join("hidden_states.safetensors"));
    let stored = safetensors::SafeTensors::deserialize(&stored).unwrap();
    let mut layers = 0;
    compute_logits(make(), &files, &pairs[..1], |layer, values| {
        let expected = stored.tensor(&format!("hidden.{layer}")).unwrap();
        let expected = expected.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b).into());
        let worst = max_diff(&values, &expected.collect::<Vec<f64>>());
        assert!(worst <= tolerance, "{family} on {name}: hidden.{layer} is off by {worst:e}");
        layers += 1;
    });
    assert_eq!(layers, stored.len() - 1, "{family}: every layer but the last is compared");
}

fn check(family: &str) {
    check_backend("reference", || Reference, family, REFERENCE_TOLERANCE);
    for isa in isa::available() {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => check_cpu(simd::Avx2::detect().unwrap(), family),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => check_cpu(simd::Avx512::detect().unwrap(), family),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => check_cpu(simd::Neon::detect().unwrap(), family),
            _ => check_cpu(simd::Scalar, family),
        }
    }
}

fn check_cpu<S: Simd>(simd: S, family: &str) {
    check_backend(S::ISA.name(), || Cpu::new(simd), family, CPU_TOLERANCE);
}

#[test]
fn bert_computes_what_transformers_computes() {
    check("bert");
}

#[test]
fn bert_with_three_labels_computes_what_transformers_computes() {
    check("bert-3-labels");
}

#[test]
fn bert_in_f16_computes_what_transformers_computes() {
    check("bert-f16");
}

#[test]
fn bert_in_bf16_computes_what_transformers_computes() {
    check("bert-bf16");
}

#[test]
fn roberta_computes_what_transformers_computes() {
    check("roberta");
}

#[test]
fn xlm_roberta_computes_what_transformers_computes() {
    check("xlm-roberta");
}

#[test]
fn distilbert_computes_what_transformers_computes() {
    check("distilbert");
}

#[test]
fn electra_computes_what_transformers_computes() {
    check("electra");
}

#[test]
fn mpnet_computes_what_transformers_computes() {
    check("mpnet");
}

#[test]
fn modernbert_computes_what_transformers_computes() {
    check("modernbert");
}

#[test]
fn gte_computes_what_transformers_computes() {
    check("gte");
}

#[test]
fn deberta_v2_computes_what_transformers_computes() {
    check("deberta-v2");
}

#[test]
fn jinabert_computes_what_the_oracle_computes() {
    check("jinabert");
}

#[test]
fn camembert_computes_what_the_oracle_computes() {
    check("camembert");
}

#[test]
fn a_head_of_modules_computes_what_the_oracle_computes() {
    check("ettin");
}

#[test]
fn golden_logits_detect_wrong_token_types() {
    // A common defect: if logits did not depend on token types, the golden cases could not detect it.
    let files = ModelFiles::from_dir(&fixture("bert")).unwrap();
    let golden = read_json(fixture("bert").join("golden.json"));
    let mut first = pairs(&golden).swap_remove(0);
    first.token_types.fill(0);
    let worst =
        max_diff(&compute_logits(Reference, &files, &[first], |_, _| {}), &expected_logits(&golden)[..1]);
    assert!(worst > 1e-2, "token types of 0 changed the logit by only {worst:e}");
}
