// Piece: four numbers rounded to f16 and packed, which needs no type f16. Rust twin: `round_f16` in src/gpu/pack.rs.

// The largest finite f16. What is beyond it becomes that, so that no infinity is stored.
const F16_MAX: f32 = 65504.0;

fn round_f16(v: vec4<f32>) -> vec2<u32> {
    // NaN stays NaN. It is told by its bits, because `clamp` may turn it into a number and drivers may assume it away.
    let is_nan = (bitcast<vec4<u32>>(v) & vec4(0x7fffffffu)) > vec4(0x7f800000u);
    let finite = select(clamp(v, vec4(-F16_MAX), vec4(F16_MAX)), v, is_nan);
    return vec2(pack2x16float(finite.xy), pack2x16float(finite.zw));
}
