// Rotates the queries and keys of qkv [T,3H] in place by the position in their sequence: of each head the values i and
// i + D/2 become (x cos - y sin, y cos + x sin).
//
// A workgroup owns one row, an invocation every 64th pair of values; grid: query blocks, the 64 rows of a block.
// cos_sin [L,D]: in each row D/2 cosines, then D/2 sines; no sequence is longer than L. Rows of qkv are padded to QKV_COLS
// columns.
// Needs shared/workgroup.wgsl and shared/query_block.wgsl.
// CPU twin: src/cpu/rotary.rs.

// D/2, N, and the padded columns of qkv.
override PAIRS: u32;
override HEADS: u32;
override QKV_COLS: u32;

@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> blocks: array<QueryBlock>;
@group(1) @binding(0) var<storage, read> cos_sin: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let block = blocks[group.x];
    let position = block.first + group.y;
    if (position >= block.len) {
        return;
    }
    // The heads of the queries, then those of the keys.
    for (var pair = thread; pair < 2u * HEADS * PAIRS; pair += WORKGROUP) {
        let i = pair % PAIRS;
        let at = (block.start + position) * QKV_COLS + pair / PAIRS * 2u * PAIRS + i;
        let cosine = cos_sin[position * 2u * PAIRS + i];
        let sine = cos_sin[position * 2u * PAIRS + PAIRS + i];
        let x = qkv[at];
        let y = qkv[at + PAIRS];
        qkv[at] = fma(x, cosine, -(y * sine));
        qkv[at + PAIRS] = fma(y, cosine, x * sine);
    }
}
