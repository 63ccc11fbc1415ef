//! Whether two rows belong together.
//!
//! *Source:* linkability, as asked of mix networks. *Input:* (a) rows at qkv of successive layers: the residual stream
//! carries most of a row on; (b) rows of one projection in requests that the attacker sent: the same token, or another.
//! *Method:* correlation of the pair that belongs together against one that does not; the larger is taken for the true
//! one. *Metric:* advantage. *Breaks:* no masking, fixed permutations (within a projection), both hosts of shares.
//! *Chance:* advantage 0.

use super::{Attack, Finding, Found, Scene};
use crate::dice::Dice;
use crate::metrics::Rate;
use crate::statistics::correlation;
use crate::view::Rows;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "correlation",
    breaks: "no masking, fixed permutations",
    chance: "advantage 0",
    run,
};

/// Trials of a game.
const TRIALS: usize = 2000;

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let mut dice = Dice::new(scene.seed, ATTACK.name);
    let mut findings = Vec::new();
    for layer in 1..scene.copy.layers() {
        let (before, at) = (scene.copy.qkv(layer - 1), scene.copy.qkv(layer));
        if let (Some(one), Some(other)) = (scene.view.of(before), scene.view.of(at)) {
            let won = across_layers(one, other, &mut dice);
            let finding = scene.finding("correlation, across layers", at, Found::Game(won));
            findings.push(finding);
        }
    }
    let own = scene.own();
    if let Some(rows) = scene.view.of(scene.copy.qkv(0))
        && own.len() >= 2
    {
        let won = across_requests(rows, &own, &mut dice);
        if won.trials > 0 {
            let name = "correlation, across requests";
            findings.push(scene.finding(name, scene.copy.qkv(0), Found::Game(won)));
        }
    }
    findings
}

fn across_layers(one: &Rows, other: &Rows, dice: &mut Dice) -> Rate {
    let trials = match one.len() {
        0 | 1 => 0,
        rows => TRIALS.min(rows),
    };
    Rate::of((0..trials).map(|row| {
        let stranger = (row + 1 + dice.below(one.len() - 1)) % one.len();
        closer(
            &one.reals(row),
            &other.reals(row),
            &other.reals(stranger),
            dice,
        )
    }))
}

fn across_requests(rows: &Rows, own: &[(usize, u32)], dice: &mut Dice) -> Rate {
    let mut wins = Vec::new();
    for _ in 0..TRIALS {
        let (row, token) = own[dice.below(own.len())];
        let same: Vec<usize> = own
            .iter()
            .filter(|(r, t)| *t == token && *r != row)
            .map(|(r, _)| *r)
            .collect();
        let (stranger, other) = own[dice.below(own.len())];
        if same.is_empty() || other == token {
            continue;
        }
        let twin = same[dice.below(same.len())];
        let won = closer(
            &rows.reals(row),
            &rows.reals(twin),
            &rows.reals(stranger),
            dice,
        );
        wins.push(won);
    }
    Rate::of(wins)
}

/// Whether `row` correlates more with `twin` than with `stranger`; a coin decides where it does equally.
fn closer(row: &[f64], twin: &[f64], stranger: &[f64], dice: &mut Dice) -> bool {
    let (twin, stranger) = (correlation(row, twin), correlation(row, stranger));
    match twin == stranger || twin.is_nan() || stranger.is_nan() {
        true => dice.coin(),
        false => twin > stranger,
    }
}
