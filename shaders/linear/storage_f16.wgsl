// Piece: inputs and weights of a linear shader in f16, as bits of u32, because unpack2x16float is everywhere and the type
// f16 is not. Products and sums are of f32.
//
// Needs shared/widen_f16.wgsl; linear/output_f16.wgsl goes with it.

// Four neighbouring numbers as they are stored.
alias Stored4 = vec2<u32>;

@group(0) @binding(0) var<storage, read> x: array<Stored4>;
@group(1) @binding(0) var<storage, read> weight: array<Stored4>;

fn as_f32(v: Stored4) -> vec4<f32> {
    return widen_f16(v);
}
