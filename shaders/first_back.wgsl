// Step 1 of attention for first tokens, with the key and value projections absorbed (src/cpu/first.rs has the algebra):
// each head's query projected back through its keys, back [S,N,H] = q [S,N,D] Wk [N,D,H].
//
// A workgroup owns four sequences, one head and 64 vec4s of columns, an invocation one vec4 of columns; grid: blocks of
// sequences, heads, blocks of columns. q and back have whole tiles of rows, so that four sequences are always there.
// key: Wk by rows [H][H], padded with zeros to ROW4 vec4s of columns.
// Needs shared/workgroup.wgsl and shared/sequence_block.wgsl.
// CPU twin: `KeyValue::keys` in src/cpu/first.rs.

// D, N, and the padded columns of q and of each row of back in vec4s.
override HEAD_DIM: u32;
override HEADS: u32;
override ROW4: u32;

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read_write> back: array<vec4<f32>>;
@group(1) @binding(0) var<storage, read> key: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let column = group.z * WORKGROUP + thread;
    if (column >= ROW4) {
        return;
    }
    let sequence = group.x * SEQUENCES;
    let first = group.y * HEAD_DIM;
    let stride = ROW4 * 4u;
    let at = sequence * stride + first;
    var u0 = vec4(0.0);
    var u1 = vec4(0.0);
    var u2 = vec4(0.0);
    var u3 = vec4(0.0);
    for (var d = 0u; d < HEAD_DIM; d++) {
        let k = key[(first + d) * ROW4 + column];
        u0 = fma(vec4(q[at + d]), k, u0);
        u1 = fma(vec4(q[at + d + stride]), k, u1);
        u2 = fma(vec4(q[at + d + stride * 2u]), k, u2);
        u3 = fma(vec4(q[at + d + stride * 3u]), k, u3);
    }
    let to = (sequence * HEADS + group.y) * ROW4 + column;
    back[to] = u0;
    back[to + HEADS * ROW4] = u1;
    back[to + HEADS * ROW4 * 2u] = u2;
    back[to + HEADS * ROW4 * 3u] = u3;
}
