// out [rows,F] = activate(first half of a row) * second half, for x [rows,2F].
//
// A workgroup owns a row and 64 vec4s of it, an invocation one vec4, the padding included; grid: rows, blocks of columns.
// Rows are padded with zeros to X_COLS and OUT_COLS columns. The second half may begin at any column, so x is read number by
// number.
// Needs shared/workgroup.wgsl and shared/activate.wgsl.
// CPU twin: src/cpu/gate.rs.

// F, and the padded columns of x and out.
override COLS: u32;
override X_COLS: u32;
override OUT_COLS: u32;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;

// Columns `column..column + 4` of the half row that begins at number `start` of x. Beyond F there is nothing to read, and
// zeros to write.
fn half_row4(start: u32, column: u32) -> vec4<f32> {
    let last = COLS - 1u;
    let y = vec4(
        x[start + min(column, last)],
        x[start + min(column + 1u, last)],
        x[start + min(column + 2u, last)],
        x[start + min(column + 3u, last)],
    );
    return select(vec4(0.0), y, vec4(column, column + 1u, column + 2u, column + 3u) < vec4(COLS));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let column = group.y * WORKGROUP + thread;
    if (column >= OUT_COLS / 4u) {
        return;
    }
    let start = group.x * X_COLS;
    let gate = activate(half_row4(start, 4u * column));
    out[group.x * (OUT_COLS / 4u) + column] = gate * half_row4(start + COLS, 4u * column);
}
