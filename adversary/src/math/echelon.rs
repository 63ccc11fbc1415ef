//! Gauss-Jordan elimination modulo a prime.

use talaria_arithmetic::residue::{self, Factor};

/// A matrix modulo p in reduced row echelon form: a one in each pivot column, nothing else there.
pub struct Echelon {
    p: u32,
    /// (rank, k)
    rows: Vec<Vec<u32>>,
    pivots: Vec<usize>,
    free: Vec<usize>,
}

impl Echelon {
    /// Reduces `rows` (m,k), residues modulo p.
    pub fn of(mut rows: Vec<Vec<u32>>, p: u32) -> Self {
        let k = rows.first().map_or(0, Vec::len);
        let mut pivots = Vec::new();
        for column in 0..k {
            let rank = pivots.len();
            let Some(found) = (rank..rows.len()).find(|r| rows[*r][column] != 0) else {
                continue;
            };
            rows.swap(rank, found);
            let inverse = Factor::new(u64::from(invert(rows[rank][column], p)), p);
            rows[rank].iter_mut().for_each(|x| *x = inverse.times(*x));
            let pivot = std::mem::take(&mut rows[rank]);
            for row in rows.iter_mut().filter(|row| !row.is_empty()) {
                let factor = row[column];
                subtract_multiple(row, factor, &pivot, p);
            }
            rows[rank] = pivot;
            pivots.push(column);
            if pivots.len() == rows.len() {
                break;
            }
        }
        rows.truncate(pivots.len());
        let free = (0..k).filter(|c| pivots.binary_search(c).is_err());
        Self {
            p,
            free: free.collect(),
            rows,
            pivots,
        }
    }

    /// Number of independent rows.
    pub fn rank(&self) -> usize {
        self.pivots.len()
    }

    /// Columns that elimination made unit vectors, ascending.
    pub fn pivots(&self) -> &[usize] {
        &self.pivots
    }

    /// The other columns, ascending.
    pub fn free(&self) -> &[usize] {
        &self.free
    }

    /// The reduced rows (rank,k).
    pub fn rows(&self) -> &[Vec<u32>] {
        &self.rows
    }

    /// What is left of x (k,) modulo the row space, in the first `count` free columns: the same for x and for x
    /// plus any combination of rows.
    pub fn remainder(&self, x: &[u32], count: usize) -> Vec<u32> {
        let free = self.free.iter().take(count);
        free.map(|column| {
            let known = self.pivots.iter().zip(&self.rows);
            known.fold(x[*column], |rest, (pivot, row)| {
                residue::sub(rest, residue::mul(x[*pivot], row[*column], self.p), self.p)
            })
        })
        .collect()
    }
}

/// `row -= factor * pivot` modulo p.
fn subtract_multiple(row: &mut [u32], factor: u32, pivot: &[u32], p: u32) {
    if factor == 0 {
        return;
    }
    let factor = Factor::new(u64::from(factor), p);
    for (x, y) in row.iter_mut().zip(pivot) {
        *x = residue::sub(*x, factor.times(*y), p);
    }
}

/// `a^-1` modulo the prime p, for a not 0.
pub fn invert(a: u32, p: u32) -> u32 {
    power(a, u64::from(p) - 2, p)
}

/// `base^exponent` modulo p.
pub fn power(mut base: u32, mut exponent: u64, p: u32) -> u32 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = residue::mul(result, base, p);
        }
        base = residue::mul(base, base, p);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;
    use talaria_arithmetic::P1;

    #[test]
    fn remainders_do_not_see_the_row_space() {
        let mut dice = Dice::new(1, "echelon");
        let mut random = |n: usize| -> Vec<u32> { (0..n).map(|_| dice.residue(P1)).collect() };
        let rows: Vec<Vec<u32>> = (0..5).map(|_| random(9)).collect();
        let echelon = Echelon::of(rows.clone(), P1);
        assert_eq!((echelon.rank(), echelon.free().len()), (5, 4));
        let (x, s) = (random(9), random(5));
        let mut masked = x.clone();
        for (s, row) in s.iter().zip(&rows) {
            for (y, m) in masked.iter_mut().zip(row) {
                *y = residue::add(*y, residue::mul(*s, *m, P1), P1);
            }
        }
        assert_ne!(x, masked);
        assert_eq!(echelon.remainder(&x, 4), echelon.remainder(&masked, 4));
        assert_ne!(echelon.remainder(&x, 4), [0; 4]);
        assert_eq!(echelon.remainder(&rows[2], 4), [0; 4]);
    }

    #[test]
    fn dependent_rows_are_dropped() {
        let rows = vec![vec![1, 2, 3], vec![2, 4, 6], vec![0, 0, 5]];
        let echelon = Echelon::of(rows, 101);
        assert_eq!(echelon.rows(), [vec![1, 2, 0], vec![0, 0, 1]]);
        assert_eq!((echelon.pivots(), echelon.free()), (&[0, 2][..], &[1][..]));
    }
}
