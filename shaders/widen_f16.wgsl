// out [rows,H] = x [rows,H], stored as f16, widened to f32 for shaders that read that.
//
// A workgroup owns a row, an invocation every 64th vec4 of it, the padding included; grid: rows.
// CPU twin: `widen` in src/kernels.rs.

// The padded columns in vec4s.
override ROW4: u32;

@group(0) @binding(0) var<storage, read> x: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) row: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let start = row.x * ROW4;
    for (var c = thread; c < ROW4; c += 64u) {
        let four = x[start + c];
        out[start + c] = vec4(unpack2x16float(four.x), unpack2x16float(four.y));
    }
}
