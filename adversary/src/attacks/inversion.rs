//! Learned inversion.
//!
//! *Source:* Song and Raghunathan, 2020 (arXiv 2004.00053); ridge regression and a small network. *Input:* rows at qkv of
//! every layer in requests that the attacker sent through the same system, with their tokens. *Method:* a map from rows modulo P1,
//! scaled to length 1, to the token's embedding, fitted on these pairs; for a row of another request, the vocabulary's
//! embedding with the largest cosine to what the map gives. Ridge at every layer, a network with one hidden layer at
//! the first and the last. *Metric:* top-1. *Breaks:* no masking, fixed permutations, narrow float masks; deeper layers
//! only in part. *Chance:* guesses dealt at random; where nothing can be learnt the map gives one and the same token.

use nalgebra::DMatrix;

use super::{Attack, Finding, Found, Scene, argmax, normalised, span};
use crate::dice::Dice;
use crate::math::mlp::{Mlp, Training};
use crate::math::ridge::Ridge;
use crate::view::Rows;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "inversion",
    breaks: "no masking, fixed permutations, narrow float masks",
    chance: "guesses dealt at random",
    run,
};

/// Fewer pairs teach nothing.
const MIN_PAIRS: usize = 100;
/// Penalty of ridge regression, against the mean square of an input.
const PENALTY: f64 = 1e-4;

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let own = scene.own();
    if own.len() < MIN_PAIRS {
        return Vec::new();
    }
    let victims = scene.victims();
    let embeddings = unit_embeddings(scene);
    let tokens: Vec<usize> = own.iter().map(|(_, token)| *token as usize).collect();
    // (n,hidden_size)
    let targets = embeddings.select_columns(&tokens).transpose();
    let mut findings = Vec::new();
    for layer in 0..scene.copy.layers() {
        let projection = scene.copy.qkv(layer);
        let Some(rows) = scene.view.of(projection) else {
            continue;
        };
        let seen = matrix(rows, own.iter().map(|(row, _)| *row));
        let asked = matrix(rows, victims.iter().copied());
        let mut add = |name: &'static str, predicted: DMatrix<f64>| {
            let guesses = named(&predicted, &embeddings);
            let guesses = victims.iter().copied().zip(guesses).collect();
            findings.push(scene.finding(name, projection, Found::Tokens(guesses)));
        };
        if let Some(ridge) = Ridge::fit(&seen, &targets, PENALTY) {
            add("inversion, ridge", ridge.apply(&asked));
        }
        if layer == 0 || layer + 1 == scene.copy.layers() {
            add(
                "inversion, network",
                network(scene, [&seen, &targets, &asked]),
            );
        }
    }
    findings
}

/// Rows (n,k), each scaled to length sqrt(k).
fn matrix(rows: &Rows, wanted: impl ExactSizeIterator<Item = usize>) -> DMatrix<f64> {
    let count = wanted.len();
    let all: Vec<f64> = wanted
        .flat_map(|row| normalised(rows.reals_modulo_p1(row)))
        .collect();
    let k = all.len() / count.max(1);
    DMatrix::from_row_iterator(count, k, all.into_iter().map(|x| x * (k as f64).sqrt()))
}

/// Embeddings less their mean, scaled to length 1 (hidden_size, vocab).
fn unit_embeddings(scene: &Scene<'_>) -> DMatrix<f64> {
    let embeddings: DMatrix<f64> = scene.copy.embeddings().clone().cast();
    let mean = embeddings.column_mean();
    let mut centred = embeddings;
    for mut column in centred.column_iter_mut() {
        column -= &mean;
    }
    span::unit(centred)
}

fn network(scene: &Scene<'_>, [seen, targets, asked]: [&DMatrix<f64>; 3]) -> DMatrix<f64> {
    let mut dice = Dice::new(scene.seed, ATTACK.name);
    let training = Training {
        hidden: 256,
        epochs: scene.effort.epochs,
        batch: 64,
        rate: 2e-3,
    };
    // Targets of mean square 1.
    let scale = (targets.ncols() as f32).sqrt();
    let x = seen.transpose().cast::<f32>();
    let y = targets.transpose().cast::<f32>() * scale;
    let network = Mlp::fit(&x, &y, training, &mut dice);
    network
        .apply(&asked.transpose().cast::<f32>())
        .transpose()
        .cast()
}

/// The token whose embedding (hidden_size, vocab) is nearest to each prediction (n,hidden_size).
fn named(predicted: &DMatrix<f64>, embeddings: &DMatrix<f64>) -> Vec<Option<u32>> {
    // (n,vocab): lengths of predictions do not matter.
    let products = predicted * embeddings;
    let rows = products.row_iter();
    rows.map(|row| argmax(row.iter().copied()).map(|(token, _)| token as u32))
        .collect()
}
