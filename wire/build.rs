//! Compiles the gRPC service, when a host asks for it.

fn main() {
    println!("cargo::rerun-if-changed=proto/weighted.proto");
    #[cfg(feature = "grpc")]
    compile();
}

#[cfg(feature = "grpc")]
fn compile() {
    let descriptors = protox::compile(["proto/weighted.proto"], ["proto"])
        .expect("proto/weighted.proto is well-formed");
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)
        .expect("code generation writes to OUT_DIR");
}
