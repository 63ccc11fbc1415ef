//! A certificate authority that issues what AMD's issues, and a secure processor that signs reports: for tests
//! of the whole path, with every part open to defects.

use std::sync::OnceLock;
use std::time::Duration;

use der::asn1::{Ia5String, ObjectIdentifier, OctetString};
use der::{DateTime, Encode};
use p384::ecdsa::signature::Signer;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rsa::pss::SigningKey as PssKey;
use rsa::sha2::Sha384;
use talaria_evidence::{
    Attestation, Certificate as Der, Claims, Evidence, FORMAT, SNP_REPORT_BYTES, SnpAttestation,
};
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};

use super::{Product, Root};
use crate::policy::Policy;
use crate::time::UnixTime;
use crate::verify::{Appraisal, Nonce, Verifier};

/// 2026-01-01T00:00:00Z.
pub(crate) const NOW: UnixTime = UnixTime(1_767_225_600);
pub(crate) const YEAR: u64 = 365 * 86_400;

/// Key pairs of the authority; made once, because RSA keys take long.
pub(crate) struct Keys {
    pub root: PssKey<Sha384>,
    pub intermediate: PssKey<Sha384>,
    pub leaf: p384::ecdsa::SigningKey,
}

pub(crate) fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut rsa = || PssKey::new(rsa::PrivateKey::new(&mut rng, 2048).unwrap());
        Keys {
            root: rsa(),
            intermediate: rsa(),
            leaf: p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap(),
        }
    })
}

/// A certificate to be issued.
#[derive(Clone)]
pub struct Spec {
    pub subject: String,
    pub issuer: String,
    pub from: u64,
    pub until: u64,
    pub key: SubjectPublicKeyInfoOwned,
    pub extensions: Vec<Extension>,
}

impl BuilderProfile for &Spec {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.parse().unwrap()
    }

    fn get_subject(&self) -> Name {
        self.subject.parse().unwrap()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}

impl Spec {
    pub fn issue(&self, signer: &PssKey<Sha384>) -> Vec<u8> {
        let time = |seconds| {
            Time::GeneralTime(
                DateTime::from_unix_duration(Duration::from_secs(seconds))
                    .unwrap()
                    .into(),
            )
        };
        let validity = Validity::new(time(self.from), time(self.until));
        let serial = SerialNumber::from(1u32);
        CertificateBuilder::new(self, serial, validity, self.key.clone())
            .unwrap()
            .build_with_rng::<_, rsa::pss::Signature, _>(signer, &mut ChaCha8Rng::seed_from_u64(2))
            .unwrap()
            .to_der()
            .unwrap()
    }

    /// Replaces, adds, or with none removes an extension.
    pub fn set(&mut self, oid: &str, value: Option<Vec<u8>>) {
        let oid = ObjectIdentifier::new_unwrap(oid);
        self.extensions.retain(|e| e.extn_id != oid);
        self.extensions
            .extend(value.map(|v| extension(oid, false, v)));
    }
}

pub(crate) fn extension(extn_id: ObjectIdentifier, critical: bool, value: Vec<u8>) -> Extension {
    Extension {
        extn_id,
        critical,
        extn_value: OctetString::new(value).unwrap(),
    }
}

pub(crate) fn ia5(text: &str) -> Vec<u8> {
    Ia5String::new(text).unwrap().to_der().unwrap()
}

/// Basic constraints and key usage.
pub(crate) fn authority(ca: bool, usage: KeyUsages) -> Vec<Extension> {
    let constraints = BasicConstraints {
        ca,
        path_len_constraint: None,
    };
    vec![
        extension(
            ObjectIdentifier::new_unwrap("2.5.29.19"),
            true,
            constraints.to_der().unwrap(),
        ),
        extension(
            ObjectIdentifier::new_unwrap("2.5.29.15"),
            true,
            KeyUsage(usage.into()).to_der().unwrap(),
        ),
    ]
}

