//! Indistinguishability of two chosen prompts.
//!
//! *Source:* IND-CPA. *Input:* many requests, each one of two prompts of equal length that the attacker chose; half of
//! them it sent itself and knows which was which. *Method:* at the first position where the prompts differ, rows as
//! centred integers: (a) the nearer of the means of known requests, modulo q and modulo P1 alone; (b) ridge regression
//! on the side, where rows are short enough; (c) (a) on functions that public rows do not reach. *Metric:* advantage over requests of others. *Breaks:* no masking, masks that are not uniform, both
//! hosts of shares, and remo where the row is projected first. *Chance:* advantage 0.

use nalgebra::DMatrix;
use talaria_arithmetic::P1;

use super::{Attack, Finding, Found, Scene, normalised, null_space};
use crate::math::echelon::product;
use crate::math::ridge::Ridge;
use crate::view::{PublicRows, Rows};

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "ind-game",
    breaks: "whatever does not hide which of two prompts was sent",
    chance: "advantage 0",
    run,
};

/// Fewer requests of a side teach nothing.
const MIN_REQUESTS: usize = 8;
/// Longest rows for ridge regression.
const MAX_FEATURES: usize = 1024;
/// Functions of a row outside of ReMO's masks that are looked at.
const OUTSIDE: usize = 16;

/// A game that a capture holds.
pub(super) struct Game {
    /// The deciding row of each known request and the side it is on.
    pub known: Vec<(usize, bool)>,
    /// The deciding row of each other request.
    pub asked: Vec<usize>,
    /// Tokens of the sides there.
    pub tokens: [u32; 2],
}

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let Some(game) = Game::of(scene) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for projection in 0..scene.view.lm_head {
        let Some(rows) = scene.view.of(projection) else {
            continue;
        };
        if let Some(outside) = outside_of_masks(scene, projection, rows) {
            let sides = game.by_means(&outside);
            findings.push(scene.finding("two prompts, null space", projection, sides));
        }
        let reals = |row: usize| normalised(rows.reals(row));
        findings.push(scene.finding("two prompts, means", projection, game.by_means(&reals)));
        let modulo_p1 = |row: usize| normalised(rows.reals_modulo_p1(row));
        let sides = game.by_means(&modulo_p1);
        findings.push(scene.finding("two prompts, means modulo P1", projection, sides));
        if scene.copy.features(projection) <= MAX_FEATURES
            && let Some(sides) = game.by_ridge(&reals)
        {
            findings.push(scene.finding("two prompts, ridge", projection, sides));
        }
    }
    findings
}

/// Functions of a row that combinations of public rows do not reach, if there are any.
fn outside_of_masks(
    scene: &Scene<'_>,
    projection: usize,
    rows: &Rows,
) -> Option<impl Fn(usize) -> Vec<f64>> {
    let PublicRows::Residues { rows: public, .. } = scene.view.public.get(&projection)? else {
        return None;
    };
    let functions = null_space::functions(scene, public, OUTSIDE)?;
    let rows = rows.clone();
    Some(move |row: usize| {
        let row = rows
            .residues()
            .map(|rows| &rows[row][..])
            .unwrap_or_default();
        let outside = functions.iter().map(|function| product(row, function, P1));
        normalised(
            outside
                .map(|r| f64::from(r) - f64::from(P1) / 2.0)
                .collect(),
        )
    })
}

impl Game {
    /// The game of a capture, if it holds one: all requests of one length, two prompts among the attacker's own.
    pub(super) fn of(scene: &Scene<'_>) -> Option<Self> {
        let requests = scene.view.requests();
        let length = requests.first()?.len();
        if requests.iter().any(|request| request.len() != length) {
            return None;
        }
        let (own, others): (Vec<_>, Vec<_>) = requests
            .into_iter()
            .partition(|request| scene.known[request.start].is_some());
        let prompt = |start: usize| &scene.known[start..start + length];
        let a = prompt(own.first()?.start);
        let b = own
            .iter()
            .map(|request| prompt(request.start))
            .find(|b| *b != a)?;
        let place = (0..length).find(|i| a[*i] != b[*i])?;
        let tokens = [a[place]?, b[place]?];
        let known: Vec<(usize, bool)> = own
            .iter()
            .map(|request| request.start)
            .filter(|start| [a, b].contains(&prompt(*start)))
            .map(|start| (start + place, prompt(start) == b))
            .collect();
        let of_b = known.iter().filter(|(_, side)| *side).count();
        let enough = of_b >= MIN_REQUESTS && known.len() - of_b >= MIN_REQUESTS;
        (enough && known.len() == own.len()).then(|| Self {
            asked: others
                .into_iter()
                .map(|request| request.start + place)
                .collect(),
            known,
            tokens,
        })
    }

    /// Which side each other request is on.
    pub(super) fn sides(&self, is_b: impl Fn(usize) -> bool) -> Found {
        let side = |row: &usize| (*row, self.tokens[usize::from(is_b(*row))]);
        Found::Sides(self.asked.iter().map(side).collect())
    }

    /// The side whose mean is nearer.
    pub(super) fn by_means(&self, reals: &impl Fn(usize) -> Vec<f64>) -> Found {
        let mut means = [Vec::new(), Vec::new()];
        for (side, mean) in means.iter_mut().enumerate() {
            let rows: Vec<usize> = self
                .known
                .iter()
                .filter(|(_, is_b)| usize::from(*is_b) == side)
                .map(|(row, _)| *row)
                .collect();
            for row in &rows {
                let row = reals(*row);
                mean.resize(row.len(), 0.0);
                mean.iter_mut()
                    .zip(row)
                    .for_each(|(m, x)| *m += x / rows.len() as f64);
            }
        }
        let [a, b] = &means;
        self.sides(|row| {
            let row = reals(row);
            let terms = row.iter().zip(a).zip(b);
            terms
                .map(|((x, a), b)| (x - (a + b) / 2.0) * (b - a))
                .sum::<f64>()
                > 0.0
        })
    }

    fn by_ridge(&self, reals: &impl Fn(usize) -> Vec<f64>) -> Option<Found> {
        let matrix = |rows: &[usize]| {
            let all: Vec<Vec<f64>> = rows.iter().map(|row| reals(*row)).collect();
            let k = all.first().map_or(0, Vec::len);
            DMatrix::from_row_iterator(all.len(), k, all.into_iter().flatten())
        };
        let rows: Vec<usize> = self.known.iter().map(|(row, _)| *row).collect();
        let sides = self
            .known
            .iter()
            .map(|(_, is_b)| if *is_b { 1.0 } else { -1.0 });
        let y = DMatrix::from_iterator(rows.len(), 1, sides);
        let ridge = Ridge::fit(&matrix(&rows), &y, 1e-3)?;
        let found = ridge.apply(&matrix(&self.asked));
        let place = |row: usize| self.asked.binary_search(&row).ok();
        Some(self.sides(|row| place(row).is_some_and(|i| found[i] > 0.0)))
    }
}
