// out [rows,H] = x [rows,H] rounded to f16, for the linear shaders of that precision.
//
// A workgroup owns a row, an invocation every 64th vec4 of it, the padding included; grid: rows.
// Needs shared/workgroup.wgsl and shared/round_f16.wgsl.
// Rust twin: `round_f16` in src/gpu/pack.rs, which does the same to weights.

// The padded columns in vec4s.
override ROW4: u32;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec2<u32>>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) row: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let start = row.x * ROW4;
    for (var c = thread; c < ROW4; c += WORKGROUP) {
        out[start + c] = round_f16(x[start + c]);
    }
}
