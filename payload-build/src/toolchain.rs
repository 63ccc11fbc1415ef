//! The compiler that builds the payload.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run;

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

pub(crate) struct Toolchain {
    workspace: PathBuf,
    pub cargo: PathBuf,
    rustc: PathBuf,
    sysroot: PathBuf,
}

impl Toolchain {
    /// That of the build around this one if there is one, else what rust-toolchain.toml in `workspace` says.
    pub(crate) fn find(workspace: &Path) -> Result<Self, String> {
        let named = |name| env::var_os(name).map(PathBuf::from);
        let rustc = named("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut sysroot = Command::new(&rustc);
        let sysroot = sysroot.current_dir(workspace).args(["--print", "sysroot"]);
        Ok(Self {
            workspace: workspace.to_owned(),
            cargo: named("CARGO").unwrap_or_else(|| "cargo".into()),
            sysroot: run(sysroot)?.into(),
            rustc,
        })
    }

    /// Sees to it that the standard library of the target is there.
    pub(crate) fn need_target(&self) -> Result<(), String> {
        if self.has_target()? {
            return Ok(());
        }
        let advice = format!("the Rust target {TARGET} is needed: `rustup target add {TARGET}`");
        let mut rustup = Command::new("rustup");
        rustup.current_dir(&self.workspace);
        run(rustup.args(["target", "add", TARGET])).map_err(|e| format!("{advice}: {e}"))?;
        if self.has_target()? {
            Ok(())
        } else {
            Err(advice)
        }
    }

    fn has_target(&self) -> Result<bool, String> {
        let mut rustc = Command::new(&self.rustc);
        rustc.current_dir(&self.workspace);
        let libdir = run(rustc.args(["--print", "target-libdir", "--target", TARGET]))?;
        Ok(Path::new(&libdir).is_dir())
    }

    /// Flags of every crate of the payload: SIMD, randomness through the payload's own import, and
    /// paths that name no machine.
    pub(crate) fn rustflags(&self) -> String {
        let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
        [
            "-Ctarget-feature=+simd128".to_owned(),
            "--cfg=getrandom_backend=\"custom\"".to_owned(),
            remap(&self.workspace, "/talaria"),
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
