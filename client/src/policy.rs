//! The policy file: which evidence a user accepts. TOML; docs/attestation.md is its reference.
//!
//! What a policy does not allow is refused: a kind of hardware without a section, a product without a
//! minimum TCB, a measurement that is not listed. Unknown keys are errors, so that a misspelt restriction
//! cannot be silently absent.

use std::collections::BTreeMap;

use dcap_qvl::TcbStatus;
use serde::Deserialize;

use crate::hex_array::HexArray;
use crate::verify::snp::{Product, SigningKey, Tcb};

/// Version of the file format.
pub const VERSION: u32 = 1;

/// The masking whose secrecy rests on who the hosts are, as the payload names it.
const SHARES: &str = "shares";

/// Longest policy file, in bytes.
pub const MAX_POLICY_BYTES: usize = 1 << 20;

/// A policy; valid once [`Policy::from_toml`] returned it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// [`VERSION`].
    pub version: u32,
    /// What the hardware must vouch for; absent: only the platform can be verified.
    pub claims: Option<ClaimsPolicy>,
    /// AMD SEV-SNP; absent: refused.
    pub sev_snp: Option<SnpPolicy>,
    /// Intel TDX; absent: refused.
    pub tdx: Option<TdxPolicy>,
}

/// Allowed values of [`talaria_evidence::Claims`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimsPolicy {
    /// Payload components.
    pub payload_sha256: Vec<HexArray<32>>,
    /// Models.
    pub model_digest: Vec<HexArray<32>>,
    /// Masking schemes with parameters, as the payload names them: `shares`, `module-lwe 512x5`.
    pub masking: Vec<String>,
    /// Configurations of the CVM host; absent: any.
    pub host_configuration_digest: Option<Vec<HexArray<32>>>,
}

/// What an SEV-SNP report may say. Debugging is never allowed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpPolicy {
    /// Launch measurements (MEASUREMENT).
    pub measurements: Vec<HexArray<48>>,
    /// Allowed products, each with the least TCB it must have.
    pub minimum_tcb: BTreeMap<Product, Tcb>,
    /// Keys that may sign reports; absent: VCEK only.
    #[serde(default = "only_vcek")]
    pub signing_keys: Vec<SigningKey>,
    /// Providers that a VLEK may be issued to (CSP_ID); absent: any.
    pub vlek_providers: Option<Vec<String>>,
    /// Chips (CHIP_ID); absent: any.
    pub chip_ids: Option<Vec<HexArray<64>>>,
    /// Values of HOST_DATA, which the hypervisor sets at launch; absent: any.
    pub host_data: Option<Vec<HexArray<32>>>,
    /// Digests of keys that may sign the guest's ID block (ID_KEY_DIGEST); absent: any.
    pub id_key_digests: Option<Vec<HexArray<48>>>,
    /// Least GUEST_SVN.
    #[serde(default)]
    pub minimum_guest_svn: u32,
    /// Virtual machine privilege levels that may ask for the report; absent: 0 only.
    #[serde(default = "only_vmpl0")]
    pub vmpls: Vec<u32>,
    /// Accept a guest that a migration agent may move.
    #[serde(default)]
    pub allow_migration: bool,
    /// Accept a guest that may run beside a sibling hardware thread.
    #[serde(default)]
    pub allow_smt: bool,
    /// Demand that firmware checked memory for aliases since the last reset (against BadRAM, CVE-2024-21944).
    #[serde(default)]
    pub require_alias_check: bool,
    /// Demand that the hypervisor cannot read the guest's ciphertext (CipherLeaks); absent: where the product can hide
    /// it ([`Product::hides_ciphertext`]).
    pub require_ciphertext_hiding: Option<bool>,
}

/// What a TDX quote may say. Debugging and migration are never allowed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxPolicy {
    /// Allowed images, each by all five measurements.
    pub measurements: Vec<TdMeasurements>,
    /// Allowed verdicts of Intel on the platform's TCB; absent: `UpToDate` only.
    #[serde(default = "only_up_to_date")]
    pub tcb_statuses: Vec<TcbStatus>,
    /// Least `tcbEvaluationDataNumber` of the collateral: refuses collateral that is valid but old.
    #[serde(default)]
    pub minimum_tcb_evaluation_data_number: u32,
    /// Security advisories that must not apply, such as `INTEL-SA-00615`.
    #[serde(default)]
    pub rejected_advisories: Vec<String>,
    /// Accept a platform to which packages can be added while it runs.
    #[serde(default)]
    pub allow_dynamic_platform: bool,
    /// Accept a platform whose root keys are stored by Intel.
    #[serde(default)]
    pub allow_cached_keys: bool,
    /// Accept a platform that runs two hardware threads per core.
    #[serde(default)]
    pub allow_smt: bool,
}

/// Measurements of one TD image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdMeasurements {
    /// Firmware as built by the hypervisor.
    pub mr_td: HexArray<48>,
    /// Firmware's configuration.
    pub rtmr0: HexArray<48>,
    /// Boot loader and kernel.
    pub rtmr1: HexArray<48>,
    /// Kernel command line and initial file system.
    pub rtmr2: HexArray<48>,
    /// What the running system measured.
    pub rtmr3: HexArray<48>,
}

