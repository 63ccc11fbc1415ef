//! Gauss-Jordan elimination modulo a prime.

use rayon::prelude::*;
use talaria_arithmetic::residue::{self, Factor};

use crate::dice::Dice;

/// Elements from which on rows are worked on in parallel.
const PARALLEL: usize = 1 << 16;

/// A matrix modulo p in reduced row echelon form: a one in each pivot column, nothing else there.
pub struct Echelon {
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
            // Nothing is left before the pivot.
            let eliminate = |row: &mut Vec<u32>| {
                if let Some(rest) = row.get_mut(column..) {
                    subtract_multiple(rest, &pivot[column..], p);
                }
            };
            match rows.len() * (k - column) > PARALLEL {
                true => rows.par_iter_mut().for_each(eliminate),
                false => rows.iter_mut().for_each(eliminate),
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
}

/// Random vectors v (k,) with `row v = 0` modulo p for all rows (m,k): as many as asked for, or none where m >= k.
///
/// Costs m^3 operations, whatever k is: v is random but in the first m columns, which follow from the others.
pub fn null_vectors(rows: &[&[u32]], p: u32, count: usize, dice: &mut Dice) -> Vec<Vec<u32>> {
    let (m, k) = (rows.len(), rows.first().map_or(0, |row| row.len()));
    if m >= k {
        return Vec::new();
    }
    let mut random = || (m..k).map(|_| dice.residue(p)).collect::<Vec<u32>>();
    let others: Vec<Vec<u32>> = (0..count).map(|_| random()).collect();
    // [first m columns | what the first m elements of each v must make up for]
    let extended = rows.par_iter().map(|row| {
        let missing = others
            .iter()
            .map(|v| residue::sub(0, product(&row[m..], v, p), p));
        row[..m].iter().copied().chain(missing).collect()
    });
    let echelon = Echelon::of(extended.collect(), p);
    let solved = others.into_iter().enumerate().map(|(i, others)| {
        let mut v = vec![0; m];
        for (pivot, row) in echelon.pivots.iter().zip(&echelon.rows) {
            if let Some(element) = v.get_mut(*pivot) {
                *element = row[m + i];
            }
        }
        v.extend(others);
        v
    });
    solved.collect()
}

/// `a b` modulo p over as many elements as `b` has.
pub fn product(a: &[u32], b: &[u32], p: u32) -> u32 {
    // Products are below 2^62: reduced one by one, sums of remainders fit.
    let terms = a
        .iter()
        .zip(b)
        .map(|(a, b)| u64::from(*a) * u64::from(*b) % u64::from(p));
    (terms.sum::<u64>() % u64::from(p)) as u32
}

/// `row -= row[0] * pivot` modulo p, for a pivot that begins with 1.
fn subtract_multiple(row: &mut [u32], pivot: &[u32], p: u32) {
    let Some(factor) = row.first().copied().filter(|factor| *factor != 0) else {
        return;
    };
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
    fn null_vectors_do_not_see_the_row_space() {
        let mut dice = Dice::new(1, "echelon");
        let mut rows: Vec<Vec<u32>> = (0..5).map(|_| dice.row(9)[..9].to_vec()).collect();
        let all: Vec<&[u32]> = rows.iter().map(|row| &row[..]).collect();
        let vectors = null_vectors(&all, P1, 3, &mut dice);
        assert_eq!(vectors.len(), 3);
        for v in &vectors {
            assert!(v.iter().all(|x| *x < P1) && v.iter().any(|x| *x != 0));
            assert!(rows.iter().all(|row| product(row, v, P1) == 0));
            assert_ne!(product(&dice.row(9)[..9], v, P1), 0);
        }
        // A row that depends on others changes nothing.
        rows[4] = rows[3].clone();
        let all: Vec<&[u32]> = rows.iter().map(|row| &row[..]).collect();
        for v in null_vectors(&all, P1, 2, &mut dice) {
            assert!(rows.iter().all(|row| product(row, &v, P1) == 0));
        }
        let square: Vec<&[u32]> = rows.iter().map(|row| &row[..5]).collect();
        assert!(null_vectors(&square, P1, 1, &mut dice).is_empty());
    }

    #[test]
    fn dependent_rows_are_dropped() {
        let rows = vec![vec![1, 2, 3], vec![2, 4, 6], vec![0, 0, 5]];
        let echelon = Echelon::of(rows, 101);
        assert_eq!(echelon.rows(), [vec![1, 2, 0], vec![0, 0, 1]]);
        assert_eq!((echelon.pivots(), echelon.free()), (&[0, 2][..], &[1][..]));
    }
}
