//! The program itself: its help names every subcommand. (End-to-end tests are in tests/.)

use std::process::Command;

#[test]
fn help_names_the_subcommands() {
    let output = Command::new(env!("CARGO_BIN_EXE_talaria-local"))
        .arg("--help")
        .output();
    let help = String::from_utf8(output.expect("it starts").stdout).expect("UTF-8");
    for subcommand in ["demo", "run", "masking", "payload", "bench"] {
        assert!(help.contains(subcommand), "{subcommand} in {help}");
    }
}
