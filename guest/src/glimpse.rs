//! One row as the payload knows it and as each host sees it, kept on request for demonstrations.

use crate::{
    fixed_point::{FixedRows, Row},
    mask::{MaskedRows, Shipment},
    projection::Projection,
};
use talaria_arithmetic::{fixed_point::power_of_two, keystream};

/// What was seen of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Glimpse {
    /// Name of the projection.
    pub projection: String,
    /// First elements of the row, as quantised.
    pub plain: Vec<f32>,
    /// The same elements modulo P1 as each host has them.
    pub hosts: Vec<Vec<u32>>,
}

/// Armed by the host side, filled by the next projection of an activation (not of a one-hot row).
#[derive(Default)]
pub struct GlimpseSlot {
    wanted: usize,
    kept: Option<Glimpse>,
}

impl GlimpseSlot {
    /// Keep `elements` elements of the next row.
    pub fn arm(&mut self, elements: u32) {
        *self = Self {
            wanted: elements as usize,
            kept: None,
        };
    }

    /// What was kept.
    pub fn take(&mut self) -> Option<Glimpse> {
        self.kept.take()
    }

    pub(crate) fn look(&mut self, projection: &Projection, x: &FixedRows, sent: &MaskedRows) {
        if self.wanted == 0 || projection.is_embedding || x.rows() == 0 {
            return;
        }
        let Row::Integers(first) = x.row(0) else {
            return;
        };
        let wanted = self.wanted.min(projection.k);
        let scale = power_of_two(-x.exponent(0));
        let host = |shipment: &Shipment| match shipment {
            Shipment::Residues(residues) => residues[..wanted].to_vec(),
            Shipment::Seed(seed) => {
                let mut row = vec![0; 2 * projection.k];
                keystream::expand_row(seed, 0, &mut row);
                row.truncate(wanted);
                row
            }
        };
        self.kept = Some(Glimpse {
            projection: projection.name.clone(),
            plain: first[..wanted]
                .iter()
                .map(|x| (f64::from(*x) * scale) as f32)
                .collect(),
            hosts: sent.shipments().iter().map(host).collect(),
        });
        self.wanted = 0;
    }
}
