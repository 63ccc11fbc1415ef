//! `vpdpbusd` on 8-bit limbs: 64 products of unsigned bytes (limbs) and signed bytes (weights) an
//! instruction, four of which add up in each of 16 signed 32-bit accumulators, without saturation.

use super::layout::{Block, LANES};
use super::limbs::Quad;
use super::path::Sums;

/// Most steps of one pass. Per lane and step four products of a limb of at most 255 and a weight
/// of at most 128 in magnitude: `16384 * 4 * 255 * 128 = 2_139_095_040 < 2^31`.
const MAX_STEPS: usize = 16384;

/// Whether this processor has the instructions.
pub(super) fn detected() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// See [`super::path::Path::accumulate`].
pub(super) fn accumulate(strips: &[&[Block]], units: &[&[Quad]], sums: &mut [Sums]) {
    #[cfg(target_arch = "x86_64")]
    {
        assert!(detected(), "no AVX-512 VNNI here");
        #[allow(unsafe_code, reason = "instructions beyond the baseline")]
        // SAFETY: the instructions were detected.
        unsafe {
            x86::accumulate(strips, units, sums)
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    super::portable::accumulate(strips, units, sums)
}

/// See [`super::path::Path::reduce`].
pub(super) fn reduce(first_unit: usize, sums: &[Sums], out: &mut [[u32; LANES]]) {
    #[cfg(target_arch = "x86_64")]
    {
        assert!(detected(), "no AVX-512 VNNI here");
        #[allow(unsafe_code, reason = "instructions beyond the baseline")]
        // SAFETY: the instructions were detected.
        unsafe {
            x86::reduce(first_unit, sums, out)
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    super::reduce::reduce(first_unit, sums, out)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use std::arch::x86_64::*;

    /// Limbs of a residue.
    const LIMBS: usize = 4;
    /// Blocks (64 bytes) to fetch ahead.
    const PREFETCH: usize = 64;

    /// Pairs of strips times groups of three units: 2 * 3 * 4 = 24 accumulators of 32 registers.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn accumulate(strips: &[&[Block]], units: &[&[Quad]], sums: &mut [Sums]) {
        let count = units.len();
        let mut strip = 0;
        while strip < strips.len() {
            let taken = (strips.len() - strip).min(2);
            let sums = &mut sums[strip * count..(strip + taken) * count];
            match strips[strip..strip + taken] {
                [a, b] => over_units([a, b], units, sums),
                [a] => over_units([a], units, sums),
                _ => {}
            }
            strip += taken;
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn over_units<const S: usize>(strips: [&[Block]; S], units: &[&[Quad]], sums: &mut [Sums]) {
        let count = units.len();
        let mut unit = 0;
        while unit < count {
            // 4 = 2 + 2 rather than 3 + 1.
            let taken = match count - unit {
                4 => 2,
                left => left.min(3),
            };
            match units[unit..unit + taken] {
                [a, b, c] => passes(strips, [a, b, c], &mut sums[unit..], count),
                [a, b] => passes(strips, [a, b], &mut sums[unit..], count),
                [a] => passes(strips, [a], &mut sums[unit..], count),
                _ => {}
            }
            unit += taken;
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn passes<const S: usize, const U: usize>(
        strips: [&[Block]; S],
        units: [&[Quad]; U],
        sums: &mut [Sums],
        stride: usize,
    ) {
        let steps = strips[0].len();
        for first in (0..steps).step_by(MAX_STEPS) {
            let last = steps.min(first + MAX_STEPS);
            let strips = strips.map(|strip| &strip[first..last]);
            let units = units.map(|unit| &unit[first..last]);
            let accumulators = pass(strips, units);
            for (s, accumulators) in accumulators.iter().enumerate() {
                for (u, accumulators) in accumulators.iter().enumerate() {
                    add_limbs(accumulators, &mut sums[s * stride + u]);
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn pass<const S: usize, const U: usize>(
        strips: [&[Block]; S],
        units: [&[Quad]; U],
    ) -> [[[__m512i; LIMBS]; U]; S] {
        let steps = strips[0].len();
        let strips = strips.map(|strip| &strip[..steps]);
        let units = units.map(|unit| &unit[..steps]);
        let mut accumulators = [[[_mm512_setzero_si512(); LIMBS]; U]; S];
        for step in 0..steps {
            let mut weights = [_mm512_setzero_si512(); S];
            for s in 0..S {
                weights[s] = load(&strips[s][step]);
                prefetch(&strips[s][step]);
            }
            for u in 0..U {
                for limb in 0..LIMBS {
                    let x = _mm512_set1_epi32(units[u][step][limb] as i32);
                    for s in 0..S {
                        accumulators[s][u][limb] =
                            _mm512_dpbusd_epi32(accumulators[s][u][limb], x, weights[s]);
                    }
                }
            }
        }
        accumulators
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(block: &Block) -> __m512i {
        #[allow(unsafe_code, reason = "load of a register")]
        // SAFETY: a block is 64 bytes, aligned to 64.
        unsafe {
            _mm512_load_si512(std::ptr::from_ref(block).cast())
        }
    }

    /// Fetches the cache line [`PREFETCH`] blocks ahead: across pages, where the processor's own
    /// prefetcher stops.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn prefetch(block: &Block) {
        let ahead = std::ptr::from_ref(block).wrapping_add(PREFETCH);
        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
    }

    /// The portable loop, which vectorises with these instructions.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn reduce(first_unit: usize, sums: &[Sums], out: &mut [[u32; LANES]]) {
        super::super::reduce::reduce(first_unit, sums, out)
    }

    /// `sums += accumulators[0] + 2^8 accumulators[1] + 2^16 accumulators[2] + 2^24 accumulators[3]`,
    /// below `2^31 * 2^24 * 2 = 2^56` in magnitude.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add_limbs(accumulators: &[__m512i; LIMBS], sums: &mut Sums) {
        for half in 0..2 {
            let mut wide = [_mm512_setzero_si512(); LIMBS];
            for limb in 0..LIMBS {
                wide[limb] = _mm512_cvtepi32_epi64(match half {
                    0 => _mm512_castsi512_si256(accumulators[limb]),
                    _ => _mm512_extracti64x4_epi64::<1>(accumulators[limb]),
                });
            }
            let even = _mm512_add_epi64(wide[0], _mm512_slli_epi64::<16>(wide[2]));
            let odd = _mm512_add_epi64(wide[1], _mm512_slli_epi64::<16>(wide[3]));
            let added = _mm512_add_epi64(even, _mm512_slli_epi64::<8>(odd));
            let sums: &mut [i64] = &mut sums[8 * half..][..8];
            #[allow(unsafe_code, reason = "load and store of a register")]
            // SAFETY: an unaligned load and store of 64 bytes, in a slice of eight i64.
            unsafe {
                let sum = _mm512_loadu_si512(sums.as_ptr().cast());
                _mm512_storeu_si512(sums.as_mut_ptr().cast(), _mm512_add_epi64(sum, added));
            }
        }
    }
}
