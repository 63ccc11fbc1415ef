//! X.509 (RFC 5280) as far as AMD's chains use it.
//!
//! Signatures are verified over the bytes of the TBSCertificate as they came, not over a re-encoding.

use der::asn1::{AnyRef, Ia5StringRef, ObjectIdentifier};
use der::referenced::OwnedToRef;
use der::{Decode, Reader, SliceReader};
use rsa::pss;
use rsa::sha2::Sha384;
use rsa::signature::Verifier;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use super::super::Refusal;
use super::super::appraisal::ensure;
use crate::time::UnixTime;

/// RSASSA-PSS (RFC 8017 A.2.3); AMD uses it with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes, which is
/// what is verified, whatever the parameters say.
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// Critical extensions whose meaning is checked here: basic constraints, key usage.
const UNDERSTOOD: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.15"),
];

/// A parsed certificate; nothing about it is verified yet.
pub(super) struct Certificate<'a> {
    /// Role in the chain, for messages.
    pub role: &'static str,
    parsed: x509_cert::Certificate,
    /// TBSCertificate as it came.
    signed: &'a [u8],
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(role: &'static str, der: &'a [u8]) -> Result<Self, Refusal> {
        let malformed = |reason: String| Refusal::CertificateMalformed {
            certificate: role,
            reason,
        };
        let parsed = x509_cert::Certificate::from_der(der).map_err(|e| malformed(e.to_string()))?;
        let signed = tbs_certificate(der).map_err(|e| malformed(e.to_string()))?;
        let certificate = Self {
            role,
            parsed,
            signed,
        };
        certificate.check_consistent().map_err(malformed)?;
        Ok(certificate)
    }

    /// Both algorithm fields agree, no extension comes twice, and every critical one is understood
    /// (RFC 5280, sections 4.1.1.2 and 4.2).
    fn check_consistent(&self) -> Result<(), String> {
        let algorithm = self.parsed.signature_algorithm();
        if algorithm.oid != RSASSA_PSS {
            return Err(format!(
                "signed by algorithm {}, expected RSASSA-PSS",
                algorithm.oid
            ));
        }
        if algorithm != self.parsed.tbs_certificate().signature() {
            return Err("two different signature algorithms".into());
        }
        let extensions = self.extensions();
        for (i, extension) in extensions.iter().enumerate() {
            let oid = extension.extn_id;
            if extensions.iter().skip(i + 1).any(|e| e.extn_id == oid) {
                return Err(format!("extension {oid} twice"));
            }
            if extension.critical && !UNDERSTOOD.contains(&oid) {
                return Err(format!("critical extension {oid} is not understood"));
            }
        }
        Ok(())
    }

    fn extensions(&self) -> &[x509_cert::ext::Extension] {
        self.parsed
            .tbs_certificate()
            .extensions()
            .map_or(&[], Vec::as_slice)
    }

    /// Valid at `now`, first and last second included.
    pub(super) fn check_validity(&self, now: UnixTime) -> Result<(), Refusal> {
        let (from, until) = self.validity();
        ensure(from <= now, || Refusal::CertificateNotYetValid {
            certificate: self.role,
            from,
            now,
        })?;
        ensure(now <= until, || Refusal::CertificateExpired {
            certificate: self.role,
            until,
            now,
        })
    }

    /// First and last second.
    pub(super) fn validity(&self) -> (UnixTime, UnixTime) {
        let validity = self.parsed.tbs_certificate().validity();
        let seconds = |time: x509_cert::time::Time| UnixTime(time.to_unix_duration().as_secs());
        (seconds(validity.not_before), seconds(validity.not_after))
    }

    /// May certify others.
    pub(super) fn check_is_authority(&self) -> Result<(), Refusal> {
        let usage = |reason| Refusal::CertificateUsage {
            certificate: self.role,
            reason,
        };
        ensure(self.is_authority()?, || {
            usage("it is not a certificate authority")
        })?;
        let key_usage = self.standard::<KeyUsage>("keyUsage")?;
        ensure(key_usage.is_some_and(|k| k.key_cert_sign()), || {
            usage("its key may not sign certificates")
        })
    }

    /// May not certify others.
    pub(super) fn check_is_end_entity(&self) -> Result<(), Refusal> {
        ensure(!self.is_authority()?, || Refusal::CertificateUsage {
            certificate: self.role,
            reason: "it is a certificate authority",
        })
    }

    fn is_authority(&self) -> Result<bool, Refusal> {
        let constraints = self.standard::<BasicConstraints>("basicConstraints")?;
        Ok(constraints.is_some_and(|c| c.ca))
    }

    fn standard<'s, T>(&'s self, extension: &'static str) -> Result<Option<T>, Refusal>
    where
        T: Decode<'s, Error = der::Error> + der::oid::AssociatedOid,
    {
        let found = self.parsed.tbs_certificate().get_extension::<T>();
        found
            .map(|found| found.map(|(_, value)| value))
            .map_err(|e| self.bad_extension(extension, e.to_string()))
    }

    /// Issued under the name and by the key of `issuer`.
    pub(super) fn check_issued_by(&self, issuer: &Certificate) -> Result<(), Refusal> {
        ensure(self.issuer() == issuer.subject(), || {
            Refusal::CertificateName {
                certificate: self.role,
                expected: format!("issuer {}", issuer.subject()),
                found: self.issuer().to_string(),
            }
        })?;
        self.check_signed_by(issuer)
    }

    fn check_signed_by(&self, issuer: &Certificate) -> Result<(), Refusal> {
        let wrong = || Refusal::CertificateSignature {
            certificate: self.role,
            issuer: issuer.role,
        };
        let key = issuer.parsed.tbs_certificate().subject_public_key_info();
        let key = rsa::PublicKey::try_from(key.owned_to_ref()).map_err(|e| {
            Refusal::CertificateMalformed {
                certificate: issuer.role,
                reason: format!("no RSA key: {e}"),
            }
        })?;
        let signature = self.parsed.signature().as_bytes().ok_or_else(wrong)?;
        let signature = pss::Signature::try_from(signature).map_err(|_| wrong())?;
        pss::VerifyingKey::<Sha384>::new(key)
            .verify(self.signed, &signature)
            .map_err(|_| wrong())
    }

    pub(super) fn issuer(&self) -> &x509_cert::name::Name {
        self.parsed.tbs_certificate().issuer()
    }

    pub(super) fn subject(&self) -> &x509_cert::name::Name {
        self.parsed.tbs_certificate().subject()
    }

    /// Common name of the subject; empty if there is none.
    pub(super) fn common_name(&self) -> String {
        let name = self.subject().common_name();
        name.ok()
            .flatten()
            .map_or(String::new(), |n| n.value().into_owned())
    }

    /// Subject public key: algorithm is the caller's to check, by parsing it.
    pub(super) fn public_key_info(&self) -> &x509_cert::spki::SubjectPublicKeyInfoOwned {
        self.parsed.tbs_certificate().subject_public_key_info()
    }

    /// Raw value of an extension.
    pub(super) fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let found = self.extensions().iter().find(|e| e.extn_id == oid);
        found.map(|e| e.extn_value.as_bytes())
    }

    /// Extension that is a DER INTEGER of 0 to 255.
    pub(super) fn u8_extension(
        &self,
        oid: ObjectIdentifier,
        name: &'static str,
    ) -> Result<u8, Refusal> {
        let value = self.needed_extension(oid, name)?;
        u8::from_der(value).map_err(|e| self.bad_extension(name, e.to_string()))
    }

    /// Extension that is a DER IA5String.
    pub(super) fn text_extension(
        &self,
        oid: ObjectIdentifier,
        name: &'static str,
    ) -> Result<String, Refusal> {
        let value = self.needed_extension(oid, name)?;
        let text = Ia5StringRef::from_der(value);
        text.map(|t| t.as_str().to_owned())
            .map_err(|e| self.bad_extension(name, e.to_string()))
    }

    pub(super) fn needed_extension(
        &self,
        oid: ObjectIdentifier,
        name: &'static str,
    ) -> Result<&[u8], Refusal> {
        self.extension(oid)
            .ok_or_else(|| self.bad_extension(name, "missing".into()))
    }

    pub(super) fn bad_extension(&self, extension: &'static str, reason: String) -> Refusal {
        Refusal::CertificateExtension {
            certificate: self.role,
            extension,
            reason,
        }
    }
}

/// The first element of the outer SEQUENCE, tag and length included.
fn tbs_certificate(der: &[u8]) -> der::Result<&[u8]> {
    let certificate = AnyRef::from_der(der)?;
    SliceReader::new(certificate.value())?.tlv_bytes()
}
