//! Verification of [`Evidence`], after RATS (RFC 9334): evidence is appraised against a policy, step by step,
//! at a given time.
//!
//! A step that others rest on (a certificate, a signature) ends the appraisal if it fails. Steps that are
//! independent of each other (every allow-list of the policy) all run, so that one look shows all that is
//! wrong.

mod appraisal;
mod claims;
mod development;
#[cfg(test)]
mod flips;
mod propose;
mod refusal;
pub mod snp;
mod tdx;
#[cfg(test)]
mod tests;

use talaria_evidence::{Attestation, Evidence, REPORT_DATA_BYTES, TdxCollateral};

pub use appraisal::{Appraisal, Step, Verified};
pub use propose::propose;
pub use refusal::Refusal;

use crate::policy::Policy;
use crate::time::UnixTime;
use appraisal::{Steps, Stop};
use snp::Root;

/// Verifies evidence against a policy at a point in time.
pub struct Verifier<'a> {
    policy: &'a Policy,
    now: UnixTime,
    roots: Vec<Root>,
    collateral: Option<TdxCollateral>,
    accept_development: bool,
}

/// What the evidence must be fresh against.
#[derive(Clone, Copy, Debug)]
pub enum Nonce<'a> {
    /// The nonce that the client chose for this evidence.
    Expected(&'a [u8; 32]),
    /// Any: evidence from a file, whose age is then unknown.
    Any,
}

impl<'a> Verifier<'a> {
    /// A verifier that trusts AMD's root keys and Intel's.
    pub fn new(policy: &'a Policy, now: UnixTime) -> Self {
        Self {
            policy,
            now,
            roots: Root::amd(),
            collateral: None,
            accept_development: false,
        }
    }

    /// Trusts these roots of SEV-SNP instead of AMD's.
    pub fn dangerous_roots(mut self, roots: Vec<Root>) -> Self {
        self.roots = roots;
        self
    }

    /// Verifies TDX quotes against this collateral, not against what comes with them.
    pub fn collateral(mut self, collateral: TdxCollateral) -> Self {
        self.collateral = Some(collateral);
        self
    }

    /// Accepts evidence that no hardware vouches for.
    pub fn dangerous_accept_development_evidence(mut self, accept: bool) -> Self {
        self.accept_development = accept;
        self
    }

    /// Verifies platform, binding, freshness and claims.
    pub fn verify(&self, evidence: &Evidence, nonce: Nonce) -> Appraisal {
        let mut steps = Steps::default();
        let verdict = self.appraise(evidence, nonce, &mut steps);
        steps.finish(verdict)
    }

    /// Verifies the platform alone, for evidence that was made for somebody else: `report_data` must be the
    /// given bytes, whatever they mean. Never yields a [`Verified`].
    pub fn verify_platform(
        &self,
        attestation: &Attestation,
        report_data: &[u8; REPORT_DATA_BYTES],
    ) -> Appraisal {
        let mut steps = Steps::default();
        let verdict = self.appraise_platform(attestation, report_data, &mut steps);
        steps.finish(verdict.map(|()| None))
    }

    fn appraise(
        &self,
        evidence: &Evidence,
        nonce: Nonce,
        steps: &mut Steps,
    ) -> Result<Option<Verified>, Stop> {
        let claims = &evidence.claims;
        self.appraise_platform(&evidence.attestation, &claims.report_data(), steps)?;
        claims::appraise(claims, nonce, self.policy.claims.as_ref(), steps)?;
        Ok(Some(Verified::new(claims.clone())))
    }

    fn appraise_platform(
        &self,
        attestation: &Attestation,
        report_data: &[u8; REPORT_DATA_BYTES],
        steps: &mut Steps,
    ) -> Result<(), Stop> {
        match attestation {
            Attestation::SevSnp(snp) => {
                let policy = allowed(attestation, self.policy.sev_snp.as_ref(), steps)?;
                snp::appraise(snp, report_data, policy, &self.roots, self.now, steps)
            }
            Attestation::Tdx(tdx) => {
                let policy = allowed(attestation, self.policy.tdx.as_ref(), steps)?;
                let collateral = self.collateral.as_ref().or(tdx.collateral.as_deref());
                tdx::appraise(&tdx.quote, collateral, report_data, policy, self.now, steps)
            }
            Attestation::Development(development) => {
                development::appraise(development, report_data, self.accept_development, steps)
            }
        }
    }
}

fn allowed<'p, P>(
    attestation: &Attestation,
    section: Option<&'p P>,
    steps: &mut Steps,
) -> Result<&'p P, Stop> {
    let kind = attestation.kind();
    let section = section.ok_or(Refusal::KindNotAllowed { kind });
    steps.require("kind of evidence", section, |_| kind.into())
}
