//! The program as operators start it: what it refuses, and how it says so. That this package has an
//! integration test also makes `cargo test` build the program, which the end-to-end tests start.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_talaria-cvm"))
        .args(arguments)
        .output()
        .unwrap()
}

const HERE: [&str; 3] = ["serve", "--gpu", "http://127.0.0.1:1"];

#[test]
fn bad_flags_are_errors_that_say_what_to_do() {
    let development = ["--evidence", "development", "--listen", "127.0.0.1:0"];
    for (more, code, expected) in [
        (&["--gpu", "127.0.0.1:2"][..], 2, "http://HOST:PORT"),
        (&["--gpu", "http://127.0.0.1:1"], 2, "given twice"),
        (
            &["--gpu", "http://127.0.0.1:2", "--masking", "remo"],
            2,
            "needs 1 GPU host",
        ),
        (&["--config", "/nowhere"], 2, "/nowhere"),
        (&["--masking", "none"], 2, "dangerous-plaintext"),
        (&["--mask-parameters", "1x1"], 2, "512x5"),
        (&["--mask-memory", "0"], 2, "expected a number above 0"),
        (&["--minting", "0"], 2, "1..=256"),
        (&["--expect-digest", "12"], 2, "64 hexadecimal digits"),
        (&["--payload", "/nowhere"], 1, "/nowhere"),
        (&[], 1, "127.0.0.1:1"),
    ] {
        let output = run(&[&HERE[..], &development, more].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {stderr}");
        assert!(stderr.contains(expected), "{more:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{more:?}: {stderr}");
        // Nothing was started.
        assert!(
            code == 1 || !stderr.contains("payload "),
            "{more:?}: {stderr}"
        );
    }
    for (arguments, expected) in [
        (&["serve"][..], "--gpu URL"),
        (
            &[&HERE[..], &["--evidence", "sgx"]].concat(),
            "configfs-tsm",
        ),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(expected));
    }
}

/// Whoever supplies the disk could alter it, and evidence would name the same payload.
#[cfg(unix)]
#[test]
fn native_code_is_neither_kept_on_a_disk_nor_taken_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().to_str().unwrap();
    let development = ["--evidence", "development", "--listen", "127.0.0.1:0"];
    let output = run(&[&HERE[..], &development, &["--cache-dir", cache]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("\npayload ") || stderr.starts_with("payload "),
        "{stderr}"
    );
    let kept: Vec<_> = std::fs::read_dir(cache).unwrap().collect();
    assert!(kept.is_empty(), "{kept:?}");
}

/// While it tries to reach a host that is not there.
#[cfg(unix)]
#[test]
fn ctrl_c_during_set_up_ends_it_with_130() {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new(env!("CARGO_BIN_EXE_talaria-cvm"))
        .args(HERE)
        .args(["--evidence", "development", "--listen", "127.0.0.1:0"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let begun = stderr
        .lines()
        .any(|line| line.unwrap().starts_with("payload "));
    assert!(begun);
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
