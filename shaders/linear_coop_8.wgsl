// As linear_small_f16.wgsl, with products and sums by cooperative matrices of 8 x 8: f16 times f16, summed in f32.
//
// out [M,N] = then(x [M,K] w^T + bias), where then stores, applies an activation, or adds a residual [M,N].
//
// A workgroup is one subgroup and owns a 32 x 32 tile of `out`, as 4 x 4 matrices; grid: column tiles, row tiles. Where a
// driver makes subgroups smaller than LANES, each of them computes the whole tile, and stores the same.
// x, residual, out: whole tiles of rows, so none is out of bounds; columns padded with zeros to a multiple of 16.
// weight: [N/32][K][32], zeros beyond the last output up to a multiple of 128; bias likewise.
// Matrices are loaded from memory and not through workgroup memory: drivers keep them in step with neither barriers nor
// each other there. Only the sums pass through it, because elements of a matrix cannot be named.
// CPU twin: src/cpu/gemm.rs.

enable f16;
enable wgpu_cooperative_matrix;

// Columns of x and of out, padded.
override K: u32;
override N: u32;
// 0 none, 1 GELU, 2 GELU by tanh, 3 ReLU, 4 SiLU, 5 tanh.
override ACTIVATION: u32;
// 1 adds the residual; otherwise the residual is not read.
override ADD: u32;
// 1 stores out as f16, 0 as f32.
override HALF: u32;
// Invocations of a workgroup: the adapter's largest subgroup.
override LANES: u32;

@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec2<u32>>;
@group(1) @binding(0) var<storage, read> weight: array<f16>;
@group(1) @binding(1) var<storage, read> bias: array<vec4<f32>>;

// 8 rows of the tile.
var<workgroup> sums: array<f32, 256>;

