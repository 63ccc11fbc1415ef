// Residues to signed byte limbs.
//
// A residue r of p is centred, |c| <= (p-1)/2 < 2^30, and written as c = sum of d_i * 256^i with digits
// -128 <= d_i <= 127: c + 0x80808080 has the bytes d_i + 128 and does not leave 32 bits.

@group(0) @binding(0) var<uniform> params: Params;
// (units, k)
@group(0) @binding(1) var<storage, read> x: array<u32>;
// (units, steps, 4 limbs); component c of a limb holds inputs 4 * c to 4 * c + 3 of the step.
@group(0) @binding(2) var<storage, read_write> limbs: array<vec4<u32>>;

fn digits(unit: u32, input: u32, p: u32) -> u32 {
    if input >= params.k {
        return 0u;
    }
    let r = x[unit * params.k + input];
    let centred = select(r, r - p, r > p / 2u);
    return (centred + 0x80808080u) ^ 0x80808080u;
}

// Byte `limb` of four words.
fn gather(words: vec4<u32>, limb: u32) -> u32 {
    let bytes = (words >> vec4(8u * limb)) & vec4(0xffu);
    return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let step = id.x;
    let unit = id.y;
    if step >= params.steps {
        return;
    }
    let p = prime_of(unit).p;
    var words: array<vec4<u32>, 4>;
    for (var c = 0u; c < 4u; c++) {
        let input = 16u * step + 4u * c;
        words[c] = vec4(
            digits(unit, input, p),
            digits(unit, input + 1u, p),
            digits(unit, input + 2u, p),
            digits(unit, input + 3u, p),
        );
    }
    for (var limb = 0u; limb < 4u; limb++) {
        limbs[(unit * params.steps + step) * 4u + limb] = vec4(
            gather(words[0], limb),
            gather(words[1], limb),
            gather(words[2], limb),
            gather(words[3], limb),
        );
    }
}
