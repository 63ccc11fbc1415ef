//! What commands that talk to a service have in common.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use talaria_evidence::TdxCollateral;
use talaria_wire::channel::message::Failure;

use super::input::{self, InputError};
use crate::answer::NoReceipt;
use crate::remote::{Address, Opened, RemoteError, Session, Trust};
use crate::time::UnixTime;

/// A service and what is accepted of it.
#[derive(Clone, Debug, Args)]
pub struct ServiceArgs {
    /// The service, such as `http://cvm.example:8600`.
    #[arg(value_name = "URL")]
    pub url: Address,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub trust: TrustArgs,
}

/// What is accepted.
#[derive(Clone, Debug, Args)]
pub struct TrustArgs {
    /// Policy, TOML: which evidence is accepted.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// Collateral for a TDX quote, JSON, in place of what comes with the evidence.
    #[arg(long, value_name = "FILE")]
    pub collateral: Option<PathBuf>,
    /// Accept evidence that no hardware vouches for. Whoever runs the service can then read everything.
    #[arg(long)]
    pub dangerous_accept_development_evidence: bool,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A file.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The service.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The payload's answer.
    #[error("{}: {}", failure(*.0), .1)]
    Failed(Failure, String),
    /// Nothing to keep.
    #[error(transparent)]
    NoReceipt(#[from] NoReceipt),
    /// Of the terminal or a pipe.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The command line contradicts itself.
    #[error("{0}")]
    Usage(String),
    /// Of anything else; says what to do.
    #[error("{0}")]
    Other(String),
}

/// Whose fault it is that there is no reply, for people.
pub fn failure(failure: Failure) -> &'static str {
    match failure {
        Failure::Refused => "the payload refuses this request",
        Failure::Busy => "the payload has no room now, try again later",
        Failure::Host => "a GPU host failed, try again later",
        Failure::Integrity => {
            "A GPU HOST LIED. This instance answers nothing any more; tell the operator"
        }
        Failure::Internal => "the payload failed, tell the operator",
    }
}

impl TrustArgs {
    /// Reads the files; shouts if nothing vouches for anything.
    pub fn load(&self, err: &mut impl Write) -> Result<Trust, CommandError> {
        if self.dangerous_accept_development_evidence {
            warn_of_development(err)?;
        }
        let collateral = self.collateral.as_deref();
        let collateral = collateral.map(|path| input::evidence(path, TdxCollateral::from_json));
        Ok(Trust::new(input::policy(&self.policy)?)
            .collateral(collateral.transpose()?)
            .dangerous_accept_development_evidence(self.dangerous_accept_development_evidence))
    }
}

/// Said each time that development evidence would be accepted.
pub fn warn_of_development(err: &mut impl Write) -> io::Result<()> {
    writeln!(
        err,
        "WARNING: DEVELOPMENT EVIDENCE ACCEPTED. No hardware protects anything: whoever runs the service can read \
         every prompt and reply. Never use it with anything that matters."
    )
}

impl ServiceArgs {
    /// Connects to a payload that passes.
    pub async fn connect(&self, err: &mut impl Write) -> Result<Session, CommandError> {
        let trust = self.trust.load(err)?;
        let opened = Opened::open(&self.url).await?;
        Ok(opened.enter(&trust, UnixTime::now()).await?)
    }
}
