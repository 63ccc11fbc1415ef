//! What wasmtime generates from `../wit`: the only file that sees the macro.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "payload",
    imports: {
        "wasi:random/random": trappable,
    },
});
