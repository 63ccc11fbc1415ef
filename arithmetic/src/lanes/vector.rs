//! Four u32 ([`Lanes`]), two 64-bit integers ([`Pairs`]) or two f64 ([`Floats`]) side by side.
//!
//! All arithmetic wraps. Functions whose names end in `low` and `high` work on the first and the last two of
//! four lanes.

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(crate) use words::*;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) use v128::*;

/// In any machine's words.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod words {
    pub(crate) type Lanes = [u32; 4];
    pub(crate) type Pairs = [u64; 2];
    pub(crate) type Floats = [f64; 2];

    #[inline(always)]
    pub(crate) fn load(words: &[u32; 4]) -> Lanes {
        *words
    }

    #[inline(always)]
    pub(crate) fn load_signed(words: &[i32; 4]) -> Lanes {
        words.map(|word| word as u32)
    }

    #[inline(always)]
    pub(crate) fn store(lanes: Lanes) -> [u32; 4] {
        lanes
    }

    #[inline(always)]
    pub(crate) fn splat(word: u32) -> Lanes {
        [word; 4]
    }

    #[inline(always)]
    pub(crate) fn add(a: Lanes, b: Lanes) -> Lanes {
        core::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }

    #[inline(always)]
    pub(crate) fn sub(a: Lanes, b: Lanes) -> Lanes {
        core::array::from_fn(|i| a[i].wrapping_sub(b[i]))
    }

    #[inline(always)]
    pub(crate) fn mul(a: Lanes, b: Lanes) -> Lanes {
        core::array::from_fn(|i| a[i].wrapping_mul(b[i]))
    }

    #[inline(always)]
    pub(crate) fn and(a: Lanes, b: Lanes) -> Lanes {
        core::array::from_fn(|i| a[i] & b[i])
    }

    #[inline(always)]
    pub(crate) fn or(a: Lanes, b: Lanes) -> Lanes {
        core::array::from_fn(|i| a[i] | b[i])
    }

    #[inline(always)]
    pub(crate) fn xor_rotate<const BITS: u32>(a: Lanes, b: Lanes) -> Lanes {
        core::array::from_fn(|i| (a[i] ^ b[i]).rotate_left(BITS))
    }

    /// All ones where the top bit is set, else zero.
    #[inline(always)]
    pub(crate) fn top_bits(a: Lanes) -> Lanes {
        a.map(|a| ((a as i32) >> 31) as u32)
    }

    /// All ones where `a >= b`, else zero.
    #[inline(always)]
    pub(crate) fn at_least(a: Lanes, b: Lanes) -> Lanes {
        core::array::from_fn(|i| u32::from(a[i] >= b[i]).wrapping_neg())
    }

    /// The larger of each, as signed integers.
    #[inline(always)]
    pub(crate) fn larger_signed(a: Lanes, b: Lanes) -> Lanes {
        core::array::from_fn(|i| (a[i] as i32).max(b[i] as i32) as u32)
    }

    /// Writes those below p to `out[at..]`, in order, and returns the place behind them; what lies up to four
    /// places from `at` may be overwritten.
    #[inline(always)]
    pub(crate) fn store_below(a: Lanes, p: u32, out: &mut [u32], mut at: usize) -> usize {
        for word in a {
            out[at] = word;
            at += usize::from(word < p);
        }
        at
    }

    /// Four words of four vectors to four vectors of four words.
    #[inline(always)]
    pub(crate) fn transpose(rows: [Lanes; 4]) -> [Lanes; 4] {
        core::array::from_fn(|lane| rows.map(|row| row[lane]))
    }

    #[inline(always)]
    pub(crate) fn product_low(a: Lanes, b: Lanes) -> Pairs {
        [
            u64::from(a[0]) * u64::from(b[0]),
            u64::from(a[1]) * u64::from(b[1]),
        ]
    }

    #[inline(always)]
    pub(crate) fn product_high(a: Lanes, b: Lanes) -> Pairs {
        [
            u64::from(a[2]) * u64::from(b[2]),
            u64::from(a[3]) * u64::from(b[3]),
        ]
    }

    #[inline(always)]
    pub(crate) fn widen_low(a: Lanes) -> Pairs {
        [u64::from(a[0]), u64::from(a[1])]
    }

    #[inline(always)]
    pub(crate) fn widen_high(a: Lanes) -> Pairs {
        [u64::from(a[2]), u64::from(a[3])]
    }

    #[inline(always)]
    pub(crate) fn splat_pair(word: u64) -> Pairs {
        [word; 2]
    }

    #[inline(always)]
    pub(crate) fn load_pair(words: &[i64; 2]) -> Pairs {
        words.map(|word| word as u64)
    }

    #[inline(always)]
    pub(crate) fn store_pair(pairs: Pairs) -> [u64; 2] {
        pairs
    }

    #[inline(always)]
    pub(crate) fn add_pair(a: Pairs, b: Pairs) -> Pairs {
        core::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }

    /// `a - b` where `a > limit` as signed integers, else a.
    #[inline(always)]
    pub(crate) fn subtract_above(a: Pairs, limit: Pairs, b: Pairs) -> Pairs {
        core::array::from_fn(|i| {
            let above = (limit[i] as i64).wrapping_sub(a[i] as i64) >> 63;
            // LLVM would make a branch of it: x86-64 has no such vector before SSE4.2.
            a[i].wrapping_sub(b[i] & core::hint::black_box(above) as u64)
        })
    }

    /// The lower 32 bits of each.
    #[inline(always)]
    pub(crate) fn lower(a: Pairs) -> Pairs {
        a.map(|a| a & 0xffff_ffff)
    }

    /// The upper 32 bits of each.
    #[inline(always)]
    pub(crate) fn upper(a: Pairs) -> Pairs {
        a.map(|a| a >> 32)
    }

    /// The lower 32 bits of four.
    #[inline(always)]
    pub(crate) fn lower_words(low: Pairs, high: Pairs) -> Lanes {
        [low[0] as u32, low[1] as u32, high[0] as u32, high[1] as u32]
    }

    /// The upper 32 bits of four.
    #[inline(always)]
    pub(crate) fn upper_words(low: Pairs, high: Pairs) -> Lanes {
        lower_words(upper(low), upper(high))
    }

    #[inline(always)]
    pub(crate) fn bits(x: &[f32; 4]) -> Lanes {
        x.map(f32::to_bits)
    }

    #[inline(always)]
    pub(crate) fn promote(x: &[f32; 4]) -> [Floats; 2] {
        let x = x.map(f64::from);
        [[x[0], x[1]], [x[2], x[3]]]
    }

    #[inline(always)]
    pub(crate) fn floats(a: f64, b: f64) -> Floats {
        [a, b]
    }

    #[inline(always)]
    pub(crate) fn splat_float(a: f64) -> Floats {
        [a; 2]
    }

    #[inline(always)]
    pub(crate) fn add_floats(a: Floats, b: Floats) -> Floats {
        core::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    pub(crate) fn mul_floats(a: Floats, b: Floats) -> Floats {
        core::array::from_fn(|i| a[i] * b[i])
    }

    /// Bits as they are.
    #[inline(always)]
    pub(crate) fn float_bits(a: Floats) -> Pairs {
        a.map(f64::to_bits)
    }

    /// The first two of four as signed integers.
    #[inline(always)]
    pub(crate) fn signed_to_floats_low(a: Lanes) -> Floats {
        [f64::from(a[0] as i32), f64::from(a[1] as i32)]
    }

    #[inline(always)]
    pub(crate) fn signed_to_floats_high(a: Lanes) -> Floats {
        [f64::from(a[2] as i32), f64::from(a[3] as i32)]
    }

    #[inline(always)]
    pub(crate) fn to_floats_low(a: Lanes) -> Floats {
        [f64::from(a[0]), f64::from(a[1])]
    }

    #[inline(always)]
    pub(crate) fn to_floats_high(a: Lanes) -> Floats {
        [f64::from(a[2]), f64::from(a[3])]
    }

    /// Each rounded to f32.
    #[inline(always)]
    pub(crate) fn round(low: Floats, high: Floats) -> [f32; 4] {
        [low[0] as f32, low[1] as f32, high[0] as f32, high[1] as f32]
    }
}

