// Step 2 of attention for first tokens: weights [T,N] = softmax over a sequence's rows of x [T,H] . back [S,N,H].
//
// A workgroup owns one head of one sequence, an invocation every 64th row; grid: sequences, heads.
// Needs from shared/ workgroup, sum4, reduce, softmax and sequence.
// CPU twin: `WeightedRows` in src/cpu/first.rs.

// N, and the padded columns of x and of each row of back in vec4s.
override HEADS: u32;
override ROW4: u32;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> back: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(3) var<storage, read_write> weights: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let sequence = sequences[group.x];
    let u = (group.x * HEADS + group.y) * ROW4;
    // An invocation reads again only the weights that it wrote itself.
    let first = sequence.start * HEADS + group.y;
    var running_max = NEG_INF;
    for (var i = thread; i < sequence.len; i += WORKGROUP) {
        let row = (sequence.start + i) * ROW4;
        var s = vec4(0.0);
        for (var c = 0u; c < ROW4; c++) {
            s = fma(x[row + c], back[u + c], s);
        }
        let score = sum4(s) * LOG2_E;
        weights[first + i * HEADS] = score;
        running_max = max(running_max, score);
    }
    let max_score = reduce_max(thread, running_max);

    var sum = 0.0;
    for (var i = thread; i < sequence.len; i += WORKGROUP) {
        let p = exp2(weights[first + i * HEADS] - max_score);
        weights[first + i * HEADS] = p;
        sum += p;
    }
    let scale = 1.0 / reduce_sum(thread, sum);
    for (var i = thread; i < sequence.len; i += WORKGROUP) {
        weights[first + i * HEADS] *= scale;
    }
}
