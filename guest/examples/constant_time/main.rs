//! The payload's masking, checks, structural operations, minting and selection under valgrind, with rows, tokens, masks,
//! keys and check vectors undefined (ctgrind: Langley, 2010): memcheck reports every branch and every address that
//! depends on them.
//!
//! `tests/constant_time/run` builds and runs it, and has the exceptions. One argument: `cases`, or the name of a control,
//! a leak that has to be reported. Nothing passes without valgrind.

mod cases;
mod controls;
mod valgrind;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    if !valgrind::is_running() {
        eprintln!("not under valgrind, so nothing would be found: tests/constant_time/run");
        return ExitCode::from(2);
    }
    let what = std::env::args().nth(1).unwrap_or_default();
    let passed = match what.as_str() {
        "cases" => cases::all(),
        "branch" => controls::branch(),
        "index" => controls::index(),
        _ => {
            eprintln!("cases, branch or index");
            return ExitCode::from(2);
        }
    };
    match passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
