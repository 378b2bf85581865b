//! The linear shaders at the sizes of two models, in multiplications and additions per second. Runs on the best adapter. On
//! a software adapter it runs with few rows, and its figures say nothing about a GPU.

use criterion::{BenchmarkId, Criterion, Throughput};
use crossrank::gpu::adapter::AdapterKind;
use crossrank::gpu::device::DeviceOptions;
use crossrank::gpu::{Gpu, GpuOptions};
use crossrank::kernels::{Dtype, Epilogue, Kernels, LinearPart, Tensor, WeightStorage};
use crossrank::reference::Reference;

/// Outputs and inputs of a layer's products: queries, keys and values; attention's output; both halves of the feed-forward.
const SHAPES: [(usize, usize); 8] =
    [(1152, 384), (384, 384), (1536, 384), (384, 1536), (2304, 768), (768, 768), (3072, 768), (768, 3072)];
/// 100 documents of 128 tokens.
const ROWS: usize = 12_800;
/// The rows on a software adapter.
const SOFTWARE_ROWS: usize = 8;
/// Layers that are recorded before the one wait, so that the cost of waiting does not count.
const REPEATS: usize = 16;

fn noise(count: usize, scale: f32) -> Vec<f32> {
    // Knuth's MMIX generator.
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
    };
    (0..count).map(|_| next()).collect()
}

/// Computes x w^T + bias and reads it.
fn read_product<K: Kernels>(k: &mut K, x: &K::Buf, w: &K::Linear, out: &mut K::Buf, values: &mut [f32]) {
    k.linear(x, w, Epilogue::Store, out);
    k.read(out, values).unwrap();
}

fn weight<K: Kernels>(k: &K, outputs: usize, inputs: usize) -> K::Linear {
    let bytes = |values: Vec<f32>| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let (weight, bias) =
        (bytes(noise(outputs * inputs, (inputs as f32).powf(-0.5))), bytes(noise(outputs, 1.0)));
    let tensor = |rows, cols, bytes| Tensor::new(rows, cols, Dtype::F32, bytes);
    let part =
        LinearPart { weight: tensor(outputs, inputs, &weight), bias: tensor(1, outputs, &bias), scale: 1.0 };
    k.make_linear(&[part], WeightStorage::F32).unwrap()
}

fn linear(criterion: &mut Criterion, gpu: &mut Gpu, rows: usize) {
    let mut group = criterion.benchmark_group("linear f32");
    for (outputs, inputs) in SHAPES {
        let values = noise(rows * inputs, 1.0);
        let x = gpu.write(rows, inputs, &values).unwrap();
        let w = weight(gpu, outputs, inputs);
        let mut out = gpu.make_buf();
        gpu.shape(&mut out, rows, outputs).unwrap();
        let mut ours = vec![0.0; rows * outputs];
        read_product(gpu, &x, &w, &mut out, &mut ours);

        // Checked before it is timed.
        let reference = &mut Reference;
        let x_row = reference.write(1, inputs, &values[..inputs]).unwrap();
        let w_row = weight(reference, outputs, inputs);
        let mut out_row = reference.make_buf();
        reference.shape(&mut out_row, 1, outputs).unwrap();
        let mut expected = vec![0.0; outputs];
        read_product(reference, &x_row, &w_row, &mut out_row, &mut expected);
        let far = ours.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 1e-4 || a.is_nan());
        assert!(!far, "{outputs} x {inputs} is wrong");

        // One row is read back, so that the bus does not count.
        let mut one = gpu.make_buf();
        gpu.shape(&mut one, 1, outputs).unwrap();
        let first = gpu.write(1, inputs, &values[..inputs]).unwrap();
        group.throughput(Throughput::Elements((2 * rows * outputs * inputs * REPEATS) as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{rows} x {inputs} -> {outputs}")), |b| {
            b.iter(|| {
                for _ in 0..REPEATS {
                    gpu.linear(&x, &w, Epilogue::Store, &mut out);
                }
                read_product(gpu, &first, &w, &mut one, &mut expected);
            });
        });
    }
    group.finish();
}

fn main() {
    let device = DeviceOptions { allow_software: true, ..DeviceOptions::default() };
    let mut gpu = match Gpu::open(GpuOptions { device, ..GpuOptions::default() }) {
        Ok(gpu) => gpu,
        Err(error) => return println!("skipped: {error}"),
    };
    println!("{} ({})", gpu.adapter().name, gpu.adapter().driver);
    let software = gpu.adapter().kind == AdapterKind::Software;
    let mut criterion = Criterion::default().configure_from_args();
    linear(&mut criterion, &mut gpu, if software { SOFTWARE_ROWS } else { ROWS });
    criterion.final_summary();
}
