//! Embeds the payload, built from `../guest`: see talaria-payload-build. `TALARIA_PAYLOAD=FILE.wasm` embeds a
//! prebuilt, audited component instead.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

const PREBUILT: &str = "TALARIA_PAYLOAD";

fn main() {
    if let Some(status) = talaria_payload_build::run_as_rustc() {
        std::process::exit(status);
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={PREBUILT}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let component = match env::var_os(PREBUILT) {
        Some(path) => prebuilt(Path::new(&path)),
        None => build(&out),
    };
    let component = component.unwrap_or_else(|message| {
        // The last thing cargo shows; a panic's backtrace note would bury it.
        eprintln!("\nthe payload could not be built: {message}");
        std::process::exit(1);
    });
    fs::write(out.join("payload.wasm"), component).expect("OUT_DIR is writable");
}

fn prebuilt(path: &Path) -> Result<Vec<u8>, String> {
    println!("cargo::rerun-if-changed={}", path.display());
    fs::read(path).map_err(|e| format!("{PREBUILT}={}: {e}", path.display()))
}

fn build(out: &Path) -> Result<Vec<u8>, String> {
    // At run time: a build script may be another checkout's, where both share a target directory.
    let manifest_dir = std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where it builds");
    let workspace = Path::new(&manifest_dir)
        .parent()
        .expect("host-cvm lies in the workspace");
    for source in talaria_payload_build::SOURCES {
        let source = workspace.join(source);
        println!("cargo::rerun-if-changed={}", source.display());
    }
    talaria_payload_build::build(workspace, &out.join("guest"))
}
