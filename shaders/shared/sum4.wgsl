// Piece: the sum of a vec4's components, in one fixed order.
fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