/// In a v128.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod v128 {
    use core::arch::wasm32::*;

    pub(crate) type Lanes = v128;
    pub(crate) type Pairs = v128;
    pub(crate) type Floats = v128;

    #[inline(always)]
    pub(crate) fn load(words: &[u32; 4]) -> Lanes {
        let [a, b, c, d] = *words;
        u32x4(a, b, c, d)
    }

    #[inline(always)]
    pub(crate) fn load_signed(words: &[i32; 4]) -> Lanes {
        let [a, b, c, d] = *words;
        i32x4(a, b, c, d)
    }

    #[inline(always)]
    pub(crate) fn store(v: Lanes) -> [u32; 4] {
        [
            u32x4_extract_lane::<0>(v),
            u32x4_extract_lane::<1>(v),
            u32x4_extract_lane::<2>(v),
            u32x4_extract_lane::<3>(v),
        ]
    }

    #[inline(always)]
    pub(crate) fn splat(word: u32) -> Lanes {
        u32x4_splat(word)
    }

    #[inline(always)]
    pub(crate) fn add(a: Lanes, b: Lanes) -> Lanes {
        i32x4_add(a, b)
    }

    #[inline(always)]
    pub(crate) fn sub(a: Lanes, b: Lanes) -> Lanes {
        i32x4_sub(a, b)
    }

    #[inline(always)]
    pub(crate) fn mul(a: Lanes, b: Lanes) -> Lanes {
        i32x4_mul(a, b)
    }

    #[inline(always)]
    pub(crate) fn and(a: Lanes, b: Lanes) -> Lanes {
        v128_and(a, b)
    }

    #[inline(always)]
    pub(crate) fn or(a: Lanes, b: Lanes) -> Lanes {
        v128_or(a, b)
    }

    /// Rotations by whole bytes are one shuffle.
    #[inline(always)]
    pub(crate) fn xor_rotate<const BITS: u32>(a: Lanes, b: Lanes) -> Lanes {
        let x = v128_xor(a, b);
        match BITS {
            16 => i8x16_shuffle::<2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13>(x, x),
            8 => i8x16_shuffle::<3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14>(x, x),
            _ => v128_or(i32x4_shl(x, BITS), u32x4_shr(x, 32 - BITS)),
        }
    }

    #[inline(always)]
    pub(crate) fn top_bits(a: Lanes) -> Lanes {
        i32x4_shr(a, 31)
    }

    #[inline(always)]
    pub(crate) fn at_least(a: Lanes, b: Lanes) -> Lanes {
        u32x4_ge(a, b)
    }

    #[inline(always)]
    pub(crate) fn larger_signed(a: Lanes, b: Lanes) -> Lanes {
        i32x4_max(a, b)
    }

    /// Without a branch. The entry of the table depends on which words are skipped alone, as the place of
    /// those that follow does anyway, and not on what is kept.
    #[inline(always)]
    pub(crate) fn store_below(a: Lanes, p: u32, out: &mut [u32], at: usize) -> usize {
        let kept = u32x4_bitmask(u32x4_lt(a, u32x4_splat(p))) & 0xf;
        let [low, high] = GATHER[usize::from(kept)];
        let gathered = u8x16_swizzle(a, u64x2(low, high));
        out[at..at + 4].copy_from_slice(&store(gathered));
        at + kept.count_ones() as usize
    }

    /// For each set of lanes, as bits: where the bytes of a vector come from so that these lanes come first, in
    /// order. The other lanes become zero.
    static GATHER: [[u64; 2]; 16] = gather();

    const fn gather() -> [[u64; 2]; 16] {
        let mut table = [[0; 2]; 16];
        let mut set = 0;
        while set < 16 {
            // Beyond the vector: zero.
            let mut lanes = [0xffff_ffffu32; 4];
            let (mut lane, mut place) = (0, 0);
            while lane < 4u32 {
                if set >> lane & 1 == 1 {
                    lanes[place] = 0x0302_0100 + 0x0404_0404 * lane;
                    place += 1;
                }
                lane += 1;
            }
            table[set] = [
                lanes[0] as u64 | (lanes[1] as u64) << 32,
                lanes[2] as u64 | (lanes[3] as u64) << 32,
            ];
            set += 1;
        }
        table
    }

    #[inline(always)]
    pub(crate) fn transpose([a, b, c, d]: [Lanes; 4]) -> [Lanes; 4] {
        let (ab_low, ab_high) = (
            i32x4_shuffle::<0, 4, 1, 5>(a, b),
            i32x4_shuffle::<2, 6, 3, 7>(a, b),
        );
        let (cd_low, cd_high) = (
            i32x4_shuffle::<0, 4, 1, 5>(c, d),
            i32x4_shuffle::<2, 6, 3, 7>(c, d),
        );
        [
            i32x4_shuffle::<0, 1, 4, 5>(ab_low, cd_low),
            i32x4_shuffle::<2, 3, 6, 7>(ab_low, cd_low),
            i32x4_shuffle::<0, 1, 4, 5>(ab_high, cd_high),
            i32x4_shuffle::<2, 3, 6, 7>(ab_high, cd_high),
        ]
    }

    #[inline(always)]
    pub(crate) fn product_low(a: Lanes, b: Lanes) -> Pairs {
        u64x2_extmul_low_u32x4(a, b)
    }

    #[inline(always)]
    pub(crate) fn product_high(a: Lanes, b: Lanes) -> Pairs {
        u64x2_extmul_high_u32x4(a, b)
    }

    #[inline(always)]
    pub(crate) fn widen_low(a: Lanes) -> Pairs {
        u64x2_extend_low_u32x4(a)
    }

    #[inline(always)]
    pub(crate) fn widen_high(a: Lanes) -> Pairs {
        u64x2_extend_high_u32x4(a)
    }

    #[inline(always)]
    pub(crate) fn splat_pair(word: u64) -> Pairs {
        u64x2_splat(word)
    }

    #[inline(always)]
    pub(crate) fn load_pair(words: &[i64; 2]) -> Pairs {
        i64x2(words[0], words[1])
    }

    #[inline(always)]
    pub(crate) fn store_pair(v: Pairs) -> [u64; 2] {
        [u64x2_extract_lane::<0>(v), u64x2_extract_lane::<1>(v)]
    }

    #[inline(always)]
    pub(crate) fn add_pair(a: Pairs, b: Pairs) -> Pairs {
        i64x2_add(a, b)
    }

    #[inline(always)]
    pub(crate) fn subtract_above(a: Pairs, limit: Pairs, b: Pairs) -> Pairs {
        i64x2_sub(a, v128_and(b, i64x2_gt(a, limit)))
    }

    #[inline(always)]
    pub(crate) fn lower(a: Pairs) -> Pairs {
        v128_and(a, u64x2_splat(0xffff_ffff))
    }

    #[inline(always)]
    pub(crate) fn upper(a: Pairs) -> Pairs {
        u64x2_shr(a, 32)
    }

    #[inline(always)]
    pub(crate) fn lower_words(low: Pairs, high: Pairs) -> Lanes {
        i32x4_shuffle::<0, 2, 4, 6>(low, high)
    }

    #[inline(always)]
    pub(crate) fn upper_words(low: Pairs, high: Pairs) -> Lanes {
        i32x4_shuffle::<1, 3, 5, 7>(low, high)
    }

    #[inline(always)]
    pub(crate) fn bits(x: &[f32; 4]) -> Lanes {
        f32x4(x[0], x[1], x[2], x[3])
    }

    #[inline(always)]
    pub(crate) fn promote(x: &[f32; 4]) -> [Floats; 2] {
        let x = bits(x);
        [
            f64x2_promote_low_f32x4(x),
            f64x2_promote_low_f32x4(i64x2_shuffle::<1, 1>(x, x)),
        ]
    }

    #[inline(always)]
    pub(crate) fn floats(a: f64, b: f64) -> Floats {
        f64x2(a, b)
    }

    #[inline(always)]
    pub(crate) fn splat_float(a: f64) -> Floats {
        f64x2_splat(a)
    }

    #[inline(always)]
    pub(crate) fn add_floats(a: Floats, b: Floats) -> Floats {
        f64x2_add(a, b)
    }

    #[inline(always)]
    pub(crate) fn mul_floats(a: Floats, b: Floats) -> Floats {
        f64x2_mul(a, b)
    }

    #[inline(always)]
    pub(crate) fn float_bits(a: Floats) -> Pairs {
        a
    }

    #[inline(always)]
    pub(crate) fn signed_to_floats_low(a: Lanes) -> Floats {
        f64x2_convert_low_i32x4(a)
    }

    #[inline(always)]
    pub(crate) fn signed_to_floats_high(a: Lanes) -> Floats {
        f64x2_convert_low_i32x4(i64x2_shuffle::<1, 1>(a, a))
    }

    #[inline(always)]
    pub(crate) fn to_floats_low(a: Lanes) -> Floats {
        f64x2_convert_low_u32x4(a)
    }

    #[inline(always)]
    pub(crate) fn to_floats_high(a: Lanes) -> Floats {
        f64x2_convert_low_u32x4(i64x2_shuffle::<1, 1>(a, a))
    }

    #[inline(always)]
    pub(crate) fn round(low: Floats, high: Floats) -> [f32; 4] {
        let (low, high) = (f32x4_demote_f64x2_zero(low), f32x4_demote_f64x2_zero(high));
        let v = i64x2_shuffle::<0, 2>(low, high);
        [
            f32x4_extract_lane::<0>(v),
            f32x4_extract_lane::<1>(v),
            f32x4_extract_lane::<2>(v),
            f32x4_extract_lane::<3>(v),
        ]
    }
}
