//! A basis of masks that is used again, from sends alone.
//!
//! *Source:* arXiv 2602.11088: partly shielded systems that precompute K rows of noise with their products and mask with
//! combinations of them. *Input:* rows of requests that the attacker sent, of which it need only know which are equal:
//! those of one token at the embedding and at qkv of layer 0, those after one prefix anywhere; no public rows. *Method:*
//! differences of sends of an equal row are differences of masks. If masks have a basis, some K differences span all
//! others, and linear functions that are 0 on them are 0 on all masks: a masked row is, to these functions, the row. Modulo P1
//! exactly, in floats by projection onto the complement. *Metric:* differences held back that lie in the span of those
//! looked at; tokens of others, top-1; advantage in the game of two prompts. *Breaks:* static bases, ReMO, no masking.
//! *Chance:* no difference of fresh masks lies in the span of fewer than k others; guesses dealt at random; advantage 0.

use std::collections::BTreeMap;

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;
use talaria_arithmetic::{P1, residue};

use super::ind_game::Game;
use super::null_space::{self, FUNCTIONS};
use super::{Attack, Finding, Found, Scene};
use crate::capture::EMBEDDING;
use crate::dice::Dice;
use crate::math::echelon::{Echelon, null_vectors, product};
use crate::metrics::Rate;
use crate::view::Rows;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "static-basis",
    breaks: "masks from a basis that is used again, ReMO, no masking",
    chance: "no difference in the span of others; guesses dealt at random; advantage 0",
    run,
};

/// Fewer differences span too little.
const MIN_DIFFERENCES: usize = 16;
/// Differences held back, at most.
const HELD_BACK: usize = 512;
/// Diagonal elements of R below this fraction of the largest are float32's rounding.
const RANK: f64 = 1e-4;
/// Length outside of a span, against all of it, that is rounding.
const INSIDE: f64 = 1e-3;

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let game = Game::of(scene);
    let projections: Vec<usize> = (0..scene.view.lm_head).collect();
    let found = projections.par_iter().flat_map_iter(|projection| {
        let at = At {
            scene,
            projection: *projection,
            game: game.as_ref(),
        };
        at.attack().unwrap_or_default()
    });
    found.collect()
}

/// Rows of one projection.
struct At<'s> {
    scene: &'s Scene<'s>,
    projection: usize,
    game: Option<&'s Game>,
}

