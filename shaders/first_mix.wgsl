// Step 3 of attention for first tokens: mixed [S,N,H] = the rows of a sequence of x [T,H], weighted by weights [T,N].
//
// A workgroup owns one head of one sequence and 64 vec4s of columns, an invocation one vec4; grid: sequences, heads,
// blocks of columns.
// Needs shared/workgroup.wgsl and shared/sequence.wgsl.
// CPU twin: `WeightedRows` in src/cpu/first.rs.

// N, and the padded columns of x and of each row of mixed in vec4s.
override HEADS: u32;
override ROW4: u32;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(3) var<storage, read_write> mixed: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let column = group.z * WORKGROUP + thread;
    if (column >= ROW4) {
        return;
    }
    let sequence = sequences[group.x];
    var z = vec4(0.0);
    for (var i = 0u; i < sequence.len; i++) {
        let row = sequence.start + i;
        z = fma(vec4(weights[row * HEADS + group.y]), x[row * ROW4 + column], z);
    }
    mixed[(group.x * HEADS + group.y) * ROW4 + column] = z;
}
