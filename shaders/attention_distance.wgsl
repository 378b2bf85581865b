// Per sequence and head of any width D up to 128: out = softmax(scores) v over the keys at most REACH tokens away, where
// a score is (q k + q K[r]) + k Q[r], or q k + bias, or q k. The queries already carry 1/sqrt(D).
//
// A workgroup owns one query of one head: in turn an invocation is one of 64 keys, and one or two of the D columns.
// Grid: work items, heads, the 64 queries of an item.
// qkv [T,3H]: queries, keys, values, each [N,D]; out [T,H]; rows padded to ROW and OUT columns, those of out with zeros.
// row_of [2L-1]: the row r for a query and a key is number query - key + L - 1, and no sequence is longer than L.
// keys, queries: K and Q [R,H] with rows of OUT columns; or keys: the bias [N,2L-1]. What TERMS does not name is not read.
// CPU twin: src/cpu/distance.rs.

// D, H, and the padded columns of qkv and out.
override WIDTH: u32;
override HIDDEN: u32;
override ROW: u32;
override OUT: u32;
// L - 1.
override MIDDLE: u32;
override REACH: u32;
// 1 adds the bias, 2 adds q K[r], 4 adds k Q[r]; 6 adds both.
override TERMS: u32;

// Queries `first..` of the sequence whose rows are `start..start + len`.
struct Work {
    start: u32,
    len: u32,
    first: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> work: array<Work>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(1) @binding(0) var<storage, read> keys: array<f32>;
@group(1) @binding(1) var<storage, read> queries: array<f32>;
@group(1) @binding(2) var<storage, read> row_of: array<f32>;

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
    let position = item.first + group.z;
    let row = item.start + position;
    for (var d = thread; d < WIDTH; d += 64u) {
        query[d] = qkv[row * ROW + head + d] * LOG2_E;
    }
    workgroupBarrier();

    // -1e30 and not infinity, whose differences are NaN and which fast arithmetic may assume away.
    var top = -1e30;
    var total = 0.0;
    var o0 = 0.0;
    var o1 = 0.0;
    let nearest = position - min(position, REACH);
    let end = min(item.len, position + REACH + 1u);
    for (var key0 = nearest; key0 < end; key0 += 64u) {
        let count = min(64u, end - key0);
        let base = (item.start + key0) * ROW + HIDDEN + head;
        var s = -1e30;
        if (thread < count) {
            s = 0.0;
            for (var d = 0u; d < WIDTH; d++) {
                s = fma(query[d], qkv[base + thread * ROW + d], s);
            }
            let distance = position + MIDDLE - key0 - thread;
            if (TERMS == 1u) {
                s = fma(keys[group.y * (2u * MIDDLE + 1u) + distance], LOG2_E, s);
            }
            if (TERMS > 1u) {
                let far = u32(row_of[distance]) * OUT + head;
                if ((TERMS & 2u) != 0u) {
                    var t = 0.0;
                    for (var d = 0u; d < WIDTH; d++) {
                        t = fma(query[d], keys[far + d], t);
                    }
                    s += t;
                }
                if ((TERMS & 4u) != 0u) {
                    var t = 0.0;
                    for (var d = 0u; d < WIDTH; d++) {
                        t = fma(queries[far + d] * LOG2_E, qkv[base + thread * ROW + d], t);
                    }
                    s += t;
                }
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
