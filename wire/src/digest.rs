//! The model digest: what a client pins.
//!
//! ```text
//! SHA-256( "talaria-model-v1" || u64le(len(manifest)) || manifest || planes )
//! ```
//!
//! with the planes in canonical order: projection by projection as the manifest lists them, most
//! significant plane first, output by output, k signed bytes each.

use sha2::{Digest, Sha256};
use std::fmt;

const DOMAIN: &[u8] = b"talaria-model-v1";

/// SHA-256 over manifest and weight planes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ModelDigest(pub [u8; 32]);

impl fmt::Display for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelDigest({self})")
    }
}

/// Accumulates a [`ModelDigest`].
pub struct ModelHasher(Sha256);

impl ModelHasher {
    /// Begins with the canonical bytes of the manifest.
    pub fn new(manifest: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(DOMAIN);
        hasher.update((manifest.len() as u64).to_le_bytes());
        hasher.update(manifest);
        Self(hasher)
    }

    /// Next bytes of the planes, in any split.
    pub fn planes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest over all that was given.
    pub fn finish(self) -> ModelDigest {
        ModelDigest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What clients have pinned.
    #[test]
    fn follows_its_definition() {
        let mut hasher = ModelHasher::new(b"manifest");
        hasher.planes(&[1, 2, 3, 4]);
        let length = [8, 0, 0, 0, 0, 0, 0, 0];
        let whole = [
            &b"talaria-model-v1"[..],
            &length,
            b"manifest",
            &[1, 2, 3, 4],
        ]
        .concat();
        assert_eq!(hasher.finish().0, *Sha256::digest(whole));
    }

    #[test]
    fn split_does_not_matter_and_length_binds() {
        let whole = {
            let mut hasher = ModelHasher::new(b"manifest");
            hasher.planes(&[1, 2, 3, 4]);
            hasher.finish()
        };
        let mut split = ModelHasher::new(b"manifest");
        split.planes(&[1]);
        split.planes(&[2, 3, 4]);
        assert_eq!(split.finish(), whole);

        let mut moved = ModelHasher::new(b"manifest\x01");
        moved.planes(&[2, 3, 4]);
        assert_ne!(moved.finish(), whole);
    }
}
