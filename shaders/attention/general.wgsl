// Per sequence and head of HEAD_DIM columns, at most MAX_HEAD_DIM: out = softmax(scores) v over the keys at most RADIUS
// tokens away, where a score is (q k + q K[r]) + k Q[r], or q k + bias, or q k. The queries already carry 1/sqrt(HEAD_DIM).
//
// A workgroup owns one query of one head: in turn an invocation is one of 64 keys, and one or two of the head's columns.
// Grid: query blocks, heads, the 64 queries of a block.
// qkv [T,3H]: queries, keys, values, each [N,HEAD_DIM]; out [T,H]; rows padded to QKV_COLS and OUT_COLS columns, those of out
// with zeros.
// row_of [2L-1]: the row r for a query and a key is number query - key + L - 1, and no sequence is longer than L.
// relative_keys, relative_queries: K and Q [R,H] with rows of OUT_COLS columns; or relative_keys: the bias [N,2L-1]. What
// SCORE_MOD does not name is not read.
// Needs from shared/ workgroup, reduce, softmax and query_block.
// CPU twin: src/cpu/score_mod.rs.

override HEAD_DIM: u32;
// H, and the padded columns of qkv and out.
override HIDDEN: u32;
override QKV_COLS: u32;
override OUT_COLS: u32;
// L - 1.
override MAX_DISTANCE: u32;
override RADIUS: u32;
// 1 adds the bias, 2 adds q K[r], 4 adds k Q[r]; 6 adds both.
override SCORE_MOD: u32;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> blocks: array<QueryBlock>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(1) @binding(0) var<storage, read> relative_keys: array<f32>;
@group(1) @binding(1) var<storage, read> relative_queries: array<f32>;
@group(1) @binding(2) var<storage, read> row_of: array<f32>;

// Two columns for each invocation.
const MAX_HEAD_DIM: u32 = 2u * WORKGROUP;

var<workgroup> query: array<f32, MAX_HEAD_DIM>;
var<workgroup> weights: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let block = blocks[group.x];
    let head = group.y * HEAD_DIM;
    if (block.first + group.z >= block.len) {
        return;
    }
    let position = block.first + group.z;
    let row = block.start + position;
    for (var d = thread; d < HEAD_DIM; d += WORKGROUP) {
        query[d] = qkv[row * QKV_COLS + head + d] * LOG2_E;
    }
    workgroupBarrier();

    var running_max = NEG_INF;
    var total = 0.0;
    var o0 = 0.0;
    var o1 = 0.0;
    let begin = position - min(position, RADIUS);
    let end = min(block.len, position + RADIUS + 1u);
    for (var key0 = begin; key0 < end; key0 += WORKGROUP) {
        let count = min(WORKGROUP, end - key0);
        let base = (block.start + key0) * QKV_COLS + HIDDEN + head;
        var s = NEG_INF;
        if (thread < count) {
            s = 0.0;
            for (var d = 0u; d < HEAD_DIM; d++) {
                s = fma(query[d], qkv[base + thread * QKV_COLS + d], s);
            }
            let relative_position = position + MAX_DISTANCE - key0 - thread;
            if (SCORE_MOD == 1u) {
                s = fma(relative_keys[group.y * (2u * MAX_DISTANCE + 1u) + relative_position], LOG2_E, s);
            }
            if (SCORE_MOD > 1u) {
                let relative = u32(row_of[relative_position]) * OUT_COLS + head;
                if ((SCORE_MOD & 2u) != 0u) {
                    var t = 0.0;
                    for (var d = 0u; d < HEAD_DIM; d++) {
                        t = fma(query[d], relative_keys[relative + d], t);
                    }
                    s += t;
                }
                if ((SCORE_MOD & 4u) != 0u) {
                    var t = 0.0;
                    for (var d = 0u; d < HEAD_DIM; d++) {
                        t = fma(relative_queries[relative + d] * LOG2_E, qkv[base + thread * QKV_COLS + d], t);
                    }
                    s += t;
                }
            }
        }
        let higher = max(running_max, reduce_max(thread, s));
        let rescale = exp2(running_max - higher);
        let p = exp2(s - higher);
        running_max = higher;
        weights[thread] = p;
        // Also the barrier between storing the weights and reading them.
        total = fma(total, rescale, reduce_sum(thread, p));
        o0 *= rescale;
        o1 *= rescale;
        let value = base + HIDDEN + thread;
        if (thread < HEAD_DIM) {
            for (var j = 0u; j < count; j++) {
                o0 = fma(weights[j], qkv[value + j * QKV_COLS], o0);
            }
        }
        if (thread + WORKGROUP < HEAD_DIM) {
            for (var j = 0u; j < count; j++) {
                o1 = fma(weights[j], qkv[value + WORKGROUP + j * QKV_COLS], o1);
            }
        }
        workgroupBarrier();
    }

    let to = row * OUT_COLS + head + thread;
    if (thread < HEAD_DIM) {
        out[to] = o0 / total;
    }
    if (thread + WORKGROUP < HEAD_DIM) {
        out[to + WORKGROUP] = o1 / total;
    }
    // Fewer padding columns than invocations.
    if (group.y == 0u && HIDDEN + thread < OUT_COLS) {
        out[row * OUT_COLS + HIDDEN + thread] = 0.0;
    }
}
