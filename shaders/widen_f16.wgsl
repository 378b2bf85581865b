// out [rows,H] = x [rows,H], stored as f16, widened to f32 for the shaders that read that.
//
// A workgroup owns a row, an invocation every 64th vec4 of it, the padding included; grid: rows.
// Needs shared/workgroup.wgsl and shared/widen_f16.wgsl.
// CPU twin: `widen` in src/tensor.rs.

// The padded columns in vec4s.
override ROW4: u32;

@group(0) @binding(0) var<storage, read> x: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) row: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let start = row.x * ROW4;
    for (var c = thread; c < ROW4; c += WORKGROUP) {
        out[start + c] = widen_f16(x[start + c]);
    }
}
