// out [rows,H] = x [rows,H] rounded to f16, for the linear shaders of that precision.
//
// A workgroup owns a row, an invocation every 64th vec4 of it, the padding included; grid: rows.
// CPU twin: `halves` in src/gpu/pack.rs, which does the same to weights.

// The padded columns in vec4s.
override ROW4: u32;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec2<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) row: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let start = row.x * ROW4;
    for (var c = thread; c < ROW4; c += 64u) {
        out[start + c] = narrow(x[start + c]);
    }
}

// Four numbers as f16, none of them infinite: what is beyond the largest one becomes that. NaN stays NaN, told by its bits
// because `clamp` may turn it into a number.
fn narrow(v: vec4<f32>) -> vec2<u32> {
    let is_nan = (bitcast<vec4<u32>>(v) & vec4(0x7fffffffu)) > vec4(0x7f800000u);
    let finite = select(clamp(v, vec4(-65504.0), vec4(65504.0)), v, is_nan);
    return vec2(pack2x16float(finite.xy), pack2x16float(finite.zw));
}
