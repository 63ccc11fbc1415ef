// Products of UNITS units with a tile of outputs over a range of steps, modulo the primes.
//
// Workgroup (tile, group of units, range). An invocation has one output and every fourth step of the
// range; the four slices are added at the end. Planes are joined, 256 * hi + lo, or each is a part of the
// product by itself: PARTS is 1 or PLANES.
//
// Exact: a range has at most 65536 inputs, and a product of two signed bytes at most 2^14 in magnitude,
// so a sum is at most 2^30 < p < 2^31 in magnitude.

const SLICES: u32 = 4u;

@group(0) @binding(0) var<uniform> params: Params;
// (units, steps, 4 limbs)
@group(0) @binding(1) var<storage, read> limbs: array<vec4<u32>>;
// (splits, units, PARTS, n / PARTS)
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
// (tiles, PLANES, steps, LANES)
@group(1) @binding(0) var<storage, read> weights: array<vec4<u32>>;

var<workgroup> partial: array<u32, SLICES * UNITS * LANES>;

fn dot16(x: vec4<u32>, w: vec4<u32>) -> i32 {
    return dot4I8Packed(x.x, w.x) + dot4I8Packed(x.y, w.y) + dot4I8Packed(x.z, w.z)
        + dot4I8Packed(x.w, w.w);
}

// 2^24 * sums.w + 2^16 * sums.z + 2^8 * sums.y + sums.x
fn combine(sums: vec4<i32>, prime: Prime) -> u32 {
    var r = from_small(sums.w, prime.p);
    r = add_modulo(times_256(r, prime), from_small(sums.z, prime.p), prime.p);
    r = add_modulo(times_256(r, prime), from_small(sums.y, prime.p), prime.p);
    return add_modulo(times_256(r, prime), from_small(sums.x, prime.p), prime.p);
}

fn add_slices(u: u32, lane: u32, p: u32) -> u32 {
    var r = 0u;
    for (var slice = 0u; slice < SLICES; slice++) {
        r = add_modulo(r, partial[(slice * UNITS + u) * LANES + lane], p);
    }
    return r;
}

@compute @workgroup_size(LANES, SLICES)
fn main(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let lane = local.x;
    let slice = local.y;
    let first_unit = group.y * UNITS;
    let end = min((group.z + 1u) * params.part, params.steps);

    var sums: array<vec4<i32>, PLANES * UNITS>;
    for (var step = group.z * params.part + slice; step < end; step += SLICES) {
        var w: array<vec4<u32>, PLANES>;
        for (var plane = 0u; plane < PLANES; plane++) {
            w[plane] = weights[((group.x * PLANES + plane) * params.steps + step) * LANES + lane];
        }
        for (var u = 0u; u < UNITS; u++) {
            // Units past the end repeat the last one; their sums are dropped.
            let unit = min(first_unit + u, params.units - 1u);
            let at = (unit * params.steps + step) * 4u;
            let x0 = limbs[at];
            let x1 = limbs[at + 1u];
            let x2 = limbs[at + 2u];
            let x3 = limbs[at + 3u];
            for (var plane = 0u; plane < PLANES; plane++) {
                sums[plane * UNITS + u] += vec4(
                    dot16(x0, w[plane]),
                    dot16(x1, w[plane]),
                    dot16(x2, w[plane]),
                    dot16(x3, w[plane]),
                );
            }
        }
    }

    for (var part = 0u; part < PARTS; part++) {
        for (var u = 0u; u < UNITS; u++) {
            let prime = prime_of(first_unit + u);
            var r = 0u;
            for (var plane = part; plane < part + PLANES / PARTS; plane++) {
                let sum = combine(sums[plane * UNITS + u], prime);
                r = add_modulo(times_256(r, prime), sum, prime.p);
            }
            partial[(slice * UNITS + u) * LANES + lane] = r;
        }
        workgroupBarrier();
        let output = group.x * LANES + lane;
        if output < params.count {
            for (var u = slice; u < UNITS; u += SLICES) {
                let unit = first_unit + u;
                if unit < params.units {
                    let row = (group.z * params.units + unit) * params.n;
                    let column = part * (params.n / PARTS) + params.first + output;
                    y[row + column] = add_slices(u, lane, prime_of(unit).p);
                }
            }
        }
        // The next part overwrites what others still add.
        workgroupBarrier();
    }
}
