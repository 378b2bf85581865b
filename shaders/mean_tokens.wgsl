// out [S,H] = the mean of each sequence's rows of x [T,H], summed in their order.
//
// A workgroup owns a sequence and 64 vec4s of columns, an invocation one vec4, the padding included; grid: sequences, blocks
// of columns.
// Needs shared/workgroup.wgsl and shared/sequence.wgsl.
// CPU twin: src/cpu/mean.rs.

// The padded columns of x and out in vec4s.
override ROW4: u32;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let column = group.y * WORKGROUP + thread;
    if (column >= ROW4) {
        return;
    }
    let sequence = sequences[group.x];
    var sum = vec4(0.0);
    for (var i = 0u; i < sequence.len; i++) {
        sum += x[(sequence.start + i) * ROW4 + column];
    }
    out[group.x * ROW4 + column] = sum / f32(sequence.len);
}
