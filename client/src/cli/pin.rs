//! `talaria pin`: a policy file from a first look.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use talaria_evidence::{Attestation, TdxCollateral};

use super::input::{self, InputError, write_private};
use super::service::{CommandError, warn_of_development};
use super::verify::write_step;
use crate::policy::Policy;
use crate::remote::{Address, Opened, Trust};
use crate::time::UnixTime;
use crate::verify::snp::Root;
use crate::verify::{Appraisal, propose};

/// Arguments of `talaria pin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// The service, such as `http://cvm.example:8600`.
    #[arg(value_name = "URL")]
    pub url: Address,
    /// Policy file to write.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// Replace an existing policy file.
    #[arg(long)]
    pub force: bool,
    /// Collateral for a TDX quote, JSON, in place of what comes with the evidence.
    #[arg(long, value_name = "FILE")]
    pub collateral: Option<PathBuf>,
    /// Accept evidence that no hardware vouches for. Whoever runs the service can then read everything.
    #[arg(long)]
    pub dangerous_accept_development_evidence: bool,
}

const FIRST_LOOK: &str = "\
# Written by `talaria pin` on its first look at a service: it lists what was there, good or not.
# Compare measurement, payload and model with what their makers publish before you rely on it.

";

/// Runs the command; what was seen goes to `out`, warnings to `err`.
pub async fn run(
    args: &PinArgs,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), CommandError> {
    if args.policy.exists() && !args.force {
        return Err(exists(args).into());
    }
    let collateral = args.collateral.as_deref();
    let collateral = collateral.map(|path| input::evidence(path, TdxCollateral::from_json));
    let collateral = collateral.transpose()?;
    let opened = Opened::open(&args.url).await?;
    accept_kind(args, &opened, err)?;

    let now = UnixTime::now();
    let proposed = propose(opened.evidence(), collateral.as_ref(), &Root::amd(), now);
    let text = match proposed {
        Ok(text) => FIRST_LOOK.to_owned() + &text,
        Err(appraisal) => return Err(refused(&appraisal, out)),
    };
    let policy = Policy::from_toml(&text);
    let policy = policy.map_err(|e| InputError::Policy(args.policy.clone(), e))?;
    let trust = Trust::new(policy)
        .collateral(collateral)
        .dangerous_accept_development_evidence(args.dangerous_accept_development_evidence);
    let appraisal = opened.appraise(&trust, now);
    if !appraisal.passed() {
        return Err(refused(&appraisal, out));
    }
    for step in appraisal.steps() {
        write_step(step, out)?;
    }
    write(args, &text)?;
    writeln!(out, "\n{text}")?;
    writeln!(
        err,
        "WARNING: THIS TRUSTS A FIRST LOOK. {} now accepts what answered at {}, whoever that was: the values above \
         are what it showed, not what is known to be good. Compare them with what their makers publish.",
        args.policy.display(),
        args.url
    )?;
    Ok(())
}

fn accept_kind(args: &PinArgs, opened: &Opened, err: &mut impl Write) -> Result<(), CommandError> {
    let is_development = matches!(opened.evidence().attestation, Attestation::Development(_));
    match (is_development, args.dangerous_accept_development_evidence) {
        (true, false) => Err(CommandError::Other(
            "the service shows development evidence, which proves nothing: nothing was written. For development, give \
             --dangerous-accept-development-evidence"
                .into(),
        )),
        (_, true) => Ok(warn_of_development(err)?),
        (false, false) => Ok(()),
    }
}

fn refused(appraisal: &Appraisal, out: &mut impl Write) -> CommandError {
    for step in appraisal.steps() {
        if let Err(error) = write_step(step, out) {
            return error.into();
        }
    }
    let message = "the evidence is refused, so nothing was written: see the steps above";
    CommandError::Other(message.into())
}

fn write(args: &PinArgs, text: &str) -> Result<(), InputError> {
    write_private(&args.policy, text.as_bytes(), args.force).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => exists(args),
        _ => InputError::Write(args.policy.clone(), e),
    })
}

fn exists(args: &PinArgs) -> InputError {
    let advice = "it stays as it is. Give --force to trust what the service shows now instead";
    InputError::Exists(args.policy.clone(), advice)
}
