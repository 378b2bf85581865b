// Piece: out = (v - mean) / sqrt(variance + epsilon) * gain + bias for one row v, which `value(i)` reads as vec4s.
//
// A workgroup owns the row, an invocation every 64th vec4 of it. Two passes: the variance is that of the differences from
// the mean. Rows are padded with zeros to a multiple of 16 columns; gain and bias are zero there, and so is out.
// Needs `fn value(i: u32) -> vec4<f32>`, `out`, shared/workgroup.wgsl, shared/sum4.wgsl and shared/reduce.wgsl.
// CPU twin: src/cpu/norm.rs.

// H, the padded columns in vec4s, and what is added to the variance.
override HIDDEN: u32;
override ROW4: u32;
override EPSILON: f32;

@group(1) @binding(0) var<storage, read> gain: array<vec4<f32>>;
@group(1) @binding(1) var<storage, read> bias: array<vec4<f32>>;

// `start` is the row's first vec4, `sum` that of this invocation's vec4s.
fn normalize(thread: u32, start: u32, sum: vec4<f32>) {
    let mean = reduce_sum(thread, sum4(sum)) / f32(HIDDEN);

    var squares = vec4(0.0);
    for (var c = thread; c < ROW4; c += WORKGROUP) {
        let column = vec4(4u * c) + vec4(0u, 1u, 2u, 3u);
        let d = select(vec4(0.0), value(start + c) - mean, column < vec4(HIDDEN));
        squares = fma(d, d, squares);
    }
    let scale = 1.0 / sqrt(reduce_sum(thread, sum4(squares)) / f32(HIDDEN) + EPSILON);

    for (var c = thread; c < ROW4; c += WORKGROUP) {
        out[start + c] = fma((value(start + c) - mean) * scale, gain[c], bias[c]);
    }
}
