//! What the end-to-end tests share: fixtures with their goldens, and the payload's code run natively
//! against a backend in the same process, and the whole system over loopback.

#![forbid(unsafe_code)]

pub mod golden;
pub mod native;
pub mod processes;
pub mod smollm2;
pub mod system;

/// A program of this workspace, built with the tests.
pub fn program(name: &str) -> std::path::PathBuf {
    // Tests run from target/PROFILE/deps; programs lie one folder above.
    let mut path = std::env::current_exe().expect("this test is a file");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    let path = path
        .join(name)
        .with_extension(std::env::consts::EXE_EXTENSION);
    assert!(
        path.exists(),
        "{} is missing: run the tests of the whole workspace",
        path.display()
    );
    path
}
