//! Compiles the gRPC service.

fn main() {
    println!("cargo::rerun-if-changed=proto/weighted.proto");
    let descriptors = protox::compile(["proto/weighted.proto"], ["proto"])
        .expect("proto/weighted.proto is well-formed");
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)
        .expect("code generation writes to OUT_DIR");
}
