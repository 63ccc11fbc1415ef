//! Hosts and entropy of the tests, with all that is secret hidden from memcheck's point of view.

use crate::valgrind::{declare, hide, hide_again};
use talaria_guest::{
    mask::{MaskedRows, MintedMasks, Shipment},
    setup::{Ingest, Ready, Scheme},
    testing::{TestWorld, options},
    world::{HostFailure, World},
};

/// Entropy, minted masks and answers are secret; what is sent is declared public while hosts have it.
pub(crate) struct Hidden {
    pub(crate) hosts: TestWorld,
}

impl Hidden {
    pub(crate) fn new() -> Self {
        let hosts = TestWorld::new();
        Self { hosts }
    }

    /// Set-up with hidden check vectors, from their keys on.
    pub(crate) fn ready(&mut self, scheme: Scheme) -> Ready {
        let planes = self.hosts.planes();
        let manifest = self.hosts.manifest.to_bytes();
        let mut ingest = Ingest::begin(manifest, options(scheme), self).expect("a manifest");
        ingest.ingest(&planes).expect("its planes");
        ingest.finish(self).expect("honest hosts")
    }
}

impl World for Hidden {
    fn project(&mut self, rows: &MaskedRows) -> Result<Vec<Vec<u32>>, HostFailure> {
        for shipment in rows.shipments() {
            match shipment {
                Shipment::Residues(residues) => declare(residues),
                Shipment::Seed(seed) => declare(&seed[..]),
            }
        }
        let mut answers = self.hosts.project(rows)?;
        for shipment in rows.shipments() {
            match shipment {
                Shipment::Residues(residues) => hide_again(residues),
                Shipment::Seed(seed) => hide_again(&seed[..]),
            }
        }
        answers.iter_mut().for_each(|answer| hide(answer));
        Ok(answers)
    }

    fn quarantine(&mut self, projection: u32) {
        self.hosts.quarantine(projection);
    }

    fn draw(&mut self, projection: u32, rows: u32) -> Result<MintedMasks, String> {
        let mut drawn = self.hosts.draw(projection, rows)?;
        hide(&mut drawn.masks);
        hide(&mut drawn.corrections);
        Ok(drawn)
    }

    fn entropy(&mut self, bytes: &mut [u8]) {
        self.hosts.entropy(bytes);
        hide(bytes);
    }
}
