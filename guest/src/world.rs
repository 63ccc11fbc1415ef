//! All that the payload may ask of the world: its imports, as one trait.
//!
//! The component implements it with its bindings ([`crate::component`]); tests with integers in memory.

use crate::mask::{MaskedRows, MintedMasks};

/// What a host failed at. Says nothing of the rows.
#[derive(Clone, Debug, thiserror::Error)]
#[error("GPU host {host}: {message}")]
pub struct HostFailure {
    /// Index of the host, from 1.
    pub host: u32,
    /// What happened and what to do.
    pub message: String,
}

/// The imports of the payload.
pub trait World {
    /// Sends masked rows to all hosts at once and returns the product of each: rows x (n residues
    /// modulo P1, then n modulo P2). Lengths and contents are the untrusted hosts'.
    fn project(&mut self, rows: &MaskedRows) -> Result<Vec<Vec<u32>>, HostFailure>;

    /// Says that products of this projection failed the check.
    fn quarantine(&mut self, projection: u32);

    /// Takes at least one and at most `rows` masks minted ahead; waits for them. The error is for people:
    /// minting ended.
    fn draw(&mut self, projection: u32, rows: u32) -> Result<MintedMasks, String>;

    /// Fills `bytes` from the CVM's generator.
    fn entropy(&mut self, bytes: &mut [u8]);
}

/// A fresh seed that may be told, for [`crate::sampling`]: never for keys. 53 bits, so that readers of JSON who have
/// doubles only keep all of it.
pub fn fresh_number(world: &mut dyn World) -> u64 {
    let mut bytes = [0; 8];
    world.entropy(&mut bytes);
    u64::from_le_bytes(bytes) >> 11
}

/// A fresh 32-byte key.
pub fn fresh_seed(world: &mut dyn World) -> zeroize::Zeroizing<[u8; 32]> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    world.entropy(&mut *seed);
    seed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestWorld;

    #[test]
    fn a_key_is_all_of_what_the_world_gave() {
        let mut world = TestWorld::new();
        let keys = [(); 3].map(|()| *fresh_seed(&mut world));
        assert_eq!(world.keys_given(), keys);
        assert!(keys[0] != keys[1] && keys[1] != keys[2]);
    }

    #[test]
    fn a_number_is_what_the_world_gave_but_for_11_bits() {
        let mut world = TestWorld::new();
        let number = fresh_number(&mut world);
        let [given] = &world.given[..] else {
            panic!("drawn {} times", world.given.len())
        };
        let bytes = given[..].try_into().expect("8 bytes");
        assert_eq!(number, u64::from_le_bytes(bytes) >> 11);
    }
}
