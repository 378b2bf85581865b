// out [T,H] = norm(word + position + token_type), where each token names one row of `rows` for each of the three.
//
// A workgroup owns a token, an invocation every 64th vec4 of its row. The tables stay on the CPU: `rows` holds those of
// their rows that this batch needs, each once. Rows are padded with zeros to a multiple of 16 columns; gain and bias are
// zero there, and so is out.
// CPU twin: src/cpu/embed.rs.

// H, the padded columns in vec4s, and what is added to the variance.
override HIDDEN: u32;
override ROW4: u32;
override EPSILON: f32;

// Indexes into `rows`.
struct TokenRows {
    word: u32,
    position: u32,
    token_type: u32,
}

@group(0) @binding(0) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> tokens: array<TokenRows>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;
@group(1) @binding(0) var<storage, read> gain: array<vec4<f32>>;
@group(1) @binding(1) var<storage, read> bias: array<vec4<f32>>;

var<workgroup> partial: array<f32, 64>;

// The sum over the workgroup of the components of v, in one fixed order.
fn total(thread: u32, v: vec4<f32>) -> f32 {
    partial[thread] = (v.x + v.y) + (v.z + v.w);
    workgroupBarrier();
    for (var n = 32u; n > 0u; n = n >> 1u) {
        if (thread < n) {
            partial[thread] += partial[thread + n];
        }
        workgroupBarrier();
    }
    let all = partial[0];
    workgroupBarrier();
    return all;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) token: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let named = tokens[token.x];
    let start = token.x * ROW4;
    var sum = vec4(0.0);
    for (var c = thread; c < ROW4; c += 64u) {
        let v = (rows[named.word * ROW4 + c] + rows[named.position * ROW4 + c]) + rows[named.token_type * ROW4 + c];
        // Kept in out: the passes below read what this invocation wrote itself.
        out[start + c] = v;
        sum += v;
    }
    let mean = total(thread, sum) / f32(HIDDEN);

    var squares = vec4(0.0);
    for (var c = thread; c < ROW4; c += 64u) {
        let column = vec4(4u * c) + vec4(0u, 1u, 2u, 3u);
        let d = select(vec4(0.0), out[start + c] - mean, column < vec4(HIDDEN));
        squares = fma(d, d, squares);
    }
    let scale = 1.0 / sqrt(total(thread, squares) / f32(HIDDEN) + EPSILON);

    for (var c = thread; c < ROW4; c += 64u) {
        out[start + c] = fma((out[start + c] - mean) * scale, gain[c], bias[c]);
    }
}
