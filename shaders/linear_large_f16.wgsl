// As linear_large.wgsl, with x and weight stored as f16, and out too where HALF says so; products and sums are of f32.
// A vec2<u32> holds four numbers: unpack2x16float is everywhere, the type f16 is not.
//
// out [M,N] = then(x [M,K] w^T + bias), where then stores, applies an activation, or adds a residual [M,N].
//
// A workgroup owns a 128 x 128 tile of `out`, an invocation 8 rows x 8 columns of it; grid: column tiles, row tiles.
// x, residual, out: whole tiles of rows, so none is out of bounds; columns padded with zeros to a multiple of 16.
// weight: [N/32][K][32], zeros beyond the last output up to a multiple of 128; bias likewise.
// The sum over k is one chain of fused multiply-adds in order, so its bits are the same in every linear shader of this
// precision but those of cooperative matrices.
// CPU twin: src/cpu/gemm.rs.

// Columns of x and of out, padded.
override K: u32;
override N: u32;
// 0 none, 1 GELU, 2 GELU by tanh, 3 ReLU, 4 SiLU, 5 tanh.
override ACTIVATION: u32;
// 1 adds the residual; otherwise the residual is not read.
override ADD: u32;
// 1 stores out as f16, 0 as f32.
override HALF: u32;

@group(0) @binding(0) var<storage, read> x: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec2<u32>>;
@group(1) @binding(0) var<storage, read> weight: array<vec2<u32>>;
@group(1) @binding(1) var<storage, read> bias: array<vec4<f32>>;

// Sixteen steps of k: a[k][row / 4] holds four rows, b[k][column / 4] four columns. The row blocks of a are permuted by
// exclusive or with the step, so that the threads that store a transposed block meet in no memory bank.
var<workgroup> a: array<vec4<f32>, 512>;
var<workgroup> b: array<vec4<f32>, 512>;

// What one invocation brings into a (first half of the workgroup: 4 rows x 4 steps) or into b (second half).
struct Piece {
    r0: vec2<u32>,
    r1: vec2<u32>,
    r2: vec2<u32>,
    r3: vec2<u32>,
}

fn wide(four: vec2<u32>) -> vec4<f32> {
    return vec4(unpack2x16float(four.x), unpack2x16float(four.y));
}

fn fetch(thread: u32, row0: u32, panel0: u32, k0: u32) -> Piece {
    if (thread < 128u) {
        let at = (row0 + thread / 4u * 4u) * (K / 4u) + k0 / 4u + thread % 4u;
        return Piece(x[at], x[at + K / 4u], x[at + K / 2u], x[at + K / 4u * 3u]);
    }
    let u = thread - 128u;
    let at = (panel0 * K + k0) * 8u + u;
    return Piece(weight[at], weight[at + K * 8u], weight[at + K * 16u], weight[at + K * 24u]);
}

fn keep(thread: u32, p: Piece) {
    if (thread < 128u) {
        let at = thread % 4u * 128u + ((thread / 4u) ^ (thread % 4u * 2u));
        let r0 = wide(p.r0);
        let r1 = wide(p.r1);
        let r2 = wide(p.r2);
        let r3 = wide(p.r3);
        a[at] = vec4(r0.x, r1.x, r2.x, r3.x);
        a[at + 32u] = vec4(r0.y, r1.y, r2.y, r3.y);
        a[at + 64u] = vec4(r0.z, r1.z, r2.z, r3.z);
        a[at + 96u] = vec4(r0.w, r1.w, r2.w, r3.w);
    } else {
        let u = thread - 128u;
        b[u / 8u * 32u + u % 8u] = wide(p.r0);
        b[u / 8u * 32u + u % 8u + 8u] = wide(p.r1);
        b[u / 8u * 32u + u % 8u + 16u] = wide(p.r2);
        b[u / 8u * 32u + u % 8u + 24u] = wide(p.r3);
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row0 = tile.y * 128u;
    let panel0 = tile.x * 4u;
    let tx = thread % 16u;
    let ty = thread / 16u;
    var c00 = vec4(0.0);
    var c01 = vec4(0.0);
    var c10 = vec4(0.0);
    var c11 = vec4(0.0);
    var c20 = vec4(0.0);
    var c21 = vec4(0.0);
    var c30 = vec4(0.0);
    var c31 = vec4(0.0);
    var c40 = vec4(0.0);
    var c41 = vec4(0.0);
    var c50 = vec4(0.0);
    var c51 = vec4(0.0);
    var c60 = vec4(0.0);
    var c61 = vec4(0.0);
    var c70 = vec4(0.0);
    var c71 = vec4(0.0);

    var next = fetch(thread, row0, panel0, 0u);
    for (var k0 = 0u; k0 < K; k0 += 16u) {
        workgroupBarrier();
        keep(thread, next);
        workgroupBarrier();
        // The next piece is on its way while this one is multiplied.
        if (k0 + 16u < K) {
            next = fetch(thread, row0, panel0, k0 + 16u);
        }
        for (var k = 0u; k < 16u; k++) {
            let at = k * 32u + (ty ^ (k / 4u)) * 2u;
            let a0 = a[at];
            let a1 = a[at + 1u];
            let b0 = b[k * 32u + tx];
            let b1 = b[k * 32u + tx + 16u];
            c00 = fma(vec4(a0.x), b0, c00);
            c01 = fma(vec4(a0.x), b1, c01);
            c10 = fma(vec4(a0.y), b0, c10);
            c11 = fma(vec4(a0.y), b1, c11);
            c20 = fma(vec4(a0.z), b0, c20);
            c21 = fma(vec4(a0.z), b1, c21);
            c30 = fma(vec4(a0.w), b0, c30);
            c31 = fma(vec4(a0.w), b1, c31);
            c40 = fma(vec4(a1.x), b0, c40);
            c41 = fma(vec4(a1.x), b1, c41);
            c50 = fma(vec4(a1.y), b0, c50);
            c51 = fma(vec4(a1.y), b1, c51);
            c60 = fma(vec4(a1.z), b0, c60);
            c61 = fma(vec4(a1.z), b1, c61);
            c70 = fma(vec4(a1.w), b0, c70);
            c71 = fma(vec4(a1.w), b1, c71);
        }
    }

    let row = row0 + ty * 8u;
    let column = tile.x * 32u + tx;
    finish(row, column, c00);
    finish(row, column + 16u, c01);
    finish(row + 1u, column, c10);
    finish(row + 1u, column + 16u, c11);
    finish(row + 2u, column, c20);
    finish(row + 2u, column + 16u, c21);
    finish(row + 3u, column, c30);
    finish(row + 3u, column + 16u, c31);
    finish(row + 4u, column, c40);
    finish(row + 4u, column + 16u, c41);
    finish(row + 5u, column, c50);
    finish(row + 5u, column + 16u, c51);
    finish(row + 6u, column, c60);
    finish(row + 6u, column + 16u, c61);
    finish(row + 7u, column, c70);
    finish(row + 7u, column + 16u, c71);
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
