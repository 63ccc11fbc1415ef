//! What verification did, step by step, and what may be believed in the end.

use talaria_evidence::Claims;

use super::Refusal;

/// One step: what was looked at, what was found there, and whether that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was looked at.
    pub name: &'static str,
    /// What was found; for a step that could not be finished, why.
    pub value: String,
    /// Why it is refused; none: passed.
    pub refusal: Option<Refusal>,
}

/// All steps of a verification, in order.
#[derive(Clone, Debug)]
pub struct Appraisal {
    steps: Vec<Step>,
    /// Every step that belongs to the verification was reached.
    complete: bool,
    verified: Option<Verified>,
}

/// Claims that hardware vouches for and the policy allows. Only a verification in which every step passed
/// makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    claims: Claims,
}

impl Verified {
    pub(super) fn new(claims: Claims) -> Self {
        Self { claims }
    }

    /// The claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

impl Appraisal {
    /// All steps that were reached.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Every step was reached and none refused.
    pub fn passed(&self) -> bool {
        self.complete && self.refusals().next().is_none()
    }

    /// Why the evidence is refused.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.steps.iter().filter_map(|step| step.refusal.as_ref())
    }

    /// The claims that may now be believed: none after a refusal, and none where the platform alone was
    /// verified.
    pub fn verified(&self) -> Option<&Verified> {
        self.verified.as_ref().filter(|_| self.passed())
    }
}

/// An appraisal ended early; the reason is its last step.
#[derive(Debug)]
pub(super) struct Stop(());

/// Steps while they are taken.
#[derive(Debug, Default)]
pub(super) struct Steps(Vec<Step>);

impl Steps {
    /// Takes a step that others rest on: they are not reached if it is refused.
    pub(super) fn require<T>(
        &mut self,
        name: &'static str,
        result: Result<T, Refusal>,
        show: impl FnOnce(&T) -> String,
    ) -> Result<T, Stop> {
        match result {
            Ok(found) => {
                self.check(name, show(&found), Ok(()));
                Ok(found)
            }
            Err(refusal) => {
                self.check(name, String::from("not established"), Err(refusal));
                Err(Stop(()))
            }
        }
    }

    /// Takes a step that nothing rests on.
    pub(super) fn check(
        &mut self,
        name: &'static str,
        value: impl ToString,
        result: Result<(), Refusal>,
    ) {
        self.0.push(Step {
            name,
            value: value.to_string(),
            refusal: result.err(),
        });
    }

    /// Ends the appraisal: complete if its last step was reached.
    pub(super) fn finish(self, verdict: Result<Option<Verified>, Stop>) -> Appraisal {
        Appraisal {
            steps: self.0,
            complete: verdict.is_ok(),
            verified: verdict.ok().flatten(),
        }
    }
}

/// Refuses unless `good`.
pub(super) fn ensure(good: bool, refusal: impl FnOnce() -> Refusal) -> Result<(), Refusal> {
    if good { Ok(()) } else { Err(refusal()) }
}

/// The hardware must have signed exactly these user data.
pub(super) fn check_report_data(found: &[u8], expected: &[u8; 64]) -> Result<(), Refusal> {
    ensure(found == expected, || Refusal::ReportData {
        expected: hex::encode(expected),
        found: hex::encode(found),
    })
}
