//! The chain of the key that signed a report: ARK -> ASK -> VCEK, or ARK -> ASVK -> VLEK.

use der::asn1::ObjectIdentifier;
use der::referenced::OwnedToRef;
use p384::ecdsa::VerifyingKey;

use super::super::Refusal;
use super::super::appraisal::{Steps, Stop, ensure};
use super::certificate::Certificate;
use super::{Product, Root, SigningKey, Tcb};
use crate::time::UnixTime;
use talaria_evidence::Certificate as Der;

/// AMD's certificate extensions (AMD 57230, table "VCEK certificate fields").
mod oid {
    use der::asn1::ObjectIdentifier;

    const fn amd(oid: &str) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(oid)
    }

    pub(super) const PRODUCT_NAME: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.2");
    pub(super) const BOOT_LOADER: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.1");
    pub(super) const TEE: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.2");
    pub(super) const SNP: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.3");
    pub(super) const MICROCODE: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.8");
    pub(super) const FMC: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.3.9");
    pub(super) const CSP_ID: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.5");
    pub(super) const HWID: ObjectIdentifier = amd("1.3.6.1.4.1.3704.1.4");
}

/// P-384 in a subject public key (RFC 5480): id-ecPublicKey with secp384r1.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// What AMD certifies of the key that signs reports. Made only by a chain that verified.
#[derive(Clone, Debug)]
pub(super) struct Endorsement {
    pub(super) key: VerifyingKey,
    pub(super) signing_key: SigningKey,
    pub(super) product: Product,
    pub(super) tcb: Tcb,
    /// `hwID` of a VCEK; a VLEK has none.
    pub(super) hwid: Option<Vec<u8>>,
    /// `CSP_ID` of a VLEK: the provider it was issued to.
    pub(super) provider: Option<String>,
}

/// Verifies the chain, from the root down.
pub(super) fn appraise(
    certificates: &[Der],
    roots: &[Root],
    now: UnixTime,
    steps: &mut Steps,
) -> Result<Endorsement, Stop> {
    let (leaf, intermediate, given_root) =
        steps.require("certificates", parse(certificates), |_| {
            certificates.len().to_string()
        })?;

    let root = steps.require(
        "root key (ARK)",
        find_root(&intermediate, given_root, roots),
        |root| format!("pinned, {}'s", root.product),
    )?;
    let product = root.product;
    let root = steps.require(
        "root key's validity",
        Certificate::parse("ARK", &root.certificate)
            .and_then(|root| root.check_validity(now).map(|()| root)),
        show_validity,
    )?;

    let signing_key = steps.require(
        "intermediate key",
        check_intermediate(&intermediate, &root, product, now),
        |_| show(&intermediate),
    )?;
    steps.require(
        "signing key",
        check_leaf(&leaf, &intermediate, signing_key, now),
        |()| show(&leaf),
    )?;
    steps.require(
        "what the signing key is certified for",
        endorsement(&leaf, product, signing_key),
        |e| format!("{}, {}", e.product, e.tcb),
    )
}

type Chain<'a> = (Certificate<'a>, Certificate<'a>, Option<&'a [u8]>);

fn parse(certificates: &[Der]) -> Result<Chain<'_>, Refusal> {
    let (leaf, intermediate, root) = match certificates {
        [leaf, intermediate] => (leaf, intermediate, None),
        [leaf, intermediate, root] => (leaf, intermediate, Some(root.0.as_slice())),
        _ => return Err(Refusal::CertificateCount(certificates.len())),
    };
    let leaf = Certificate::parse("VCEK or VLEK", &leaf.0)?;
    let intermediate = Certificate::parse("ASK or ASVK", &intermediate.0)?;
    Ok((leaf, intermediate, root))
}

/// The built-in root under whose name the intermediate was issued. A root in the chain is never used, but a
/// wrong one shows that something is wrong.
fn find_root<'r>(
    intermediate: &Certificate,
    given: Option<&[u8]>,
    roots: &'r [Root],
) -> Result<&'r Root, Refusal> {
    let issuer = intermediate.issuer();
    let mut found = None;
    for root in roots {
        if Certificate::parse("ARK", &root.certificate)?.subject() == issuer {
            found = Some(root);
        }
    }
    let root = found.ok_or_else(|| Refusal::RootUnknown(issuer.to_string()))?;
    ensure(given.is_none_or(|given| given == root.certificate), || {
        Refusal::RootNotPinned(root.product)
    })?;
    Ok(root)
}

