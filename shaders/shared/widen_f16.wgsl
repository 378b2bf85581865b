// Piece: four numbers that are stored as f16, widened to f32.
fn widen_f16(v: vec2<u32>) -> vec4<f32> {
    return vec4(unpack2x16float(v.x), unpack2x16float(v.y));
}
