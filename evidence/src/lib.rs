//! Evidence: what a confidential VM (CVM) sends to prove itself, and the one definition of what the
//! hardware binds ([`Claims::report_data`]). Parsing only: who believes what is the verifier's policy.
//!
//! Evidence travels as JSON, bytes in hexadecimal:
//!
//! ```json
//! {
//!   "format": 1,
//!   "claims": { "nonce": "...", "channel_public_key": "...", "payload_sha256": "...",
//!               "model_digest": "...", "masking": "module-lwe 512x5", "host_configuration_digest": "...",
//!               "receipt_public_key": "..." },
//!   "attestation": { "sev-snp": { "report": "...", "certificates": ["...", "..."] } }
//! }
//! ```

#![forbid(unsafe_code)]

mod certificate_table;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};

pub use certificate_table::{CertificateTableError, certificate_table};

/// Version of the JSON document. A verifier refuses any other.
pub const FORMAT: u32 = 1;

/// Longest evidence a reader accepts, in bytes. A TDX quote with collateral takes about 30 KB; most of the
/// rest is room for certificate revocation lists.
pub const MAX_EVIDENCE_BYTES: usize = 1 << 20;

/// Bytes of an SEV-SNP attestation report (AMD 56860, table ATTESTATION_REPORT).
pub const SNP_REPORT_BYTES: usize = 1184;

/// Longest TDX quote a reader accepts, in bytes; quotes of version 4 and 5 take about 5 KB.
pub const MAX_QUOTE_BYTES: usize = 64 << 10;

/// Most certificates in a chain: endorsement key, intermediate, root.
pub const MAX_CERTIFICATES: usize = 3;

/// Longest DER certificate a reader accepts, in bytes; AMD's take 1.3 to 1.7 KB.
pub const MAX_CERTIFICATE_BYTES: usize = 8 << 10;

/// Longest name of a masking scheme a reader accepts, in bytes.
pub const MAX_MASKING_BYTES: usize = 64;

/// Bytes of the user data that SEV-SNP and TDX sign.
pub const REPORT_DATA_BYTES: usize = 64;

/// Separates `report_data` from every other SHA-512.
const DOMAIN: &[u8] = b"talaria-v1";

/// Separates signatures of development evidence from every other signature of the same key.
const DEVELOPMENT_DOMAIN: &[u8] = b"talaria-development-v1";

/// What a CVM claims, in clear. Believed only after `report_data` of the hardware's report was found to be
/// [`Claims::report_data`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Chosen by the client for this evidence: proves that the evidence is not older than the question.
    #[serde(with = "hex::serde")]
    pub nonce: [u8; 32],
    /// X25519 key of the channel that ends inside the payload.
    #[serde(with = "hex::serde")]
    pub channel_public_key: [u8; 32],
    /// SHA-256 of the payload component.
    #[serde(with = "hex::serde")]
    pub payload_sha256: [u8; 32],
    /// The model as measured by the payload (`talaria_wire::digest`).
    #[serde(with = "hex::serde")]
    pub model_digest: [u8; 32],
    /// The masking scheme with its parameters, as the payload names it: `shares`, `module-lwe 512x5`.
    pub masking: String,
    /// SHA-256 of the CVM host's configuration.
    #[serde(with = "hex::serde")]
    pub host_configuration_digest: [u8; 32],
    /// Ed25519 key with which the payload signs receipts (`talaria_wire::receipt`).
    #[serde(with = "hex::serde")]
    pub receipt_public_key: [u8; 32],
}

impl Claims {
    /// What the hardware signs:
    ///
    /// ```text
    /// report_data = SHA-512( "talaria-v1" || for each claim: u64le(len(claim)) || claim )
    /// ```
    ///
    /// with the claims in the order of the fields of this struct.
    pub fn report_data(&self) -> [u8; REPORT_DATA_BYTES] {
        let Self {
            nonce,
            channel_public_key,
            payload_sha256,
            model_digest,
            masking,
            host_configuration_digest,
            receipt_public_key,
        } = self;
        let mut hasher = Sha512::new();
        hasher.update(DOMAIN);
        for claim in [
            &nonce[..],
            channel_public_key,
            payload_sha256,
            model_digest,
            masking.as_bytes(),
            host_configuration_digest,
            receipt_public_key,
        ] {
            hasher.update((claim.len() as u64).to_le_bytes());
            hasher.update(claim);
        }
        hasher.finalize().into()
    }
}

/// Claims with the attestation that binds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// [`FORMAT`].
    pub format: u32,
    /// What is claimed.
    pub claims: Claims,
    /// What vouches for it.
    pub attestation: Attestation,
}

/// A statement over `report_data`, by kind of hardware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attestation {
    /// AMD SEV-SNP.
    SevSnp(SnpAttestation),
    /// Intel TDX.
    Tdx(TdxAttestation),
    /// No hardware at all: for development.
    Development(DevelopmentAttestation),
}

impl Attestation {
    /// Name as in JSON.
    pub const fn kind(&self) -> &'static str {
        match self {
            Attestation::SevSnp(_) => "sev-snp",
            Attestation::Tdx(_) => "tdx",
            Attestation::Development(_) => "development",
        }
    }
}

/// A report of the AMD secure processor with the chain of the key that signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpAttestation {
    /// Attestation report, [`SNP_REPORT_BYTES`] bytes.
    #[serde(with = "hex::serde")]
    pub report: Vec<u8>,
    /// DER certificates: VCEK or VLEK, then ASK or ASVK, then possibly the ARK.
    pub certificates: Vec<Certificate>,
}

/// A DER certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Certificate(#[serde(with = "hex::serde")] pub Vec<u8>);

