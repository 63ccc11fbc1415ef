//! Lattice reduction (Lenstra, Lenstra and Lovasz, 1982) and Babai's nearest plane (1986), for small lattices: the
//! Gram-Schmidt numbers are f64, so entries below 2^31 and some thirty dimensions are what it is good for.

/// Lovasz' constant.
const DELTA: f64 = 0.99;

/// A reduced basis, one vector a row.
pub struct Reduced {
    basis: Vec<Vec<i64>>,
    /// Orthogonalised (n,k), not normalised.
    orthogonal: Vec<Vec<f64>>,
}

impl Reduced {
    /// Reduces independent vectors (n,k).
    pub fn of(basis: Vec<Vec<i64>>) -> Self {
        let mut reduced = Self {
            orthogonal: Vec::new(),
            basis,
        };
        let n = reduced.basis.len();
        let mut at = 0;
        while at < n {
            reduced.orthogonal.truncate(at);
            reduced.shorten(at);
            let next = reduced.orthogonalise(at);
            if at > 0 && dot(&next, &next) < reduced.least(at) {
                reduced.basis.swap(at - 1, at);
                at -= 1;
            } else {
                reduced.orthogonal.push(next);
                at += 1;
            }
        }
        reduced
    }

    /// The reduced vectors, the first one short.
    pub fn basis(&self) -> &[Vec<i64>] {
        &self.basis
    }

    /// `target` (k,) less a lattice vector near it.
    pub fn rest(&self, target: &[i64]) -> Vec<i64> {
        let mut rest = target.to_vec();
        for (vector, orthogonal) in self.basis.iter().zip(&self.orthogonal).rev() {
            let times = projection(&rest, orthogonal).round() as i64;
            subtract(&mut rest, times, vector);
        }
        rest
    }

    /// Size reduction of vector `at` by those before; twice, as f64 may be off at first.
    fn shorten(&mut self, at: usize) {
        for _ in 0..2 {
            for j in (0..at).rev() {
                let (before, from) = self.basis.split_at_mut(at);
                let times = projection(&from[0], &self.orthogonal[j]).round() as i64;
                subtract(&mut from[0], times, &before[j]);
            }
        }
    }

    /// Vector `at` orthogonal to those before.
    fn orthogonalise(&self, at: usize) -> Vec<f64> {
        let mut vector: Vec<f64> = self.basis[at].iter().map(|x| *x as f64).collect();
        for orthogonal in &self.orthogonal {
            let times = dot(&vector, orthogonal) / dot(orthogonal, orthogonal);
            for (x, y) in vector.iter_mut().zip(orthogonal) {
                *x -= times * y;
            }
        }
        vector
    }

    /// Least square length of orthogonalised vector `at` that Lovasz' condition allows.
    fn least(&self, at: usize) -> f64 {
        let before = &self.orthogonal[at - 1];
        let square = dot(before, before);
        let coefficient = projection(&self.basis[at], before);
        (DELTA - coefficient * coefficient) * square
    }
}

/// Coefficient of `vector` along an orthogonalised one.
fn projection(vector: &[i64], orthogonal: &[f64]) -> f64 {
    let product: f64 = vector
        .iter()
        .zip(orthogonal)
        .map(|(x, y)| *x as f64 * y)
        .sum();
    product / dot(orthogonal, orthogonal)
}

fn subtract(from: &mut [i64], times: i64, vector: &[i64]) {
    if times != 0 {
        for (x, y) in from.iter_mut().zip(vector) {
            *x -= times * y;
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn a_planted_short_vector_comes_first() {
        let q = 1_000_003;
        let mut dice = Dice::new(4, "lll");
        let short: Vec<i64> = (0..10).map(|_| dice.below(7) as i64 - 3).collect();
        // q-ary lattice that contains it: random vectors, the short one times a unit, q times unit vectors.
        let scaled: Vec<i64> = short.iter().map(|x| (x * 48_271).rem_euclid(q)).collect();
        let inverse = (1..q).find(|i| i * scaled[0] % q == 1).unwrap();
        let first: Vec<i64> = scaled.iter().map(|x| x * inverse % q).collect();
        let mut basis = vec![first];
        for i in 1..10 {
            let mut row = vec![0; 10];
            row[i] = q;
            basis.push(row);
        }
        let reduced = Reduced::of(basis);
        let found = &reduced.basis()[0];
        let negated: Vec<i64> = short.iter().map(|x| -x).collect();
        assert!(
            *found == short || *found == negated,
            "{found:?}, not {short:?}"
        );
        let near: Vec<i64> = found.iter().zip(0..).map(|(x, i)| 5 * x + i % 2).collect();
        assert_eq!(
            reduced.rest(&near),
            (0..10).map(|i| i % 2).collect::<Vec<_>>()
        );
    }
}
