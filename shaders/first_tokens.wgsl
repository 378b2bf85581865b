// out [S,H] = the first row of each sequence of x [T,H].
//
// A workgroup owns a sequence, an invocation every 64th vec4 of its row, the padding included; grid: sequences.
// Needs shared/workgroup.wgsl and shared/sequence.wgsl.
// CPU twin: `first_tokens` in src/cpu/mod.rs.

// The padded columns of x and out in vec4s.
override ROW4: u32;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) sequence: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let start = sequences[sequence.x].start;
    for (var c = thread; c < ROW4; c += WORKGROUP) {
        out[sequence.x * ROW4 + c] = x[start * ROW4 + c];
    }
}
