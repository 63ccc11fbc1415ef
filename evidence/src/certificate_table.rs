//! The certificate table that a hypervisor gives with an SEV-SNP report (GHCB specification, revision 2.03, 4.1.8.1).
//!
//! ```text
//! entries: guid (16) | offset u32le | length u32le      ... | 24 zero bytes
//! certificates at their offsets from the table's begin
//! ```
//!
//! It comes from the hypervisor, so everything in it is hostile. The `sev` crate follows its offsets through raw
//! pointers; here they are bounded first.

use super::{Certificate, MAX_CERTIFICATE_BYTES};

const ENTRY_BYTES: usize = 24;

/// Most entries looked at: the table has one for each kind of certificate.
const MAX_ENTRIES: usize = 16;

/// GUIDs as they stand in the table, fields big-endian.
const VCEK: [u8; 16] = guid(0x63da758d_e664_4564_adc5_f4b93be8accd);
const VLEK: [u8; 16] = guid(0xa8074bc2_a25a_483e_aae6_39c045a0b8a1);
const ASK: [u8; 16] = guid(0x4ab7b379_bbac_4fe4_a02f_05aef327c782);
const ARK: [u8; 16] = guid(0xc0b406a4_a803_4952_9743_3fb6014cd0ae);

const fn guid(number: u128) -> [u8; 16] {
    number.to_be_bytes()
}

/// Why a table is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateTableError {
    /// No zero entry within the table or its first 16 entries.
    #[error("a table without an end")]
    Endless,
    /// An entry that points outside.
    #[error("an entry of {length} bytes at {offset}, outside the table of {table} bytes")]
    Outside {
        /// Where it should begin.
        offset: usize,
        /// How long it should be.
        length: usize,
        /// How long the table is.
        table: usize,
    },
    /// A certificate longer than any.
    #[error("a certificate of {0} bytes, expected at most {MAX_CERTIFICATE_BYTES}")]
    TooLong(usize),
}

/// The chain in a table: VCEK or else VLEK, then ASK (or ASVK), then ARK, those of them that are there.
pub fn certificate_table(table: &[u8]) -> Result<Vec<Certificate>, CertificateTableError> {
    let mut chain = [const { None }; 4];
    for index in 0..MAX_ENTRIES {
        let at = index * ENTRY_BYTES;
        let entry = table.get(at..at + ENTRY_BYTES);
        let entry = entry.ok_or(CertificateTableError::Endless)?;
        if entry.iter().all(|&byte| byte == 0) {
            let [vcek, vlek, ask, ark] = chain;
            return Ok([vcek.or(vlek), ask, ark].into_iter().flatten().collect());
        }
        let (kind, place) = entry.split_at(16);
        let slot = [VCEK, VLEK, ASK, ARK]
            .iter()
            .position(|known| known == kind);
        let certificate = content(table, place)?;
        // Of kinds that are not needed the rest of the table may hold some.
        if let Some(slot) = slot.and_then(|slot| chain.get_mut(slot)) {
            *slot = Some(Certificate(certificate.to_vec()));
        }
    }
    Err(CertificateTableError::Endless)
}

fn content<'t>(table: &'t [u8], place: &[u8]) -> Result<&'t [u8], CertificateTableError> {
    let (offset, length) = place.split_at(4);
    let number = |bytes: &[u8]| {
        let bytes = bytes.iter().rev();
        bytes.fold(0, |sum, &byte| sum << 8 | usize::from(byte))
    };
    let (offset, length) = (number(offset), number(length));
    if length > MAX_CERTIFICATE_BYTES {
        return Err(CertificateTableError::TooLong(length));
    }
    let end = offset.checked_add(length);
    let content = end.and_then(|end| table.get(offset..end));
    content.ok_or(CertificateTableError::Outside {
        offset,
        length,
        table: table.len(),
    })
}

#[cfg(test)]
mod tests;
