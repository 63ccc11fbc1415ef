//! Builds the payload (`guest/`) for `wasm32-unknown-unknown` and encodes it as a component without any
//! adapter, so that its import list is exactly its own world's.
//!
//! The bytes depend on [`SOURCES`], the guest's lock file among them, and the toolchain only: no environment of the
//! build around it and no path reaches them. Paths get in in two ways. Panic messages name source files:
//! `--remap-path-prefix` takes the workspace, CARGO_HOME and the toolchain out. And cargo tells crates
//! apart by `-C metadata`, for crates of a workspace beside its own a hash of their absolute path, which
//! decides the order of functions. So every rustc is started by this very program
//! ([`run_as_rustc`]), which gives the project's crates metadata without a path.

mod rustc;
mod sources;
mod toolchain;

pub use rustc::run_as_rustc;
pub use sources::SOURCES;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toolchain::{TARGET, Toolchain};

/// `CARGO_` variables that say how to fetch, not what to build.
const KEPT: [&str; 6] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
];

/// Variables of the surrounding build that would change the payload or confuse the nested cargo.
const REMOVED: [&str; 12] = [
    "CARGO",
    "RUST_MIN_STACK",
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC",
    "RUSTDOC",
    "TARGET",
    "HOST",
    "PROFILE",
    "OPT_LEVEL",
    "DEBUG",
    "NUM_JOBS",
];

/// The component of the sources in `workspace`, built in `target_dir`.
///
/// The program that calls this must begin with [`run_as_rustc`].
///
/// # Errors
/// A text for people: what failed, with the compiler's own messages.
pub fn build(workspace: &Path, target_dir: &Path) -> Result<Vec<u8>, String> {
    let workspace = workspace
        .canonicalize()
        .map_err(|e| format!("{}: {e}", workspace.display()))?;
    let toolchain = Toolchain::find(&workspace)?;
    toolchain.need_target()?;
    let module = compile(&toolchain, &workspace, target_dir)?;
    let module = fs::read(&module).map_err(|e| format!("{}: {e}", module.display()))?;
    encode(&module)
}

/// Runs the nested cargo; its core module.
fn compile(toolchain: &Toolchain, workspace: &Path, target_dir: &Path) -> Result<PathBuf, String> {
    let mut cargo = Command::new(&toolchain.cargo);
    clean_environment(&mut cargo);
    cargo
        .current_dir(workspace.join("guest"))
        .args([
            "build",
            "--release",
            "--lib",
            "--locked",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", toolchain.rustflags());
    rustc::through_this_program(&mut cargo)?;
    run(&mut cargo)?;
    Ok(target_dir.join(TARGET).join("release/talaria_guest.wasm"))
}

fn encode(module: &[u8]) -> Result<Vec<u8>, String> {
    wit_component::ComponentEncoder::default()
        .module(module)
        .map(|encoder| encoder.validate(true))
        .and_then(|encoder| encoder.encode())
        .map_err(|e| format!("its module is no component of the world in wit/: {e:#}"))
}

/// A component's world as WIT text: everything that it imports and exports.
///
/// # Errors
/// If it is no component.
pub fn interface(component: &[u8]) -> Result<String, String> {
    let text = |e: &dyn std::fmt::Display| format!("not a WebAssembly component: {e:#}");
    let decoded = wit_component::decode(component).map_err(|e| text(&e))?;
    let (resolve, package) = (decoded.resolve(), decoded.package());
    let others: Vec<_> = resolve
        .packages
        .iter()
        .map(|(id, _)| id)
        .filter(|id| *id != package)
        .collect();
    let mut printer = wit_component::WitPrinter::default();
    printer
        .print(resolve, package, &others)
        .map_err(|e| text(&e))?;
    Ok(printer.output.to_string())
}

fn clean_environment(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let fetching = KEPT.iter().any(|kept| name.starts_with(kept));
        let building = name.starts_with("CARGO_") || name.starts_with("RUSTC_");
        if (building && !fetching) || REMOVED.contains(&name) {
            command.env_remove(name);
        }
    }
}

/// Runs a command; its standard output, or what it said on standard error.
fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().display();
    let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    let shown = format!("{program} {}", arguments.join(" "));
    let output = command
        .output()
        .map_err(|e| format!("{shown} cannot be started: {e}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}\n{stderr}\ncommand: {shown}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
