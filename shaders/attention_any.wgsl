// Per sequence and head of any width D up to 128: out = softmax(q k^T) v. The queries already carry 1/sqrt(D).
//
// A workgroup owns one query of one head: in turn an invocation is one of 64 keys, and one or two of the D columns.
// Grid: work items, heads, the 64 queries of an item.
// qkv [T,3H]: queries, keys, values, each [N,D]; out [T,H]; rows padded to ROW and OUT columns, those of out with zeros.
// CPU twin: src/cpu/attention.rs.

// D, H, and the padded columns of qkv and out.
override WIDTH: u32;
override HIDDEN: u32;
override ROW: u32;
override OUT: u32;

// Queries `first..` of the sequence whose rows are `start..start + len`.
struct Work {
    start: u32,
    len: u32,
    first: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> work: array<Work>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

const LOG2_E = 1.442695;

var<workgroup> query: array<f32, 128>;
var<workgroup> weights: array<f32, 64>;
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
    let item = work[group.x];
    let head = group.y * WIDTH;
    if (item.first + group.z >= item.len) {
        return;
    }
    let row = item.start + item.first + group.z;
    for (var d = thread; d < WIDTH; d += 64u) {
        query[d] = qkv[row * ROW + head + d] * LOG2_E;
    }
    workgroupBarrier();

    // -1e30 and not infinity, whose differences are NaN and which fast arithmetic may assume away.
    var top = -1e30;
    var total = 0.0;
    var o0 = 0.0;
    var o1 = 0.0;
    for (var key0 = 0u; key0 < item.len; key0 += 64u) {
        let count = min(64u, item.len - key0);
        let base = (item.start + key0) * ROW + HIDDEN + head;
        var s = -1e30;
        if (thread < count) {
            s = 0.0;
            for (var d = 0u; d < WIDTH; d++) {
                s = fma(query[d], qkv[base + thread * ROW + d], s);
            }
        }
        let higher = max(top, reduce_max(thread, s));
        let keep = exp2(top - higher);
        let p = exp2(s - higher);
        top = higher;
        weights[thread] = p;
        // Also the barrier between storing the weights and reading them.
        total = fma(total, keep, reduce_sum(thread, p));
        o0 *= keep;
        o1 *= keep;
        let value = base + HIDDEN + thread;
        if (thread < WIDTH) {
            for (var j = 0u; j < count; j++) {
                o0 = fma(weights[j], qkv[value + j * ROW], o0);
            }
        }
        if (thread + 64u < WIDTH) {
            for (var j = 0u; j < count; j++) {
                o1 = fma(weights[j], qkv[value + 64u + j * ROW], o1);
            }
        }
        workgroupBarrier();
    }

    let to = row * OUT + head + thread;
    if (thread < WIDTH) {
        out[to] = o0 / total;
    }
    if (thread + 64u < WIDTH) {
        out[to + 64u] = o1 / total;
    }
    if (group.y == 0u && HIDDEN + thread < OUT) {
        out[row * OUT + HIDDEN + thread] = 0.0;
    }
}