// Finishes the rows in `sums`.
fn spread(thread: u32, row: u32, column: u32) {
    for (var e = thread; e < 64u; e += LANES) {
        let sum = vec4(sums[e * 4u], sums[e * 4u + 1u], sums[e * 4u + 2u], sums[e * 4u + 3u]);
        finish(row + e / 8u, column + e % 8u, sum);
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row0 = tile.y * 32u;
    let panel = tile.x * K * 32u;
    var c00 = coop_mat8x8<f32, C>();
    var c01 = coop_mat8x8<f32, C>();
    var c02 = coop_mat8x8<f32, C>();
    var c03 = coop_mat8x8<f32, C>();
    var c10 = coop_mat8x8<f32, C>();
    var c11 = coop_mat8x8<f32, C>();
    var c12 = coop_mat8x8<f32, C>();
    var c13 = coop_mat8x8<f32, C>();
    var c20 = coop_mat8x8<f32, C>();
    var c21 = coop_mat8x8<f32, C>();
    var c22 = coop_mat8x8<f32, C>();
    var c23 = coop_mat8x8<f32, C>();
    var c30 = coop_mat8x8<f32, C>();
    var c31 = coop_mat8x8<f32, C>();
    var c32 = coop_mat8x8<f32, C>();
    var c33 = coop_mat8x8<f32, C>();

    for (var k = 0u; k < K; k += 8u) {
        let at = row0 * K + k;
        let a0 = coopLoadT<coop_mat8x8<f16, A>>(&x[at], K);
        let a1 = coopLoadT<coop_mat8x8<f16, A>>(&x[at + K * 8u], K);
        let a2 = coopLoadT<coop_mat8x8<f16, A>>(&x[at + K * 16u], K);
        let a3 = coopLoadT<coop_mat8x8<f16, A>>(&x[at + K * 24u], K);
        let b0 = coopLoadT<coop_mat8x8<f16, B>>(&weight[panel + k * 32u], 32u);
        let b1 = coopLoadT<coop_mat8x8<f16, B>>(&weight[panel + k * 32u + 8u], 32u);
        let b2 = coopLoadT<coop_mat8x8<f16, B>>(&weight[panel + k * 32u + 16u], 32u);
        let b3 = coopLoadT<coop_mat8x8<f16, B>>(&weight[panel + k * 32u + 24u], 32u);
        c00 = coopMultiplyAdd(a0, b0, c00);
        c01 = coopMultiplyAdd(a0, b1, c01);
        c02 = coopMultiplyAdd(a0, b2, c02);
        c03 = coopMultiplyAdd(a0, b3, c03);
        c10 = coopMultiplyAdd(a1, b0, c10);
        c11 = coopMultiplyAdd(a1, b1, c11);
        c12 = coopMultiplyAdd(a1, b2, c12);
        c13 = coopMultiplyAdd(a1, b3, c13);
        c20 = coopMultiplyAdd(a2, b0, c20);
        c21 = coopMultiplyAdd(a2, b1, c21);
        c22 = coopMultiplyAdd(a2, b2, c22);
        c23 = coopMultiplyAdd(a2, b3, c23);
        c30 = coopMultiplyAdd(a3, b0, c30);
        c31 = coopMultiplyAdd(a3, b1, c31);
        c32 = coopMultiplyAdd(a3, b2, c32);
        c33 = coopMultiplyAdd(a3, b3, c33);
    }

    workgroupBarrier();
    coopStoreT(c00, &sums[0], 32u);
    coopStoreT(c01, &sums[8], 32u);
    coopStoreT(c02, &sums[16], 32u);
    coopStoreT(c03, &sums[24], 32u);
    workgroupBarrier();
    spread(thread, row0, tile.x * 8u);
    workgroupBarrier();
    coopStoreT(c10, &sums[0], 32u);
    coopStoreT(c11, &sums[8], 32u);
    coopStoreT(c12, &sums[16], 32u);
    coopStoreT(c13, &sums[24], 32u);
    workgroupBarrier();
    spread(thread, row0 + 8u, tile.x * 8u);
    workgroupBarrier();
    coopStoreT(c20, &sums[0], 32u);
    coopStoreT(c21, &sums[8], 32u);
    coopStoreT(c22, &sums[16], 32u);
    coopStoreT(c23, &sums[24], 32u);
    workgroupBarrier();
    spread(thread, row0 + 16u, tile.x * 8u);
    workgroupBarrier();
    coopStoreT(c30, &sums[0], 32u);
    coopStoreT(c31, &sums[8], 32u);
    coopStoreT(c32, &sums[16], 32u);
    coopStoreT(c33, &sums[24], 32u);
    workgroupBarrier();
    spread(thread, row0 + 24u, tile.x * 8u);
}

// Epilogue: the same text in every linear shader of this precision.

// The error function as src/cpu/activation.rs computes it: a rational fit on [-4, 4], within 3.3e-7.
fn erf(x: vec4<f32>) -> vec4<f32> {
    let t = clamp(x, vec4(-4.0), vec4(4.0));
    let s = t * t;
    var p = fma(vec4(1.9867841e-6), s, vec4(0.0002845666));
    p = fma(p, s, vec4(0.0038833595));
    p = fma(p, s, vec4(0.053101793));
    p = fma(p, s, vec4(0.19354539));
    p = fma(p, s, vec4(1.1283791));
    var q = fma(vec4(3.7420232e-5), s, vec4(0.0011855757));
    q = fma(q, s, vec4(0.01520728));
    q = fma(q, s, vec4(0.11535013));
    q = fma(q, s, vec4(0.50485766));
    q = fma(q, s, vec4(1.0));
    return t * p / q;
}

// The hyperbolic tangent, likewise: a rational fit on [-9, 9], within 2.8e-7. The built-in one is NaN far out on some
// drivers.
fn hyperbolic_tangent(x: vec4<f32>) -> vec4<f32> {
    let t = clamp(x, vec4(-9.0), vec4(9.0));
    let s = t * t;
    var p = fma(vec4(-1.2246091e-11), s, vec4(3.0642305e-8));
    p = fma(p, s, vec4(2.8031214e-5));
    p = fma(p, s, vec4(0.003869503));
    p = fma(p, s, vec4(0.13680853));
    p = fma(p, s, vec4(1.0));
    var q = fma(vec4(1.2890284e-6), s, vec4(0.00039407046));
    q = fma(q, s, vec4(0.027250139));
    q = fma(q, s, vec4(0.47014186));
    q = fma(q, s, vec4(1.0));
    // `clamp` may turn NaN into a number; by its bits it is told from every other value, whatever the driver assumes.
    let is_nan = (bitcast<vec4<u32>>(x) & vec4(0x7fffffffu)) > vec4(0x7f800000u);
    return select(t * p / q, x, is_nan);
}

fn activate(x: vec4<f32>) -> vec4<f32> {
    switch (ACTIVATION) {
        case 1u: {
            let h = 0.5 * x;
            return fma(h, erf(0.70710678 * x), h);
        }
        case 2u: {
            // sqrt(2 / pi) and 0.044715 times it.
            let h = 0.5 * x;
            return fma(h, hyperbolic_tangent(x * fma(x * x, vec4(0.035677408), vec4(0.7978846))), h);
        }
        case 3u: {
            // Not max(), which may drop NaN.
            return select(x, vec4(0.0), x < vec4(0.0));
        }
        case 4u: {
            // exp(88) is still finite.
            return x / (1.0 + exp(min(-x, vec4(88.0))));
        }
        case 5u: {
            return hyperbolic_tangent(x);
        }
        default: {
            return x;
        }
    }
}

// Four numbers as f16, none of them infinite: what is beyond the largest one becomes that. NaN stays NaN, told by its bits
// because `clamp` may turn it into a number.
fn narrow(v: vec4<f32>) -> vec2<u32> {
    let is_nan = (bitcast<vec4<u32>>(v) & vec4(0x7fffffffu)) > vec4(0x7f800000u);
    let finite = select(clamp(v, vec4(-65504.0), vec4(65504.0)), v, is_nan);
    return vec2(pack2x16float(finite.xy), pack2x16float(finite.zw));
}

// Stores four neighbouring sums; `column` counts vec4s. The last tile may reach beyond the columns of `out`.
fn finish(row: u32, column: u32, sum: vec4<f32>) {
    if (column < N / 4u) {
        let at = row * (N / 4u) + column;
        var y = sum + bias[column];
        if (ADD == 1u) {
            y += residual[at];
        }
        y = activate(y);
        if (HALF == 1u) {
            out[at] = narrow(y);
        } else {
            out[at * 2u] = bitcast<vec2<u32>>(y.xy);
            out[at * 2u + 1u] = bitcast<vec2<u32>>(y.zw);
        }
    }
}
