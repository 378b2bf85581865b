// out [rows,H] = (x - mean) / sqrt(variance + epsilon) * gain + bias, row by row.
//
// A workgroup owns a row, an invocation every 64th vec4 of it. Two passes: the variance is that of the differences from
// the mean. Rows are padded with zeros to a multiple of 16 columns; gain and bias are zero there, and so is out.
// CPU twin: src/cpu/norm.rs.

// H, the padded columns in vec4s, and what is added to the variance.
override HIDDEN: u32;
override ROW4: u32;
override EPSILON: f32;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;
@group(1) @binding(0) var<storage, read> gain: array<vec4<f32>>;
@group(1) @binding(1) var<storage, read> bias: array<vec4<f32>>;

var<workgroup> partial: array<f32, 64>;

// The sum over the workgroup of the components of v, in one fixed order.
fn total(thread: u32, v: vec4<f32>) -> f32 {
    partial[thread] = (v.x + v.y) + (v.z + v.w);
    workgroupBarrier();
    for (var n = 32u; n > 0u; n = n >> 1u) {
        if (thread < n) {
            partial[thread] += partial[thread + n];
        }
        workgroupBarrier();
    }
    let all = partial[0];
    workgroupBarrier();
    return all;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) row: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let start = row.x * ROW4;
    var sum = vec4(0.0);
    for (var c = thread; c < ROW4; c += 64u) {
        sum += x[start + c];
    }
    let mean = total(thread, sum) / f32(HIDDEN);

    var squares = vec4(0.0);
    for (var c = thread; c < ROW4; c += 64u) {
        let column = vec4(4u * c) + vec4(0u, 1u, 2u, 3u);
        let d = select(vec4(0.0), x[start + c] - mean, column < vec4(HIDDEN));
        squares = fma(d, d, squares);
    }
    let scale = 1.0 / sqrt(total(thread, squares) / f32(HIDDEN) + EPSILON);

    for (var c = thread; c < ROW4; c += 64u) {
        out[start + c] = fma((x[start + c] - mean) * scale, gain[c], bias[c]);
    }
}
