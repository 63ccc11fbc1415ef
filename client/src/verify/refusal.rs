//! Why evidence is refused: one variant for each defect.

use serde::Serialize;

use super::snp::{Product, SigningKey, Tcb};
use crate::time::UnixTime;

/// A defect of evidence, or a property that the policy does not allow.
///
/// In JSON the name is the variant in kebab-case, see [`Refusal::name`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    // Kind of evidence.
    /// The policy has no section for this hardware.
    #[error(
        "the policy does not allow {kind} evidence: add a section for it if you trust this hardware"
    )]
    KindNotAllowed {
        /// `sev-snp` or `tdx`.
        kind: &'static str,
    },
    /// Development evidence without the flag.
    #[error(
        "development evidence proves nothing: no hardware vouches for it. Ask the operator for a CVM on SEV-SNP or TDX"
    )]
    DevelopmentNotAllowed,
    /// Development evidence whose own signature is wrong.
    #[error("the signature of the development evidence is wrong")]
    DevelopmentSignature,

    // Claims.
    /// The hardware signed other user data.
    #[error(
        "report_data is {found}, expected {expected}: the evidence was made for other claims, or for somebody else"
    )]
    ReportData {
        /// 64 bytes, hexadecimal.
        expected: String,
        /// 64 bytes, hexadecimal.
        found: String,
    },
    /// Evidence for another question, such as an older one.
    #[error("nonce is {found}, expected {expected}: the evidence is a replay")]
    Nonce {
        /// 32 bytes, hexadecimal.
        expected: String,
        /// 32 bytes, hexadecimal.
        found: String,
    },
    /// The policy says nothing about payload, model and masking.
    #[error("the policy has no [claims]: list the payloads, models and maskings that you accept")]
    NoClaimsPolicy,
    /// Payload not listed.
    #[error("payload {0} is not in claims.payload_sha256 of the policy")]
    PayloadNotAllowed(String),
    /// Model not listed.
    #[error("model {0} is not in claims.model_digest of the policy")]
    ModelNotAllowed(String),
    /// Masking not listed: another scheme, or weaker parameters.
    #[error("masking {0:?} is not in claims.masking of the policy")]
    MaskingNotAllowed(String),
    /// Host configuration not listed.
    #[error("host configuration {0} is not in claims.host_configuration_digest of the policy")]
    HostConfigurationNotAllowed(String),

    // SEV-SNP, certificates.
    /// A chain is two or three certificates long.
    #[error("{0} certificates, expected VCEK or VLEK, then ASK or ASVK, then possibly the ARK")]
    CertificateCount(usize),
    /// Not a certificate, or one with contradictions.
    #[error("{certificate}: {reason}")]
    CertificateMalformed {
        /// Role in the chain.
        certificate: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The chain ends in no key of AMD's.
    #[error("the chain is issued by {0}, which is none of AMD's root keys")]
    RootUnknown(String),
    /// The chain's own root differs from AMD's of the same name.
    #[error("the ARK in the chain is not AMD's root key for {0}")]
    RootNotPinned(Product),
    /// Too early.
    #[error("{certificate} is valid from {from} on only, and it is {now}")]
    CertificateNotYetValid {
        /// Role in the chain.
        certificate: &'static str,
        /// First second of validity.
        from: UnixTime,
        /// When it was verified.
        now: UnixTime,
    },
    /// Too late.
    #[error(
        "{certificate} was valid until {until}, and it is {now}: ask for evidence with a newer chain"
    )]
    CertificateExpired {
        /// Role in the chain.
        certificate: &'static str,
        /// Last second of validity.
        until: UnixTime,
        /// When it was verified.
        now: UnixTime,
    },
    /// Issuer of one is not subject of the next, or a subject is not what AMD issues in this place.
    #[error("{certificate} names {found}, expected {expected}")]
    CertificateName {
        /// Role in the chain.
        certificate: &'static str,
        /// Name it should have.
        expected: String,
        /// Name it has.
        found: String,
    },
    /// A certificate authority that is none, or an end entity that is one.
    #[error("{certificate} may not be used here: {reason}")]
    CertificateUsage {
        /// Role in the chain.
        certificate: &'static str,
        /// Which restriction.
        reason: &'static str,
    },
    /// Signature wrong.
    #[error("the signature of {certificate} by {issuer} is wrong")]
    CertificateSignature {
        /// Role in the chain.
        certificate: &'static str,
        /// Role of the signer.
        issuer: &'static str,
    },
    /// An AMD extension is missing or unreadable.
    #[error("{certificate}: extension {extension}: {reason}")]
    CertificateExtension {
        /// Role in the chain.
        certificate: &'static str,
        /// AMD's name of it.
        extension: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Key and root belong to different products.
    #[error("the signing key is for {found}, its chain is {expected}'s")]
    CertificateProduct {
        /// Product of the root.
        expected: Product,
        /// `productName` extension.
        found: String,
    },

    // SEV-SNP, report.
    /// A layout this release does not know.
    #[error("report of version {0}, expected 2 to 5: use a newer release of talaria")]
    ReportVersion(u32),
    /// Not ECDSA P-384 with SHA-384.
    #[error("report signed by algorithm {0}, expected 1 (ECDSA P-384 with SHA-384)")]
    ReportSignatureAlgorithm(u32),
    /// Bytes that must be zero beside R and S.
    #[error("bytes beside the report's signature are not zero")]
    ReportSignaturePadding,
    /// Signature wrong.
    #[error("the report's signature is wrong: its bytes were changed, or another key signed them")]
    ReportSignature,
    /// KEY_INFO names another key than the chain certifies.
    #[error("the report says that {found} signed it, the certificate is a {expected}'s")]
    ReportSigningKey {
        /// Kind of the certificate.
        expected: SigningKey,
        /// KEY_INFO.
        found: String,
    },
    /// The certificate is for a key of another TCB than the report was made by.
    #[error("the report is of TCB {report}, its key is certified for {certificate}")]
    ReportTcb {
        /// REPORTED_TCB.
        report: Tcb,
        /// Extensions of the VCEK or VLEK.
        certificate: Tcb,
    },
    /// The certificate is for another chip than the report is from.
    #[error("the report is from chip {report}, its key is certified for {certificate}")]
    ReportChip {
        /// CHIP_ID.
        report: String,
        /// `hwID` extension.
        certificate: String,
    },
    /// Family and model are another product's.
    #[error("the report is from CPU family {family:#x} model {model:#x}, the chain is {product}'s")]
    ReportCpu {
        /// CPUID_FAM_ID.
        family: u8,
        /// CPUID_MOD_ID.
        model: u8,
        /// Product of the root.
        product: Product,
    },

    // SEV-SNP, policy.
    /// Product not listed.
    #[error("product {0} is not in sev_snp.minimum_tcb of the policy")]
    ProductNotAllowed(Product),
    /// VLEK where only VCEK is allowed, or the other way round.
    #[error("signing key {0} is not in sev_snp.signing_keys of the policy")]
    SigningKeyNotAllowed(SigningKey),
    /// VLEK of another provider.
    #[error("the VLEK is {0}'s, which is not in sev_snp.vlek_providers of the policy")]
    ProviderNotAllowed(String),
    /// Firmware or microcode too old.
    #[error(
        "{which} is {found}, below the policy's {minimum}: the operator must update firmware and microcode"
    )]
    TcbTooOld {
        /// REPORTED_TCB, COMMITTED_TCB or LAUNCH_TCB.
        which: &'static str,
        /// What the report says.
        found: Tcb,
        /// What the policy says.
        minimum: Tcb,
    },
    /// Measurement not listed.
    #[error("measurement {0} is not in sev_snp.measurements of the policy")]
    MeasurementNotAllowed(String),
    /// The hypervisor can read the guest's memory.
    #[error("the guest runs with debugging allowed: the hypervisor can read its memory")]
    Debug,
    /// A migration agent can move the guest.
    #[error(
        "the guest can be migrated: set sev_snp.allow_migration if you trust the migration agent"
    )]
    Migration,
    /// A sibling thread can run beside the guest.
    #[error(
        "the guest may run with SMT: set sev_snp.allow_smt to accept side channels between threads"
    )]
    Smt,
    /// Asked for by less privileged software.
    #[error("the report was asked for at VMPL {0}, which is not in sev_snp.vmpls of the policy")]
    VmplNotAllowed(u32),
    /// Chip not pinned.
    #[error("chip {0} is not in sev_snp.chip_ids of the policy")]
    ChipNotAllowed(String),
    /// HOST_DATA not listed.
    #[error("host data {0} is not in sev_snp.host_data of the policy")]
    HostDataNotAllowed(String),
    /// ID_KEY_DIGEST not listed.
    #[error("ID key {0} is not in sev_snp.id_key_digests of the policy")]
    IdKeyNotAllowed(String),
    /// GUEST_SVN too low.
    #[error("guest SVN {found} is below sev_snp.minimum_guest_svn = {minimum} of the policy")]
    GuestSvnTooOld {
        /// GUEST_SVN.
        found: u32,
        /// What the policy says.
        minimum: u32,
    },
    /// ALIAS_CHECK_COMPLETE is not set.
    #[error("firmware has not checked memory for aliases")]
    AliasCheck,
    /// CIPHERTEXT_HIDING_DRAM_EN is not set.
    #[error("the platform does not hide ciphertext from the hypervisor")]
    CiphertextHiding,

    // TDX.
    /// Neither evidence nor verifier has any.
    #[error("the quote comes without collateral: give some with --collateral")]
    CollateralMissing,
    /// TCB info or quoting enclave identity is not what Intel signs.
    #[error("the collateral does not parse: {0}")]
    CollateralMalformed(String),
    /// Too early.
    #[error("the collateral is valid from {from} on only, and it is {now}")]
    CollateralNotYetValid {
        /// Latest beginning among its parts.
        from: UnixTime,
        /// When it was verified.
        now: UnixTime,
    },
    /// What Intel's chain of signatures and its own rules refuse; dcap-qvl says why.
    #[error("the quote is refused: {0}")]
    Quote(String),
    /// Older than anything that Intel has a verdict on.
    #[error(
        "the platform's firmware is older than every TCB level that Intel lists: its operator has to update it; no policy can allow it"
    )]
    TcbBelowEveryLevel,
    /// An SGX enclave is no TD.
    #[error("the quote is an SGX enclave's")]
    QuoteNotTdx,
    /// A part of the collateral has expired.
    #[error("the collateral was valid until {until}, and it is {now}: get a newer one")]
    CollateralExpired {
        /// Earliest end among its parts.
        until: UnixTime,
        /// When it was verified.
        now: UnixTime,
    },
    /// Collateral older than the policy allows.
    #[error("the collateral's tcbEvaluationDataNumber {found} is below the policy's {minimum}")]
    CollateralTooOld {
        /// What it has.
        found: u32,
        /// `tdx.minimum_tcb_evaluation_data_number`.
        minimum: u32,
    },
    /// Status not listed.
    #[error("Intel calls the platform's TCB {0}, which is not in tdx.tcb_statuses of the policy")]
    TcbStatusNotAllowed(String),
    /// A listed advisory applies.
    #[error("advisory {0} applies, which is in tdx.rejected_advisories of the policy")]
    AdvisoryRejected(String),
    /// Packages can be added.
    #[error(
        "the platform is dynamic: set tdx.allow_dynamic_platform to accept that packages can be added"
    )]
    DynamicPlatform,
    /// Intel stores its root keys.
    #[error(
        "the platform's root keys are stored by Intel: set tdx.allow_cached_keys to accept that"
    )]
    CachedKeys,
    /// Two threads per core.
    #[error(
        "the platform runs with SMT: set tdx.allow_smt to accept side channels between threads"
    )]
    TdxSmt,
    /// The TUD byte of the TD's attributes is not zero.
    #[error("the TD runs with debugging or profiling allowed: the hypervisor can look inside")]
    TdxDebug,
    /// No listed image has these measurements.
    #[error("no entry of tdx.measurements in the policy has all five measurements")]
    TdxMeasurementNotAllowed,
}

impl Refusal {
    /// Stable name for programs, such as `report-signature`.
    pub fn name(&self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            Ok(serde_json::Value::Object(fields)) => {
                fields.keys().next().cloned().unwrap_or_default()
            }
            _ => String::new(),
        }
    }
}
