// Piece: what follows the sums of a linear shader, y = activate(sum + bias), or y = sum + bias + residual [M,N].
//
// Needs shared/activate.wgsl and a storage piece with `store`. CPU twin: src/cpu/epilogue.rs.

// Columns of x and of out, padded with zeros to a multiple of KC.
override K: u32;
override N: u32;
// 1 adds the residual; otherwise the residual is not read.
override ADD_RESIDUAL: u32;

@group(0) @binding(1) var<storage, read> residual: array<vec4<f32>>;
@group(1) @binding(1) var<storage, read> bias: array<vec4<f32>>;

// Stores four neighbouring sums; `column` counts vec4s. The last tile may reach beyond the columns of out.
fn apply_epilogue(row: u32, column: u32, sum: vec4<f32>) {
    if (column < N / 4u) {
        let at = row * (N / 4u) + column;
        var y = sum + bias[column];
        if (ADD_RESIDUAL == 1u) {
            y += residual[at];
        }
        store(at, activate(y));
    }
}
