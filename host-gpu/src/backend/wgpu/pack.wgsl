// Whole outputs, one after the other, to tiles.

@group(0) @binding(0) var<uniform> params: Params;
// (count, steps)
@group(0) @binding(1) var<storage, read> outputs: array<vec4<u32>>;
// (tiles, planes, steps, LANES)
@group(0) @binding(2) var<storage, read_write> tiles: array<vec4<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let step = id.x;
    if step >= params.steps {
        return;
    }
    let output = params.first + id.y;
    let strip = output / LANES * params.planes + params.part;
    tiles[(strip * params.steps + step) * LANES + output % LANES] = outputs[id.y * params.steps + step];
}
