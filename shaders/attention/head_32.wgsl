// Piece: heads of 32 columns. Needs attention/columns_32.wgsl.

const HEAD_DIM: u32 = 32u;
alias Head = Columns32;

fn load_head(at: u32) -> Head {
    return load_query(at);
}

fn score(q: Head, at: u32) -> f32 {
    return sum4(dot_columns(q, at));
}

fn weigh(o: Head, rescale: f32, p: vec4<f32>, at: u32) -> Head {
    return weigh_columns(o, rescale, p, at);
}

fn store_head(at: u32, o: Head, scale: f32) {
    store_columns(at, o, scale);
}
