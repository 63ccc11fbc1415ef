//! Keys under which payloads keep what they computed for replies.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A secret of this proxy: whoever else names the same `prompt_cache_key` finds nothing of its callers.
pub(super) struct Caches(Zeroizing<[u8; 32]>);

impl Default for Caches {
    fn default() -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret).expect("the operating system gives random bytes");
        Self(secret)
    }
}

impl Caches {
    /// The key of a caller's `prompt_cache_key`.
    pub(super) fn key(&self, name: &str) -> [u8; 32] {
        let hash = Sha256::new_with_prefix("talaria-prompt-cache-v1");
        hash.chain_update(self.0.as_slice())
            .chain_update(name)
            .finalize()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_key_at_a_proxy_and_another_at_any_other() {
        let (one, other) = (Caches::default(), Caches::default());
        assert_eq!(one.key("a"), one.key("a"));
        assert_ne!(one.key("a"), one.key("b"));
        assert_ne!(one.key("a"), other.key("a"));
    }
}
