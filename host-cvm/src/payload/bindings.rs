//! What wasmtime generates from `../wit`: the only file that sees the macro.

#![allow(
    missing_docs,
    reason = "generated from wit/payload.wit, which documents every item"
)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "payload",
    imports: {
        "wasi:random/random": trappable,
    },
});
