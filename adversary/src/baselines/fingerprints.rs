//! A check by known answers: among the rows of a batch, at secret places, go rows whose products the checker has
//! computed before, and an answer is accepted if those products are right. So check Soter (USENIX ATC 2022) and TSQP,
//! with fingerprints from a small set that is drawn once, because each new one costs the product that was to be saved.
//!
//! Modulo P1. Fingerprints and rows are uniform, each taken alone; the weights are any public matrix.

use talaria_arithmetic::{P1, residue};

use crate::dice::Dice;
use crate::math::echelon::product;

/// Outputs of the weights that stand for a model's.
const OUTPUTS: usize = 4;
/// Rows of a batch without fingerprints.
pub const ROWS: usize = 12;
/// Fingerprints of a batch.
pub const FINGERPRINTS: usize = 4;

/// How fingerprints come from the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of the set, as it is.
    Reused,
    /// A fresh random combination of the set.
    Combined,
}

/// A set of known answers.
pub struct Checker {
    kind: Kind,
    /// W^T (n,k).
    weights: Vec<Vec<u32>>,
    /// (K,k)
    set: Vec<Vec<u32>>,
    /// (K,n)
    products: Vec<Vec<u32>>,
    dice: Dice,
}

/// Rows as a host receives them; what is known of them it is not told.
pub struct Batch {
    /// (ROWS + FINGERPRINTS, k)
    pub rows: Vec<Vec<u32>>,
    /// The product of each row that is a fingerprint.
    expected: Vec<Option<Vec<u32>>>,
}

impl Checker {
    /// With a set of K rows of k features.
    pub fn new(kind: Kind, size: usize, k: usize, seed: u64) -> Self {
        let mut dice = Dice::new(seed, "fingerprints");
        let mut matrix = |rows: usize| -> Vec<Vec<u32>> {
            let mut row = || (0..k).map(|_| dice.residue(P1)).collect();
            (0..rows).map(|_| row()).collect()
        };
        let (weights, set) = (matrix(OUTPUTS), matrix(size));
        let products = set.iter().map(|row| multiply(row, &weights)).collect();
        Self {
            kind,
            weights,
            set,
            products,
            dice,
        }
    }

    /// Its name.
    pub fn scheme(&self) -> String {
        match self.kind {
            Kind::Reused => format!("fingerprints, {} reused", self.set.len()),
            Kind::Combined => format!("fingerprints, combinations of {}", self.set.len()),
        }
    }

    /// What an honest host answers for a row.
    pub fn product(&self, row: &[u32]) -> Vec<u32> {
        multiply(row, &self.weights)
    }

    /// Rows (ROWS,k) among fingerprints, in random order.
    pub fn batch(&mut self, rows: &[Vec<u32>]) -> Batch {
        let fingerprints = (0..FINGERPRINTS).map(|_| self.fingerprint());
        let mut all: Vec<(Vec<u32>, Option<Vec<u32>>)> = fingerprints.collect();
        all.extend(rows.iter().map(|row| (row.clone(), None)));
        let order = self.dice.permutation(all.len());
        let (rows, expected) = order
            .into_iter()
            .map(|i| std::mem::take(&mut all[i]))
            .unzip();
        Batch { rows, expected }
    }

    /// A row and its product.
    fn fingerprint(&mut self) -> (Vec<u32>, Option<Vec<u32>>) {
        let coefficients: Vec<u32> = match self.kind {
            Kind::Reused => {
                let chosen = self.dice.below(self.set.len());
                (0..self.set.len())
                    .map(|i| u32::from(i == chosen))
                    .collect()
            }
            Kind::Combined => self.set.iter().map(|_| self.dice.residue(P1)).collect(),
        };
        (
            combine(&coefficients, &self.set),
            Some(combine(&coefficients, &self.products)),
        )
    }
}

impl Batch {
    /// Whether the checker takes these products (rows,n) for right.
    pub fn accepts(&self, products: &[Vec<u32>]) -> bool {
        let known = self.expected.iter().zip(products);
        known
            .filter_map(|(expected, found)| Some(expected.as_ref()? == found))
            .all(|right| right)
    }
}

fn multiply(row: &[u32], weights: &[Vec<u32>]) -> Vec<u32> {
    weights.iter().map(|w| product(row, w, P1)).collect()
}

/// `coefficients (K,) @ rows (K,k)`.
fn combine(coefficients: &[u32], rows: &[Vec<u32>]) -> Vec<u32> {
    let mut sum = vec![0; rows.first().map_or(0, Vec::len)];
    for (coefficient, row) in coefficients.iter().zip(rows) {
        for (sum, x) in sum.iter_mut().zip(row) {
            *sum = residue::add(*sum, residue::mul(*coefficient, *x, P1), P1);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_answers_pass_and_blind_lies_do_not() {
        let mut dice = Dice::new(3, "rows");
        for kind in [Kind::Reused, Kind::Combined] {
            let mut checker = Checker::new(kind, 5, 24, 1);
            let rows: Vec<Vec<u32>> = (0..ROWS).map(|_| dice.row(24)[..24].to_vec()).collect();
            let batch = checker.batch(&rows);
            assert_eq!(batch.rows.len(), ROWS + FINGERPRINTS);
            let mut products: Vec<Vec<u32>> =
                batch.rows.iter().map(|row| checker.product(row)).collect();
            assert!(batch.accepts(&products));
            products.iter_mut().for_each(|y| y[0] ^= 1);
            assert!(!batch.accepts(&products));
        }
    }
}
