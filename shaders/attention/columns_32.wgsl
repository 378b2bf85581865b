// Piece: 32 columns of one head as eight named vec4s, which drivers keep in registers.
//
// Needs `qkv` and `out`, the tiles `keys` and `values`, HEAD4 (the vec4s of a key or value there) and shared/softmax.wgsl.

struct Columns32 {
    c0: vec4<f32>,
    c1: vec4<f32>,
    c2: vec4<f32>,
    c3: vec4<f32>,
    c4: vec4<f32>,
    c5: vec4<f32>,
    c6: vec4<f32>,
    c7: vec4<f32>,
}

// A query from vec4 number `at` of qkv, so that its scores are in units of ln 2.
fn load_query(at: u32) -> Columns32 {
    return Columns32(
        qkv[at] * LOG2_E,
        qkv[at + 1u] * LOG2_E,
        qkv[at + 2u] * LOG2_E,
        qkv[at + 3u] * LOG2_E,
        qkv[at + 4u] * LOG2_E,
        qkv[at + 5u] * LOG2_E,
        qkv[at + 6u] * LOG2_E,
        qkv[at + 7u] * LOG2_E,
    );
}

// Products of a query and the key at vec4 number `at` of the tile, four sums beside each other.
fn dot_columns(q: Columns32, at: u32) -> vec4<f32> {
    return fma_columns(q, at, q.c0 * keys[at]);
}

// The products of all columns but the first four, added to `sum`.
fn fma_columns(q: Columns32, at: u32, sum: vec4<f32>) -> vec4<f32> {
    var s = fma(q.c1, keys[at + 1u], sum);
    s = fma(q.c2, keys[at + 2u], s);
    s = fma(q.c3, keys[at + 3u], s);
    s = fma(q.c4, keys[at + 4u], s);
    s = fma(q.c5, keys[at + 5u], s);
    s = fma(q.c6, keys[at + 6u], s);
    return fma(q.c7, keys[at + 7u], s);
}

// o rescaled, plus four neighbouring values weighted by p, for the four columns at vec4 number `at` of the tile.
fn weigh4(o: vec4<f32>, rescale: f32, p: vec4<f32>, at: u32) -> vec4<f32> {
    var y = fma(vec4(p.x), values[at], o * rescale);
    y = fma(vec4(p.y), values[at + HEAD4], y);
    y = fma(vec4(p.z), values[at + 2u * HEAD4], y);
    return fma(vec4(p.w), values[at + 3u * HEAD4], y);
}

fn weigh_columns(o: Columns32, rescale: f32, p: vec4<f32>, at: u32) -> Columns32 {
    return Columns32(
        weigh4(o.c0, rescale, p, at),
        weigh4(o.c1, rescale, p, at + 1u),
        weigh4(o.c2, rescale, p, at + 2u),
        weigh4(o.c3, rescale, p, at + 3u),
        weigh4(o.c4, rescale, p, at + 4u),
        weigh4(o.c5, rescale, p, at + 5u),
        weigh4(o.c6, rescale, p, at + 6u),
        weigh4(o.c7, rescale, p, at + 7u),
    );
}

fn store_columns(at: u32, o: Columns32, scale: f32) {
    out[at] = o.c0 * scale;
    out[at + 1u] = o.c1 * scale;
    out[at + 2u] = o.c2 * scale;
    out[at + 3u] = o.c3 * scale;
    out[at + 4u] = o.c4 * scale;
    out[at + 5u] = o.c5 * scale;
    out[at + 6u] = o.c6 * scale;
    out[at + 7u] = o.c7 * scale;
}