/// Everything a verification takes. As made by [`Case::new`], it passes; tests break one part.
pub(crate) struct Case {
    pub product: Product,
    pub root: Spec,
    pub intermediate: Spec,
    pub leaf: Spec,
    /// Appended to the chain.
    pub given_root: Option<Vec<u8>>,
    pub claims: Claims,
    pub nonce: [u8; 32],
    /// Report without `report_data` and signature, which come with [`Case::evidence`].
    pub report: [u8; SNP_REPORT_BYTES],
    pub policy: String,
    pub now: UnixTime,
    /// Breaks the chain once it is issued.
    pub break_chain: fn(&mut Vec<Der>),
    /// Breaks the report once it is signed.
    pub break_report: fn(&mut [u8]),
}

/// Bytes of a TCB in report and extensions: 3, 1, 9 and 200 by the layout of the product.
fn tcb_bytes(product: Product) -> [u8; 8] {
    match product {
        Product::Turin => [2, 3, 1, 9, 0, 0, 0, 200],
        _ => [3, 1, 0, 0, 0, 0, 9, 200],
    }
}

impl Case {
    pub(crate) fn new() -> Self {
        Self::of(Product::Milan, "VCEK")
    }

    pub(crate) fn of(product: Product, key: &str) -> Self {
        let authority_name = match key {
            "VCEK" => format!("CN=SEV-{product}"),
            _ => format!("CN=SEV-VLEK-{product}"),
        };
        let root_name = format!("CN=ARK-{product}");
        let spec = |subject: &str, issuer: &str, key, extensions| Spec {
            subject: subject.into(),
            issuer: issuer.into(),
            from: NOW.0 - YEAR,
            until: NOW.0 + YEAR,
            key,
            extensions,
        };
        let rsa_key = |key: &PssKey<Sha384>| {
            let private: &rsa::PrivateKey = key.as_ref();
            SubjectPublicKeyInfoOwned::from_key(private.as_public_key()).unwrap()
        };
        let mut case = Self {
            product,
            root: spec(
                &root_name,
                &root_name,
                rsa_key(&keys().root),
                authority(true, KeyUsages::KeyCertSign),
            ),
            intermediate: spec(
                &authority_name,
                &root_name,
                rsa_key(&keys().intermediate),
                authority(true, KeyUsages::KeyCertSign),
            ),
            leaf: spec(
                &format!("CN=SEV-{key}"),
                &authority_name,
                SubjectPublicKeyInfoOwned::from_key(keys().leaf.verifying_key()).unwrap(),
                vec![],
            ),
            given_root: None,
            claims: Claims {
                nonce: [1; 32],
                channel_public_key: [2; 32],
                payload_sha256: [3; 32],
                model_digest: [4; 32],
                masking: "shares".into(),
                host_configuration_digest: [6; 32],
                receipt_public_key: [7; 32],
            },
            nonce: [1; 32],
            report: [0; SNP_REPORT_BYTES],
            policy: policy(product),
            now: NOW,
            break_chain: |_| (),
            break_report: |_| (),
        };
        case.certify(key);
        case.fill_report(key);
        case
    }

    fn certify(&mut self, key: &str) {
        let amd = |suffix: &str| format!("1.3.6.1.4.1.3704.1.{suffix}");
        let levels = [("3.1", 3u8), ("3.2", 1), ("3.3", 9), ("3.8", 200)];
        for (suffix, level) in levels {
            self.leaf.set(&amd(suffix), Some(level.to_der().unwrap()));
        }
        if self.product == Product::Turin {
            self.leaf.set(&amd("3.9"), Some(2u8.to_der().unwrap()));
        }
        let name = match key {
            "VCEK" => format!("{}-B0", self.product),
            _ => self.product.to_string(),
        };
        self.leaf.set(&amd("2"), Some(ia5(&name)));
        if key == "VCEK" {
            let hwid = vec![0xc5; self.product.hwid_bytes()];
            self.leaf.set(&amd("4"), Some(hwid));
        } else {
            self.leaf.set(&amd("5"), Some(ia5("Cloud")));
        }
    }

