// out [T,H] = norm(word + position + token_type), where each token names one row of `rows` for each of the three.
//
// A workgroup owns a token, an invocation every 64th vec4 of its row. The tables stay on the CPU: `rows` holds those of
// their rows that this batch needs, each once.
// Needs shared/normalize.wgsl with what that needs.
// CPU twin: src/cpu/embed.rs.

// Indexes into `rows`. Rust twin: src/gpu/params.rs.
struct TokenRows {
    word: u32,
    position: u32,
    token_type: u32,
}

@group(0) @binding(0) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> tokens: array<TokenRows>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

// Both passes of `normalize` read from out what this invocation wrote itself.
fn value(i: u32) -> vec4<f32> {
    return out[i];
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let token = tokens[group.x];
    let start = group.x * ROW4;
    var sum = vec4(0.0);
    for (var c = thread; c < ROW4; c += WORKGROUP) {
        let v = (rows[token.word * ROW4 + c] + rows[token.position * ROW4 + c]) + rows[token.token_type * ROW4 + c];
        out[start + c] = v;
        sum += v;
    }
    normalize(thread, start, sum);
}
