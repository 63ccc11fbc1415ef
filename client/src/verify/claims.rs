//! Claims, once the hardware vouches for them, against the policy.

use talaria_evidence::Claims;

use super::appraisal::{Steps, Stop, ensure};
use super::{Nonce, Refusal};
use crate::hex_array::HexArray;
use crate::policy::ClaimsPolicy;

pub(super) fn appraise(
    claims: &Claims,
    nonce: Nonce,
    policy: Option<&ClaimsPolicy>,
    steps: &mut Steps,
) -> Result<(), Stop> {
    match nonce {
        Nonce::Expected(expected) => steps.check(
            "nonce",
            hex::encode(claims.nonce),
            ensure(&claims.nonce == expected, || Refusal::Nonce {
                expected: hex::encode(expected),
                found: hex::encode(claims.nonce),
            }),
        ),
        Nonce::Any => steps.check(
            "nonce",
            format!("{}, not compared: age unknown", hex::encode(claims.nonce)),
            Ok(()),
        ),
    }
    for (name, key) in [
        ("channel public key", &claims.channel_public_key),
        ("receipt public key", &claims.receipt_public_key),
    ] {
        steps.check(name, hex::encode(key), Ok(()));
    }
    let policy = steps.require(
        "policy on claims",
        policy.ok_or(Refusal::NoClaimsPolicy),
        |_| "present".into(),
    )?;
    let mut listed = |name, found: &[u8; 32], list: &[HexArray<32>], refusal: fn(String) -> _| {
        let allowed = list.contains(&HexArray(*found));
        let found = hex::encode(found);
        steps.check(name, &found, ensure(allowed, || refusal(found.clone())));
    };
    listed(
        "payload",
        &claims.payload_sha256,
        &policy.payload_sha256,
        Refusal::PayloadNotAllowed,
    );
    listed(
        "model",
        &claims.model_digest,
        &policy.model_digest,
        Refusal::ModelNotAllowed,
    );
    if let Some(list) = &policy.host_configuration_digest {
        listed(
            "host configuration",
            &claims.host_configuration_digest,
            list,
            Refusal::HostConfigurationNotAllowed,
        );
    }
    let masking = &claims.masking;
    steps.check(
        "masking",
        masking,
        ensure(policy.masking.contains(masking), || {
            Refusal::MaskingNotAllowed(masking.clone())
        }),
    );
    Ok(())
}
