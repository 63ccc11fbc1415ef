//! Set-up of the payload: what a GPU host streams into it, and another instance's state.

use talaria_guest::mask::{MaskedRows, MintedMasks, Shipment};
use talaria_guest::setup::{Ingest, Ready, Scheme, SetupError};
use talaria_guest::testing::{self, TestWorld};
use talaria_guest::world::{HostFailure, World};

use crate::Seed;
use crate::parts::{join, parts};

/// Honest hosts with the test model, which refuse rows for any other, and no masks.
struct Hosts(TestWorld);

impl World for Hosts {
    fn project(&mut self, rows: &MaskedRows) -> Result<Vec<Vec<u32>>, HostFailure> {
        let model = &self.0.manifest.projections;
        let fits = model.get(rows.projection() as usize).is_some_and(|entry| {
            let residues = (rows.rows() * 2 * entry.k) as usize;
            rows.shipments().iter().all(|shipment| match shipment {
                Shipment::Residues(x) => x.len() == residues,
                Shipment::Seed(_) => true,
            })
        });
        match fits {
            true => self.0.project(rows),
            false => Err(HostFailure {
                host: 1,
                message: "rows of another model".into(),
            }),
        }
    }

    fn quarantine(&mut self, projection: u32) {
        self.0.quarantine(projection);
    }

    fn draw(&mut self, _: u32, _: u32) -> Result<MintedMasks, String> {
        Err("no masks".into())
    }

    fn entropy(&mut self, bytes: &mut [u8]) {
        self.0.entropy(bytes);
    }
}

/// [`Ready::restore`]: what it takes over, it gives on as it was.
pub fn snapshot(data: &[u8]) {
    let mut world = Hosts(TestWorld::new());
    let Ok(ready) = Ready::restore(data.to_vec(), &mut world) else {
        return;
    };
    let snapshot = ready.snapshot();
    let again = Ready::restore(snapshot.clone(), &mut world).expect("it was taken over before");
    assert!(again.snapshot() == snapshot);
}

/// [`Ingest`]: a manifest, then weights in pieces, as parts. A model that was not pinned is refused.
pub fn ingest(data: &[u8]) {
    let mut parts = parts(data).into_iter();
    let manifest = parts.next().unwrap_or_default().to_vec();
    let mut world = Hosts(TestWorld::new());
    let mut options = testing::options(Scheme::Shares);
    options.expected_digest = Some([0; 32]);
    let Ok(mut ingest) = Ingest::begin(manifest, options, &mut world) else {
        return;
    };
    if parts.all(|piece| ingest.ingest(piece).is_ok()) {
        let refused = ingest.finish(&mut world).err();
        assert!(matches!(
            refused,
            Some(SetupError::TooFew { .. } | SetupError::Digest { .. })
        ));
    }
}

/// Of the test model under each scheme that needs no masks.
pub fn snapshot_seeds() -> Vec<Seed> {
    let of = |scheme| TestWorld::new().ready(scheme).snapshot();
    vec![
        Seed::new("shares", of(Scheme::Shares)),
        Seed::new("plaintext", of(Scheme::DangerousPlaintext)),
    ]
}

/// The test model, its weights whole, and cut short.
pub fn ingest_seeds() -> Vec<Seed> {
    let world = TestWorld::new();
    let (manifest, planes) = (world.manifest.to_bytes(), world.planes());
    let pieces = planes.chunks(1000).map(<[u8]>::to_vec);
    let whole = std::iter::once(manifest.clone()).chain(pieces);
    vec![
        Seed::new("whole", join(whole)),
        Seed::new("begin", join([&manifest[..], &planes[..100]])),
    ]
}
