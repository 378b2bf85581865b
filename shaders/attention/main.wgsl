// Per sequence and head of HEAD_DIM columns: out = softmax(q k^T) v. The queries already carry 1/sqrt(HEAD_DIM).
//
// A workgroup owns up to 64 queries of one head of one sequence, an invocation one query; grid: query blocks, heads.
// Keys and values pass through workgroup memory, KEYS at a time. The softmax is updated as they come (Milakov and
// Gimelshein 2018), four keys at a time, with one division at the end.
// qkv [T,3H]: queries, keys, values, each [N,HEAD_DIM]; out [T,H]. H is a multiple of HEAD_DIM and so of 16: nothing is
// padded.
// Needs attention/head_32.wgsl or head_64.wgsl with attention/columns_32.wgsl, and from shared/ workgroup, sum4, softmax and
// query_block. CPU twin: src/cpu/attention.rs.

// Columns of out in vec4s, H / 4.
override HIDDEN4: u32;

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> blocks: array<QueryBlock>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

// Columns of a head in vec4s.
const HEAD4: u32 = HEAD_DIM / 4u;
// Keys in workgroup memory at a time. With values, 32 of the wider head are the 16 KiB that WebGPU promises.
const KEYS: u32 = 32u;

// [key][HEAD_DIM / 4].
var<workgroup> keys: array<vec4<f32>, KEYS * HEAD4>;
var<workgroup> values: array<vec4<f32>, KEYS * HEAD4>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let block = blocks[group.x];
    let head = group.y * HEAD4;
    let query = block.first + thread;
    // Rows beyond the sequence are never read: they belong to another sequence or to none.
    let row = block.start + min(query, block.len - 1u);
    let q = load_head(row * (HIDDEN4 * 3u) + head);
    var o = Head();
    var running_max = NEG_INF;
    var total = 0.0;

    for (var key0 = 0u; key0 < block.len; key0 += KEYS) {
        workgroupBarrier();
        for (var e = thread; e < KEYS * HEAD4; e += WORKGROUP) {
            let key = key0 + e / HEAD4;
            var k = vec4(0.0);
            var v = vec4(0.0);
            if (key < block.len) {
                let at = (block.start + key) * (HIDDEN4 * 3u) + HIDDEN4 + head + e % HEAD4;
                k = qkv[at];
                v = qkv[at + HIDDEN4];
            }
            keys[e] = k;
            values[e] = v;
        }
        workgroupBarrier();
        let count = min(KEYS, block.len - key0);
        for (var j = 0u; j < count; j += 4u) {
            let at = j * HEAD4;
            var s = vec4(score(q, at), score(q, at + HEAD4), score(q, at + 2u * HEAD4), score(q, at + 3u * HEAD4));
            s = select(vec4(NEG_INF), s, vec4(j, j + 1u, j + 2u, j + 3u) < vec4(count));
            let higher = max(running_max, max(max(s.x, s.y), max(s.z, s.w)));
            let rescale = exp2(running_max - higher);
            let p = exp2(s - higher);
            running_max = higher;
            total = fma(total, rescale, sum4(p));
            o = weigh(o, rescale, p, at);
        }
    }

    if (query < block.len) {
        store_head(row * HIDDEN4 + head, o, 1.0 / total);
    }
}
