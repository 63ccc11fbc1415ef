//! rustc, started by cargo through this program (`RUSTC_WRAPPER`): crates of the project get metadata
//! without a path.

use std::env;
use std::ffi::OsString;
use std::process::Command;

/// Set for the nested cargo only.
const MARK: &str = "TALARIA_RUN_AS_RUSTC";
/// How the crates begin whose paths cargo hashes.
const PROJECT: &str = "talaria_";

/// Tells a cargo to start rustc through the running program.
pub(crate) fn through_this_program(cargo: &mut Command) -> Result<(), String> {
    let program = env::current_exe().map_err(|e| format!("this program's own path: {e}"))?;
    cargo.env("RUSTC_WRAPPER", program).env(MARK, "1");
    Ok(())
}

/// If a nested cargo started this program as its rustc: runs rustc and returns its exit status. Programs that
/// call [`build`](crate::build) do this before all else.
#[must_use]
pub fn run_as_rustc() -> Option<i32> {
    env::var_os(MARK)?;
    let mut words = env::args_os().skip(1);
    let rustc = words.next()?;
    let status = Command::new(&rustc)
        .args(without_path(words.collect()))
        .env_remove(MARK)
        .status();
    Some(match status {
        Ok(status) => status.code().unwrap_or(1),
        Err(error) => {
            eprintln!("{}: {error}", rustc.display());
            1
        }
    })
}

/// The arguments of rustc; for a crate of the project, its name for metadata.
fn without_path(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments
        .windows(2)
        .find(|pair| pair[0] == "--crate-name")
        .and_then(|pair| pair[1].to_str().map(str::to_owned));
    let Some(name) = name.filter(|name| name.starts_with(PROJECT)) else {
        return arguments;
    };
    for i in 1..arguments.len() {
        let metadata = arguments[i].as_encoded_bytes().starts_with(b"metadata=");
        if metadata && arguments[i - 1] == "-C" {
            arguments[i] = format!("metadata={name}").into();
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn only_the_projects_crates_are_renamed() {
        let ours = "--crate-name talaria_wire src/lib.rs -C metadata=ab12 -C extra-filename=-ab12";
        let expected =
            "--crate-name talaria_wire src/lib.rs -C metadata=talaria_wire -C extra-filename=-ab12";
        assert_eq!(without_path(words(ours)), words(expected));
        for other in ["--crate-name serde -C metadata=ab12", "-vV", ""] {
            assert_eq!(without_path(words(other)), words(other));
        }
    }
}
