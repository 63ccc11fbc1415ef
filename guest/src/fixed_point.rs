//! Rows as integers, and products back as floats.
//!
//! Row x (k,) becomes `X = round(x * 2^e)` with its own exponent e, which never leaves the payload.

use talaria_arithmetic::{
    P1, P2,
    fixed_point::{exponent_for, power_of_two},
    lanes,
    residue::from_small,
};
use zeroize::Zeroize;

/// An activation is infinite or not a number.
#[derive(Debug, thiserror::Error)]
#[error("an activation is not finite: the checkpoint's weights overflow float32")]
pub struct NotFinite;

/// Integer rows X (rows,k), zeroized when dropped.
pub struct FixedRows {
    k: usize,
    values: Vec<i32>,
    exponents: Vec<i32>,
}

impl FixedRows {
    /// Quantises x (rows,k) to `bits` bits, sign included.
    pub fn quantise(x: &[f32], k: usize, bits: u32) -> Result<Self, NotFinite> {
        let limit = (1 << (bits - 1)) - 1;
        let mut rows = Self {
            k,
            values: Vec::with_capacity(x.len()),
            exponents: Vec::new(),
        };
        for row in x.chunks_exact(k) {
            let exponent = exponent_for(lanes::largest(row), limit).ok_or(NotFinite)?;
            let at = rows.values.len();
            rows.values.resize(at + k, 0);
            lanes::quantise(row, power_of_two(exponent), &mut rows.values[at..]);
            rows.exponents.push(exponent);
        }
        Ok(rows)
    }

    /// One-hot rows (tokens,vocab), without a branch or index on the token.
    pub fn one_hot(tokens: &[u32], vocab: usize) -> Self {
        let mut values = Vec::with_capacity(tokens.len() * vocab);
        for token in tokens {
            values.extend((0..vocab as u32).map(|j| i32::from(j == *token)));
        }
        Self {
            k: vocab,
            values,
            exponents: vec![0; tokens.len()],
        }
    }

    /// Rows of given integers, for set-up probes and rehearsals; |X| < P1.
    pub(crate) fn from_integers(values: Vec<i32>, k: usize) -> Self {
        let rows = values.len() / k;
        Self {
            k,
            values,
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

    /// X (rows,k).
    pub fn values(&self) -> &[i32] {
        &self.values
    }

    /// The exponent e of a row.
    pub(crate) fn exponent(&self, row: usize) -> i32 {
        self.exponents[row]
    }

    /// Row by row (k,).
    pub fn iter(&self) -> impl Iterator<Item = &[i32]> {
        self.values.chunks_exact(self.k)
    }

    /// rows x (k residues modulo P1, then k modulo P2).
    pub fn residues(&self) -> Vec<u32> {
        let mut out = Vec::with_capacity(2 * self.values.len());
        for row in self.iter() {
            for p in [P1, P2] {
                out.extend(row.iter().map(|x| from_small(*x, p)));
            }
        }
        out
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
        self.values.zeroize();
        self.exponents.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_hot_rows() {
        let rows = FixedRows::one_hot(&[2, 0], 3);
        assert_eq!(rows.values(), [0, 0, 1, 1, 0, 0]);
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
                let [x, y] = rows.values()[..] else {
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
            let integers: Vec<i64> = rows.values().iter().map(|x| i64::from(*x)).collect();
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
