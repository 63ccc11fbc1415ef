//! Integrity: a response is checked before it is unmasked.
//!
//! For each matrix W (k,n) and each prime p, set-up draws two secret vectors v (n,) uniform modulo p and
//! keeps w = W v (k,). A response Y (rows,n) to rows X (rows,k) passes if `Y v = X w` modulo p for every row,
//! both vectors and both primes. A wrong row passes with probability at most `p^-2` for the prime
//! modulo which it is wrong, about 2^-61.8 (Freivalds over a field; docs/protocol.md).
//!
//! The whole response is gone through whatever is found, and only one bit comes out.

use crate::fixed_point::{FixedRows, Row};
use serde::{Deserialize, Serialize};
use talaria_arithmetic::{PRIMES, keystream, lanes, residue};
use zeroize::{Zeroize, Zeroizing};

/// Check vectors for each prime.
pub const VECTORS: usize = 2;

/// A response failed its check. Says nothing else, on purpose.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a GPU host returned a wrong product: nothing of it was used, and the host is not asked again"
)]
pub struct Tampered;

/// Products that passed the check: rows x (n residues modulo P1, then n modulo P2). Made here only.
pub struct Checked(Vec<u32>);

impl Checked {
    /// The residues.
    pub fn into_residues(self) -> Vec<u32> {
        self.0
    }
}

/// Rows that a response is checked against.
pub enum Rows<'a> {
    /// Residues as sent.
    Residues(&'a [u32]),
    /// The integers themselves.
    Integers(&'a FixedRows),
}

/// v and W v of one matrix; secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct CheckVectors {
    k: usize,
    n: usize,
    /// For each prime: two vectors (n,).
    v: [[Vec<u32>; VECTORS]; 2],
    /// For each prime: two vectors (k,), W times v.
    wv: [[Vec<u32>; VECTORS]; 2],
}

impl Drop for CheckVectors {
    fn drop(&mut self) {
        self.v
            .iter_mut()
            .chain(&mut self.wv)
            .flatten()
            .for_each(Zeroize::zeroize);
    }
}

impl CheckVectors {
    /// Draws v from a fresh key; W v is zero until [`Fold`] adds columns.
    fn draw(seed: &[u8; 32], k: usize, n: usize) -> Self {
        let mut residues: [Vec<u32>; VECTORS] = core::array::from_fn(|vector| {
            let mut residues = vec![0; 2 * n];
            keystream::expand_row(seed, vector as u32, &mut residues);
            residues
        });
        let v = core::array::from_fn(|prime| {
            core::array::from_fn(|vector| residues[vector][prime * n..][..n].to_vec())
        });
        residues.iter_mut().for_each(Zeroize::zeroize);
        let wv = core::array::from_fn(|_| core::array::from_fn(|_| vec![0; k]));
        Self { k, n, v, wv }
    }

    /// Outputs n of the products that it checks.
    pub fn outputs(&self) -> usize {
        self.n
    }

    /// Whether the parts have the lengths that k and n ask for.
    pub fn has_shape(&self, k: usize, n: usize) -> bool {
        let lengths = |vectors: &[[Vec<u32>; VECTORS]; 2], len| {
            vectors.iter().flatten().all(|vector| vector.len() == len)
        };
        (self.k, self.n) == (k, n) && lengths(&self.v, n) && lengths(&self.wv, k)
    }

