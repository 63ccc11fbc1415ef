//! Evidence, collateral and certificate tables, before anybody believes them.

use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};
use talaria_evidence::{
    Attestation, Certificate, Claims, DevelopmentAttestation, Evidence, FORMAT,
    MAX_CERTIFICATE_BYTES, MAX_CERTIFICATES, TdxCollateral,
};

use crate::Seed;

const MILAN: &[u8] = include_bytes!("../../../client/tests/vectors/milan.evidence.json");
const TDX: &[u8] = include_bytes!("../../../client/tests/vectors/tdx.evidence.json");
/// Collateral of the TDX quote of the client's vectors.
pub const COLLATERAL: &[u8] =
    include_bytes!("../../../client/tests/vectors/tdx_quote_collateral.json");

/// [`Evidence::from_json`]: what it accepts, it reads again from what it writes.
pub fn evidence(data: &[u8]) {
    let Ok(evidence) = Evidence::from_json(data) else {
        return;
    };
    let again = Evidence::from_json(&evidence.to_json()).expect("what was read can be written");
    assert_eq!(again, evidence);
    assert_eq!(again.claims.report_data(), evidence.claims.report_data());
}

/// [`TdxCollateral::from_json`], likewise.
pub fn collateral(data: &[u8]) {
    let Ok(collateral) = TdxCollateral::from_json(data) else {
        return;
    };
    let json = serde_json::to_vec(&collateral).expect("plain data");
    let again = TdxCollateral::from_json(&json).expect("what was read can be written");
    assert_eq!(again, collateral);
}

/// [`talaria_evidence::certificate_table`]: few, short certificates, each a piece of the table.
pub fn certificate_table(data: &[u8]) {
    let Ok(chain) = talaria_evidence::certificate_table(data) else {
        return;
    };
    assert!(chain.len() <= MAX_CERTIFICATES);
    for Certificate(der) in &chain {
        assert!(der.len() <= MAX_CERTIFICATE_BYTES);
        assert!(der.is_empty() || data.windows(der.len()).any(|piece| piece == der));
    }
}

/// One of each kind of hardware, and one of none.
pub fn evidence_seeds() -> Vec<Seed> {
    let without_collateral = {
        let mut evidence = Evidence::from_json(TDX).expect("the client's vector");
        if let Attestation::Tdx(tdx) = &mut evidence.attestation {
            tdx.collateral = None;
        }
        evidence
    };
    vec![
        Seed::new("milan.json", MILAN),
        Seed::new("tdx.json", TDX),
        Seed::new("tdx-without-collateral.json", without_collateral.to_json()),
        Seed::new("development.json", development().to_json()),
    ]
}

/// Claims of nothing in particular.
pub fn claims() -> Claims {
    Claims {
        nonce: [1; 32],
        channel_public_key: [2; 32],
        payload_sha256: [3; 32],
        model_digest: [4; 32],
        masking: "module-lwe 512x5".into(),
        host_configuration_digest: [5; 32],
        receipt_public_key: crate::answer::receipt_key().verifying_key().to_bytes(),
    }
}

/// Evidence that vouches for itself.
pub fn development() -> Evidence {
    let claims = claims();
    let key = SigningKey::from_slice(&[7; 48]).expect("a scalar below the order");
    let message = DevelopmentAttestation::message(&claims.report_data());
    let signature: Signature = key.sign(&message);
    Evidence {
        format: FORMAT,
        attestation: Attestation::Development(DevelopmentAttestation {
            public_key: key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            signature: signature.to_bytes().to_vec(),
        }),
        claims,
    }
}

/// Intel's for the vector.
pub fn collateral_seeds() -> Vec<Seed> {
    vec![Seed::new("collateral.json", COLLATERAL)]
}

/// Tables with one, three and no certificates.
pub fn table_seeds() -> Vec<Seed> {
    const VCEK: u128 = 0x63da758d_e664_4564_adc5_f4b93be8accd;
    const ASK: u128 = 0x4ab7b379_bbac_4fe4_a02f_05aef327c782;
    const ARK: u128 = 0xc0b406a4_a803_4952_9743_3fb6014cd0ae;
    let three = [(VCEK, &[1; 40][..]), (ASK, &[2; 30]), (ARK, &[3; 20])];
    vec![
        Seed::new("none", table(&[])),
        Seed::new("one", table(&three[..1])),
        Seed::new("three", table(&three)),
        Seed::new("other-kind", table(&[(5, &[9; 8])])),
    ]
}

/// GHCB specification, revision 2.03, 4.1.8.1.
fn table(entries: &[(u128, &[u8])]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut offset = 24 * (entries.len() + 1);
    for (guid, content) in entries {
        table.extend(guid.to_be_bytes());
        table.extend((offset as u32).to_le_bytes());
        table.extend((content.len() as u32).to_le_bytes());
        offset += content.len();
    }
    table.extend([0; 24]);
    table.extend(entries.iter().flat_map(|(_, content)| *content));
    table
}
