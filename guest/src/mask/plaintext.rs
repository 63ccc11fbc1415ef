//! No masking: for tests, and as what benchmarks compare with.

use super::{
    NoMasks, Shipment,
    scheme::{Hidden, MaskingScheme},
};
use crate::{fixed_point::FixedRows, projection::Projection, world::World};
use zeroize::Zeroizing;

const LEAKS: &str = "EVERYTHING: the GPU host sees every activation, from which prompt and reply can be read. Only for tests and benchmarks.";

/// Rows as they are.
pub(super) struct Plaintext;

impl MaskingScheme for Plaintext {
    fn name(&self) -> String {
        "dangerous-plaintext".into()
    }

    fn leaks(&self) -> String {
        LEAKS.into()
    }

    fn hide(
        &self,
        _projection: &Projection,
        x: &FixedRows,
        _world: &mut dyn World,
    ) -> Result<Hidden, NoMasks> {
        let shipments = vec![Shipment::Residues(x.residues())];
        Ok((shipments, Zeroizing::default()))
    }
}
