// out [M,N] = epilogue(x [M,K] w^T), by tiles of 128 x 128.
//
// A workgroup owns a 128 x 128 tile of out, an invocation 8 rows x 8 columns of it; grid: column tiles, row tiles.
// The sum over k is one chain of fused multiply-adds in order, so its bits are the same in every tile.
// The accumulators are named variables, because drivers may keep an array that a loop indexes in memory.
// Needs linear/staging.wgsl with a storage piece, and linear/epilogue.wgsl. CPU twin: src/cpu/gemm.rs.

// Rows and columns of the tile.
const TILE: u32 = 128u;

@compute @workgroup_size(2u * TILE)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row0 = tile.y * TILE;
    let panel0 = tile.x * (TILE / PANEL_COLS);
    // An invocation's two column blocks are half a tile apart, so that neighbours read neighbouring vec4s.
    let tx = thread % (TILE4 / 2u);
    let ty = thread / (TILE4 / 2u);
    var c00 = vec4(0.0);
    var c01 = vec4(0.0);
    var c10 = vec4(0.0);
    var c11 = vec4(0.0);
    var c20 = vec4(0.0);
    var c21 = vec4(0.0);
    var c30 = vec4(0.0);
    var c31 = vec4(0.0);
    var c40 = vec4(0.0);
    var c41 = vec4(0.0);
    var c50 = vec4(0.0);
    var c51 = vec4(0.0);
    var c60 = vec4(0.0);
    var c61 = vec4(0.0);
    var c70 = vec4(0.0);
    var c71 = vec4(0.0);

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
            let at = k * TILE4 + permuted(ty * 2u, k / 4u);
            let a0 = lhs[at];
            let a1 = lhs[at + 1u];
            let b0 = rhs[k * TILE4 + tx];
            let b1 = rhs[k * TILE4 + tx + TILE4 / 2u];
            c00 = fma(vec4(a0.x), b0, c00);
            c01 = fma(vec4(a0.x), b1, c01);
            c10 = fma(vec4(a0.y), b0, c10);
            c11 = fma(vec4(a0.y), b1, c11);
            c20 = fma(vec4(a0.z), b0, c20);
            c21 = fma(vec4(a0.z), b1, c21);
            c30 = fma(vec4(a0.w), b0, c30);
            c31 = fma(vec4(a0.w), b1, c31);
            c40 = fma(vec4(a1.x), b0, c40);
            c41 = fma(vec4(a1.x), b1, c41);
            c50 = fma(vec4(a1.y), b0, c50);
            c51 = fma(vec4(a1.y), b1, c51);
            c60 = fma(vec4(a1.z), b0, c60);
            c61 = fma(vec4(a1.z), b1, c61);
            c70 = fma(vec4(a1.w), b0, c70);
            c71 = fma(vec4(a1.w), b1, c71);
        }
    }

    let row = row0 + ty * 8u;
    let column = tile.x * TILE4 + tx;
    apply_epilogue(row, column, c00);
    apply_epilogue(row, column + TILE4 / 2u, c01);
    apply_epilogue(row + 1u, column, c10);
    apply_epilogue(row + 1u, column + TILE4 / 2u, c11);
    apply_epilogue(row + 2u, column, c20);
    apply_epilogue(row + 2u, column + TILE4 / 2u, c21);
    apply_epilogue(row + 3u, column, c30);
    apply_epilogue(row + 3u, column + TILE4 / 2u, c31);
    apply_epilogue(row + 4u, column, c40);
    apply_epilogue(row + 4u, column + TILE4 / 2u, c41);
    apply_epilogue(row + 5u, column, c50);
    apply_epilogue(row + 5u, column + TILE4 / 2u, c51);
    apply_epilogue(row + 6u, column, c60);
    apply_epilogue(row + 6u, column + TILE4 / 2u, c61);
    apply_epilogue(row + 7u, column, c70);
    apply_epilogue(row + 7u, column + TILE4 / 2u, c71);
}
