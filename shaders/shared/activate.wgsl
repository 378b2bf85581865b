// Piece: the activations of linear layers and gates. CPU twin: src/cpu/activation.rs.

// The host's numbers: 0 none, 1 GELU, 2 GELU by tanh, 3 ReLU, 4 SiLU, 5 tanh.
override ACTIVATION: u32;

// The error function as src/cpu/activation.rs computes it: a rational fit on [-4, 4], within 3.3e-7.
fn erf(x: vec4<f32>) -> vec4<f32> {
    let t = clamp(x, vec4(-4.0), vec4(4.0));
    let s = t * t;
    var p = fma(vec4(1.9867841e-6), s, vec4(0.0002845666));
    p = fma(p, s, vec4(0.0038833595));
    p = fma(p, s, vec4(0.053101793));
    p = fma(p, s, vec4(0.19354539));
    p = fma(p, s, vec4(1.1283791));
    var q = fma(vec4(3.7420232e-5), s, vec4(0.0011855757));
    q = fma(q, s, vec4(0.01520728));
    q = fma(q, s, vec4(0.11535013));
    q = fma(q, s, vec4(0.50485766));
    q = fma(q, s, vec4(1.0));
    return t * p / q;
}

// The hyperbolic tangent, likewise: a rational fit on [-9, 9], within 2.8e-7. The built-in
// function returns NaN for large arguments on some drivers.
fn hyperbolic_tangent(x: vec4<f32>) -> vec4<f32> {
    let t = clamp(x, vec4(-9.0), vec4(9.0));
    let s = t * t;
    var p = fma(vec4(-1.2246091e-11), s, vec4(3.0642305e-8));
    p = fma(p, s, vec4(2.8031214e-5));
    p = fma(p, s, vec4(0.003869503));
    p = fma(p, s, vec4(0.13680853));
    p = fma(p, s, vec4(1.0));
    var q = fma(vec4(1.2890284e-6), s, vec4(0.00039407046));
    q = fma(q, s, vec4(0.027250139));
    q = fma(q, s, vec4(0.47014186));
    q = fma(q, s, vec4(1.0));
    // NaN stays NaN. It is told by its bits, because `clamp` may turn it into a number and drivers may assume it away.
    let is_nan = (bitcast<vec4<u32>>(x) & vec4(0x7fffffffu)) > vec4(0x7f800000u);
    return select(t * p / q, x, is_nan);
}

fn activate(x: vec4<f32>) -> vec4<f32> {
    switch (ACTIVATION) {
        case 1u: {
            let h = 0.5 * x;
            return fma(h, erf(0.70710678 * x), h);
        }
        case 2u: {
            // sqrt(2 / pi) and 0.044715 times it.
            let h = 0.5 * x;
            return fma(h, hyperbolic_tangent(x * fma(x * x, vec4(0.035677408), vec4(0.7978846))), h);
        }
        case 3u: {
            // Not max(), which may drop NaN.
            return select(x, vec4(0.0), x < vec4(0.0));
        }
        case 4u: {
            // exp(88) is still finite.
            return x / (1.0 + exp(min(-x, vec4(88.0))));
        }
        case 5u: {
            return hyperbolic_tangent(x);
        }
        default: {
            return x;
        }
    }
}