    /// Passes `y`, rows x (n modulo P1, then n modulo P2), if it is the product of `x` with W.
    ///
    /// `y` comes from an untrusted host: a residue at or above its prime fails too.
    pub fn check(&self, x: Rows<'_>, y: Vec<u32>) -> Result<Checked, Tampered> {
        let rows = match x {
            Rows::Residues(residues) => residues.len() / (2 * self.k),
            Rows::Integers(rows) => rows.rows(),
        };
        if y.len() != rows * 2 * self.n {
            return Err(Tampered);
        }
        let mut difference = 0;
        for row in 0..rows {
            for (i, p) in PRIMES.into_iter().enumerate() {
                let part = 2 * row + i;
                let wv = slices(&self.wv[i]);
                let expected = match x {
                    Rows::Residues(residues) => {
                        lanes::dot(&residues[part * self.k..][..self.k], wv, p)
                    }
                    Rows::Integers(rows) => match rows.row(row) {
                        Row::Integers(x) => lanes::dot_small(x, wv, p),
                        Row::OneHot(place) => lanes::dot_one_hot(place, wv),
                    },
                };
                let y = &y[part * self.n..][..self.n];
                let found = lanes::dot(y, slices(&self.v[i]), p);
                difference |= found.out_of_range;
                for (found, expected) in found.sums.into_iter().zip(expected.sums) {
                    difference |= found ^ expected;
                }
            }
        }
        if difference == 0 {
            Ok(Checked(y))
        } else {
            Err(Tampered)
        }
    }
}

fn slices(vectors: &[Vec<u32>; VECTORS]) -> [&[u32]; VECTORS] {
    vectors.each_ref().map(Vec::as_slice)
}

/// Builds [`CheckVectors`] while the columns of W stream past, and measures them.
pub struct Fold {
    vectors: CheckVectors,
    /// For each prime and vector (k,): running sums of weight times v.
    sums: [[Zeroizing<Vec<i64>>; VECTORS]; 2],
    /// Columns added since the sums were last reduced.
    pending: u32,
    plane_l1: u64,
}

impl Fold {
    /// Columns between two reductions: a term is below `2^7 * 2^8 * 2^31` (weight, plane, v), so the sums stay
    /// below 2^61.
    const PENDING: u32 = 1 << 14;

    /// Begins a matrix (k,n) with a fresh secret key.
    pub fn new(seed: &[u8; 32], k: usize, n: usize) -> Self {
        Self {
            vectors: CheckVectors::draw(seed, k, n),
            sums: core::array::from_fn(|_| core::array::from_fn(|_| vec![0; k].into())),
            pending: 0,
            plane_l1: 0,
        }
    }

    /// Adds column c (k,) of a plane that counts `factor` (256 or 1).
    pub fn column(&mut self, c: usize, factor: i64, weights: &[u8]) {
        let l1 = weights
            .iter()
            .map(|w| u32::from((*w as i8).unsigned_abs()))
            .sum::<u32>();
        self.plane_l1 = self.plane_l1.max(u64::from(l1));
        for prime in 0..2 {
            for vector in 0..VECTORS {
                let v = i64::from(self.vectors.v[prime][vector][c]) * factor;
                let sums = &mut self.sums[prime][vector];
                for (sum, w) in sums.iter_mut().zip(weights) {
                    *sum += i64::from(*w as i8) * v;
                }
            }
        }
        self.pending += 1;
        if self.pending == Self::PENDING {
            self.reduce();
        }
    }

    fn reduce(&mut self) {
        for (prime, p) in PRIMES.into_iter().enumerate() {
            // A multiple of p above 2^61: no sum is negative, and none, secret as it is, divided.
            let positive = i64::from(p) << 31;
            for vector in 0..VECTORS {
                let wv = &mut self.vectors.wv[prime][vector];
                for (wv, sum) in wv.iter_mut().zip(self.sums[prime][vector].iter_mut()) {
                    let sum_modulo_p = residue::from_halves((*sum + positive) as u64, 0, p);
                    *wv = residue::add(*wv, sum_modulo_p, p);
                    *sum = 0;
                }
            }
        }
        self.pending = 0;
    }

    /// The vectors, and the largest sum of magnitudes in a column of one plane.
    pub fn finish(mut self) -> (CheckVectors, u64) {
        self.reduce();
        (self.vectors, self.plane_l1)
    }
}

#[cfg(test)]
mod tests;
