// Piece: cooperative matrices of 16 x 16. It stands first, because directives come before every declaration.
// linear/coop.wgsl goes with it.

enable f16;
enable wgpu_cooperative_matrix;

// Rows and columns of a matrix.
const SIDE: u32 = 16u;
alias Lhs = coop_mat16x16<f16, A>;
alias Rhs = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;
