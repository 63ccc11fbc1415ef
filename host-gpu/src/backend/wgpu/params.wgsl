// Shared by all kernels. For project.wgsl the host adds `const PLANES`, `const PARTS` and
// `const UNITS`, all u32.
//
// A unit is one row modulo one prime: even units modulo P1, odd ones modulo P2. A step is 16 inputs: 16
// weights of an output, or one byte limb of 16 residues, are one vec4<u32>.

// Outputs of a tile, one for each invocation.
const LANES: u32 = 64u;

struct Params {
    // Inputs.
    k: u32,
    // Steps: k / 16 rounded up.
    steps: u32,
    // Outputs of a unit: those of the matrix, once for each part (project, sum).
    n: u32,
    // Units of the call.
    units: u32,
    // First output of the segment (project), or of the piece within its segment (pack, unpack).
    first: u32,
    // Outputs of the segment or piece.
    count: u32,
    // Ranges that the steps are cut into (sum).
    splits: u32,
    // Steps of a range (project), or the plane (pack, unpack).
    part: u32,
    // Planes of the matrix.
    planes: u32,
}

// p = factor * 2^shift + 1. `h / factor` is `(h * magic) >> magic_shift` for h < 2^(39 - shift):
//   P1: h < 2^12, magic * 15 - 2^16 = 14, and 2^12 * 14 < 2^16
//   P2: h < 2^15, magic * 127 - 2^22 = 125, and 2^15 * 125 < 2^22; h * magic < 2^31
struct Prime {
    p: u32,
    factor: u32,
    shift: u32,
    magic: u32,
    magic_shift: u32,
}

fn prime_of(unit: u32) -> Prime {
    if (unit & 1u) == 0u {
        return Prime(2013265921u, 15u, 27u, 4370u, 16u);
    }
    return Prime(2130706433u, 127u, 24u, 33027u, 22u);
}

// a + b modulo p for a, b < p < 2^31.
fn add_modulo(a: u32, b: u32, p: u32) -> u32 {
    let sum = a + b;
    return select(sum, sum - p, sum >= p);
}

// 256 * r modulo p for r < p < 2^31, without a 64-bit product.
//
// r = h * 2^(shift-8) + l, h = a * factor + b, b < factor, and factor * 2^shift = -1 modulo p:
//   256 * r = (a * factor + b) * 2^shift + 256 * l = b * 2^shift + 256 * l - a   modulo p
// with b * 2^shift + 256 * l < factor * 2^shift = p - 1 and a < p.
fn times_256(r: u32, prime: Prime) -> u32 {
    let low_bits = prime.shift - 8u;
    let h = r >> low_bits;
    let l = r & ((1u << low_bits) - 1u);
    let a = (h * prime.magic) >> prime.magic_shift;
    let b = h - a * prime.factor;
    let positive = (b << prime.shift) + (l << 8u);
    return select(positive + prime.p - a, positive - a, positive >= a);
}

// s modulo p for |s| < p.
fn from_small(s: i32, p: u32) -> u32 {
    return select(bitcast<u32>(s), bitcast<u32>(s) + p, s < 0);
}
