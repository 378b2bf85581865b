// Piece: up to 64 queries of one sequence, `first..` of its rows `start..start + len`. Rust twin: src/gpu/params.rs.
struct QueryBlock {
    start: u32,
    len: u32,
    first: u32,
}
