// Step 4 of attention for first tokens: out [S,H] = each head's value projection of its mixed row, Wv mixed + bias.
//
// A workgroup owns four sequences and 64 outputs, an invocation one output; grid: blocks of sequences, blocks of
// outputs. mixed and out have whole tiles of rows, so that four sequences are always there.
// value: Wv as [H/4][outputs] vec4s of inputs, zeros beyond the last input and output; bias likewise. They give out its
// padding of zeros.
// Needs from shared/ workgroup, sum4 and sequence_block.
// CPU twin: `KeyValue::values` in src/cpu/first.rs.

// D, N, and the padded columns of out and of each row of mixed in vec4s.
override HEAD_DIM: u32;
override HEADS: u32;
override ROW4: u32;

@group(0) @binding(0) var<storage, read> mixed: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(1) @binding(0) var<storage, read> value: array<vec4<f32>>;
@group(1) @binding(1) var<storage, read> bias: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let output = group.y * WORKGROUP + thread;
    if (output >= ROW4 * 4u) {
        return;
    }
    let sequence = group.x * SEQUENCES;
    // Beyond the last output there is no head. The weights there are zero, so the row of any head will do.
    let head = min(output / HEAD_DIM, HEADS - 1u);
    let at = (sequence * HEADS + head) * ROW4;
    let stride = HEADS * ROW4;
    var y0 = vec4(0.0);
    var y1 = vec4(0.0);
    var y2 = vec4(0.0);
    var y3 = vec4(0.0);
    for (var c = 0u; c < ROW4; c++) {
        let w = value[c * ROW4 * 4u + output];
        y0 = fma(w, mixed[at + c], y0);
        y1 = fma(w, mixed[at + c + stride], y1);
        y2 = fma(w, mixed[at + c + stride * 2u], y2);
        y3 = fma(w, mixed[at + c + stride * 3u], y3);
    }
    let to = sequence * ROW4 * 4u + output;
    let b = bias[output];
    out[to] = sum4(y0) + b;
    out[to + ROW4 * 4u] = sum4(y1) + b;
    out[to + ROW4 * 8u] = sum4(y2) + b;
    out[to + ROW4 * 12u] = sum4(y3) + b;
}
