// Rotates the queries and keys of qkv [T,3H] in place by the position in their sequence: of each head the values i and
// i + D/2 become (x cos - y sin, y cos + x sin).
//
// A workgroup owns one row, an invocation every 64th pair of values; grid: work items, the 64 rows of an item.
// rotary [L,D]: in each row D/2 cosines, then D/2 sines; no sequence is longer than L. Rows of qkv padded to ROW columns.
// CPU twin: src/cpu/rotary.rs.

// D/2, N, and the padded columns of qkv.
override HALF: u32;
override HEADS: u32;
override ROW: u32;

// Queries `first..` of the sequence whose rows are `start..start + len`.
struct Work {
    start: u32,
    len: u32,
    first: u32,
}

@group(0) @binding(0) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> work: array<Work>;
@group(1) @binding(0) var<storage, read> rotary: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let item = work[group.x];
    let position = item.first + group.y;
    if (position >= item.len) {
        return;
    }
    // The heads of the queries, then those of the keys.
    for (var pair = thread; pair < 2u * HEADS * HALF; pair += 64u) {
        let i = pair % HALF;
        let at = (item.start + position) * ROW + pair / HALF * 2u * HALF + i;
        let cosine = rotary[position * 2u * HALF + i];
        let sine = rotary[position * 2u * HALF + HALF + i];
        let x = qkv[at];
        let y = qkv[at + HALF];
        qkv[at] = fma(x, cosine, -(y * sine));
        qkv[at + HALF] = fma(y, cosine, x * sine);
    }
}
