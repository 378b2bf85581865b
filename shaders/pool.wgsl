// out [S,H] = one row for each sequence's rows of x [T,H], which are summed in their order.
//
// A workgroup owns a sequence and 64 vec4s of columns, an invocation one vec4, the padding included; grid: sequences, blocks
// of columns.
// Needs shared/workgroup.wgsl and shared/sequence.wgsl.
// CPU twin: src/cpu/pool.rs.

// The padded columns of x and out in vec4s.
override ROW4: u32;
// 0: the mean. 1: the sum over the square root of the length. 2: the mean weighted by the position from 1. 3: the largest
// value. 4: the last row.
override POOL: u32;

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
    let n = f32(sequence.len);
    var pooled = vec4(0.0);
    var divisor = 1.0;
    if (POOL < 2u) {
        for (var i = 0u; i < sequence.len; i++) {
            pooled += x[(sequence.start + i) * ROW4 + column];
        }
        divisor = select(n, sqrt(n), POOL == 1u);
    } else if (POOL == 2u) {
        for (var i = 0u; i < sequence.len; i++) {
            pooled = fma(x[(sequence.start + i) * ROW4 + column], vec4(f32(i + 1u)), pooled);
        }
        divisor = n * (n + 1.0) / 2.0;
    } else if (POOL == 3u) {
        pooled = x[sequence.start * ROW4 + column];
        for (var i = 1u; i < sequence.len; i++) {
            pooled = max(pooled, x[(sequence.start + i) * ROW4 + column]);
        }
    } else {
        pooled = x[(sequence.start + sequence.len - 1u) * ROW4 + column];
    }
    out[group.x * ROW4 + column] = pooled / divisor;
}
