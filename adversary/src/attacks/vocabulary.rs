//! Vocabulary matching, layer by layer and token by token.
//!
//! *Source:* Thomas et al., 2025 (arXiv 2505.18332). *Input:* rows at qkv of layers 1 and deeper, which depend on all
//! tokens before. *Method:* the attacker's own copy runs every token of the vocabulary after the tokens recovered so far,
//! likeliest first as the copy itself predicts, and stops at one whose row at that layer is the row received. Rows are
//! compared by cosine; sorted, which no order of columns hides; or, for ReMO in floats, outside of what masks span.
//! Where two positions had no match, only the likeliest tokens are tried on. *Metric:* top-1 and order. *Breaks:* no
//! masking, permuted columns, ReMO in floats: at every layer. *Chance:* guesses dealt at random.

use nalgebra::DMatrix;
use rayon::prelude::*;

use super::{Attack, Finding, Found, Scene, normalised};
use crate::own_copy::{OwnCopy, Prefix};
use crate::view::{PublicRows, Rows};

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "vocabulary",
    breaks: "no masking, permuted columns, ReMO in floats: at every layer",
    chance: "guesses dealt at random",
    run,
};

/// Candidates computed together.
const BLOCK: usize = 256;
/// Distance of unit vectors, squared, that counts as a match: products in f32 agree far better.
const MATCH: f64 = 1e-6;
/// Positions without a match before the search narrows.
const PATIENCE: usize = 2;
/// Candidates tried then.
const NARROW: usize = 256;

/// What of a row is compared.
enum Comparison {
    Direct,
    Sorted,
    /// Outside of the span of Q (k,m).
    Outside(DMatrix<f64>),
}

impl Comparison {
    fn name(&self) -> &'static str {
        match self {
            Self::Direct => "vocabulary, direct",
            Self::Sorted => "vocabulary, sorted",
            Self::Outside(_) => "vocabulary, null space",
        }
    }

    fn of(&self, row: Vec<f64>) -> Vec<f64> {
        match self {
            Self::Direct => normalised(row),
            Self::Sorted => {
                let mut row = normalised(row);
                row.sort_by(f64::total_cmp);
                row
            }
            Self::Outside(q) => {
                // RMSNorm made the length sqrt(k).
                let x = DMatrix::from_vec(row.len(), 1, row) / (q.nrows() as f64).sqrt();
                let outside = &x - q * q.tr_mul(&x);
                outside.data.into()
            }
        }
    }
}

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let mut tasks = Vec::new();
    for layer in 1..scene.copy.layers() {
        let projection = scene.copy.qkv(layer);
        let Some(rows) = scene.view.of(projection) else {
            continue;
        };
        if let Some(PublicRows::Floats(m_pub)) = scene.view.public.get(&projection) {
            tasks.push((layer, rows, Comparison::Outside(m_pub.transpose().qr().q())));
        } else {
            tasks.push((layer, rows, Comparison::Direct));
            tasks.push((layer, rows, Comparison::Sorted));
        }
    }
    let findings = tasks.par_iter().map(|(layer, rows, comparison)| {
        let guesses = recover(scene, *layer, rows, comparison);
        scene.finding(
            comparison.name(),
            scene.copy.qkv(*layer),
            Found::Tokens(guesses),
        )
    });
    findings.collect()
}

/// Tokens of the first rows of requests of others, at one layer.
fn recover(
    scene: &Scene<'_>,
    layer: usize,
    rows: &Rows,
    comparison: &Comparison,
) -> Vec<(usize, Option<u32>)> {
    let mut guesses = Vec::new();
    let requests = scene.view.requests();
    let others = requests
        .into_iter()
        .filter(|request| scene.known[request.start].is_none());
    let mut missed = 0;
    for request in others {
        let mut prefix = scene.copy.begin();
        let mut order = first_tokens(scene.copy);
        for row in request {
            if guesses.len() == scene.effort.matched_rows {
                return guesses;
            }
            order.truncate(match missed >= PATIENCE {
                true => NARROW.min(scene.effort.candidates),
                false => scene.effort.candidates,
            });
            let seen = comparison.of(rows.reals(row));
            let best = nearest(scene.copy, &prefix, layer, &order, |candidate| {
                square_distance(&seen, &comparison.of(candidate))
            });
            let Some((token, distance)) = best else {
                return guesses;
            };
            missed += usize::from(distance > MATCH);
            guesses.push((row, Some(token)));
            order = go_on(scene.copy, &mut prefix, token);
        }
    }
    guesses
}

fn all_tokens(copy: &OwnCopy) -> Vec<u32> {
    (0..copy.manifest.decoder.vocab_size).collect()
}

/// The candidate whose row is nearest, and how near; the first that matches ends the search.
fn nearest(
    copy: &OwnCopy,
    prefix: &Prefix,
    layer: usize,
    order: &[u32],
    distance: impl Fn(Vec<f64>) -> f64,
) -> Option<(u32, f64)> {
    let mut best: Option<(u32, f64)> = None;
    for block in order.chunks(BLOCK) {
        let rows = copy.rows_at(layer, prefix, block);
        for (token, row) in block.iter().zip(rows.column_iter()) {
            let found = distance(row.iter().map(|x| f64::from(*x)).collect());
            if best.is_none_or(|(_, least)| found < least) {
                best = Some((*token, found));
            }
        }
        if best.is_some_and(|(_, least)| least < MATCH) {
            break;
        }
    }
    best
}

/// The vocabulary by what the copy expects at the beginning of a text, which is after the end of another.
fn first_tokens(copy: &OwnCopy) -> Vec<u32> {
    match copy.manifest.generation.eos_token_ids.first() {
        Some(end) => go_on(copy, &mut copy.begin(), *end),
        None => all_tokens(copy),
    }
}

/// Appends a token; the vocabulary by what the copy expects next.
fn go_on(copy: &OwnCopy, prefix: &mut Prefix, token: u32) -> Vec<u32> {
    let logits = copy.advance(prefix, token);
    let mut order = all_tokens(copy);
    order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
    order
}

fn square_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}
