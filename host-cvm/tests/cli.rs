//! The program as operators start it: what it refuses, and how it says so. That this package has an
//! integration test also makes `cargo test` build the program, which the end-to-end tests start.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_talaria-cvm"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn bad_flags_are_errors_that_say_what_to_do() {
    for (arguments, expected) in [
        (&["serve"][..], "--gpu URL"),
        (
            &["serve", "--gpu", "http://127.0.0.1:1", "--evidence", "sgx"],
            "configfs-tsm",
        ),
        (
            &[
                "serve",
                "--gpu",
                "http://127.0.0.1:1",
                "--config",
                "/nowhere",
            ],
            "/nowhere",
        ),
        (
            &[
                "serve",
                "--gpu",
                "http://127.0.0.1:1",
                "--masking",
                "none",
                "--evidence",
                "development",
            ],
            "dangerous-plaintext",
        ),
        (
            &[
                "serve",
                "--gpu",
                "http://127.0.0.1:1",
                "--payload",
                "/nowhere",
                "--evidence",
                "development",
            ],
            "/nowhere",
        ),
        (
            &[
                "serve",
                "--gpu",
                "http://127.0.0.1:1",
                "--evidence",
                "development",
                "--listen",
                "127.0.0.1:0",
            ],
            "127.0.0.1:1",
        ),
    ] {
        let output = run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(1 | 2)),
            "{arguments:?}: {stderr}"
        );
        assert!(
            stderr.contains(expected) && !stderr.contains("panicked"),
            "{arguments:?}: {stderr}"
        );
    }
}
