// Per sequence and head of width D = 32: out = softmax(q k^T) v. The queries already carry 1/sqrt(D).
//
// A workgroup owns up to 64 queries of one head of one sequence, an invocation one query; grid: work items, heads.
// Keys and values pass through workgroup memory, 32 at a time; the softmax is kept up as they come (Milakov and
// Gimelshein 2018), four keys at a time, with one division at the end.
// qkv [T,3H]: queries, keys, values, each [N,D]; out [T,H]. H is a multiple of D and so of 16: nothing is padded.
// CPU twin: src/cpu/attention.rs.

// Columns of out in vec4s, H / 4.
override HIDDEN4: u32;

// Queries `first..` of the sequence whose rows are `start..start + len`.
struct Work {
    start: u32,
    len: u32,
    first: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> work: array<Work>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

const LOG2_E = 1.442695;

// [key][D / 4].
var<workgroup> keys: array<vec4<f32>, 256>;
var<workgroup> values: array<vec4<f32>, 256>;

fn sum(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let item = work[group.x];
    let head = group.y * 8u;
    let query = item.first + thread;
    // Rows beyond the sequence are never read: they are another's, or nobody's.
    let row = item.start + min(query, item.len - 1u);
    // exp2 is what the hardware has, so the scores are kept in units of ln 2.
    let at = row * (HIDDEN4 * 3u) + head;
    let q0 = qkv[at] * LOG2_E;
    let q1 = qkv[at + 1u] * LOG2_E;
    let q2 = qkv[at + 2u] * LOG2_E;
    let q3 = qkv[at + 3u] * LOG2_E;
    let q4 = qkv[at + 4u] * LOG2_E;
    let q5 = qkv[at + 5u] * LOG2_E;
    let q6 = qkv[at + 6u] * LOG2_E;
    let q7 = qkv[at + 7u] * LOG2_E;
    var o0 = vec4(0.0);
    var o1 = vec4(0.0);
    var o2 = vec4(0.0);
    var o3 = vec4(0.0);
    var o4 = vec4(0.0);
    var o5 = vec4(0.0);
    var o6 = vec4(0.0);
    var o7 = vec4(0.0);
    // -1e30 and not infinity, whose differences are NaN and which fast arithmetic may assume away.
    var top = -1e30;
    var total = 0.0;

    for (var key0 = 0u; key0 < item.len; key0 += 32u) {
        workgroupBarrier();
        for (var e = thread; e < 256u; e += 64u) {
            let key = key0 + e / 8u;
            var k = vec4(0.0);
            var v = vec4(0.0);
            if (key < item.len) {
                let base = (item.start + key) * (HIDDEN4 * 3u) + HIDDEN4 + head + e % 8u;
                k = qkv[base];
                v = qkv[base + HIDDEN4];
            }
            keys[e] = k;
            values[e] = v;
        }
        workgroupBarrier();
        let count = min(32u, item.len - key0);
        for (var j = 0u; j < count; j += 4u) {
            let k = j * 8u;
            var s0 = q0 * keys[k];
            s0 = fma(q1, keys[k + 1u], s0);
            s0 = fma(q2, keys[k + 2u], s0);
            s0 = fma(q3, keys[k + 3u], s0);
            s0 = fma(q4, keys[k + 4u], s0);
            s0 = fma(q5, keys[k + 5u], s0);
            s0 = fma(q6, keys[k + 6u], s0);
            s0 = fma(q7, keys[k + 7u], s0);
            var s1 = q0 * keys[k + 8u];
            s1 = fma(q1, keys[k + 9u], s1);
            s1 = fma(q2, keys[k + 10u], s1);
            s1 = fma(q3, keys[k + 11u], s1);
            s1 = fma(q4, keys[k + 12u], s1);
            s1 = fma(q5, keys[k + 13u], s1);
            s1 = fma(q6, keys[k + 14u], s1);
            s1 = fma(q7, keys[k + 15u], s1);
            var s2 = q0 * keys[k + 16u];
            s2 = fma(q1, keys[k + 17u], s2);
            s2 = fma(q2, keys[k + 18u], s2);
            s2 = fma(q3, keys[k + 19u], s2);
            s2 = fma(q4, keys[k + 20u], s2);
            s2 = fma(q5, keys[k + 21u], s2);
            s2 = fma(q6, keys[k + 22u], s2);
            s2 = fma(q7, keys[k + 23u], s2);
            var s3 = q0 * keys[k + 24u];
            s3 = fma(q1, keys[k + 25u], s3);
            s3 = fma(q2, keys[k + 26u], s3);
            s3 = fma(q3, keys[k + 27u], s3);
            s3 = fma(q4, keys[k + 28u], s3);
            s3 = fma(q5, keys[k + 29u], s3);
            s3 = fma(q6, keys[k + 30u], s3);
            s3 = fma(q7, keys[k + 31u], s3);
            var s = vec4(sum(s0), sum(s1), sum(s2), sum(s3));
            s = select(vec4(-1e30), s, vec4(j, j + 1u, j + 2u, j + 3u) < vec4(count));
            let higher = max(top, max(max(s.x, s.y), max(s.z, s.w)));
            let keep = exp2(top - higher);
            let p = exp2(s - higher);
            top = higher;
            total = fma(total, keep, sum(p));
            o0 = fma(vec4(p.x), values[k], o0 * keep);
            o0 = fma(vec4(p.y), values[k + 8u], o0);
            o0 = fma(vec4(p.z), values[k + 16u], o0);
            o0 = fma(vec4(p.w), values[k + 24u], o0);
            o1 = fma(vec4(p.x), values[k + 1u], o1 * keep);
            o1 = fma(vec4(p.y), values[k + 9u], o1);
            o1 = fma(vec4(p.z), values[k + 17u], o1);
            o1 = fma(vec4(p.w), values[k + 25u], o1);
            o2 = fma(vec4(p.x), values[k + 2u], o2 * keep);
            o2 = fma(vec4(p.y), values[k + 10u], o2);
            o2 = fma(vec4(p.z), values[k + 18u], o2);
            o2 = fma(vec4(p.w), values[k + 26u], o2);
            o3 = fma(vec4(p.x), values[k + 3u], o3 * keep);
            o3 = fma(vec4(p.y), values[k + 11u], o3);
            o3 = fma(vec4(p.z), values[k + 19u], o3);
            o3 = fma(vec4(p.w), values[k + 27u], o3);
            o4 = fma(vec4(p.x), values[k + 4u], o4 * keep);
            o4 = fma(vec4(p.y), values[k + 12u], o4);
            o4 = fma(vec4(p.z), values[k + 20u], o4);
            o4 = fma(vec4(p.w), values[k + 28u], o4);
            o5 = fma(vec4(p.x), values[k + 5u], o5 * keep);
            o5 = fma(vec4(p.y), values[k + 13u], o5);
            o5 = fma(vec4(p.z), values[k + 21u], o5);
            o5 = fma(vec4(p.w), values[k + 29u], o5);
            o6 = fma(vec4(p.x), values[k + 6u], o6 * keep);
            o6 = fma(vec4(p.y), values[k + 14u], o6);
            o6 = fma(vec4(p.z), values[k + 22u], o6);
            o6 = fma(vec4(p.w), values[k + 30u], o6);
            o7 = fma(vec4(p.x), values[k + 7u], o7 * keep);
            o7 = fma(vec4(p.y), values[k + 15u], o7);
            o7 = fma(vec4(p.z), values[k + 23u], o7);
            o7 = fma(vec4(p.w), values[k + 31u], o7);
        }
    }

    if (query < item.len) {
        let to = row * HIDDEN4 + head;
        let scale = 1.0 / total;
        out[to] = o0 * scale;
        out[to + 1u] = o1 * scale;
        out[to + 2u] = o2 * scale;
        out[to + 3u] = o3 * scale;
        out[to + 4u] = o4 * scale;
        out[to + 5u] = o5 * scale;
        out[to + 6u] = o6 * scale;
        out[to + 7u] = o7 * scale;
    }
}
