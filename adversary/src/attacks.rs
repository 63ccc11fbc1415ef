//! The attacks. Each file says where its attack is from, what it is given, what it does, how it is measured, what it
//! should break, and what chance would reach.
//!
//! An attack is given a [`Scene`]: a view, the attacker's copy of the model, and the tokens of requests that the
//! attacker sent. It returns [`Finding`]s, which the labels score afterwards.

pub mod averaging;
pub mod correlation;
pub mod distinguisher;
pub mod fingerprints;
pub mod gram;
pub mod ica;
pub mod ind_game;
pub mod inversion;
pub mod lattice;
pub mod nearest;
pub mod null_space;
pub mod reuse;
pub mod sorted;
pub mod span;
pub mod static_basis;
pub mod tamper;
pub mod traffic;
pub mod vocabulary;

use std::ops::Range;

use rayon::prelude::*;

use crate::metrics::score::{Outcome, Truth};
use crate::metrics::{Rate, Verdict};
use crate::own_copy::OwnCopy;
use crate::view::View;

/// What an attacker works with.
pub struct Scene<'s> {
    /// What it received.
    pub view: &'s View,
    /// Its copy of the model.
    pub copy: &'s OwnCopy,
    /// For each row, the token if the attacker sent the request.
    pub known: &'s [Option<u32>],
    /// For its own randomness.
    pub seed: u64,
    /// How much it may compute.
    pub effort: Effort,
}

/// How much an attack may compute, where more would go on for longer.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rows that vocabulary matching works through.
    pub matched_rows: usize,
    /// Passes over the examples when a network is trained.
    pub epochs: usize,
    /// Most public rows whose null space is computed: time grows with the cube.
    pub public_rows: usize,
    /// Tokens that vocabulary matching tries at a position, the likeliest first.
    pub candidates: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            matched_rows: 24,
            epochs: 12,
            public_rows: 3072,
            candidates: usize::MAX,
        }
    }
}

/// An attack.
pub struct Attack {
    /// As on command lines.
    pub name: &'static str,
    /// What it should break.
    pub breaks: &'static str,
    /// What chance reaches.
    pub chance: &'static str,
    /// Runs it; nothing where a view has not what it needs.
    pub run: fn(&Scene<'_>) -> Vec<Finding>,
}

/// What an attack found about some rows.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Name of the attack.
    pub attack: &'static str,
    /// Which rows.
    pub place: String,
    /// Their layer.
    pub layer: Option<u32>,
    /// What was found.
    pub found: Found,
}

/// What was found, unscored where labels are needed.
#[derive(Clone, Debug)]
pub enum Found {
    /// A token, or none, for each row that was tried.
    Tokens(Vec<(usize, Option<u32>)>),
    /// Tokens that occur in rows of a pass, in no order.
    Bags(Vec<(Range<usize>, Vec<u32>)>),
    /// For a row of each trial of a game of two prompts, the token that decides which it was.
    Sides(Vec<(usize, u32)>),
    /// Lengths of prompt and reply of each request.
    Lengths(Vec<(usize, usize)>),
    /// Trials of a game that the attacker plays with itself that were won.
    Game(Rate),
    /// A number that uniform residues keep within `bound`.
    Statistic {
        /// What it is.
        what: String,
        /// What was found.
        value: f64,
        /// What chance exceeds with less than 1e-6.
        bound: f64,
    },
    /// Something the attacker can check by itself.
    Recovered {
        /// What it is.
        what: String,
        /// Cases.
        rate: Rate,
        /// What guessing would reach.
        chance: f64,
    },
}

/// Every attack on captures, the quick ones first.
pub const ATTACKS: [&Attack; 16] = [
    &nearest::ATTACK,
    &sorted::ATTACK,
    &null_space::ATTACK,
    &span::ATTACK,
    &gram::ATTACK,
    &ica::ATTACK,
    &reuse::ATTACK,
    &static_basis::ATTACK,
    &averaging::ATTACK,
    &correlation::ATTACK,
    &distinguisher::ATTACK,
    &ind_game::ATTACK,
    &lattice::ATTACK,
    &inversion::ATTACK,
    &vocabulary::ATTACK,
    &traffic::ATTACK,
];

/// The attack of that name.
pub fn find(name: &str) -> Option<&'static Attack> {
    ATTACKS.into_iter().find(|attack| attack.name == name)
}

/// Runs attacks on a scene, on all cores, and scores what they find; `done` is told after each.
pub fn run_all(
    attacks: &[&'static Attack],
    scene: &Scene<'_>,
    truth: &Truth,
    done: &(dyn Fn() + Sync),
) -> Vec<Outcome> {
    let outcomes = attacks.par_iter().flat_map_iter(|attack| {
        let found = (attack.run)(scene);
        done();
        let scheme = &scene.view.scheme;
        found
            .into_iter()
            .map(move |finding| Outcome::new(scheme, finding, truth))
    });
    outcomes.collect()
}

/// The outcome that found most: verdicts first, then how much.
pub fn best<'o>(outcomes: impl IntoIterator<Item = &'o Outcome>) -> Option<&'o Outcome> {
    let rank = |outcome: &Outcome| match outcome.verdict {
        Verdict::Recovered => 2,
        Verdict::Leaks => 1,
        Verdict::AtChance => 0,
    };
    let by_rank = |a: &&Outcome, b: &&Outcome| {
        rank(a)
            .cmp(&rank(b))
            .then(a.strength().total_cmp(&b.strength()))
    };
    outcomes.into_iter().max_by(by_rank)
}

impl Scene<'_> {
    /// Rows whose tokens the attacker does not know.
    fn victims(&self) -> Vec<usize> {
        (0..self.view.tokens())
            .filter(|row| self.known[*row].is_none())
            .collect()
    }

    /// Rows that the attacker sent, with their tokens.
    fn own(&self) -> Vec<(usize, u32)> {
        let rows = self.known.iter().enumerate();
        rows.filter_map(|(row, token)| Some((row, (*token)?)))
            .collect()
    }

    /// A finding about rows of a projection.
    fn finding(&self, attack: &'static str, projection: usize, found: Found) -> Finding {
        let place = self.copy.manifest.projections[projection].place;
        Finding {
            attack,
            place: place.to_string(),
            layer: place.role.is_of_layers().then_some(place.layer),
            found,
        }
    }
}

/// The index of the largest of some numbers; none of nothing.
fn argmax(values: impl IntoIterator<Item = f64>) -> Option<(usize, f64)> {
    values
        .into_iter()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

/// A vector scaled to length 1, or zeros.
fn normalised(mut row: Vec<f64>) -> Vec<f64> {
    let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length > 0.0 {
        row.iter_mut().for_each(|x| *x /= length);
    }
    row
}
