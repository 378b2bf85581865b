// out [rows,H] = the layer norm of x [rows,H], row by row.
//
// A workgroup owns a row.
// Needs shared/normalize.wgsl with what that needs.
// CPU twin: src/cpu/norm.rs.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;

fn value(i: u32) -> vec4<f32> {
    return x[i];
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) row: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let start = row.x * ROW4;
    var sum = vec4(0.0);
    for (var c = thread; c < ROW4; c += WORKGROUP) {
        sum += x[start + c];
    }
    normalize(thread, start, sum);
}
