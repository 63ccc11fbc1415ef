//! Manifests, which a payload reads from a GPU host.

use talaria_guest::testing;
use talaria_wire::manifest::Manifest;

use crate::Seed;

/// [`Manifest::from_bytes`]: what it accepts, it reads again from what it writes, and every size of it is in range.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::from_bytes(data) else {
        return;
    };
    let bytes = manifest.to_bytes();
    let again = Manifest::from_bytes(&bytes).expect("what was read can be written");
    // Not the manifests themselves: defaults of sampling may be NaN.
    assert_eq!(again.to_bytes(), bytes);
    assert!(manifest.weight_bytes() > 0);
    let outputs = manifest.projections.iter().map(|p| p.n as usize);
    assert!(outputs.sum::<usize>() <= data.len());
}

/// The test model's, with tokenizer and without.
pub fn seeds() -> Vec<Seed> {
    let plain = testing::manifest();
    let mut text = testing::manifest();
    text.text_files = testing::text_files();
    vec![
        Seed::new("plain", plain.to_bytes()),
        Seed::new("text", text.to_bytes()),
    ]
}
