// Adds the ranges' products modulo the primes: y[0] += y[1] + ... + y[splits - 1].

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> limbs: array<vec4<u32>>;
// (splits, units, n), n with all parts
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let unit = id.y;
    let p = prime_of(unit).p;
    for (var output = id.x; output < params.n; output += groups.x * 64u) {
        let at = unit * params.n + output;
        var r = y[at];
        for (var split = 1u; split < params.splits; split++) {
            r = add_modulo(r, y[split * params.units * params.n + at], p);
        }
        y[at] = r;
    }
}
