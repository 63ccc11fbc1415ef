//! `talaria receipt verify`: whether a kept answer is what the payload signed.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::input;
use super::service::{CommandError, TrustArgs};
use super::verify::{PASSED, REFUSED, write_step};
use crate::answer::{Check, check};
use crate::remote::printable;
use crate::time::UnixTime;
use crate::verify::Nonce;

/// What to do with receipts.
#[derive(Debug, Subcommand)]
pub enum ReceiptCommand {
    /// Verify the receipt of an answer that was kept with `ask --save`, offline, and show every step.
    Verify(ReceiptArgs),
}

/// Arguments of `talaria receipt verify`.
#[derive(Debug, Args)]
pub struct ReceiptArgs {
    /// The answer, as kept with `ask --save`.
    #[arg(long, value_name = "FILE")]
    pub answer: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub trust: TrustArgs,
    /// Verify as of this time, such as 2026-01-31T12:00:00Z or Unix seconds; now if not given.
    #[arg(long, value_name = "TIME")]
    pub at: Option<UnixTime>,
}

/// Runs the command; the verdict goes to `out`, warnings to `err`.
pub fn run(
    args: &ReceiptArgs,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<ExitCode, CommandError> {
    let at = args.at.unwrap_or_else(UnixTime::now);
    let trust = args.trust.load(err)?;
    let answer = input::answer(&args.answer)?;
    let appraisal = trust.verifier(at).verify(&answer.evidence, Nonce::Any);
    for step in appraisal.steps() {
        write_step(step, out)?;
    }
    let Some(verified) = appraisal.verified() else {
        writeln!(
            out,
            "\nREFUSED: the evidence does not pass, so whose receipt it is was not looked at. Give --at the time of the answer if its certificates expired since."
        )?;
        return Ok(ExitCode::from(REFUSED));
    };
    let checks = check(&answer, verified.claims());
    for check in &checks {
        write_check(check, out)?;
    }
    let refused = checks
        .iter()
        .filter(|check| check.refusal.is_some())
        .count();
    match refused {
        0 => writeln!(
            out,
            "\nPASSED: the payload signed that it answered this request with this reply."
        )?,
        _ => writeln!(out, "\nREFUSED: this is not what the payload signed.")?,
    }
    Ok(ExitCode::from(if refused == 0 { PASSED } else { REFUSED }))
}

fn write_check(check: &Check, out: &mut impl Write) -> std::io::Result<()> {
    let (name, value) = (check.name, printable(&check.value));
    match &check.refusal {
        None => writeln!(out, "ok       {name}: {value}"),
        Some(reason) => writeln!(
            out,
            "REFUSED  {name}: {value}\n         {}",
            printable(reason)
        ),
    }
}
