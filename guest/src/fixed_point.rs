//! Rows as integers, and products back as floats.
//!
//! Row x (k,) becomes `X = round(x * 2^e)` with its own exponent e, which never leaves the payload.

use talaria_arithmetic::{
    PRIMES,
    fixed_point::{exponent_for, power_of_two},
    lanes,
    residue::Factor,
};
use zeroize::Zeroize;

/// An activation is infinite or not a number.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an activation is not finite: the checkpoint's weights overflow float32")]
pub struct NotFinite {
    /// The first row that has one.
    pub row: usize,
}

/// Integer rows X (rows,k), zeroized when dropped.
pub struct FixedRows {
    k: usize,
    content: Content,
    exponents: Vec<i32>,
}

enum Content {
    /// (rows,k).
    Integers(Vec<i32>),
    /// The places of the ones (rows,): such rows themselves never stand in memory ([`lanes::add_one_hot`]).
    OneHot(Vec<u32>),
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row<'a> {
    /// (k,).
    Integers(&'a [i32]),
    /// Zero, but for a 1 there.
    OneHot(u32),
}

impl FixedRows {
    /// Quantises x (rows,k) to `bits` bits, sign included.
    pub fn quantise(x: &[f32], k: usize, bits: u32) -> Result<Self, NotFinite> {
        let limit = (1 << (bits - 1)) - 1;
        let mut rows = Self::from_integers(Vec::with_capacity(x.len()), k);
        let Content::Integers(values) = &mut rows.content else {
            unreachable!("just made of integers")
        };
        for (index, row) in x.chunks_exact(k).enumerate() {
            let exponent = exponent_for(lanes::largest(row), limit);
            let exponent = exponent.ok_or(NotFinite { row: index })?;
            let at = values.len();
            values.resize(at + k, 0);
            lanes::quantise(row, power_of_two(exponent), &mut values[at..]);
            rows.exponents.push(exponent);
        }
        Ok(rows)
    }

    /// One-hot rows (tokens,vocab), of which no branch or index depends on the token.
    pub fn one_hot(tokens: &[u32], vocab: usize) -> Self {
        Self {
            k: vocab,
            content: Content::OneHot(tokens.to_vec()),
            exponents: vec![0; tokens.len()],
        }
    }

    /// Rows of given integers, for set-up probes and rehearsals; |X| < P1.
    pub(crate) fn from_integers(values: Vec<i32>, k: usize) -> Self {
        let rows = values.len() / k;
        Self {
            k,
            content: Content::Integers(values),
            exponents: vec![0; rows],
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.exponents.len()
    }

    /// Features of a row.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The exponent e of a row.
    pub(crate) fn exponent(&self, row: usize) -> i32 {
        self.exponents[row]
    }

    /// One row.
    pub fn row(&self, row: usize) -> Row<'_> {
        match &self.content {
            Content::Integers(values) => Row::Integers(&values[row * self.k..][..self.k]),
            Content::OneHot(places) => Row::OneHot(places[row]),
        }
    }

    /// Row by row.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.rows()).map(|row| self.row(row))
    }

    /// `masks + factor X` modulo each prime, rows x (k modulo P1, then k modulo P2); no factor: 1.
    ///
    /// A one-hot row is written with its mask already on it, to memory that had neither before.
    pub(crate) fn added_to(&self, mut masks: Vec<u32>, factor: Option<[Factor; 2]>) -> Vec<u32> {
        let mut sums = match &self.content {
            Content::Integers(_) => Vec::new(),
            Content::OneHot(_) => vec![0; masks.len()],
        };
        for (row, at) in self.iter().zip((0..).step_by(2 * self.k)) {
            for (i, p) in PRIMES.into_iter().enumerate() {
                let part = at + i * self.k..at + (i + 1) * self.k;
                match (row, factor) {
                    (Row::OneHot(place), _) => {
                        let one = factor.map_or(1, |factor| factor[i].times(1));
                        let (masks, sums) = (&masks[part.clone()], &mut sums[part]);
                        lanes::add_one_hot(masks, place, one, p, sums);
                    }
                    (Row::Integers(x), None) => lanes::add_small(&mut masks[part], x, p),
                    (Row::Integers(x), Some(factor)) => {
                        lanes::add_scaled(&mut masks[part], x, factor[i]);
                    }
                }
            }
        }
        match &self.content {
            Content::Integers(_) => masks,
            Content::OneHot(_) => {
                masks.zeroize();
                sums
            }
        }
    }

    /// rows x (k residues modulo P1, then k modulo P2), for schemes that do not hide them.
    pub fn residues(&self) -> Vec<u32> {
        self.added_to(vec![0; 2 * self.k * self.rows()], None)
    }