/// Why a policy file is refused.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Longer than [`MAX_POLICY_BYTES`].
    #[error("policy of {0} bytes is longer than {MAX_POLICY_BYTES}")]
    TooLong(usize),
    /// Not TOML, an unknown key, a missing key, or a value of the wrong form.
    #[error("policy does not parse: {0}")]
    Malformed(#[from] toml::de::Error),
    /// Another version.
    #[error("policy of version {0}, expected {VERSION}")]
    Version(u32),
    /// A list that allows nothing, where its absence or a value was meant.
    #[error("policy: {0} is empty, so that nothing would be accepted: list what is allowed")]
    Empty(&'static str),
    /// The TCB of Turin begins with the FMC's security version; that of others has none.
    #[error("policy: minimum_tcb.{0}: fmc belongs to Turin, and only there")]
    Fmc(Product),
    /// Intel has withdrawn trust in such a platform.
    #[error("policy: tdx.tcb_statuses allows Revoked")]
    Revoked,
    /// That the two hosts of `shares` are two is in the configuration only.
    #[error(
        "policy: claims.masking allows shares, which hides nothing from two GPU hosts of one operator: list the \
         configurations whose hosts you know in claims.host_configuration_digest (`talaria pin` writes it)"
    )]
    UnpinnedHosts,
    /// Neither sev_snp nor tdx.
    #[error(
        "policy allows no hardware: add [sev_snp], [tdx] or both, or accept development evidence on purpose"
    )]
    NoHardware,
}

impl Policy {
    /// Parses a policy and checks that it can accept something.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLong(text.len()));
        }
        let policy: Self = toml::from_str(text)?;
        if policy.version != VERSION {
            return Err(PolicyError::Version(policy.version));
        }
        policy
            .claims
            .as_ref()
            .map_or(Ok(()), ClaimsPolicy::validate)?;
        policy
            .sev_snp
            .as_ref()
            .map_or(Ok(()), SnpPolicy::validate)?;
        policy.tdx.as_ref().map_or(Ok(()), TdxPolicy::validate)?;
        if policy.sev_snp.is_none() && policy.tdx.is_none() && policy.claims.is_none() {
            return Err(PolicyError::NoHardware);
        }
        Ok(policy)
    }
}

impl ClaimsPolicy {
    fn validate(&self) -> Result<(), PolicyError> {
        some("claims.payload_sha256", &self.payload_sha256)?;
        some("claims.model_digest", &self.model_digest)?;
        some("claims.masking", &self.masking)?;
        if_any(
            "claims.host_configuration_digest",
            &self.host_configuration_digest,
        )?;
        let shares = self.masking.iter().any(|masking| masking == SHARES);
        match shares && self.host_configuration_digest.is_none() {
            true => Err(PolicyError::UnpinnedHosts),
            false => Ok(()),
        }
    }
}

impl SnpPolicy {
    fn validate(&self) -> Result<(), PolicyError> {
        some("sev_snp.measurements", &self.measurements)?;
        some("sev_snp.signing_keys", &self.signing_keys)?;
        some("sev_snp.vmpls", &self.vmpls)?;
        if_any("sev_snp.vlek_providers", &self.vlek_providers)?;
        if_any("sev_snp.chip_ids", &self.chip_ids)?;
        if_any("sev_snp.host_data", &self.host_data)?;
        if_any("sev_snp.id_key_digests", &self.id_key_digests)?;
        if self.minimum_tcb.is_empty() {
            return Err(PolicyError::Empty("sev_snp.minimum_tcb"));
        }
        for (product, tcb) in &self.minimum_tcb {
            if tcb.fmc.is_some() != product.has_fmc() {
                return Err(PolicyError::Fmc(*product));
            }
        }
        Ok(())
    }
}

impl TdxPolicy {
    fn validate(&self) -> Result<(), PolicyError> {
        some("tdx.measurements", &self.measurements)?;
        some("tdx.tcb_statuses", &self.tcb_statuses)?;
        if self.tcb_statuses.contains(&TcbStatus::Revoked) {
            return Err(PolicyError::Revoked);
        }
        Ok(())
    }
}

fn some<T>(name: &'static str, list: &[T]) -> Result<(), PolicyError> {
    if list.is_empty() {
        return Err(PolicyError::Empty(name));
    }
    Ok(())
}

fn if_any<T>(name: &'static str, list: &Option<Vec<T>>) -> Result<(), PolicyError> {
    list.as_ref().map_or(Ok(()), |list| some(name, list))
}

fn only_vcek() -> Vec<SigningKey> {
    vec![SigningKey::Vcek]
}

fn only_vmpl0() -> Vec<u32> {
    vec![0]
}

fn only_up_to_date() -> Vec<TcbStatus> {
    vec![TcbStatus::UpToDate]
}

#[cfg(test)]
mod tests;
