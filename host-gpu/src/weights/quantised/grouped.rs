//! Rows of codes, one byte each, whose columns share scales and zero points in groups.
//!
//! However a scheme packs them, a row that was read is `width` codes, then a scale for every group, then a zero point
//! for every group (f32, little-endian).

use std::sync::LazyLock;

use crate::weights::LoadError;
use crate::weights::checkpoint::Entry;
use crate::weights::rows::Rows;

/// What is read for some rows.
#[derive(Default)]
pub(super) struct Block {
    /// rows x width
    pub(super) codes: Vec<u8>,
    /// rows x groups
    pub(super) scales: Vec<f32>,
    /// rows x groups
    pub(super) zeros: Vec<f32>,
}

/// Where codes, scales and zero points lie.
pub(super) trait Source: Send + Sync {
    /// Fills a block of `count` rows, whose vectors have the right lengths, from row `first` on.
    fn read(&self, first: usize, count: usize, block: &mut Block) -> Result<(), LoadError>;
}

/// The group of a column.
pub(super) enum Groups {
    /// So many columns after one another make a group; above 0.
    Of(usize),
    /// By column, all below the number of groups.
    Listed(Vec<u32>),
}

/// What a code stands for.
#[derive(Clone, Copy)]
pub(super) enum Code {
    /// 0 to 255.
    Unsigned,
    /// -128 to 127.
    Signed,
    /// FP8 E4M3 without infinities (OCP 8-bit floating point, 1.0).
    E4m3,
}

/// A quantised matrix (rows, width).
pub(super) struct Grouped<S> {
    /// Input features.
    pub(super) width: usize,
    /// Groups of a row; above 0.
    pub(super) groups: usize,
    /// Which column is in which.
    pub(super) group_of: Groups,
    /// What codes stand for.
    pub(super) code: Code,
    /// Where they are.
    pub(super) source: S,
}

const F32_BYTES: usize = 4;

impl<S: Source + 'static> Grouped<S> {
    /// As a tensor of so many outputs.
    pub(super) fn into_entry(self, outputs: usize) -> Entry {
        Entry {
            shape: vec![outputs, self.width],
            rows: Ok(Box::new(self)),
        }
    }
}

impl<S: Source> Rows for Grouped<S> {
    fn row_bytes(&self) -> usize {
        self.width + 2 * F32_BYTES * self.groups
    }

    fn read(&self, first: usize, raw: &mut [u8]) -> Result<(), LoadError> {
        let count = raw.len() / self.row_bytes();
        let mut block = Block {
            codes: vec![0; count * self.width],
            scales: vec![0.0; count * self.groups],
            zeros: vec![0.0; count * self.groups],
        };
        self.source.read(first, count, &mut block)?;
        for (i, raw) in raw.chunks_mut(self.row_bytes()).enumerate() {
            let (codes, numbers) = raw.split_at_mut(self.width);
            codes.copy_from_slice(&block.codes[i * self.width..][..self.width]);
            let (scales, zeros) = numbers.split_at_mut(F32_BYTES * self.groups);
            let of_row = i * self.groups..(i + 1) * self.groups;
            put(&block.scales[of_row.clone()], scales);
            put(&block.zeros[of_row], zeros);
        }
        Ok(())
    }

    fn decode(&self, _row: usize, raw: &[u8], out: &mut [f32]) {
        let table = self.code.table();
        let (codes, numbers) = raw.split_at(self.width);
        let (numbers, _) = numbers.as_chunks::<F32_BYTES>();
        let (scales, zeros) = numbers.split_at(self.groups);
        let number = |numbers: &[[u8; F32_BYTES]], group: usize| f32::from_le_bytes(numbers[group]);
        match &self.group_of {
            Groups::Of(size) => {
                for (group, (out, codes)) in
                    out.chunks_mut(*size).zip(codes.chunks(*size)).enumerate()
                {
                    let (scale, zero) = (number(scales, group), number(zeros, group));
                    for (out, code) in out.iter_mut().zip(codes) {
                        *out = (table[usize::from(*code)] - zero) * scale;
                    }
                }
            }
            Groups::Listed(groups) => {
                for ((out, code), group) in out.iter_mut().zip(codes).zip(groups) {
                    let (scale, zero) = (
                        number(scales, *group as usize),
                        number(zeros, *group as usize),
                    );
                    *out = (table[usize::from(*code)] - zero) * scale;
                }
            }
        }
    }
}

fn put(numbers: &[f32], bytes: &mut [u8]) {
    let (chunks, _) = bytes.as_chunks_mut::<F32_BYTES>();
    for (bytes, number) in chunks.iter_mut().zip(numbers) {
        *bytes = number.to_le_bytes();
    }
}

impl Code {
    /// The value of each code.
    fn table(self) -> &'static [f32; 256] {
        static E4M3: LazyLock<[f32; 256]> = LazyLock::new(|| every(e4m3));
        static SIGNED: LazyLock<[f32; 256]> = LazyLock::new(|| every(|code| f32::from(code as i8)));
        static UNSIGNED: LazyLock<[f32; 256]> = LazyLock::new(|| every(f32::from));
        match self {
            Code::Unsigned => &UNSIGNED,
            Code::Signed => &SIGNED,
            Code::E4m3 => &E4M3,
        }
    }
}

fn every(value: impl Fn(u8) -> f32) -> [f32; 256] {
    std::array::from_fn(|code| value(code as u8))
}

/// Sign, 4 bits of exponent biased by 7, 3 of mantissa; all ones are NaN.
fn e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * 2f32.powi(-9),
        _ => (8.0 + mantissa) * 2f32.powi(exponent - 10),
    };
    if code & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4m3_by_its_specification() {
        for (code, value) in [
            (0x00, 0.0),
            (0x01, 2f32.powi(-9)),
            (0x07, 7.0 * 2f32.powi(-9)),
            (0x08, 2f32.powi(-6)),
            (0x38, 1.0),
            (0x39, 1.125),
            (0x7e, 448.0),
            (0xfe, -448.0),
            (0xb8, -1.0),
        ] {
            assert_eq!(e4m3(code), value, "{code:#x}");
        }
        assert!(e4m3(0x7f).is_nan() && e4m3(0xff).is_nan());
        assert_eq!(e4m3(0x80).to_bits(), (-0f32).to_bits());
    }
}