/// ASK (of VCEKs) or ASVK (of VLEKs), told apart by name, which the root signs.
fn check_intermediate(
    intermediate: &Certificate,
    root: &Certificate,
    product: Product,
    now: UnixTime,
) -> Result<SigningKey, Refusal> {
    intermediate.check_issued_by(root)?;
    intermediate.check_validity(now)?;
    intermediate.check_is_authority()?;
    let name = intermediate.common_name();
    let (ask, asvk) = (format!("SEV-{product}"), format!("SEV-VLEK-{product}"));
    if name == ask {
        Ok(SigningKey::Vcek)
    } else if name == asvk {
        Ok(SigningKey::Vlek)
    } else {
        Err(Refusal::CertificateName {
            certificate: intermediate.role,
            expected: format!("CN={ask} or CN={asvk}"),
            found: name,
        })
    }
}

fn check_leaf(
    leaf: &Certificate,
    intermediate: &Certificate,
    signing_key: SigningKey,
    now: UnixTime,
) -> Result<(), Refusal> {
    leaf.check_issued_by(intermediate)?;
    leaf.check_validity(now)?;
    leaf.check_is_end_entity()?;
    let expected = format!("SEV-{signing_key}");
    let found = leaf.common_name();
    ensure(found == expected, || Refusal::CertificateName {
        certificate: leaf.role,
        expected: format!("CN={expected}"),
        found,
    })
}

fn endorsement(
    leaf: &Certificate,
    product: Product,
    signing_key: SigningKey,
) -> Result<Endorsement, Refusal> {
    check_product(leaf, product)?;
    Ok(Endorsement {
        key: p384_key(leaf)?,
        signing_key,
        product,
        tcb: tcb(leaf, product)?,
        hwid: hwid(leaf, product, signing_key)?,
        provider: provider(leaf, signing_key)?,
    })
}

/// `productName` names the part, in a VCEK with the stepping after a hyphen: `Milan-B0`.
fn check_product(leaf: &Certificate, product: Product) -> Result<(), Refusal> {
    let name = leaf.text_extension(oid::PRODUCT_NAME, "productName")?;
    let line = name.split_once('-').map_or(name.as_str(), |(line, _)| line);
    ensure(product.has_part(line), || Refusal::CertificateProduct {
        expected: product,
        found: name.clone(),
    })
}

fn tcb(leaf: &Certificate, product: Product) -> Result<Tcb, Refusal> {
    let fmc = product
        .has_fmc()
        .then(|| leaf.u8_extension(oid::FMC, "fmcSPL"));
    Ok(Tcb {
        fmc: fmc.transpose()?,
        boot_loader: leaf.u8_extension(oid::BOOT_LOADER, "blSPL")?,
        tee: leaf.u8_extension(oid::TEE, "teeSPL")?,
        snp: leaf.u8_extension(oid::SNP, "snpSPL")?,
        microcode: leaf.u8_extension(oid::MICROCODE, "ucodeSPL")?,
    })
}

/// Raw bytes, not a DER OCTET STRING inside the extension.
fn hwid(
    leaf: &Certificate,
    product: Product,
    signing_key: SigningKey,
) -> Result<Option<Vec<u8>>, Refusal> {
    if signing_key == SigningKey::Vlek {
        return Ok(None);
    }
    let hwid = leaf.needed_extension(oid::HWID, "hwID")?;
    let expected = product.hwid_bytes();
    ensure(hwid.len() == expected, || {
        leaf.bad_extension("hwID", format!("{} bytes, expected {expected}", hwid.len()))
    })?;
    Ok(Some(hwid.to_vec()))
}

fn provider(leaf: &Certificate, signing_key: SigningKey) -> Result<Option<String>, Refusal> {
    let vlek = signing_key == SigningKey::Vlek;
    let provider = vlek.then(|| leaf.text_extension(oid::CSP_ID, "CSP_ID"));
    provider.transpose()
}

fn p384_key(leaf: &Certificate) -> Result<VerifyingKey, Refusal> {
    let malformed = |reason: String| Refusal::CertificateMalformed {
        certificate: leaf.role,
        reason,
    };
    let info = leaf.public_key_info().owned_to_ref();
    let curve = info.algorithm.parameters_oid().ok();
    if info.algorithm.oid != EC_PUBLIC_KEY || curve != Some(SECP384R1) {
        return Err(malformed("its key is not on P-384".into()));
    }
    let point = info.subject_public_key.as_bytes().unwrap_or_default();
    VerifyingKey::from_sec1_bytes(point).map_err(|e| malformed(format!("no P-384 key: {e}")))
}

const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

fn show(certificate: &Certificate) -> String {
    format!(
        "{}, {}",
        certificate.common_name(),
        show_validity(certificate)
    )
}

fn show_validity(certificate: &Certificate) -> String {
    let (from, until) = certificate.validity();
    format!("valid from {from} to {until}")
}
