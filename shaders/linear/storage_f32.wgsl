// Piece: inputs, weights and outputs of a linear shader in f32.

// Four neighbouring numbers as they are stored.
alias Stored4 = vec4<f32>;

@group(0) @binding(0) var<storage, read> x: array<Stored4>;
@group(0) @binding(2) var<storage, read_write> out: array<Stored4>;
@group(1) @binding(0) var<storage, read> weight: array<Stored4>;

fn as_f32(v: Stored4) -> vec4<f32> {
    return v;
}

fn store(at: u32, y: vec4<f32>) {
    out[at] = y;
}
