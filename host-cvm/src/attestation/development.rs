//! Evidence that proves nothing: a key made at start vouches for itself. Clients accept it only with a flag that says
//! it is dangerous.

use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey, VerifyingKey};
use talaria_evidence::{Attestation, DevelopmentAttestation};
use zeroize::Zeroizing;

use super::AttestationError;

pub(super) struct Development {
    key: SigningKey,
}

impl Development {
    pub(super) fn new() -> Result<Self, AttestationError> {
        // A scalar below the group's order, which all but one in 2^190 strings are.
        loop {
            let mut secret = Zeroizing::new([0; 48]);
            getrandom::fill(&mut *secret)
                .map_err(|error| AttestationError::Refused(format!("no random bytes: {error}")))?;
            if let Ok(key) = SigningKey::from_slice(&*secret) {
                return Ok(Self { key });
            }
        }
    }

    pub(super) fn attest(&self, report_data: &[u8; 64]) -> Attestation {
        let message = DevelopmentAttestation::message(report_data);
        let signature: Signature = self.key.sign(&message);
        let public = VerifyingKey::from(&self.key).to_sec1_point(true);
        Attestation::Development(DevelopmentAttestation {
            public_key: public.as_bytes().to_vec(),
            signature: signature.to_bytes().to_vec(),
        })
    }
}
