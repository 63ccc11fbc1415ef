//! Rows cut into the limbs that a path multiplies.
//!
//! A *unit* is one row modulo one prime: unit `2 * row + i` has the residues modulo `PRIMES[i]`. So
//! `x` is a (units, k) matrix and the products a (units, n) matrix. Per block of four inputs a unit has
//! 16 bytes, whatever the path.

use super::layout::DEPTH;
use super::path::Path;
use rayon::prelude::*;
use talaria_arithmetic::PRIMES;

/// Four inputs of one unit, cut into limbs.
///
/// * portable: four residues
/// * AVX2: word `2 * l + h` holds signed 16-bit limbs `l` of inputs `2 * h` (low half) and `2 * h + 1`, of
///   the centred residue `limb0 + 2^16 * limb1`
/// * AVX-512 VNNI: word `l` holds unsigned 8-bit limbs `l` of inputs 0, 1, 2, 3 (low byte first)
pub(super) type Quad = [u32; DEPTH];

/// Quads of a task: small enough to occupy all threads with one long row, large enough to pay.
const PIECE: usize = 2048;

/// Units of a call, ready for one path.
pub(super) struct Units {
    quads: Vec<Quad>,
    steps: usize,
}

impl Units {
    /// Cuts `x` (units, k), on all threads of the current pool if `parallel`.
    pub(super) fn cut(path: Path, x: &[u32], k: usize, parallel: bool) -> Self {
        let steps = k.div_ceil(DEPTH);
        let count = x.len() / k;
        let mut quads = vec![[0; DEPTH]; count * steps];
        let cut = |unit: usize, first: usize, quads: &mut [Quad]| {
            let end = k.min((first + quads.len()) * DEPTH);
            let residues = &x[unit * k..][first * DEPTH..end];
            cut_unit(path, residues, PRIMES[unit % 2], quads);
        };
        if parallel && quads.len() > 2 * PIECE {
            let units = quads.par_chunks_mut(steps).enumerate();
            units.for_each(|(unit, quads)| {
                let pieces = quads.par_chunks_mut(PIECE).enumerate();
                pieces.for_each(|(i, quads)| cut(unit, i * PIECE, quads));
            });
        } else {
            let units = quads.chunks_mut(steps).enumerate();
            units.for_each(|(unit, quads)| cut(unit, 0, quads));
        }
        Self { quads, steps }
    }

    /// Quads of one unit.
    pub(super) fn unit(&self, unit: usize) -> &[Quad] {
        &self.quads[unit * self.steps..][..self.steps]
    }
}

/// Cuts the residues of one unit; inputs past the end are zero.
fn cut_unit(path: Path, residues: &[u32], p: u32, quads: &mut [Quad]) {
    let limbs = match path {
        Path::Portable => |residues, _| residues,
        Path::Avx2 => centred_words,
        Path::Avx512Vnni => |residues, _| byte_limbs(residues),
    };
    let (whole, rest) = residues.as_chunks::<DEPTH>();
    for (quad, residues) in quads.iter_mut().zip(whole) {
        *quad = limbs(*residues, p);
    }
    if !rest.is_empty() {
        let mut last = [0; DEPTH];
        last[..rest.len()].copy_from_slice(rest);
        quads[whole.len()] = limbs(last, p);
    }
}

/// Transposes a 4 x 4 matrix of bytes.
fn byte_limbs([a, b, c, d]: Quad) -> Quad {
    let low = |x: u32, y: u32| (x & 0x00ff_00ff) | ((y & 0x00ff_00ff) << 8);
    let high = |x: u32, y: u32| ((x >> 8) & 0x00ff_00ff) | (y & 0xff00_ff00);
    // low(a, b) = bytes a0 b0 a2 b2, high(a, b) = bytes a1 b1 a3 b3.
    let (ab, cd) = (low(a, b), low(c, d));
    let (ab_odd, cd_odd) = (high(a, b), high(c, d));
    [
        (ab & 0xffff) | (cd << 16),
        (ab_odd & 0xffff) | (cd_odd << 16),
        (ab >> 16) | (cd & 0xffff_0000),
        (ab_odd >> 16) | (cd_odd & 0xffff_0000),
    ]
}

/// Two signed 16-bit limbs of each centred residue.
fn centred_words(residues: Quad, p: u32) -> Quad {
    // |centred| <= (p - 1) / 2 < 2^30: the high limb has magnitude at most 2^14, the low one 2^15.
    let centred = residues.map(|r| r.wrapping_sub(if r > p / 2 { p } else { 0 }));
    let low = centred.map(|c| c & 0xffff);
    let high = centred.map(|c| c.wrapping_add(0x8000) >> 16);
    [
        low[0] | low[1] << 16,
        low[2] | low[3] << 16,
        high[0] | high[1] << 16,
        high[2] | high[3] << 16,
    ]
}