    /// Products y (rows,n) from integers: `y = Y * (s * 2^-e)`, then the bias (n,) or nothing.
    ///
    /// `column_scales` s (n,) are those of the weights.
    pub fn dequantise(&self, products: &[i64], column_scales: &[f64], bias: &[f32]) -> Vec<f32> {
        let n = column_scales.len();
        let mut out = vec![0.0; self.rows() * n];
        let rows = products.chunks_exact(n).zip(&self.exponents);
        for ((row, exponent), out) in rows.zip(out.chunks_exact_mut(n)) {
            // s * 2^-e is exact. Y to f64, the product and f32 round once each, the same everywhere.
            lanes::dequantise(row, column_scales, power_of_two(-exponent), out);
        }
        if !bias.is_empty() {
            for row in out.chunks_exact_mut(n) {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
        out
    }
}

impl Drop for FixedRows {
    fn drop(&mut self) {
        match &mut self.content {
            Content::Integers(values) => values.zeroize(),
            Content::OneHot(places) => places.zeroize(),
        }
        self.exponents.zeroize();
    }
}

#[cfg(test)]
impl FixedRows {
    /// X (rows,k).
    pub(crate) fn integers(&self) -> Vec<i32> {
        let of = |row: Row<'_>| match row {
            Row::Integers(x) => x.to_vec(),
            Row::OneHot(place) => (0..self.k as u32).map(|j| i32::from(j == place)).collect(),
        };
        self.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use talaria_arithmetic::residue;

    /// A mask that was changed in place, or a row beside it, would tell by its one changed block where the one is.
    #[test]
    fn a_one_hot_row_is_written_once_and_with_its_mask() {
        let masks: Vec<u32> = (0..2 * 2 * 5).map(|i| i * 1_000_003).collect();
        let rows = FixedRows::one_hot(&[3, 0], 5);
        let factor = PRIMES.map(|p| Factor::new(1 << 40, p));
        for factor in [None, Some(factor)] {
            let before = masks.clone();
            let (at, bytes) = (before.as_ptr(), before.len());
            let sums = rows.added_to(before, factor);
            assert_eq!(sums.len(), bytes);
            assert_ne!(sums.as_ptr(), at, "not in place");
            for (i, (sum, mask)) in sums.iter().zip(&masks).enumerate() {
                let (row, prime, place) = (i / 10, i / 5 % 2, i % 5);
                let p = PRIMES[prime];
                let one = factor.map_or(1, |factor| factor[prime].times(1));
                let expected = match place == [3, 0][row] {
                    true => residue::add(*mask, one, p),
                    false => *mask,
                };
                assert_eq!(*sum, expected);
            }
        }
    }

    #[test]
    fn one_hot_rows() {
        let rows = FixedRows::one_hot(&[2, 0], 3);
        assert!(rows.iter().eq([Row::OneHot(2), Row::OneHot(0)]));
        assert_eq!(rows.residues(), [0, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 0]);
    }

    /// Told apart from a search for an exponent that does not end.
    #[test]
    fn a_row_that_is_not_finite_is_refused_at_once() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..5 {
                let mut row = [1.0; 5];
                row[at] = bad;
                let (say, hear) = std::sync::mpsc::channel();
                std::thread::spawn(move || say.send(FixedRows::quantise(&row, 5, 18).is_err()));
                let refused = hear.recv_timeout(std::time::Duration::from_secs(20));
                assert_eq!(refused, Ok(true), "{bad} at {at}");
            }
        }
    }

    /// Powers of two lie at the end of a range: one bit more would be one too many.
    #[test]
    fn a_row_fills_its_bits_and_no_more() {
        for bits in 14..=22 {
            let limit = 2_i32.pow(bits - 1) - 1;
            for largest in [1.0, 0.5, 1.0 - f32::EPSILON, 1.5, 3e-20, 7e20] {
                let rows = FixedRows::quantise(&[largest, -largest], 2, bits).unwrap();
                let [x, y] = rows.integers()[..] else {
                    panic!("two values")
                };
                assert_eq!(y, -x);
                assert!((limit / 2..=limit).contains(&x), "{x} of {bits} bits");
            }
        }
    }

    /// In numbers that f32 holds exactly, so that no bias is lost beside the product.
    #[test]
    fn every_column_of_every_row_gets_its_bias() {
        let rows = FixedRows::from_integers(vec![1, 1], 1);
        let y = [1, -2, 3, 40, 50, -60];
        let scales = [1.0, 0.5, 0.25];
        let expected = [1.125, -1.25, 0.75 - 8.0, 40.125, 24.75, -15.0 - 8.0];
        assert_eq!(
            rows.dequantise(&y, &scales, &[0.125, -0.25, -8.0]),
            expected
        );
    }

    proptest! {
        #[test]
        fn identity_comes_back(x in prop::collection::vec(-1e6f32..1e6, 1..20), bits in 14u32..=22) {
            let rows = FixedRows::quantise(&x, x.len(), bits).unwrap();
            let integers: Vec<i64> = rows.integers().iter().map(|x| i64::from(*x)).collect();
            let back = rows.dequantise(&integers, &vec![1.0; x.len()], &[]);
            let max = x.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (a, b) in x.iter().zip(&back) {
                prop_assert!((a - b).abs() <= max * 2f32.powi(1 - bits as i32), "{} {}", a, b);
            }
        }

        #[test]
        fn bias_and_scale(y in -(1i64 << 50)..1 << 50, s in 1e-9f32..1e9, b in -10f32..10.0) {
            let rows = FixedRows::from_integers(vec![1], 1);
            let s = f64::from(s);
            let expected = (y as f64 * s) as f32 + b;
            prop_assert_eq!(rows.dequantise(&[y], &[s], &[b]), vec![expected]);
        }
    }
}