impl At<'_> {
    fn attack(&self) -> Option<Vec<Finding>> {
        let rows = self.scene.view.of(self.projection)?;
        let pairs = self.equal_rows();
        let k = self.scene.copy.features(self.projection);
        // Fewer than k, or anything is in their span; and as many are held back.
        let count = (pairs.len() / 2)
            .min(3 * k / 4)
            .min(self.scene.effort.public_rows);
        if 2 * count < MIN_DIFFERENCES {
            return None;
        }
        let (learnt, rest) = pairs.split_at(count);
        let rest = &rest[..rest.len().min(HELD_BACK)];
        Some(match rows {
            Rows::Residues(rows) => self.exactly(rows, learnt, rest),
            Rows::Floats(_) => self.in_floats(rows, learnt, rest),
        })
    }

    /// Pairs of the attacker's rows that are one row masked twice.
    fn equal_rows(&self) -> Vec<(usize, usize)> {
        let view = self.scene.view;
        let token_alone = [EMBEDDING, self.scene.copy.qkv(0)].contains(&self.projection);
        let mut equal: BTreeMap<Vec<u32>, Vec<usize>> = BTreeMap::new();
        for request in view.requests() {
            let tokens: Option<Vec<u32>> =
                self.scene.known[request.clone()].iter().copied().collect();
            for (row, i) in request.zip(0..) {
                let Some(tokens) = &tokens else { break };
                let first = if token_alone { i } else { 0 };
                equal
                    .entry(tokens[first..=i].to_vec())
                    .or_default()
                    .push(row);
            }
        }
        let pairs = equal.into_values().flat_map(|rows| {
            let first = rows[0];
            rows.into_iter().skip(1).map(move |row| (first, row))
        });
        let mut pairs: Vec<(usize, usize)> = pairs.collect();
        // Those held back are then of the same requests as those looked at.
        let mut dice = Dice::new(self.scene.seed, ATTACK.name);
        let order = dice.permutation(pairs.len());
        pairs = order.into_iter().map(|i| pairs[i]).collect();
        pairs
    }

    fn exactly(
        &self,
        rows: &[Vec<u32>],
        learnt: &[(usize, usize)],
        rest: &[(usize, usize)],
    ) -> Vec<Finding> {
        let k = self.scene.copy.features(self.projection);
        let difference = |(one, other): &(usize, usize)| -> Vec<u32> {
            let elements = rows[*one][..k].iter().zip(&rows[*other]);
            elements.map(|(a, b)| residue::sub(*a, *b, P1)).collect()
        };
        let differences: Vec<Vec<u32>> = learnt.iter().map(difference).collect();
        let borrowed: Vec<&[u32]> = differences.iter().map(|row| &row[..]).collect();
        let mut dice = Dice::new(self.scene.seed, "functions of a static basis");
        let functions = null_vectors(&borrowed, P1, FUNCTIONS, &mut dice);
        let values =
            |row: &[u32]| -> Vec<u32> { functions.iter().map(|f| product(row, f, P1)).collect() };
        let inside = |pair: &(usize, usize)| values(&difference(pair)).iter().all(|v| *v == 0);
        let inside = Rate::of(rest.par_iter().map(inside).collect::<Vec<_>>());
        let dimension = Echelon::of(differences, P1).rank();
        let mut findings = vec![self.span(dimension, learnt.len(), inside)];
        findings.extend(match self.game {
            Some(game) => self.sides(game, |of_b, row| values(&rows[of_b]) == values(&rows[row])),
            None => self.tokens(rows, &functions),
        });
        findings
    }

    /// Tokens of others where a row depends on its token alone. Under module-lwe a row is masked times Delta.
    fn tokens(&self, rows: &[Vec<u32>], functions: &[Vec<u32>]) -> Option<Finding> {
        if ![EMBEDDING, self.scene.copy.qkv(0)].contains(&self.projection) {
            return None;
        }
        let factors = [1, self.scene.copy.delta(self.projection)];
        let named = factors.into_iter().filter_map(|factor| {
            null_space::named(self.scene, self.projection, rows, (functions, factor))
        });
        // No token fits both ways, but by chance.
        let either = named.reduce(|one, other| {
            let rows = one.into_iter().zip(other);
            rows.map(|((row, a), (_, b))| (row, a.or(b))).collect()
        })?;
        let found = Found::Tokens(either);
        Some(
            self.scene
                .finding("static basis, tokens", self.projection, found),
        )
    }

    fn in_floats(
        &self,
        rows: &Rows,
        learnt: &[(usize, usize)],
        rest: &[(usize, usize)],
    ) -> Vec<Finding> {
        let Rows::Floats(floats) = rows else {
            return Vec::new();
        };
        let k = self.scene.copy.features(self.projection);
        let difference = |(one, other): &(usize, usize)| -> DVector<f64> {
            let elements = floats[*one].iter().zip(&floats[*other]);
            let elements = elements.map(|(a, b)| f64::from(*a) - f64::from(*b));
            DVector::from_iterator(k, elements)
        };
        let columns: Vec<DVector<f64>> = learnt.iter().map(difference).collect();
        let q = orthonormal(DMatrix::from_columns(&columns));
        let outside = |x: &DVector<f64>| x - &q * q.tr_mul(x);
        let inside = Rate::of(rest.iter().map(|pair| {
            let difference = difference(pair);
            outside(&difference).norm() <= INSIDE * difference.norm()
        }));
        let mut findings = vec![self.span(q.ncols(), learnt.len(), inside)];
        findings.extend(match self.game {
            Some(game) => {
                let seen = |row: usize| -> Vec<f64> {
                    outside(&DVector::from_vec(rows.reals(row))).data.into()
                };
                let sides = game.by_means(&seen);
                Some(
                    self.scene
                        .finding("two prompts, static basis", self.projection, sides),
                )
            }
            None if self.projection == self.scene.copy.qkv(0) => {
                let tokens = null_space::nearest_outside(self.scene, floats, &q);
                let found = Found::Tokens(tokens);
                Some(
                    self.scene
                        .finding("static basis, tokens", self.projection, found),
                )
            }
            None => None,
        });
        findings
    }

    fn span(&self, dimension: usize, count: usize, inside: Rate) -> Finding {
        let found = Found::Recovered {
            what: format!(
                "differences of sends in the span of {count} others, of dimension {dimension}"
            ),
            rate: inside,
            chance: 0.0,
        };
        self.scene
            .finding("static basis, span", self.projection, found)
    }

    /// The side of each other request: that of a known row which is the same to all functions.
    fn sides(&self, game: &Game, same: impl Fn(usize, usize) -> bool) -> Option<Finding> {
        let (of_b, _) = game.known.iter().find(|(_, is_b)| *is_b)?;
        let sides = game.sides(|row| same(*of_b, row));
        Some(
            self.scene
                .finding("two prompts, static basis", self.projection, sides),
        )
    }
}

/// An orthonormal basis (k,r) of what columns (k,n) span, up to rounding.
fn orthonormal(columns: DMatrix<f64>) -> DMatrix<f64> {
    let factored = columns.col_piv_qr();
    let diagonal = factored.r().diagonal().map(f64::abs);
    let least = RANK * diagonal.max();
    let rank = diagonal.iter().filter(|d| **d > least && **d > 0.0).count();
    factored.q().columns(0, rank).into_owned()
}