    fn fill_report(&mut self, key: &str) {
        let (family, model) = match self.product {
            Product::Milan => (0x19, 0x01),
            Product::Genoa => (0x19, 0xa0),
            Product::Turin => (0x1a, 0x02),
        };
        let tcb = tcb_bytes(self.product);
        self.set(0x000, &3u32.to_le_bytes());
        self.set(0x004, &5u32.to_le_bytes());
        self.set(0x008, &(1u64 << 17).to_le_bytes());
        self.set(0x034, &1u32.to_le_bytes());
        self.set(0x040, &[u8::from(self.product.hides_ciphertext()) << 4]);
        self.set(0x038, &tcb);
        self.set(0x048, &(u32::from(key == "VLEK") << 2).to_le_bytes());
        self.set(0x090, &[0xaa; 48]);
        self.set(0x0c0, &[0xbb; 32]);
        self.set(0x0e0, &[0xcc; 48]);
        self.set(0x180, &tcb);
        self.set(0x188, &[family, model, 1]);
        if key == "VCEK" {
            self.set(0x1a0, &vec![0xc5; self.product.hwid_bytes()]);
        }
        self.set(0x1e0, &tcb);
        self.set(0x1f0, &tcb);
    }

    /// Overwrites bytes of the report before it is signed.
    pub(crate) fn set(&mut self, offset: usize, bytes: &[u8]) {
        self.report[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn evidence(&self) -> Evidence {
        let mut certificates = vec![
            Der(self.leaf.issue(&keys().intermediate)),
            Der(self.intermediate.issue(&keys().root)),
        ];
        certificates.extend(self.given_root.clone().map(Der));
        (self.break_chain)(&mut certificates);

        let mut report = self.report;
        report[0x050..0x090].copy_from_slice(&self.claims.report_data());
        sign(&mut report);
        (self.break_report)(&mut report);
        Evidence {
            format: FORMAT,
            claims: self.claims.clone(),
            attestation: Attestation::SevSnp(SnpAttestation {
                report: report.to_vec(),
                certificates,
            }),
        }
    }

    pub(crate) fn root(&self) -> Root {
        Root {
            product: self.product,
            certificate: self.root.issue(&keys().root),
        }
    }

    pub(crate) fn verify(&self) -> Appraisal {
        self.verify_evidence(&self.evidence())
    }

    pub(crate) fn verify_evidence(&self, evidence: &Evidence) -> Appraisal {
        let policy = Policy::from_toml(&self.policy).unwrap();
        Verifier::new(&policy, self.now)
            .dangerous_roots(vec![self.root()])
            .verify(evidence, Nonce::Expected(&self.nonce))
    }
}

/// As the secure processor does: R and S little-endian, 72 bytes each, zero beyond 48.
fn sign(report: &mut [u8; SNP_REPORT_BYTES]) {
    let signature: p384::ecdsa::Signature = keys().leaf.sign(&report[..0x2a0]);
    let (r, s) = signature.split_bytes();
    for (offset, scalar) in [(0x2a0, r), (0x2e8, s)] {
        for (i, byte) in scalar.iter().rev().enumerate() {
            report[offset + i] = *byte;
        }
    }
}

/// A policy that the case meets, with every list in use.
fn policy(product: Product) -> String {
    let hex = |byte: u8, bytes: usize| hex::encode(vec![byte; bytes]);
    let fmc = if product.has_fmc() { "fmc = 2, " } else { "" };
    format!(
        r#"
version = 1
[claims]
payload_sha256 = ["{}"]
model_digest = ["{}"]
masking = ["shares"]
host_configuration_digest = ["{}"]
[sev_snp]
measurements = ["{}"]
minimum_tcb.{product} = {{ {fmc}boot_loader = 3, tee = 1, snp = 9, microcode = 200 }}
signing_keys = ["vcek", "vlek"]
vlek_providers = ["Cloud"]
minimum_guest_svn = 5
host_data = ["{}"]
id_key_digests = ["{}"]
"#,
        hex(3, 32),
        hex(4, 32),
        hex(6, 32),
        hex(0xaa, 48),
        hex(0xbb, 32),
        hex(0xcc, 48),
    )
}
