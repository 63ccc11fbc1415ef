//! Builds the payload (`../guest`) for `wasm32-unknown-unknown` and encodes it as a component
//! without any adapter, so that its import list is exactly its own world's.
//!
//! The bytes depend on the sources, the guest's lock file and the toolchain only: no environment of
//! this build and no path reaches them. `TALARIA_PAYLOAD=FILE.wasm` embeds a prebuilt, audited
//! component instead.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";
const PREBUILT: &str = "TALARIA_PAYLOAD";

/// What the payload is built from, relative to the workspace.
const SOURCES: [&str; 8] = [
    "guest/src",
    "guest/Cargo.toml",
    "guest/Cargo.lock",
    "wit",
    "arithmetic/src",
    "arithmetic/Cargo.toml",
    "wire/src",
    "wire/Cargo.toml",
];

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

fn main() {
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
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("host-cvm lies in the workspace");
    for source in SOURCES {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(source).display()
        );
    }
    let toolchain = Toolchain::find()?;
    toolchain.need_target()?;
    let module = compile(&toolchain, workspace, &out.join("guest"))?;
    let module = fs::read(&module).map_err(|e| format!("{}: {e}", module.display()))?;
    encode(&module)
}

/// Runs the nested cargo; its core module.
fn compile(toolchain: &Toolchain, workspace: &Path, target_dir: &Path) -> Result<PathBuf, String> {
    let guest = workspace.join("guest");
    let mut cargo = Command::new(&toolchain.cargo);
    clean_environment(&mut cargo);
    cargo
        .current_dir(&guest)
        .args(["build", "--release", "--lib", "--target", TARGET])
        .arg("--target-dir")
        .arg(target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", toolchain.rustflags(workspace));
    if guest.join("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
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

struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    sysroot: PathBuf,
}

impl Toolchain {
    fn find() -> Result<Self, String> {
        let named = |name| env::var_os(name).map(PathBuf::from);
        let rustc = named("RUSTC").unwrap_or_else(|| "rustc".into());
        let sysroot = run(Command::new(&rustc).args(["--print", "sysroot"]))?.into();
        Ok(Self {
            cargo: named("CARGO").unwrap_or_else(|| "cargo".into()),
            rustc,
            sysroot,
        })
    }

    /// Sees to it that the standard library of the target is there.
    fn need_target(&self) -> Result<(), String> {
        if self.has_target()? {
            return Ok(());
        }
        let advice = format!("the Rust target {TARGET} is needed: `rustup target add {TARGET}`");
        let mut rustup = Command::new("rustup");
        run(rustup.args(["target", "add", TARGET])).map_err(|e| format!("{advice}: {e}"))?;
        if self.has_target()? {
            Ok(())
        } else {
            Err(advice)
        }
    }

    fn has_target(&self) -> Result<bool, String> {
        let mut rustc = Command::new(&self.rustc);
        let libdir = run(rustc.args(["--print", "target-libdir", "--target", TARGET]))?;
        Ok(Path::new(&libdir).is_dir())
    }

    /// Flags of every crate of the payload: SIMD, randomness through the payload's own import, and
    /// paths that name no machine.
    fn rustflags(&self, workspace: &Path) -> String {
        let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
        [
            "-Ctarget-feature=+simd128".to_owned(),
            "--cfg=getrandom_backend=\"custom\"".to_owned(),
            remap(workspace, "/talaria"),
            remap(&cargo_home(), "/cargo"),
            remap(&self.sysroot, "/rust"),
        ]
        .join("\x1f")
    }
}

fn cargo_home() -> PathBuf {
    match (env::var_os("CARGO_HOME"), env::home_dir()) {
        (Some(home), _) => home.into(),
        (None, Some(home)) => home.join(".cargo"),
        (None, None) => "/nonexistent".into(),
    }
}
