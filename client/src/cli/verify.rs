//! `talaria verify`: every step with its value and verdict, as text or JSON.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use talaria_wire::evidence::{Evidence, MAX_EVIDENCE_BYTES, TdxCollateral};

use crate::hex_array::HexArray;
use crate::policy::{MAX_POLICY_BYTES, Policy};
use crate::time::UnixTime;
use crate::verify::{Appraisal, Nonce, Step, Verifier};

/// Exit code: every step passed.
const PASSED: u8 = 0;
/// Exit code: refused, or a file could not be read.
const REFUSED: u8 = 1;

/// Arguments of `talaria verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Evidence, JSON.
    #[arg(long, value_name = "FILE")]
    pub evidence: PathBuf,
    /// Policy, TOML.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
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
    /// Collateral for a TDX quote, JSON, in place of what comes with the evidence.
    #[arg(long, value_name = "FILE")]
    pub collateral: Option<PathBuf>,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
    /// Accept evidence that no hardware vouches for. Whoever runs the service can then read everything.
    #[arg(long)]
    pub dangerous_accept_development_evidence: bool,
}

/// Runs the command; the verdict goes to `out`, warnings and errors to `err`.
pub fn run(args: &VerifyArgs, out: &mut impl Write, err: &mut impl Write) -> ExitCode {
    let at = args.at.unwrap_or_else(UnixTime::now);
    let report = verify(args, at);
    let passed = matches!(&report, Ok(report) if report.appraisal.passed());
    let written = if args.json {
        writeln!(out, "{}", document(&report, at))
    } else {
        match &report {
            Ok(report) => report.write(at, out, err),
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

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
enum InputError {
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, io::Error),
    #[error("{0} is longer than {1} bytes")]
    TooLong(PathBuf, usize),
    #[error("{0}: not UTF-8")]
    NotText(PathBuf),
    #[error("{0}: {1}")]
    Evidence(PathBuf, talaria_wire::evidence::EvidenceError),
    #[error("{0}: {1}")]
    Policy(PathBuf, crate::policy::PolicyError),
}

fn verify(args: &VerifyArgs, at: UnixTime) -> Result<Report, InputError> {
    let policy = read_policy(&args.policy)?;
    let evidence = parse(&args.evidence, Evidence::from_json)?;
    let mut verifier = Verifier::new(&policy, at)
        .dangerous_accept_development_evidence(args.dangerous_accept_development_evidence);
    if let Some(path) = &args.collateral {
        verifier = verifier.collateral(parse(path, TdxCollateral::from_json)?);
    }
    let nonce = args
        .nonce
        .as_ref()
        .map_or(Nonce::Any, |n| Nonce::Expected(&n.0));
    Ok(Report {
        kind: evidence.attestation.kind(),
        with_claims: args.report_data.is_none(),
        appraisal: match &args.report_data {
            Some(data) => verifier.verify_platform(&evidence.attestation, &data.0),
            None => verifier.verify(&evidence, nonce),
        },
    })
}

fn read_policy(path: &Path) -> Result<Policy, InputError> {
    let bytes = read(path, MAX_POLICY_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| InputError::NotText(path.into()))?;
    Policy::from_toml(&text).map_err(|e| InputError::Policy(path.into(), e))
}

fn parse<T>(
    path: &Path,
    from_json: fn(&[u8]) -> Result<T, talaria_wire::evidence::EvidenceError>,
) -> Result<T, InputError> {
    let bytes = read(path, MAX_EVIDENCE_BYTES)?;
    from_json(&bytes).map_err(|e| InputError::Evidence(path.into(), e))
}

fn read(path: &Path, longest: usize) -> Result<Vec<u8>, InputError> {
    use std::io::Read;
    let failed = |e| InputError::Read(path.into(), e);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(longest as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > longest {
        return Err(InputError::TooLong(path.into(), longest));
    }
    Ok(bytes)
}

impl Report {
    fn write(&self, at: UnixTime, out: &mut impl Write, err: &mut impl Write) -> io::Result<()> {
        if self.kind == "development" && self.appraisal.passed() {
            writeln!(
                err,
                "WARNING: DEVELOPMENT EVIDENCE ACCEPTED. No hardware vouches for this service: whoever runs it \
                 can read every prompt and reply. Never use it with anything that matters."
            )?;
        }
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

fn write_step(step: &Step, out: &mut impl Write) -> io::Result<()> {
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

/// Evidence is hostile: names in certificates must not command the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// The JSON document; docs/attestation.md describes it.
fn document(report: &Result<Report, InputError>, at: UnixTime) -> Value {
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
