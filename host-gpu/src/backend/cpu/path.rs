//! Instruction sets, chosen at run time.

use super::layout::{Block, LANES};
use super::limbs::Quad;
use super::{avx2, avx512, portable, reduce};

/// Sums of products of one unit with the lanes of one strip, not reduced.
pub type Sums = [i64; LANES];

/// How products are computed. All give the same sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// 64-bit multiplications, any processor.
    Portable,
    /// `vpmaddwd` on 16-bit limbs.
    Avx2,
    /// `vpdpbusd` on 8-bit limbs.
    Avx512Vnni,
}

impl Path {
    /// Paths of this processor, slowest first.
    pub fn available() -> Vec<Path> {
        let mut paths = vec![Path::Portable];
        if avx2::detected() {
            paths.push(Path::Avx2);
        }
        if avx512::detected() {
            paths.push(Path::Avx512Vnni);
        }
        paths
    }

    /// The fastest path of this processor.
    pub fn best() -> Path {
        *Self::available().last().unwrap_or(&Path::Portable)
    }

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Path::Portable => "portable",
            Path::Avx2 => "AVX2",
            Path::Avx512Vnni => "AVX-512 VNNI",
        }
    }

    /// Adds the products of every unit with every strip: `sums[strip * units.len() + unit]`. Strips and
    /// units have the same number of steps.
    pub(super) fn accumulate(self, strips: &[&[Block]], units: &[&[Quad]], sums: &mut [Sums]) {
        match self {
            Path::Portable => portable::accumulate(strips, units, sums),
            Path::Avx2 => avx2::accumulate(strips, units, sums),
            Path::Avx512Vnni => avx512::accumulate(strips, units, sums),
        }
    }

    /// Residues of the units from `first_unit` on, one tile: `sums` is (planes, units) with the planes to be
    /// joined, `out` (units).
    pub(super) fn reduce(self, first_unit: usize, sums: &[Sums], out: &mut [[u32; LANES]]) {
        match self {
            Path::Portable | Path::Avx2 => reduce::reduce(first_unit, sums, out),
            Path::Avx512Vnni => avx512::reduce(first_unit, sums, out),
        }
    }
}
