//! The attestation report (AMD 56860, table ATTESTATION_REPORT), verified over its raw bytes.

use p384::ecdsa::Signature;
use p384::ecdsa::signature::Verifier;
use talaria_evidence::SNP_REPORT_BYTES;

use super::super::Refusal;
use super::super::appraisal::{Steps, Stop, ensure};
use super::{Endorsement, SigningKey, Tcb};

/// Bytes that the signature covers: all before it.
const SIGNED_BYTES: usize = 0x2a0;

/// R and S take this many bytes each, little-endian, of which P-384 uses the first 48.
const COMPONENT_BYTES: usize = 72;
const SCALAR_BYTES: usize = 48;

/// Versions with the layout below; 3 added the CPU's family and model, 5 the mitigation vectors.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=5;

/// First version that says which CPU it is from.
const FIRST_VERSION_WITH_CPU: u32 = 3;

/// SIGNATURE_ALGO of ECDSA P-384 with SHA-384.
const ECDSA_P384_SHA384: u32 = 1;

/// A report whose signature verified.
#[derive(Clone, Debug)]
pub(super) struct Report(Box<[u8; SNP_REPORT_BYTES]>);

/// Verifies that `bytes` are a report signed by the endorsed key, and that report and certificate agree.
pub(super) fn appraise(
    bytes: &[u8],
    endorsement: &Endorsement,
    steps: &mut Steps,
) -> Result<Report, Stop> {
    let report = steps.require("report's signature", verify(bytes, endorsement), |report| {
        format!(
            "by the {}, report of version {}",
            endorsement.signing_key,
            report.version()
        )
    })?;
    steps.require(
        "key named by the report",
        check_signing_key(&report, endorsement),
        |()| endorsement.signing_key.to_string(),
    )?;
    steps.require(
        "TCB in report and certificate",
        check_tcb(&report, endorsement),
        |()| endorsement.tcb.to_string(),
    )?;
    steps.require(
        "chip in report and certificate",
        check_chip(&report, endorsement),
        |hwid| match hwid {
            Some(hwid) => hex::encode(hwid),
            None => "a VLEK names none".into(),
        },
    )?;
    steps.require(
        "CPU in report and certificate",
        check_cpu(&report, endorsement),
        |cpu| match cpu {
            Some((family, model)) => format!("family {family:#x} model {model:#x}"),
            None => format!("version {} names none", report.version()),
        },
    )?;
    Ok(report)
}

/// The report in `bytes`, if the endorsed key signed it.
///
/// No bit of it can be changed without refusal: those before the signature are hashed as they came, R and S
/// are the signature, and all others must be zero.
pub(super) fn verify(bytes: &[u8], endorsement: &Endorsement) -> Result<Report, Refusal> {
    let wrong = |_| Refusal::ReportSignature;
    let bytes = <[u8; SNP_REPORT_BYTES]>::try_from(bytes).map_err(|_| Refusal::ReportSignature)?;
    let report = Report(Box::new(bytes));
    ensure(VERSIONS.contains(&report.version()), || {
        Refusal::ReportVersion(report.version())
    })?;
    ensure(report.signature_algorithm() == ECDSA_P384_SHA384, || {
        Refusal::ReportSignatureAlgorithm(report.signature_algorithm())
    })?;
    let (signed, signature) = report.0.split_at(SIGNED_BYTES);
    let (r, rest) = signature.split_at(COMPONENT_BYTES);
    let (s, reserved) = rest.split_at(COMPONENT_BYTES);
    let (r, r_padding) = r.split_at(SCALAR_BYTES);
    let (s, s_padding) = s.split_at(SCALAR_BYTES);
    let mut padding = r_padding.iter().chain(s_padding).chain(reserved);
    ensure(padding.all(|byte| *byte == 0), || {
        Refusal::ReportSignaturePadding
    })?;
    let big_endian = |scalar: &[u8]| -> Vec<u8> { scalar.iter().rev().copied().collect() };
    let signature =
        Signature::from_slice(&[big_endian(r), big_endian(s)].concat()).map_err(wrong)?;
    endorsement.key.verify(signed, &signature).map_err(wrong)?;
    Ok(report)
}

