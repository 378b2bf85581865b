// Piece: the sum and the maximum over the invocations of a workgroup, as a tree in one fixed order. Every invocation gets
// the result. Both are barriers too: what was written to workgroup memory before the call can be read after it.
//
// Needs shared/workgroup.wgsl.

var<workgroup> partial: array<f32, WORKGROUP>;

fn reduce_sum(thread: u32, v: f32) -> f32 {
    partial[thread] = v;
    workgroupBarrier();
    for (var n = WORKGROUP / 2u; n > 0u; n = n >> 1u) {
        if (thread < n) {
            partial[thread] += partial[thread + n];
        }
        workgroupBarrier();
    }
    let all = partial[0];
    workgroupBarrier();
    return all;
}

fn reduce_max(thread: u32, v: f32) -> f32 {
    partial[thread] = v;
    workgroupBarrier();
    for (var n = WORKGROUP / 2u; n > 0u; n = n >> 1u) {
        if (thread < n) {
            partial[thread] = max(partial[thread], partial[thread + n]);
        }
        workgroupBarrier();
    }
    let all = partial[0];
    workgroupBarrier();
    return all;
}
