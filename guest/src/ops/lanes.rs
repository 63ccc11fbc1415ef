//! Fixed arrays that compilers turn into SIMD registers: 4 of Wasm's 128 bits, one of AVX-512.

/// Elements that are computed side by side; the number of partial sums of every row sum.
pub const LANES: usize = 16;

/// `LANES` neighbours.
pub type Lanes = [f32; LANES];

/// Sum in the order of a fixed tree: halves are added elementwise until one element is left.
pub fn sum(mut lanes: Lanes) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Sum of squares of a row: element i goes to partial sum `i % LANES`.
pub fn sum_of_squares(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut partial = [0.0; LANES];
    for chunk in chunks {
        for (p, x) in partial.iter_mut().zip(chunk) {
            *p += x * x;
        }
    }
    for (p, x) in partial.iter_mut().zip(rest) {
        *p += x * x;
    }
    sum(partial)
}

/// Largest element, -inf if there is none; NaNs are passed over.
pub fn max(rows: &[Lanes]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut partial = [f32::NEG_INFINITY; LANES];
    for row in rows {
        for (p, x) in partial.iter_mut().zip(row) {
            *p = larger(*p, *x);
        }
    }
    partial.into_iter().fold(f32::NEG_INFINITY, larger)
}

/// Applies `f` to every element, [`LANES`] of them in each turn of the loop.
#[inline(always)]
pub fn map_in_place(x: &mut [f32], f: impl Fn(f32) -> f32) {
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        chunk.iter_mut().for_each(|x| *x = f(*x));
    }
    rest.iter_mut().for_each(|x| *x = f(*x));
}

/// Rows in each turn of [`weighted_sums`]' loop. The runtime that stops a payload at its deadline
/// checks the clock in every turn of every loop; one row a turn made attention 1.6 times slower.
const UNROLL: usize = 4;

/// Weighted sums of the same rows for N sets of weights, so that each row is loaded once:
/// `weights (N, rows) @ rows (rows, LANES) -> (N, LANES)`, every element summed in order of rows.
/// N changes no bit of the result.
#[inline(always)]
pub fn weighted_sums<const N: usize>(weights: [&[f32]; N], rows: &[Lanes]) -> [Lanes; N] {
    let weights = weights.map(|w| w[..rows.len()].as_chunks::<UNROLL>());
    let (chunks, rest) = rows.as_chunks::<UNROLL>();
    let mut sums = [[0.0; LANES]; N];
    for (i, rows) in chunks.iter().enumerate() {
        // Written out: compilers do not unroll so long a body by themselves.
        let weights = weights.map(|(w, _)| &w[i]);
        add_weighted(&mut sums, weights.map(|w| w[0]), &rows[0]);
        add_weighted(&mut sums, weights.map(|w| w[1]), &rows[1]);
        add_weighted(&mut sums, weights.map(|w| w[2]), &rows[2]);
        add_weighted(&mut sums, weights.map(|w| w[3]), &rows[3]);
    }
    for (j, row) in rest.iter().enumerate() {
        add_weighted(&mut sums, weights.map(|(_, w)| w[j]), row);
    }
    sums
}

/// sums (N, LANES) += weights (N,) x row (LANES,)
#[inline(always)]
fn add_weighted<const N: usize>(sums: &mut [Lanes; N], weights: [f32; N], row: &Lanes) {
    for (sum, w) in sums.iter_mut().zip(weights) {
        for (s, x) in sum.iter_mut().zip(row) {
            *s += w * x;
        }
    }
}

/// [`weighted_sums`] of `count` sets of weights, two at a time; `sink` gets each set's index and sums.
#[inline(always)]
pub fn each_weighted_sum<'a>(
    count: usize,
    weights: impl Fn(usize) -> &'a [f32],
    rows: &[Lanes],
    mut sink: impl FnMut(usize, Lanes),
) {
    for i in (0..count - count % 2).step_by(2) {
        let [a, b] = weighted_sums([weights(i), weights(i + 1)], rows);
        sink(i, a);
        sink(i + 1, b);
    }
    if !count.is_multiple_of(2) {
        let [last] = weighted_sums([weights(count - 1)], rows);
        sink(count - 1, last);
    }
}
