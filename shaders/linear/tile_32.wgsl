// out [M,N] = epilogue(x [M,K] w^T), by tiles of 32 x 32.
//
// A workgroup owns a 32 x 32 tile of out, an invocation 4 rows x 4 columns of it; grid: column tiles, row tiles.
// The sum over k is one chain of fused multiply-adds in order, so its bits are the same in every tile.
// The accumulators are named variables, because drivers may keep an array that a loop indexes in memory.
// Needs linear/staging.wgsl with a storage piece, and linear/epilogue.wgsl. CPU twin: src/cpu/gemm.rs.

// Rows and columns of the tile.
const TILE: u32 = 32u;

@compute @workgroup_size(2u * TILE)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row0 = tile.y * TILE;
    let panel0 = tile.x * (TILE / PANEL_COLS);
    let tx = thread % TILE4;
    let ty = thread / TILE4;
    var c00 = vec4(0.0);
    var c10 = vec4(0.0);
    var c20 = vec4(0.0);
    var c30 = vec4(0.0);

    var next = fetch(thread, row0, panel0, 0u);
    for (var k0 = 0u; k0 < K; k0 += KC) {
        workgroupBarrier();
        stage(thread, next);
        workgroupBarrier();
        // The next block is fetched while this one is multiplied.
        if (k0 + KC < K) {
            next = fetch(thread, row0, panel0, k0 + KC);
        }
        for (var k = 0u; k < KC; k++) {
            let a0 = lhs[k * TILE4 + permuted(ty, k / 4u)];
            let b0 = rhs[k * TILE4 + tx];
            c00 = fma(vec4(a0.x), b0, c00);
            c10 = fma(vec4(a0.y), b0, c10);
            c20 = fma(vec4(a0.z), b0, c20);
            c30 = fma(vec4(a0.w), b0, c30);
        }
    }

    let row = row0 + ty * 4u;
    let column = tile.x * TILE4 + tx;
    apply_epilogue(row, column, c00);
    apply_epilogue(row + 1u, column, c10);
    apply_epilogue(row + 2u, column, c20);
    apply_epilogue(row + 3u, column, c30);
}
