//! `vpmaddwd` on 16-bit limbs: 16 products of signed words an instruction, pairs of which add up in
//! each of eight signed 32-bit lanes. (`vpmaddubsw` saturates, so bytes would need 7-bit limbs.)

use super::layout::Block;
use super::limbs::Quad;
use super::path::Sums;

/// Most steps of one pass. Per lane and step two products of a limb of at most 2^15 and a weight of at
/// most 2^7 in magnitude: `255 * 2 * 2^22 = 2_139_095_040 < 2^31`.
const MAX_STEPS: usize = 255;

/// Whether this processor has the instructions.
pub(super) fn detected() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// See [`super::path::Path::accumulate`].
pub(super) fn accumulate(strips: &[&[Block]], units: &[&[Quad]], sums: &mut [Sums]) {
    #[cfg(target_arch = "x86_64")]
    {
        assert!(detected(), "no AVX2 here");
        #[allow(unsafe_code, reason = "instructions beyond the baseline")]
        // SAFETY: the instructions were detected.
        unsafe {
            x86::accumulate(strips, units, sums)
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    super::portable::accumulate(strips, units, sums)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use std::arch::x86_64::*;

    /// Limbs of a residue.
    const LIMBS: usize = 2;
    /// Registers of 16-bit weights in a block: four outputs by four inputs each.
    const PARTS: usize = 4;
    /// Parts of a block multiplied in one pass: 2 * 2 * 2 = 8 accumulators of 16 registers.
    const PASS_PARTS: usize = 2;
    /// Blocks (64 bytes) to fetch ahead.
    const PREFETCH: usize = 64;

    #[target_feature(enable = "avx2")]
    pub(super) fn accumulate(strips: &[&[Block]], units: &[&[Quad]], sums: &mut [Sums]) {
        for (strip, sums) in strips.iter().zip(sums.chunks_exact_mut(units.len().max(1))) {
            let (pairs, rest) = units.as_chunks::<2>();
            for (pair, sums) in pairs.iter().zip(sums.chunks_exact_mut(2)) {
                passes(strip, *pair, sums);
            }
            if let ([unit], Some(sums)) = (rest, sums.last_mut()) {
                passes(strip, [unit], std::slice::from_mut(sums));
            }
        }
    }

    #[target_feature(enable = "avx2")]
    fn passes<const U: usize>(strip: &[Block], units: [&[Quad]; U], sums: &mut [Sums]) {
        for first in (0..strip.len()).step_by(MAX_STEPS) {
            let last = strip.len().min(first + MAX_STEPS);
            let units = units.map(|unit| &unit[first..last]);
            for part in (0..PARTS).step_by(PASS_PARTS) {
                let accumulators = pass(&strip[first..last], units, part);
                for (accumulators, sums) in accumulators.iter().zip(&mut *sums) {
                    add_limbs(accumulators, &mut sums[part * 4..][..PASS_PARTS * 4]);
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn pass<const U: usize>(
        strip: &[Block],
        units: [&[Quad]; U],
        part: usize,
    ) -> [[[__m256i; PASS_PARTS]; LIMBS]; U] {
        let units = units.map(|unit| &unit[..strip.len()]);
        let mut accumulators = [[[_mm256_setzero_si256(); PASS_PARTS]; LIMBS]; U];
        for (step, block) in strip.iter().enumerate() {
            let weights = [load(block, part), load(block, part + 1)];
            prefetch(block);
            for u in 0..U {
                let quad = units[u][step];
                for limb in 0..LIMBS {
                    let x = u64::from(quad[2 * limb]) | u64::from(quad[2 * limb + 1]) << 32;
                    let x = _mm256_set1_epi64x(x as i64);
                    for (sum, weights) in accumulators[u][limb].iter_mut().zip(weights) {
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x, weights));
                    }
                }
            }
        }
        accumulators
    }

    /// Fetches the cache line [`PREFETCH`] blocks ahead: across pages, where the processor's own
    /// prefetcher stops.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn prefetch(block: &Block) {
        let ahead = std::ptr::from_ref(block).wrapping_add(PREFETCH);
        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
    }

    /// Weights of four outputs, widened to 16 bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(block: &Block, part: usize) -> __m256i {
        let bytes: &[i8] = &block.0[part * 16..][..16];
        #[allow(unsafe_code, reason = "load of a register")]
        // SAFETY: an unaligned load of 16 bytes from a slice of 16.
        unsafe {
            _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes.as_ptr().cast()))
        }
    }

    /// `sums += limb 0 + 2^16 limb 1`, each the sum of two neighbouring lanes: below
    /// `2^32 * 2^16 * 2 = 2^49` in magnitude.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add_limbs(accumulators: &[[__m256i; PASS_PARTS]; LIMBS], sums: &mut [i64]) {
        let words = accumulators.map(|limb| limb.map(|sums| lanes(sums)));
        for (i, sum) in sums.iter_mut().enumerate() {
            let limb = |l: usize| {
                let lanes: &[i32; 8] = &words[l][i / 4];
                i64::from(lanes[i % 4 * 2]) + i64::from(lanes[i % 4 * 2 + 1])
            };
            *sum += limb(0) + (limb(1) << 16);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn lanes(register: __m256i) -> [i32; 8] {
        let mut lanes = [0; 8];
        #[allow(unsafe_code, reason = "store of a register")]
        // SAFETY: an unaligned store of 32 bytes into 32 bytes.
        unsafe {
            _mm256_storeu_si256(lanes.as_mut_ptr().cast(), register)
        };
        lanes
    }
}