/// A quote of Intel's TD quoting enclave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxAttestation {
    /// Quote of version 4 or 5, at most [`MAX_QUOTE_BYTES`].
    #[serde(with = "hex::serde")]
    pub quote: Vec<u8>,
    /// What Intel says of the platform; the verifier may bring its own instead.
    pub collateral: Option<Box<TdxCollateral>>,
}

/// Intel's signed statements that a quote is verified against, as its provisioning certification service
/// gives them out (PCS API version 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxCollateral {
    /// PEM chain of the PCK revocation list's issuer.
    pub pck_crl_issuer_chain: String,
    /// DER revocation list of the root.
    #[serde(with = "hex::serde")]
    pub root_ca_crl: Vec<u8>,
    /// DER revocation list of the PCK certificate authority.
    #[serde(with = "hex::serde")]
    pub pck_crl: Vec<u8>,
    /// PEM chain of the TCB info's signer.
    pub tcb_info_issuer_chain: String,
    /// TCB info, JSON exactly as signed.
    pub tcb_info: String,
    /// ECDSA P-256 signature, r || s.
    #[serde(with = "hex::serde")]
    pub tcb_info_signature: Vec<u8>,
    /// PEM chain of the quoting enclave identity's signer.
    pub qe_identity_issuer_chain: String,
    /// Quoting enclave identity, JSON exactly as signed.
    pub qe_identity: String,
    /// ECDSA P-256 signature, r || s.
    #[serde(with = "hex::serde")]
    pub qe_identity_signature: Vec<u8>,
    /// PEM chain of the PCK certificate, where the quote does not carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pck_certificate_chain: Option<String>,
}

/// A key that vouches for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevelopmentAttestation {
    /// P-384 point, SEC1, compressed or not.
    #[serde(with = "hex::serde")]
    pub public_key: Vec<u8>,
    /// ECDSA with SHA-384 over [`DevelopmentAttestation::message`], r || s big-endian, 96 bytes.
    #[serde(with = "hex::serde")]
    pub signature: Vec<u8>,
}

impl DevelopmentAttestation {
    /// What is signed: `"talaria-development-v1" || report_data`.
    pub fn message(report_data: &[u8; REPORT_DATA_BYTES]) -> Vec<u8> {
        [DEVELOPMENT_DOMAIN, report_data].concat()
    }
}

/// Why bytes are not evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// Longer than [`MAX_EVIDENCE_BYTES`].
    #[error("evidence of {0} bytes is longer than {MAX_EVIDENCE_BYTES}")]
    TooLong(usize),
    /// Not the JSON of the module's head.
    #[error("evidence does not parse: {0}")]
    Malformed(serde_json::Error),
    /// Another format.
    #[error("evidence of format {0}, expected {FORMAT}: use client and CVM of one release")]
    Format(u32),
    /// A part is longer or shorter than its kind allows.
    #[error("{part} of {found} bytes, expected {expected}")]
    Length {
        /// Which part.
        part: &'static str,
        /// Bytes it may have.
        expected: String,
        /// Bytes it has.
        found: usize,
    },
    /// A chain without end.
    #[error("{0} certificates, expected at most {MAX_CERTIFICATES}")]
    Certificates(usize),
}

impl Evidence {
    /// JSON in one line.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data always serialises")
    }

    /// Parses bytes of an untrusted CVM; every length is within its bound when this returns.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_EVIDENCE_BYTES {
            return Err(EvidenceError::TooLong(bytes.len()));
        }
        let evidence: Self = serde_json::from_slice(bytes).map_err(EvidenceError::Malformed)?;
        if evidence.format != FORMAT {
            return Err(EvidenceError::Format(evidence.format));
        }
        at_most(
            "masking",
            evidence.claims.masking.as_bytes(),
            MAX_MASKING_BYTES,
        )?;
        match &evidence.attestation {
            Attestation::SevSnp(snp) => snp.validate()?,
            Attestation::Tdx(tdx) => at_most("quote", &tdx.quote, MAX_QUOTE_BYTES)?,
            Attestation::Development(development) => development.validate()?,
        }
        Ok(evidence)
    }
}

impl TdxCollateral {
    /// Parses collateral of unknown origin; it is signed, so its origin does not matter.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_EVIDENCE_BYTES {
            return Err(EvidenceError::TooLong(bytes.len()));
        }
        serde_json::from_slice(bytes).map_err(EvidenceError::Malformed)
    }
}

impl SnpAttestation {
    fn validate(&self) -> Result<(), EvidenceError> {
        exactly("report", &self.report, SNP_REPORT_BYTES)?;
        if self.certificates.len() > MAX_CERTIFICATES {
            return Err(EvidenceError::Certificates(self.certificates.len()));
        }
        self.certificates
            .iter()
            .try_for_each(|c| at_most("certificate", &c.0, MAX_CERTIFICATE_BYTES))
    }
}

impl DevelopmentAttestation {
    fn validate(&self) -> Result<(), EvidenceError> {
        /// Uncompressed P-384 point.
        const LONGEST_POINT: usize = 97;
        at_most("public key", &self.public_key, LONGEST_POINT)?;
        exactly("signature", &self.signature, 96)
    }
}

fn exactly(part: &'static str, bytes: &[u8], expected: usize) -> Result<(), EvidenceError> {
    if bytes.len() == expected {
        return Ok(());
    }
    Err(EvidenceError::Length {
        part,
        expected: expected.to_string(),
        found: bytes.len(),
    })
}

fn at_most(part: &'static str, bytes: &[u8], longest: usize) -> Result<(), EvidenceError> {
    if bytes.len() <= longest {
        return Ok(());
    }
    Err(EvidenceError::Length {
        part,
        expected: format!("at most {longest}"),
        found: bytes.len(),
    })
}

#[cfg(test)]
mod tests;
