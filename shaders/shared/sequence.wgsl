// Piece: one sequence, the rows `start..start + len` of the activations. Rust twin: src/gpu/params.rs.
struct Sequence {
    start: u32,
    len: u32,
}
