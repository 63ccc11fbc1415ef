//! What a user's own files and arguments say: policies and addresses. They are trusted to mean what they say, and still
//! must not break the program.

use talaria_client::policy::{Policy, PolicyError, VERSION};
use talaria_client::remote::Address;

use crate::Seed;

/// Met by the client's vectors.
pub const VECTORS: &str = include_str!("../../../client/tests/vectors/policy.toml");

/// To be appended to a policy: allows the claims of [`crate::evidence::claims`].
pub const CLAIMS: &str = r#"
[claims]
payload_sha256 = ["0303030303030303030303030303030303030303030303030303030303030303"]
model_digest = ["0404040404040404040404040404040404040404040404040404040404040404"]
masking = ["module-lwe 512x5"]
"#;

/// [`Policy::from_toml`]: a policy that can accept something, or an error.
pub fn policy(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match Policy::from_toml(text) {
        Ok(policy) => {
            assert_eq!(policy.version, VERSION);
            let Policy {
                claims,
                sev_snp,
                tdx,
                ..
            } = &policy;
            assert!(claims.is_some() || sev_snp.is_some() || tdx.is_some());
            assert!(
                sev_snp
                    .as_ref()
                    .is_none_or(|snp| !snp.measurements.is_empty())
            );
            assert!(tdx.as_ref().is_none_or(|tdx| !tdx.measurements.is_empty()));
            assert_eq!(Policy::from_toml(text).ok(), Some(policy));
        }
        Err(PolicyError::Malformed(error)) => assert!(!error.to_string().is_empty()),
        Err(_) => {}
    }
}

/// [`Address`]: what it accepts, it reads again from what it writes.
pub fn address(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
}

/// Of the vectors, with claims, and of a product with another TCB.
pub fn seeds() -> Vec<Seed> {
    let turin = r#"
version = 1
[sev_snp]
measurements = ["7a1e5c266c0108dbc9bb94fa926951320940915d0aafb42464bd88b579ea158d3e1a0dc39b2c60bd95b9c480cd81841f"]
minimum_tcb.Turin = { fmc = 1, boot_loader = 3, tee = 0, snp = 8, microcode = 115 }
signing_keys = ["vcek", "vlek"]
vlek_providers = ["a cloud"]
vmpls = [0, 1]
minimum_guest_svn = 4
allow_migration = true
require_alias_check = true
require_ciphertext_hiding = true
"#;
    let tdx = r#"
version = 1
[tdx]
measurements = []
tcb_statuses = ["UpToDate", "SWHardeningNeeded"]
rejected_advisories = ["INTEL-SA-00615"]
"#;
    vec![
        Seed::new("vectors.toml", VECTORS),
        Seed::new("claims.toml", [VECTORS, CLAIMS].concat()),
        Seed::new("turin.toml", turin),
        Seed::new("nothing-allowed.toml", tdx),
    ]
}

/// A few of each form.
pub fn address_seeds() -> Vec<Seed> {
    vec![
        Seed::new("name", "http://cvm.example"),
        Seed::new("port", "ws://127.0.0.1:8443/a/b/"),
        Seed::new("ipv6", "http://[::1]:8443"),
        Seed::new("tls", "https://cvm.example"),
        Seed::new("excess", "http://user@cvm.example/?a=b"),
    ]
}
