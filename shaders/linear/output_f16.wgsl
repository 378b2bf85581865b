// Piece: outputs of a linear shader in f16 or in f32, as bits of u32. Needs shared/round_f16.wgsl.

// 1 stores out as f16, 0 as f32.
override OUT_F16: u32;

@group(0) @binding(2) var<storage, read_write> out: array<vec2<u32>>;

// Stores vec4 number `at` of out.
fn store(at: u32, y: vec4<f32>) {
    if (OUT_F16 == 1u) {
        out[at] = round_f16(y);
    } else {
        out[at * 2u] = bitcast<vec2<u32>>(y.xy);
        out[at * 2u + 1u] = bitcast<vec2<u32>>(y.zw);
    }
}
