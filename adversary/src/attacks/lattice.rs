//! Lattice reduction on the coset of a row modulo ReMO's masks, at small size.
//!
//! *Source:* Lenstra, Lenstra and Lovasz (1982), Babai (1986); hidden number and knapsack problems. *Input:* rows
//! `x + s M` modulo P1 with few columns k and few public rows m, at any layer: no vocabulary is needed. *Method:* all
//! that is congruent to some `s M` is a lattice of determinant P1^(k-m); a row differs from one of its vectors by x,
//! whose elements are below 2^21. Where P1^((k-m)/k) is well above that, the nearest lattice vector gives x away.
//! *Metric:* rows with a remainder short enough to be x; a uniform row has one with less than 2^-40. *Breaks:* remo of
//! low rank, at every layer. *Chance:* 0.

use rayon::prelude::*;
use talaria_arithmetic::P1;

use super::{Attack, Finding, Found, Scene};
use crate::capture::EMBEDDING;
use crate::math::echelon::Echelon;
use crate::math::lll::Reduced;
use crate::metrics::Rate;
use crate::view::PublicRows;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "lattice",
    breaks: "remo of low rank at every layer",
    chance: "0",
    run,
};

/// Public rows that small reductions can deal with.
const MAX_PUBLIC_ROWS: usize = 6;
/// Columns for each public row: P1^(4/5) is 2^24.8, well above 2^21.
const COLUMNS_A_ROW: usize = 5;
/// Rows tried.
const MAX_ROWS: usize = 200;

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let projections = scene
        .view
        .public
        .iter()
        .filter(|(projection, _)| **projection != EMBEDDING);
    let found = projections.filter_map(|(projection, public)| {
        let PublicRows::Residues {
            rows: m_pub,
            scaled: false,
        } = public
        else {
            return None;
        };
        let rows = scene.view.rows.get(projection)?.residues()?;
        let attack = Coset::new(m_pub)?;
        let bits = scene.copy.row_bits(*projection)?;
        let short = |row: &Vec<u32>| {
            let x = attack.shortest(row);
            x.iter().all(|x| x.unsigned_abs() < 1 << (bits - 1))
        };
        let found: Vec<bool> = rows.par_iter().take(MAX_ROWS).map(short).collect();
        let found = Found::Recovered {
            what: "columns of rows, as integers".into(),
            rate: Rate::of(found),
            chance: 0.0,
        };
        Some(scene.finding(ATTACK.name, *projection, found))
    });
    found.collect()
}

/// What masks of a ReMO with few public rows look like in its first columns.
pub struct Coset {
    lattice: Reduced,
    columns: usize,
}

impl Coset {
    /// The lattice of masks for M_pub (m,k modulo P1 and P2); none if m is too large for it, or k too small.
    pub fn new(m_pub: &[Vec<u32>]) -> Option<Self> {
        let columns = m_pub.len() * COLUMNS_A_ROW;
        let fits = (1..=MAX_PUBLIC_ROWS).contains(&m_pub.len())
            && m_pub.iter().all(|row| row.len() / 2 >= columns);
        if !fits {
            return None;
        }
        let rows = m_pub.iter().map(|row| row[..columns].to_vec()).collect();
        let echelon = Echelon::of(rows, P1);
        let reduced = echelon.rows().iter();
        let mut basis: Vec<Vec<i64>> = reduced
            .map(|row| row.iter().map(|x| i64::from(*x)).collect())
            .collect();
        for free in echelon.free() {
            let mut row = vec![0; columns];
            row[*free] = i64::from(P1);
            basis.push(row);
        }
        Some(Self {
            lattice: Reduced::of(basis),
            columns,
        })
    }

    /// The first columns of a row less the mask that leaves them shortest.
    pub fn shortest(&self, row: &[u32]) -> Vec<i64> {
        let target: Vec<i64> = row[..self.columns].iter().map(|x| i64::from(*x)).collect();
        self.lattice.rest(&target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;
    use talaria_arithmetic::residue;

    #[test]
    fn rows_come_back_exactly_and_uniform_rows_do_not() {
        let mut dice = Dice::new(5, "coset");
        let (m, k) = (4, 20);
        let m_pub: Vec<Vec<u32>> = (0..m).map(|_| dice.row(k)).collect();
        let coset = Coset::new(&m_pub).unwrap();
        for _ in 0..20 {
            let x: Vec<i64> = (0..k)
                .map(|_| dice.below(1 << 22) as i64 - (1 << 21))
                .collect();
            let s: Vec<u32> = (0..m).map(|_| dice.residue(P1)).collect();
            let masked = |j: usize| {
                let start = residue::from_i64(x[j], P1);
                let terms = s.iter().zip(&m_pub);
                terms.fold(start, |sum, (s, row)| {
                    residue::add(sum, residue::mul(*s, row[j], P1), P1)
                })
            };
            let row: Vec<u32> = (0..k).map(masked).chain(vec![0; k]).collect();
            assert_eq!(coset.shortest(&row), x);
            let uniform = coset.shortest(&dice.row(k));
            assert!(uniform.iter().any(|x| x.unsigned_abs() >= 1 << 21));
        }
    }
}
