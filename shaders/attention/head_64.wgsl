// Piece: heads of 64 columns, as two halves of 32. Needs attention/columns_32.wgsl.

const HEAD_DIM: u32 = 64u;
// vec4s of one half.
const HALF4: u32 = 8u;

struct Head {
    low: Columns32,
    high: Columns32,
}

fn load_head(at: u32) -> Head {
    return Head(load_query(at), load_query(at + HALF4));
}

fn score(q: Head, at: u32) -> f32 {
    // One chain of multiply-adds over both halves.
    let low = dot_columns(q.low, at);
    return sum4(fma_columns(q.high, at + HALF4, fma(q.high.c0, keys[at + HALF4], low)));
}

fn weigh(o: Head, rescale: f32, p: vec4<f32>, at: u32) -> Head {
    return Head(weigh_columns(o.low, rescale, p, at), weigh_columns(o.high, rescale, p, at + HALF4));
}

fn store_head(at: u32, o: Head, scale: f32) {
    store_columns(at, o.low, scale);
    store_columns(at + HALF4, o.high, scale);
}