fn check_signing_key(report: &Report, endorsement: &Endorsement) -> Result<(), Refusal> {
    let expected = match endorsement.signing_key {
        SigningKey::Vcek => 0,
        SigningKey::Vlek => 1,
    };
    let found = report.signing_key();
    ensure(found == expected, || Refusal::ReportSigningKey {
        expected: endorsement.signing_key,
        found: match found {
            0 => "a VCEK".into(),
            1 => "a VLEK".into(),
            7 => "no key".into(),
            other => format!("key {other}"),
        },
    })
}

fn check_tcb(report: &Report, endorsement: &Endorsement) -> Result<(), Refusal> {
    let reported = Tcb::from_report(endorsement.product, report.reported_tcb());
    ensure(reported == endorsement.tcb, || Refusal::ReportTcb {
        report: reported,
        certificate: endorsement.tcb,
    })
}

fn check_chip<'e>(
    report: &Report,
    endorsement: &'e Endorsement,
) -> Result<Option<&'e [u8]>, Refusal> {
    let Some(hwid) = &endorsement.hwid else {
        return Ok(None);
    };
    let chip_id = report.chip_id();
    let (chip, rest) = chip_id.split_at(hwid.len().min(chip_id.len()));
    ensure(chip == hwid && rest.iter().all(|byte| *byte == 0), || {
        Refusal::ReportChip {
            report: hex::encode(chip_id),
            certificate: hex::encode(hwid),
        }
    })?;
    Ok(Some(hwid))
}

fn check_cpu(report: &Report, endorsement: &Endorsement) -> Result<Option<(u8, u8)>, Refusal> {
    if report.version() < FIRST_VERSION_WITH_CPU {
        return Ok(None);
    }
    let ([family], [model]) = (report.field(0x188), report.field(0x189));
    ensure(endorsement.product.has_cpu(family, model), || {
        Refusal::ReportCpu {
            family,
            model,
            product: endorsement.product,
        }
    })?;
    Ok(Some((family, model)))
}

/// Fields by their offsets in the table; integers are little-endian.
impl Report {
    /// VERSION.
    pub(super) fn version(&self) -> u32 {
        u32::from_le_bytes(self.field(0x000))
    }

    /// GUEST_SVN.
    pub(super) fn guest_svn(&self) -> u32 {
        u32::from_le_bytes(self.field(0x004))
    }

    /// POLICY, the guest's.
    pub(super) fn guest_policy(&self) -> u64 {
        u64::from_le_bytes(self.field(0x008))
    }

    /// VMPL.
    pub(super) fn vmpl(&self) -> u32 {
        u32::from_le_bytes(self.field(0x030))
    }

    /// SIGNATURE_ALGO.
    pub(super) fn signature_algorithm(&self) -> u32 {
        u32::from_le_bytes(self.field(0x034))
    }

    /// PLATFORM_INFO.
    pub(super) fn platform_info(&self) -> u64 {
        u64::from_le_bytes(self.field(0x040))
    }

    /// KEY_INFO bits 4:2, SIGNING_KEY.
    pub(super) fn signing_key(&self) -> u32 {
        (u32::from_le_bytes(self.field(0x048)) >> 2) & 0b111
    }

    /// REPORT_DATA.
    pub(super) fn report_data(&self) -> [u8; 64] {
        self.field(0x050)
    }

    /// MEASUREMENT.
    pub(super) fn measurement(&self) -> [u8; 48] {
        self.field(0x090)
    }

    /// HOST_DATA.
    pub(super) fn host_data(&self) -> [u8; 32] {
        self.field(0x0c0)
    }

    /// ID_KEY_DIGEST.
    pub(super) fn id_key_digest(&self) -> [u8; 48] {
        self.field(0x0e0)
    }

    /// REPORTED_TCB: what the signing key was derived for.
    pub(super) fn reported_tcb(&self) -> [u8; 8] {
        self.field(0x180)
    }

    /// CHIP_ID.
    pub(super) fn chip_id(&self) -> [u8; 64] {
        self.field(0x1a0)
    }

    /// COMMITTED_TCB: below which the platform cannot be rolled back.
    pub(super) fn committed_tcb(&self) -> [u8; 8] {
        self.field(0x1e0)
    }

    /// LAUNCH_TCB: what the guest was launched under.
    pub(super) fn launch_tcb(&self) -> [u8; 8] {
        self.field(0x1f0)
    }

    /// N bytes at an offset of the table, which lies within the report.
    fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        std::array::from_fn(|i| self.0[offset + i])
    }
}
