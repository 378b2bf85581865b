// out [M,N] = epilogue(x [M,K] w^T), by cooperative matrices: f16 times f16, summed in f32.
//
// A workgroup is one subgroup and owns a TILE x TILE tile of out, as 4 x 4 matrices; grid: column tiles, row tiles. Where a
// driver makes subgroups smaller than LANES, each of them computes the whole tile and stores the same numbers.
// Padding of x, residual, out, weight and bias: as in linear/staging.wgsl.
// Matrices are loaded straight from buffers and not through workgroup memory, where drivers order matrix loads neither with
// barriers nor with each other. Only the sums pass through it, because a shader cannot address elements of a matrix.
// Needs linear/coop_8.wgsl or linear/coop_16.wgsl in front, linear/output_f16.wgsl and linear/epilogue.wgsl.
// CPU twin: src/cpu/gemm.rs.

// Invocations of a workgroup: the adapter's largest subgroup.
override LANES: u32;

@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(1) @binding(0) var<storage, read> weight: array<f16>;

// Rows and columns of the tile, and its columns in vec4s.
const TILE: u32 = 4u * SIDE;
const TILE4: u32 = TILE / 4u;
// Outputs that lie side by side in a packed weight.
const PANEL_COLS: u32 = 32u;

// One row of matrices: SIDE rows of the tile.
var<workgroup> sums: array<f32, SIDE * TILE>;

// Applies the epilogue to the rows in `sums`.
fn apply_epilogue_to_rows(thread: u32, row: u32, column: u32) {
    for (var e = thread; e < SIDE * TILE4; e += LANES) {
        let sum = vec4(sums[e * 4u], sums[e * 4u + 1u], sums[e * 4u + 2u], sums[e * 4u + 3u]);
        apply_epilogue(row + e / TILE4, column + e % TILE4, sum);
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row0 = tile.y * TILE;
    let column0 = tile.x * TILE4;
    let panel = tile.x * K * TILE;
    var c00 = Sums();
    var c01 = Sums();
    var c02 = Sums();
    var c03 = Sums();
    var c10 = Sums();
    var c11 = Sums();
    var c12 = Sums();
    var c13 = Sums();
    var c20 = Sums();
    var c21 = Sums();
    var c22 = Sums();
    var c23 = Sums();
    var c30 = Sums();
    var c31 = Sums();
    var c32 = Sums();
    var c33 = Sums();

    for (var k = 0u; k < K; k += SIDE) {
        let at = row0 * K + k;
        let a0 = coopLoadT<Lhs>(&x[at], K);
        let a1 = coopLoadT<Lhs>(&x[at + K * SIDE], K);
        let a2 = coopLoadT<Lhs>(&x[at + K * (2u * SIDE)], K);
        let a3 = coopLoadT<Lhs>(&x[at + K * (3u * SIDE)], K);
        // Column block j begins j SIDE columns into the tile's panels.
        let b = panel + k * PANEL_COLS;
        let b0 = coopLoadT<Rhs>(&weight[b], PANEL_COLS);
        let b1 = coopLoadT<Rhs>(&weight[b + K * (SIDE / PANEL_COLS * PANEL_COLS) + SIDE % PANEL_COLS], PANEL_COLS);
        let b2 = coopLoadT<Rhs>(&weight[b + K * (2u * SIDE / PANEL_COLS * PANEL_COLS) + 2u * SIDE % PANEL_COLS], PANEL_COLS);
        let b3 = coopLoadT<Rhs>(&weight[b + K * (3u * SIDE / PANEL_COLS * PANEL_COLS) + 3u * SIDE % PANEL_COLS], PANEL_COLS);
        c00 = coopMultiplyAdd(a0, b0, c00);
        c01 = coopMultiplyAdd(a0, b1, c01);
        c02 = coopMultiplyAdd(a0, b2, c02);
        c03 = coopMultiplyAdd(a0, b3, c03);
        c10 = coopMultiplyAdd(a1, b0, c10);
        c11 = coopMultiplyAdd(a1, b1, c11);
        c12 = coopMultiplyAdd(a1, b2, c12);
        c13 = coopMultiplyAdd(a1, b3, c13);
        c20 = coopMultiplyAdd(a2, b0, c20);
        c21 = coopMultiplyAdd(a2, b1, c21);
        c22 = coopMultiplyAdd(a2, b2, c22);
        c23 = coopMultiplyAdd(a2, b3, c23);
        c30 = coopMultiplyAdd(a3, b0, c30);
        c31 = coopMultiplyAdd(a3, b1, c31);
        c32 = coopMultiplyAdd(a3, b2, c32);
        c33 = coopMultiplyAdd(a3, b3, c33);
    }

    workgroupBarrier();
    coopStoreT(c00, &sums[0], TILE);
    coopStoreT(c01, &sums[SIDE], TILE);
    coopStoreT(c02, &sums[2u * SIDE], TILE);
    coopStoreT(c03, &sums[3u * SIDE], TILE);
    workgroupBarrier();
    apply_epilogue_to_rows(thread, row0, column0);

    workgroupBarrier();
    coopStoreT(c10, &sums[0], TILE);
    coopStoreT(c11, &sums[SIDE], TILE);
    coopStoreT(c12, &sums[2u * SIDE], TILE);
    coopStoreT(c13, &sums[3u * SIDE], TILE);
    workgroupBarrier();
    apply_epilogue_to_rows(thread, row0 + SIDE, column0);

    workgroupBarrier();
    coopStoreT(c20, &sums[0], TILE);
    coopStoreT(c21, &sums[SIDE], TILE);
    coopStoreT(c22, &sums[2u * SIDE], TILE);
    coopStoreT(c23, &sums[3u * SIDE], TILE);
    workgroupBarrier();
    apply_epilogue_to_rows(thread, row0 + 2u * SIDE, column0);

    workgroupBarrier();
    coopStoreT(c30, &sums[0], TILE);
    coopStoreT(c31, &sums[SIDE], TILE);
    coopStoreT(c32, &sums[2u * SIDE], TILE);
    coopStoreT(c33, &sums[3u * SIDE], TILE);
    workgroupBarrier();
    apply_epilogue_to_rows(thread, row0 + 3u * SIDE, column0);
}
