// Step 2 of attention for first tokens: weights [T,N] = softmax over a sequence's rows of x [T,H] . back [S,N,H].
//
// A workgroup owns one head of one sequence, an invocation every 64th row; grid: sequences, heads.
// CPU twin: `Mix` in src/cpu/first.rs.

// N, and the padded columns of x and of each row of back in vec4s.
override HEADS: u32;
override ROW4: u32;

// The rows `start..start + len`.
struct Sequence {
    start: u32,
    len: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> back: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(3) var<storage, read_write> weights: array<f32>;

const LOG2_E = 1.442695;

var<workgroup> partial: array<f32, 64>;

fn reduce_max(thread: u32, v: f32) -> f32 {
    partial[thread] = v;
    workgroupBarrier();
    for (var n = 32u; n > 0u; n = n >> 1u) {
        if (thread < n) {
            partial[thread] = max(partial[thread], partial[thread + n]);
        }
        workgroupBarrier();
    }
    let all = partial[0];
    workgroupBarrier();
    return all;
}

fn reduce_sum(thread: u32, v: f32) -> f32 {
    partial[thread] = v;
    workgroupBarrier();
    for (var n = 32u; n > 0u; n = n >> 1u) {
        if (thread < n) {
            partial[thread] += partial[thread + n];
        }
        workgroupBarrier();
    }
    let all = partial[0];
    workgroupBarrier();
    return all;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let sequence = sequences[group.x];
    let u = (group.x * HEADS + group.y) * ROW4;
    // An invocation reads again only the weights that it wrote itself.
    let first = sequence.start * HEADS + group.y;
    // -1e30 and not infinity, whose differences are NaN and which fast arithmetic may assume away.
    var top = -1e30;
    for (var i = thread; i < sequence.len; i += 64u) {
        let row = (sequence.start + i) * ROW4;
        var s = vec4(0.0);
        for (var c = 0u; c < ROW4; c++) {
            s = fma(x[row + c], back[u + c], s);
        }
        // exp2 is what the hardware has, so the scores are kept in units of ln 2.
        let score = ((s.x + s.y) + (s.z + s.w)) * LOG2_E;
        weights[first + i * HEADS] = score;
        top = max(top, score);
    }
    top = reduce_max(thread, top);

    var sum = 0.0;
    for (var i = thread; i < sequence.len; i += 64u) {
        let p = exp2(weights[first + i * HEADS] - top);
        weights[first + i * HEADS] = p;
        sum += p;
    }
    let scale = 1.0 / reduce_sum(thread, sum);
    for (var i = thread; i < sequence.len; i += 64u) {
        weights[first + i * HEADS] *= scale;
    }
}
