// Piece: copies both operands of a linear shader to workgroup memory, a block of KC along k at a time.
//
// x, residual and out have whole tiles of rows, so that none is out of bounds. weight: [N/32][K][32], with zeros beyond the
// last output up to a multiple of 128; bias likewise.
// Needs the constant TILE, the side of the tile, and a storage piece with `x`, `weight` and `as_f32`. The workgroup has
// 2 TILE invocations: the first half fetches x, the second half weight, four vec4s each.

// Depth along k that is staged at a time. 16 of the largest tile's 128 rows and columns are the 16 KiB of workgroup memory
// that WebGPU promises.
const KC: u32 = 16u;
// Outputs that lie side by side in a packed weight: as many as the smallest tile has columns.
const PANEL_COLS: u32 = 32u;

// A row of the tile, a row of a panel, and KC rows of a panel, in vec4s.
const TILE4: u32 = TILE / 4u;
const PANEL4: u32 = PANEL_COLS / 4u;
const PANEL_BLOCK: u32 = KC * PANEL4;

// lhs[k][row / 4] holds four rows of x, rhs[k][column / 4] four columns of weight.
var<workgroup> lhs: array<vec4<f32>, KC * TILE4>;
var<workgroup> rhs: array<vec4<f32>, KC * TILE4>;

// What one invocation fetches: 4 rows of x by 4 columns of it along k, or four vec4s of weight that are TILE vec4s apart.
struct Fetched {
    r0: Stored4,
    r1: Stored4,
    r2: Stored4,
    r3: Stored4,
}

// Where the four vec4s of weight lie: in which of the tile's panels, and how many vec4s from the first within a panel.
const PANEL_1: u32 = TILE / PANEL_BLOCK;
const PANEL_2: u32 = 2u * TILE / PANEL_BLOCK;
const PANEL_3: u32 = 3u * TILE / PANEL_BLOCK;
const WITHIN_1: u32 = TILE % PANEL_BLOCK;
const WITHIN_2: u32 = 2u * TILE % PANEL_BLOCK;
const WITHIN_3: u32 = 3u * TILE % PANEL_BLOCK;

// The row blocks of lhs are permuted by exclusive or with the block of four along k, so that the invocations that store
// a transposed block meet in no memory bank.
fn permuted(row_block: u32, k_block: u32) -> u32 {
    return row_block ^ (k_block * 2u);
}

// Reads this invocation's share of the block of k that begins at k0. `panel0` is the tile's first panel.
fn fetch(thread: u32, row0: u32, panel0: u32, k0: u32) -> Fetched {
    if (thread < TILE) {
        let at = (row0 + thread / 4u * 4u) * (K / 4u) + k0 / 4u + thread % 4u;
        return Fetched(x[at], x[at + K / 4u], x[at + K / 2u], x[at + K / 4u * 3u]);
    }
    let at = (panel0 * K + k0) * PANEL4 + thread - TILE;
    return Fetched(
        weight[at],
        weight[at + K * (PANEL4 * PANEL_1) + WITHIN_1],
        weight[at + K * (PANEL4 * PANEL_2) + WITHIN_2],
        weight[at + K * (PANEL4 * PANEL_3) + WITHIN_3],
    );
}

// Writes what `fetch` read to workgroup memory: x transposed, weight as it is.
fn stage(thread: u32, f: Fetched) {
    let r0 = as_f32(f.r0);
    let r1 = as_f32(f.r1);
    let r2 = as_f32(f.r2);
    let r3 = as_f32(f.r3);
    if (thread < TILE) {
        let at = thread % 4u * (4u * TILE4) + permuted(thread / 4u, thread % 4u);
        lhs[at] = vec4(r0.x, r1.x, r2.x, r3.x);
        lhs[at + TILE4] = vec4(r0.y, r1.y, r2.y, r3.y);
        lhs[at + 2u * TILE4] = vec4(r0.z, r1.z, r2.z, r3.z);
        lhs[at + 3u * TILE4] = vec4(r0.w, r1.w, r2.w, r3.w);
    } else {
        let u = thread - TILE;
        let at = u / PANEL4 * TILE4 + u % PANEL4;
        rhs[at] = r0;
        rhs[at + WITHIN_1 / PANEL4 * TILE4 + PANEL_1 * PANEL4] = r1;
        rhs[at + WITHIN_2 / PANEL4 * TILE4 + PANEL_2 * PANEL4] = r2;
        rhs[at + WITHIN_3 / PANEL4 * TILE4 + PANEL_3 * PANEL4] = r3;
    }
}
