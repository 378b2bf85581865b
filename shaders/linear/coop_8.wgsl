// Piece: cooperative matrices of 8 x 8. It stands first, because directives come before every declaration.
// linear/coop.wgsl goes with it.

enable f16;
enable wgpu_cooperative_matrix;

// Rows and columns of a matrix.
const SIDE: u32 = 8u;
alias Lhs = coop_mat8x8<f16, A>;
alias Rhs = coop_mat8x8<f16, B>;
alias Sums = coop_mat8x8<f32, C>;
