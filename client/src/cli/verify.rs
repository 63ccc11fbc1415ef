//! `talaria verify`: every step with its value and verdict, as text or JSON.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use talaria_evidence::Evidence;

use super::input;
use super::service::{CommandError, TrustArgs};
use crate::hex_array::HexArray;
use crate::remote::{Address, Opened, Trust, printable};
use crate::time::UnixTime;
use crate::verify::{Appraisal, Nonce, Step};

/// Exit code: every step passed.
pub(super) const PASSED: u8 = 0;
/// Exit code: refused, or a file could not be read.
pub(super) const REFUSED: u8 = 1;

/// Arguments of `talaria verify`.
#[derive(Debug, Args)]
#[group(id = "source", required = true, multiple = false, args = ["url", "evidence"])]
pub struct VerifyArgs {
    /// A service, asked for evidence with a fresh nonce; nothing else is sent.
    #[arg(value_name = "URL", conflicts_with_all = ["nonce", "report_data"])]
    pub url: Option<Address>,
    /// Evidence from a file, JSON; no connection is made.
    #[arg(long, value_name = "FILE")]
    pub evidence: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub trust: TrustArgs,
    /// Verify as of this time, such as 2026-01-31T12:00:00Z or Unix seconds; now if not given.
    #[arg(long, value_name = "TIME")]
    pub at: Option<UnixTime>,
    /// The nonce that the evidence was asked for with; without it, the evidence may be of any age.
    #[arg(long, value_name = "HEX")]
    pub nonce: Option<HexArray<32>>,
    /// Verify the platform only, for evidence that was not made for Talaria: report_data must be these 64
    /// bytes. Claims are then neither verified nor believed.
    #[arg(long, value_name = "HEX", conflicts_with = "nonce")]
    pub report_data: Option<HexArray<64>>,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command; the verdict goes to `out`, warnings and errors to `err`.
pub async fn run(args: &VerifyArgs, out: &mut impl Write, err: &mut impl Write) -> ExitCode {
    let at = args.at.unwrap_or_else(UnixTime::now);
    let report = verify(args, at, err).await;
    let passed = matches!(&report, Ok(report) if report.appraisal.passed());
    let written = if args.json {
        writeln!(out, "{}", document(&report, at))
    } else {
        match &report {
            Ok(report) => report.write(at, out),
            Err(error) => writeln!(err, "error: {error}"),
        }
    };
    // A verdict that nobody could read is none.
    match written.and_then(|()| out.flush()) {
        Ok(()) if passed => ExitCode::from(PASSED),
        _ => ExitCode::from(REFUSED),
    }
}

struct Report {
    kind: &'static str,
    /// Claims were verified too, not the platform alone.
    with_claims: bool,
    appraisal: Appraisal,
}

async fn verify(
    args: &VerifyArgs,
    at: UnixTime,
    err: &mut impl Write,
) -> Result<Report, CommandError> {
    let trust = args.trust.load(err)?;
    if let Some(url) = &args.url {
        let opened = Opened::open(url).await?;
        return Ok(Report {
            kind: opened.evidence().attestation.kind(),
            with_claims: true,
            appraisal: opened.appraise(&trust, at),
        });
    }
    let path = args.evidence.as_deref().unwrap_or("".as_ref());
    let evidence = input::evidence(path, Evidence::from_json)?;
    Ok(Report {
        kind: evidence.attestation.kind(),
        with_claims: args.report_data.is_none(),
        appraisal: appraise(args, &trust, &evidence, at),
    })
}

fn appraise(args: &VerifyArgs, trust: &Trust, evidence: &Evidence, at: UnixTime) -> Appraisal {
    let verifier = trust.verifier(at);
    let nonce = args.nonce.as_ref();
    match &args.report_data {
        Some(data) => verifier.verify_platform(&evidence.attestation, &data.0),
        None => verifier.verify(
            evidence,
            nonce.map_or(Nonce::Any, |n| Nonce::Expected(&n.0)),
        ),
    }
}

impl Report {
    fn write(&self, at: UnixTime, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{} evidence at {at}\n", self.kind)?;
        for step in self.appraisal.steps() {
            write_step(step, out)?;
        }
        writeln!(out, "\n{}", self.conclusion())
    }

    fn conclusion(&self) -> String {
        let refusals = self.appraisal.refusals().count();
        match (self.appraisal.passed(), self.with_claims) {
            (true, true) => "PASSED: platform and claims meet the policy.".into(),
            (true, false) => {
                "PASSED, platform only: nothing is known about payload, model, masking or channel."
                    .into()
            }
            (false, _) => format!(
                "REFUSED, {refusals} step{}.",
                if refusals == 1 { "" } else { "s" }
            ),
        }
    }
}

pub(super) fn write_step(step: &Step, out: &mut impl Write) -> io::Result<()> {
    let (name, value) = (step.name, printable(&step.value));
    match &step.refusal {
        None => writeln!(out, "ok       {name}: {value}"),
        Some(refusal) => {
            let reason = printable(&refusal.to_string());
            writeln!(out, "REFUSED  {name}: {value}")?;
            writeln!(out, "         {}: {reason}", refusal.name())
        }
    }
}

/// The JSON document; docs/attestation.md describes it.
fn document(report: &Result<Report, CommandError>, at: UnixTime) -> Value {
    let at = at.to_string();
    match report {
        Err(error) => json!({ "passed": false, "at": at, "error": error.to_string() }),
        Ok(report) => json!({
            "passed": report.appraisal.passed(),
            "at": at,
            "kind": report.kind,
            "scope": if report.with_claims { "claims" } else { "platform" },
            "steps": report.appraisal.steps().iter().map(step_document).collect::<Vec<_>>(),
            "claims": report.appraisal.verified().map(|verified| verified.claims()),
        }),
    }
}

fn step_document(step: &Step) -> Value {
    match &step.refusal {
        None => json!({ "name": step.name, "value": step.value, "verdict": "passed" }),
        Some(refusal) => json!({
            "name": step.name,
            "value": step.value,
            "verdict": "refused",
            "refusal": refusal.name(),
            "reason": refusal.to_string(),
        }),
    }
}
