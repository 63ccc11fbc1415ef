//! What a GPU host received, noted beside the payload's own account of it.

use std::sync::{Mutex, PoisonError};

use talaria_arithmetic::keystream::expand_row;
use talaria_arithmetic::residue::RESIDUE_BYTES;
use talaria_host_gpu::record::{Observer, Seen};
use talaria_host_gpu::scheduler::rows::ClaimBody;
use talaria_wire::manifest::Manifest;

/// Notes the first residues modulo p1 of the first row of every request.
pub(super) struct Witness {
    elements: usize,
    /// Inputs of each projection.
    widths: Vec<usize>,
    heads: Mutex<Vec<Vec<u32>>>,
}

impl Witness {
    /// A witness beside a host of this model that notes `elements` residues.
    pub(super) fn new(manifest: &Manifest, elements: usize) -> Self {
        let widths = manifest.projections.iter().map(|p| p.k as usize).collect();
        Self {
            elements,
            widths,
            heads: Mutex::default(),
        }
    }

    /// Whether the host received a row that begins with these residues.
    pub(super) fn saw(&self, head: &[u32]) -> bool {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.iter().any(|seen| seen == head)
    }

    fn head(&self, request: &Seen) -> Option<Vec<u32>> {
        let k = *self.widths.get(request.projection as usize)?;
        let wanted = self.elements.min(k);
        Some(match &request.body {
            ClaimBody::Residues(bytes) => first_words(bytes, wanted),
            ClaimBody::Seed(seed) => {
                let mut row = vec![0; 2 * k];
                expand_row(seed, 0, &mut row);
                row.truncate(wanted);
                row
            }
        })
    }
}

impl Observer for Witness {
    fn saw(&self, request: &Seen) {
        if let Some(head) = self.head(request) {
            self.heads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(head);
        }
    }
}

fn first_words(bytes: &[u8], count: usize) -> Vec<u32> {
    let (words, _) = bytes.as_chunks::<RESIDUE_BYTES>();
    let words = words.iter().take(count);
    words.map(|word| u32::from_le_bytes(*word)).collect()
}
